"""The listening satellite, in its own process, driven by a client that behaves like Home Assistant."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.info import Describe
from wyoming.ping import Ping
from wyoming.satellite import PauseSatellite, RunSatellite
from wyoming.timer import TimerCancelled, TimerFinished, TimerStarted
from wyoming.tts import Synthesize
from wyoming.vad import VoiceStarted, VoiceStopped
from wyoming.wake import Detection

from tests.satellite.driver import Driver, Dropped, driver
from tests.speech import speech
from tests.waiting import WAIT_S, until
from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.satellite import trigger

VOICE = {"rate": 22050, "width": 2, "channels": 1}
REPLY = (np.sin(np.arange(22050) / 10) * 12000).astype("<i2").tobytes()
"""One second."""


@dataclass
class Satellite:
    """A satellite that listens, in a process of its own."""

    process: asyncio.subprocess.Process
    uri: str
    log: bytearray
    played: Path

    async def logged(self, text: str, times: int = 1) -> None:
        """Wait until the log says so, so many times in all."""
        await until(lambda: self.times_logged(text) >= times or self.process.returncode is not None, self._said)
        assert self.times_logged(text) >= times, f"ended before it logged {text!r}:\n{self._said()}"

    def times_logged(self, text: str) -> int:
        """How many times the log says so by now."""
        return self.log.count(text.encode())

    async def sounds(self, seconds: float) -> None:
        """Wait until so much sound has been heard."""
        await until(lambda: loud_s(self.played) >= seconds, self._said)

    async def falls_silent(self, for_s: float = 1.5) -> None:
        """Wait until nothing more has been heard for so long: longer than any pause of its sounds."""
        loud, since = -1.0, 0.0

        def silent() -> bool:
            nonlocal loud, since
            if (now := loud_s(self.played)) != loud:
                loud, since = now, time.monotonic()
            return time.monotonic() - since >= for_s

        await until(silent, self._said)

    def _said(self) -> str:
        return self.log.decode()


def player(path: Path) -> str:
    """A loudspeaker that takes sound at the pace at which it is heard, and writes when it was heard to a file."""
    program = (
        "import sys, time\n"
        "out = open(sys.argv[1], 'ab')\n"
        "while data := sys.stdin.buffer.read(882):\n"
        " out.write(data); out.flush(); time.sleep(len(data) / 44100)\n"
    )
    return f'command:{sys.executable} -u -c "{program}" {path}'


def microphone(path: Path) -> str:
    """A microphone that hears what is put into a file, as soon as it is there, and else silence, at its pace."""
    program = (
        "import os, sys, time\n"
        "name, at, next = sys.argv[1], 0, time.monotonic()\n"
        "while True:\n"
        " with open(name, 'rb') as f:\n"
        "  f.seek(at); data = f.read(960)\n"
        " at += len(data)\n"
        " sys.stdout.buffer.write(data + bytes(960 - len(data))); sys.stdout.flush()\n"
        " next += 0.03; time.sleep(max(0, next - time.monotonic()))\n"
    )
    return f'command:{sys.executable} -u -c "{program}" {path}'


@asynccontextmanager
async def satellite(folder: Path, *options: str) -> AsyncIterator[Satellite]:
    room, played = folder / "room.raw", folder / "played.raw"
    room.touch()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wyoming_superwhisper", "satellite", "--uri", "tcp://127.0.0.1:0", "--no-zeroconf",
        "--mic", microphone(room), "--snd", player(played), "--name", "salon-pi", "--area", "Salon",
        "--set", "snd.lead_in_s=0", *options,
        stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL,
        env={**os.environ, "XDG_STATE_HOME": str(folder / "state")},
    )  # fmt: skip
    one = Satellite(process, "", bytearray(), played)

    async def read_log() -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            one.log.extend(line)

    reading = asyncio.create_task(read_log())
    try:
        await one.logged("Listening on")
        found = re.search(rb"Listening on (\S+)", one.log)
        assert found is not None
        one.uri = found.group(1).decode()
        yield one
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        await asyncio.wait_for(process.wait(), WAIT_S)
        await reading
        assert b"Traceback" not in one.log, one.log.decode()
        assert process.returncode == 0, one.log.decode()


def say(folder: Path, audio: bytes) -> None:
    """Be heard by the microphone."""
    with (folder / "room.raw").open("ab") as room:
        room.write(audio)


def loud_s(played: Path) -> float:
    """How much of what was played is sound, in seconds."""
    samples = np.frombuffer(played.read_bytes() if played.exists() else b"", "<i2")
    return float((np.abs(samples.astype(int)) > 100).sum()) / 22050


async def answer(one: Driver, text: str = "Il est midi.", seconds: int = 1) -> None:
    """The answer of a pipeline, as Home Assistant sends it: all at once."""
    await one.send(VoiceStopped(timestamp=1), Transcript(text="Quelle heure est-il ?"), Synthesize(text=text))
    await one.send(AudioStart(timestamp=0, **VOICE))
    for at in range(0, seconds * len(REPLY), 2048):
        start = at % len(REPLY)
        await one.send(AudioChunk(audio=REPLY[start : start + 2048], timestamp=0, **VOICE))
    await one.send(AudioStop(timestamp=0))


async def test_a_whole_turn_by_the_button_with_everything_in_home_assistants_order(tmp_path: Path) -> None:
    async with satellite(tmp_path) as one, driver(one.uri) as ha:
        assert ha.info is not None
        assert ha.info.satellite is not None
        assert (ha.info.satellite.name, ha.info.satellite.area) == ("salon-pi", "Salon")
        one.process.send_signal(signal.SIGUSR1)
        run = await ha.expect("run-pipeline")
        assert (run.data["start_stage"], run.data["end_stage"]) == ("asr", "tts")
        await ha.send(Transcribe(language="fr"), VoiceStarted(timestamp=0))
        await ha.expect("audio-chunk")
        began = time.monotonic()
        await answer(ha)
        await ha.expect("audio-stop")
        await ha.expect("played")
        assert time.monotonic() - began >= 0.95  # it has really been played
        assert loud_s(one.played) > 0.9
        count = len(ha.audio())
        await ha.expect("pong")
        assert len(ha.audio()) == count  # the microphone is closed
        assert not ha.dropped


async def test_a_wake_word_is_told_before_the_run_and_the_command_is_sent_from_its_beginning(tmp_path: Path) -> None:
    command = np.frombuffer(speech("Quelle heure est-il ?", "fr", before_s=0, after_s=0), "<i2")
    command = command[np.nonzero(np.abs(command.astype(int)) > 300)[0][0] :]
    options = ("--wake-word-name", "ok_nabu", "Cuisine")
    async with satellite(tmp_path, *options) as one, driver(one.uri) as ha:
        assert ha.info is not None
        assert [model.phrase for program in ha.info.wake for model in program.models] == ["okay nabu"]
        spoken = np.frombuffer(speech("okay nabu", "en-us", before_s=0.5, after_s=0), "<i2")
        spoken = spoken[: np.nonzero(np.abs(spoken.astype(int)) > 300)[0][-1]]
        await asyncio.sleep(0.5)
        say(tmp_path, spoken.tobytes() + SPEECH.silence(0.15) + command.tobytes())
        detection = await ha.expect("detection")
        assert detection.data["name"] == "okay_nabu"
        assert (await ha.expect("run-pipeline")).data["name"] == "Cuisine"
        while len(ha.audio()) < SPEECH.bytes_of(1.5):
            await ha.expect("audio-chunk")
        await answer(ha)
        await ha.expect("played")
        assert ha.types()[1:4] == ["detection", "run-pipeline", "audio-chunk"]
        heard = np.frombuffer(ha.audio(), "<i2").astype(float)
        beginning = command[: int(0.2 * 16000)].astype(float)
        match = np.correlate(heard, beginning, "valid") / np.linalg.norm(beginning)
        at = int(np.argmax(match))
        energy = np.linalg.norm(heard[at : at + len(beginning)])
        assert match[at] / energy > 0.85  # the awake sound's tones are taken out of it


async def test_an_announcement_is_played_and_answered_after_its_last_sample(tmp_path: Path) -> None:
    async with satellite(tmp_path) as one, driver(one.uri) as ha:
        began = time.monotonic()
        for _ in range(2):  # the second one while the first is being played
            await ha.send(AudioStart(timestamp=0, **VOICE), AudioChunk(audio=REPLY, **VOICE), AudioStop())
        await ha.expect("played")
        assert time.monotonic() - began >= 0.95
        await ha.expect("played")
        assert time.monotonic() - began >= 1.9
        assert 1.8 < loud_s(one.played) < 2.05


async def test_an_error_ends_the_turn_with_a_sound_and_the_next_one_works(tmp_path: Path) -> None:
    async with satellite(tmp_path) as one, driver(one.uri) as ha:
        one.process.send_signal(signal.SIGUSR1)
        await ha.expect("audio-chunk")
        await ha.send(Error(text="No speech was understood", code="stt-no-text-recognized"))
        await one.logged("No speech was understood")
        await one.sounds(0.2)
        await one.logged("Ready", times=2)
        one.process.send_signal(signal.SIGUSR1)
        await ha.expect("run-pipeline")


async def test_a_question_opens_the_microphone_again_once_it_was_played(tmp_path: Path) -> None:
    async with satellite(tmp_path) as one, driver(one.uri) as ha:
        one.process.send_signal(signal.SIGUSR1)
        await ha.expect("audio-chunk")
        await answer(ha, "Quelle pièce ?")
        await ha.expect("played")
        await ha.expect("run-pipeline")
        await ha.expect("audio-chunk")
        await answer(ha, "Fait.")
        await ha.expect("played")
        with pytest.raises(TimeoutError):
            await ha.expect("run-pipeline", timeout_s=0.5)


async def test_a_wake_word_stops_what_it_says_at_once_and_what_was_left_is_not_heard(tmp_path: Path) -> None:
    async with satellite(tmp_path, "--wake-word", "okay_nabu") as one, driver(one.uri) as ha:
        one.process.send_signal(signal.SIGUSR1)
        await ha.expect("audio-chunk")
        await answer(ha, "Il était une fois", seconds=30)
        await one.sounds(0.5)
        say(tmp_path, speech("okay nabu", "en-us"))
        await ha.expect("detection")
        await ha.expect("run-pipeline")
        heard = one.played.stat().st_size
        await asyncio.sleep(1.0)
        assert one.played.stat().st_size - heard < 0.5 * 44100  # the awake sound, and nothing of what was left
        await answer(ha)
        await ha.expect("played")


async def test_pause_closes_the_microphone_and_run_opens_it_again(tmp_path: Path) -> None:
    async with satellite(tmp_path, "--wake-word", "okay_nabu") as one, driver(one.uri) as ha:
        one.process.send_signal(signal.SIGUSR1)
        await ha.expect("audio-chunk")
        await ha.send(PauseSatellite())
        await one.logged("has muted")
        await ha.caught_up()
        count = len(ha.received)
        say(tmp_path, speech("okay nabu", "en-us"))
        one.process.send_signal(signal.SIGUSR1)
        await asyncio.sleep(1.5)
        assert not [event for event in ha.received[count:] if event.type not in ("ping", "pong")]
        await ha.send(RunSatellite())
        await one.logged("Ready", times=2)
        say(tmp_path, speech("okay nabu", "en-us"))
        await ha.expect("detection")


async def test_timers_ring_until_they_are_stopped_and_survive_a_restart(tmp_path: Path) -> None:
    async with satellite(tmp_path) as one, driver(one.uri) as ha:
        await ha.send(TimerStarted(id="a", total_seconds=3600, name="pizza"))
        await ha.send(TimerStarted(id="b", total_seconds=3600))
        await ha.send(TimerCancelled(id="b"))
        await ha.send(TimerFinished(id="a"))
        await one.logged("A timer has finished: pizza")
        await one.sounds(0.9)  # rings more than once
        one.process.send_signal(signal.SIGUSR1)
        await one.falls_silent()
        await ha.send(TimerStarted(id="c", total_seconds=2, name="thé"))
        await ha.expect("pong")
    async with satellite(tmp_path) as one:  # nobody is connected, and nobody will say that it has finished
        await one.logged("A timer has finished: thé")


async def test_the_seat_is_kept_by_one_address_and_replaced_by_the_same(tmp_path: Path) -> None:
    async with satellite(tmp_path) as one, driver(one.uri) as first, driver(one.uri) as second:
        with pytest.raises(Dropped):
            await first.expect("nothing")
        one.process.send_signal(signal.SIGUSR1)
        await second.expect("audio-chunk")
        assert "audio-chunk" not in first.types()
        await answer(second)
        await second.expect("played")


async def test_questions_are_answered_without_the_seat_and_nothing_else_is(tmp_path: Path) -> None:
    async with satellite(tmp_path) as one, driver(one.uri, run=False) as guest:
        await guest.send(Describe(), Ping(text="hello"))
        assert (await guest.expect("info")).data["satellite"]["name"] == "salon-pi"
        assert (await guest.expect("pong")).data["text"] == "hello"
        await guest.send(AudioStart(**VOICE), ("nonsense", {}))
        assert (await guest.expect("error")).data["code"] == "not-allowed"
        one.process.send_signal(signal.SIGUSR1)
        await guest.send(Ping(text="again"))
        await guest.expect("pong")
        assert "audio-chunk" not in guest.types()


@pytest.mark.parametrize("lost_s", [1.0, pytest.param(6.0, marks=pytest.mark.long)])
async def test_a_peer_that_has_stopped_is_noticed_and_leaves_its_seat(tmp_path: Path, lost_s: float) -> None:
    options = ("--set", f"server.lost_s={lost_s}", "--set", f"server.ping_s={lost_s / 3}")
    async with satellite(tmp_path, *options) as one, driver(one.uri) as ha:
        await ha.expect("ping")
        ha.answers_pings = False  # as if it had been stopped: nothing comes from it any more
        await one.logged("has said nothing")
        with pytest.raises(Dropped):
            await ha.expect("nothing")


async def test_the_trigger_starts_a_turn_from_outside(tmp_path: Path) -> None:
    async with satellite(tmp_path) as one, driver(one.uri) as ha:
        await trigger.press(one.uri)
        await ha.expect("run-pipeline")


async def test_a_long_reply_sent_at_once_is_played_whole_while_pings_are_answered(tmp_path: Path) -> None:
    async with satellite(tmp_path) as one, driver(one.uri) as ha:
        one.process.send_signal(signal.SIGUSR1)
        await ha.expect("audio-chunk")
        await answer(ha, seconds=6)
        await ha.expect("played")
        assert not ha.dropped
        assert 5.5 < loud_s(one.played) < 6.05


async def test_where_the_other_side_hears_the_wake_word_only_voices_are_sent(tmp_path: Path) -> None:
    async with (
        satellite(tmp_path, "--set", "wake.mode=server", "--wake-word", "okay_nabu") as one,
        driver(one.uri) as ha,
    ):
        run = await ha.expect("run-pipeline")
        assert (run.data["start_stage"], run.data["wake_word_names"]) == ("wake", ["okay_nabu"])
        await asyncio.sleep(1.0)
        assert not ha.audio()
        said = speech("okay nabu", "en-us", before_s=0.3, after_s=0.0)
        say(tmp_path, said)
        while len(ha.audio()) < SPEECH.bytes_of(2.0):
            await ha.expect("audio-chunk")
        spoken = np.frombuffer(said, "<i2").astype(float)
        beginning = spoken[np.nonzero(np.abs(spoken) > 300)[0][0] :][:3200]
        match = np.correlate(np.frombuffer(ha.audio(), "<i2").astype(float), beginning, "valid")
        assert match.max() / np.linalg.norm(beginning) ** 2 > 0.95  # nothing of the word's beginning is lost
        await ha.send(Detection(name="okay_nabu", timestamp=0))
        await one.logged("Wake word: okay_nabu")
        await answer(ha)
        await ha.expect("played")
        run = await ha.expect("run-pipeline")
        assert run.data["start_stage"] == "wake"
        await ha.send(AudioStart(timestamp=0, **VOICE), AudioChunk(audio=REPLY, **VOICE), AudioStop())
        await ha.expect("played")  # an announcement is no reason to stop listening
        await ha.expect("run-pipeline")


async def test_whoever_speaks_begins_a_turn_where_voices_do_and_the_first_syllable_is_sent(tmp_path: Path) -> None:
    async with satellite(tmp_path, "--set", "wake.mode=voice") as one, driver(one.uri) as ha:
        await asyncio.sleep(1.5)
        assert "run-pipeline" not in ha.types()
        said = speech("Quelle heure est-il ?", "fr", before_s=0.0, after_s=0.0)
        say(tmp_path, said)
        await ha.expect("run-pipeline")
        while len(ha.audio()) < SPEECH.bytes_of(1.8):
            await ha.expect("audio-chunk")
        beginning = np.frombuffer(said, "<i2")[:3200].astype(float)
        match = np.correlate(np.frombuffer(ha.audio(), "<i2").astype(float), beginning, "valid")
        assert match.max() / np.linalg.norm(beginning) ** 2 > 0.95
        await answer(ha)
        await ha.expect("played")


async def test_a_cancel_word_ends_the_turn_with_a_short_sound_and_no_answer(tmp_path: Path) -> None:
    async with satellite(tmp_path) as one, driver(one.uri) as ha:
        await one.logged("Ready")
        one.process.send_signal(signal.SIGUSR1)
        await ha.expect("audio-chunk")
        one.log.clear()
        await ha.send(Transcript(text="Laisse tomber."))
        await ha.send(AudioStart(timestamp=0, **VOICE))
        await ha.send(AudioChunk(audio=REPLY, **VOICE))
        await one.logged("Heard: Laisse tomber.")
        await ha.expect("audio-stop")
        await one.sounds(0.05)
        await one.logged("Ready")
        assert loud_s(one.played) < 0.2


async def test_the_rest_of_a_wake_word_cancels_nothing(tmp_path: Path) -> None:
    """Where a recogniser makes a cancel word of it, the turn ends as any other in which nobody said anything."""
    async with (
        satellite(tmp_path, "--wake-word", "okay_nabu", "--set", "sounds.awake=off") as one,
        driver(one.uri) as ha,
    ):
        say(tmp_path, speech("okay nabu", "en-us", after_s=0.1))
        await ha.expect("audio-chunk")
        await ha.send(Transcript(text="Annule."))
        await one.logged("Nobody said anything.")
        await one.sounds(0.2)


async def test_who_cancels_by_voice_after_the_wake_word_hears_it(tmp_path: Path) -> None:
    async with (
        satellite(tmp_path, "--wake-word", "okay_nabu", "--set", "sounds.awake=off") as one,
        driver(one.uri) as ha,
    ):
        said = speech("Annule.", after_s=1.0)
        say(tmp_path, speech("okay nabu", "en-us", after_s=0.1) + said)
        while len(ha.audio()) < len(said):
            await ha.expect("audio-chunk")
        await ha.send(Transcript(text="Annule."))
        await one.sounds(0.05)
        assert b"Nobody said anything." not in one.log


async def test_another_address_gets_an_error_unless_the_holder_has_been_silent_for_long(tmp_path: Path) -> None:
    options = ("--set", "server.lost_s=4", "--set", "server.ping_s=1", "--set", "listen.allow=127.0.0.0/8")
    async with satellite(tmp_path, *options) as one, driver(one.uri) as holder:
        async with driver(one.uri, run=False, address="127.0.0.2") as other:
            await other.send(RunSatellite())
            assert (await other.expect("error")).data["code"] == "busy"
        await holder.send(Ping(text="still here"))
        await holder.expect("pong")
        holder.answers_pings = False
        await one.logged("has said nothing")
        async with driver(one.uri, address="127.0.0.2") as other:
            one.process.send_signal(signal.SIGUSR1)
            await other.expect("run-pipeline")


async def test_the_seat_is_remembered_over_a_restart_where_that_is_set_and_else_not(tmp_path: Path) -> None:
    for remember, code in (("false", None), ("true", "not-allowed")):
        options = ("--set", f"listen.remember={remember}")
        async with satellite(tmp_path, *options) as one, driver(one.uri):
            pass
        async with satellite(tmp_path, *options) as one, driver(one.uri, run=False, address="127.0.0.2") as other:
            await other.send(RunSatellite(), Describe())
            answer = await other.expect("error", "info")
            assert answer.data.get("code") == code


async def test_an_address_outside_the_allowed_networks_gets_nothing(tmp_path: Path) -> None:
    options = ("--set", "listen.allow=10.0.0.0/8")
    async with satellite(tmp_path, *options) as one, driver(one.uri, run=False) as stranger:
        await stranger.send(Describe())
        with pytest.raises(Dropped):
            await stranger.expect("info")
