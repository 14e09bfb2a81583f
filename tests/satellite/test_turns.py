"""Whole turns: a recording in, a scripted server, a WAV file out; and what happens when things go wrong in between."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import shlex
import signal
import socket
import sys
import tempfile
import termios
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.handle import Handled
from wyoming.info import Info
from wyoming.vad import VoiceStopped

from tests.scripted_server import Peer, scripted_server
from tests.waiting import WAIT_S
from wyoming_superwhisper.audio import SPEECH, AudioFormat, read_wav, write_wav
from wyoming_superwhisper.config.satellite_settings import (
    LinkSettings,
    MicSettings,
    SatelliteSettings,
    SndSettings,
    TurnSettings,
)
from wyoming_superwhisper.errors import EngineLost, NoText
from wyoming_superwhisper.satellite.connection import ServerLink
from wyoming_superwhisper.satellite.link import LinkLost, LinkState
from wyoming_superwhisper.satellite.microphone import make_microphone
from wyoming_superwhisper.satellite.speaker import make_speaker
from wyoming_superwhisper.satellite.turn import Result, Start, Turn, TurnState

VOICE = {"rate": 22050, "width": 2, "channels": 1}
REPLY = (np.sin(np.arange(22050) / 10) * 12000).astype("<i2").tobytes()


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """A recording of 0.4 s that can be recognised byte for byte."""
    path = tmp_path / "spoken.wav"
    write_wav(path, np.arange(6400, dtype="<i2").tobytes(), SPEECH)
    return path


def settings_for(uri: str, microphone: Path | str, speaker: Path | str = "off") -> SatelliteSettings:
    return SatelliteSettings(
        name="salon-pi",
        area="salon",
        language="fr",
        server=LinkSettings(uri=uri, ping_s=0.1, lost_s=WAIT_S, connect_s=WAIT_S, answer_s=WAIT_S),
        mic=MicSettings(device=str(microphone)),
        snd=SndSettings(device=str(speaker), lead_in_s=0.0),
    )


async def greet(peer: Peer) -> None:
    """Answer the `describe` that every connection begins with."""
    await peer.read_until("describe")
    await peer.send(Info())


async def answer(peer: Peer) -> None:
    """Answer a turn rightly."""
    await peer.read_until("audio-stop")
    await peer.send(Transcript(text="Quelle heure est-il ?"))
    await peer.send(Handled(text="Il est midi.", context={"answered_by": "intent:HassGetCurrentTime"}))
    await peer.send(AudioStart(**VOICE), AudioChunk(audio=REPLY, **VOICE), AudioStop())


async def run_turn(settings: SatelliteSettings, states: list[TurnState] | None = None) -> Result:
    async with (
        make_speaker(settings.snd) as speaker,
        ServerLink(settings.server) as link,
        make_microphone(settings.mic) as microphone,
    ):
        await link.connected()
        on_state = None if states is None else states.append
        return await Turn(settings, link, microphone, speaker, "c1", on_state).run(Start())


async def test_a_turn_sends_the_recording_and_plays_the_answer(spoken: Path, tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await greet(peer)
        await answer(peer)
        await peer.read_until("never")

    states: list[TurnState] = []
    async with scripted_server(script) as server:
        result = await run_turn(settings_for(server.uri, spoken, tmp_path / "out.wav"), states)
        peer = server.peers[0]
    assert (result.transcript, result.reply) == ("Quelle heure est-il ?", "Il est midi.")
    assert result.answered_by == "intent:HassGetCurrentTime"
    assert result.error is None
    assert peer.audio() == read_wav(spoken)[1]
    assert read_wav(tmp_path / "out.wav") == (AudioFormat(22050, 2, 1), REPLY)
    assert states == [TurnState.LISTENING, TurnState.THINKING, TurnState.SPEAKING, TurnState.OVER]


async def test_the_request_says_who_asks_and_where(spoken: Path) -> None:
    async def script(peer: Peer) -> None:
        await greet(peer)
        await answer(peer)

    async with scripted_server(script) as server:
        await run_turn(settings_for(server.uri, spoken))
        request = next(event for event in server.peers[0].received if event.type == "run-pipeline")
    assert request.data == {
        "start_stage": "asr", "end_stage": "tts", "restart_on_end": False, "name": "salon-pi", "area": "salon",
        "language": "fr",
        "context": {"name": "salon-pi", "area": "salon", "language": "fr", "conversation_id": "c1"},
    }  # fmt: skip


async def test_the_microphone_stops_when_the_server_has_heard_enough(tmp_path: Path) -> None:
    write_wav(tmp_path / "long.wav", SPEECH.silence(60.0), SPEECH)

    async def script(peer: Peer) -> None:
        await greet(peer)
        await peer.read_until("audio-chunk")
        await peer.send(VoiceStopped(timestamp=0))
        await answer(peer)

    async with scripted_server(script) as server:
        result = await run_turn(settings_for(server.uri, tmp_path / "long.wav"))
        assert result.reply == "Il est midi."
        assert SPEECH.seconds(len(server.peers[0].audio())) < 30.0  # it is sent at the pace at which it is heard


async def test_a_turn_in_which_nobody_speaks_is_given_up(tmp_path: Path) -> None:
    write_wav(tmp_path / "silence.wav", SPEECH.silence(10.0), SPEECH)

    async def script(peer: Peer) -> None:
        await greet(peer)
        await peer.read_until("audio-stop")
        await peer.send(Transcript(text=""), Error(text="nothing was said", code="no-text"))

    async with scripted_server(script) as server:
        settings = settings_for(server.uri, tmp_path / "silence.wav")
        result = await run_turn(replace(settings, turn=TurnSettings(end="local", no_speech_s=0.3)))
    assert isinstance(result.error, NoText)
    assert result.link_is_clean


async def test_an_error_of_the_server_ends_the_turn_and_not_the_link(spoken: Path) -> None:
    async def script(peer: Peer) -> None:
        await greet(peer)
        await peer.read_until("audio-stop")
        await peer.send(Error(text="the recogniser was lost", code="engine-lost"))
        await peer.read_until("never")

    async with scripted_server(script) as server:
        result = await run_turn(settings_for(server.uri, spoken))
        assert isinstance(result.error, EngineLost)
        assert result.link_is_clean
        assert len(server.peers) == 1


async def test_a_server_that_vanishes_in_mid_turn_ends_the_turn(spoken: Path) -> None:
    async def script(peer: Peer) -> None:
        await greet(peer)
        await peer.read_until("audio-stop")

    async with scripted_server(script) as server:
        result = await run_turn(settings_for(server.uri, spoken))
    assert isinstance(result.error, LinkLost)


async def test_the_sound_that_came_before_the_server_vanished_is_played(spoken: Path, tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await greet(peer)
        await answer(peer)

    async with scripted_server(script) as server:
        result = await run_turn(settings_for(server.uri, spoken, tmp_path / "out.wav"))
    assert result.error is None
    assert read_wav(tmp_path / "out.wav")[1] == REPLY


# --- the link --------------------------------------------------------------------------------------------------


async def test_the_link_comes_back_by_itself(unused_tcp_port: int) -> None:
    states: list[LinkState] = []

    async def script(peer: Peer) -> None:
        await greet(peer)
        await peer.read_until("never")

    settings = LinkSettings(uri=f"tcp://127.0.0.1:{unused_tcp_port}", connect_s=WAIT_S)
    async with ServerLink(settings) as link:
        link.on_change = lambda: states.append(link.state)
        for _ in range(2):
            async with scripted_server(script, unused_tcp_port), asyncio.timeout(WAIT_S):
                await link.connected()
                assert link.state is LinkState.CONNECTED
            with pytest.raises(LinkLost):
                await link.receive(WAIT_S)
            with pytest.raises(LinkLost):
                await link.send(AudioStop())
    assert states[-1] is LinkState.CLOSED
    assert states.count(LinkState.CONNECTED) == 2


async def test_a_server_that_is_stopped_dead_is_noticed_in_time() -> None:
    async def script(peer: Peer) -> None:
        await greet(peer)
        await asyncio.Event().wait()  # reads nothing, answers nothing

    async with (
        scripted_server(script) as server,
        ServerLink(LinkSettings(uri=server.uri, ping_s=0.1, lost_s=0.5)) as link,
    ):
        await link.connected()
        with pytest.raises(LinkLost):
            await link.receive(WAIT_S)


async def test_pings_keep_a_quiet_link_alive() -> None:
    lost_s = 2.0
    long_after = asyncio.Event()

    async def script(peer: Peer) -> None:
        await greet(peer)
        began = time.monotonic()
        while await peer.read_until("ping"):
            await peer.send(("pong", {}))
            if time.monotonic() > began + 1.2 * lost_s:
                long_after.set()

    async with scripted_server(script) as server:
        async with ServerLink(LinkSettings(uri=server.uri, ping_s=0.1, lost_s=lost_s)) as link:
            await link.connected()
            await asyncio.wait_for(long_after.wait(), WAIT_S)
            assert link.state is LinkState.CONNECTED
        assert len(server.peers) == 1


async def test_a_dropped_link_is_made_anew_at_once_and_brings_nothing_of_the_old() -> None:
    async def script(peer: Peer) -> None:
        await greet(peer)
        await peer.send(Transcript(text=str(len(server.peers))))
        await peer.read_until("never")

    async with scripted_server(script) as server, ServerLink(LinkSettings(uri=server.uri)) as link:
        await link.connected()
        await asyncio.sleep(0.1)
        link.drop()
        async with asyncio.timeout(WAIT_S):
            await link.connected()
            assert (await link.receive(WAIT_S)).data["text"] == "2"


# --- the whole process -----------------------------------------------------------------------------------------


async def start_satellite(
    uri: str, microphone: str, speaker: str, terminal: int | None = None
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wyoming_superwhisper", "satellite", "--server", uri, "--mic", microphone,
        "--snd", speaker, "--set", "snd.lead_in_s=0",
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL if terminal is None else terminal,
        start_new_session=terminal is not None,
        preexec_fn=None if terminal is None else lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip


async def test_a_recording_is_one_turn_and_then_the_end(spoken: Path, tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await greet(peer)
        await answer(peer)
        await peer.read_until("never")

    async with scripted_server(script) as server:
        process = await start_satellite(server.uri, str(spoken), str(tmp_path / "out.wav"))
        _, log = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 0, log.decode()
    assert b"Heard: Quelle heure" in log
    assert read_wav(tmp_path / "out.wav")[1] == REPLY


async def test_a_failed_turn_of_a_recording_is_status_1(spoken: Path) -> None:
    async def script(peer: Peer) -> None:
        await greet(peer)
        await peer.read_until("audio-stop")
        await peer.send(Error(text="oh no", code="internal"))

    async with scripted_server(script) as server:
        process = await start_satellite(server.uri, str(spoken), "off")
        _, log = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 1
    assert b"oh no" in log
    assert b"Traceback" not in log


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_at_once_also_without_a_server(sign: signal.Signals) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        uri = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"
        process = await start_satellite(uri, "command:sleep 60", "off")
        assert process.stderr is not None
        await asyncio.wait_for(process.stderr.readuntil(b"trying again"), WAIT_S)
        process.send_signal(sign)
        _, log = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 0
    assert b"Traceback" not in log


ROOM = "command:" + shlex.join([
    sys.executable, "-c",
    "import sys, time\nwhile True:\n sys.stdout.buffer.write(bytes(960)); sys.stdout.flush(); time.sleep(.03)",
])  # fmt: skip
"""A microphone in a silent room."""


class Turns:
    """A script that answers every turn, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, peer: Peer) -> None:
        await greet(peer)
        while True:
            await peer.read_until("audio-chunk")
            await peer.send(VoiceStopped(timestamp=0))
            await answer(peer)
            self.count += 1


async def test_the_button_signal_starts_a_turn() -> None:
    turns = Turns()
    async with scripted_server(turns) as server:
        process = await start_satellite(server.uri, ROOM, "off")
        assert process.stderr is not None
        for _ in range(2):
            await asyncio.wait_for(process.stderr.readuntil(b"starts a turn"), WAIT_S)
            process.send_signal(signal.SIGUSR1)
        await asyncio.wait_for(process.stderr.readuntil(b"starts a turn"), WAIT_S)
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 0
    assert turns.count == 2


async def test_enter_on_the_terminal_starts_a_turn_and_ctrl_c_ends_it() -> None:
    turns = Turns()
    ours, its = pty.openpty()
    async with scripted_server(turns) as server:
        process = await start_satellite(server.uri, ROOM, "off", terminal=its)
        os.close(its)
        assert process.stderr is not None
        await asyncio.wait_for(process.stderr.readuntil(b"press Enter"), WAIT_S)
        os.write(ours, b"\n")
        await asyncio.wait_for(process.stderr.readuntil(b"press Enter"), WAIT_S)
        os.write(ours, b"\x03")  # Ctrl-C
        _, log = await asyncio.wait_for(process.communicate(), WAIT_S)
        os.close(ours)
    assert process.returncode == 0
    assert b"Traceback" not in log
    assert turns.count == 1


async def test_the_button_cuts_an_answer_off_and_the_server_is_told_by_a_new_connection() -> None:
    slow = "command:" + shlex.join([sys.executable, "-c", "import time; time.sleep(60)"])

    async def script(peer: Peer) -> None:
        await greet(peer)
        await peer.read_until("audio-chunk")
        await peer.send(VoiceStopped(timestamp=0))
        await peer.read_until("audio-stop")
        await peer.send(Transcript(text="Raconte"), Handled(text="Il était une fois"), AudioStart(**VOICE))
        for _ in range(60):
            await peer.send(AudioChunk(audio=REPLY, **VOICE))
        await peer.read_until("never")

    async with scripted_server(script) as server:
        process = await start_satellite(server.uri, ROOM, slow)
        assert process.stderr is not None
        await asyncio.wait_for(process.stderr.readuntil(b"starts a turn"), WAIT_S)
        process.send_signal(signal.SIGUSR1)
        await asyncio.wait_for(process.stderr.readuntil(b"Answer: "), WAIT_S)
        process.send_signal(signal.SIGUSR1)
        await asyncio.wait_for(process.stderr.readuntil(b"starts a turn"), WAIT_S)
        assert len(server.peers) == 2
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("microphone", "speaker", "sentence"),
    [
        ("nowhere.wav", "off", "nowhere.wav"),
        ("command:no-such-program", "off", "no-such-program"),
        ("off", "off", "microphone can't be off"),
        ("command:sleep 1", "/no/folder/out.wav", "/no/folder/out.wav"),
        ("command:sleep 1", f"wav:{tempfile.gettempdir()}", "is a folder"),
        (f"wav:{__file__}", "off", "not a PCM WAV file"),
    ],
)
async def test_a_wrong_device_is_one_sentence_and_status_2(microphone: str, speaker: str, sentence: str) -> None:
    process = await start_satellite("tcp://127.0.0.1:1", microphone, speaker)
    _, log = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 2
    assert sentence in log.decode()
    assert "Traceback" not in log.decode()
