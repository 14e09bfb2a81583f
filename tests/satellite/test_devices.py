"""Microphones and loudspeakers of every kind that needs no sound card, and how they fail."""

from __future__ import annotations

import asyncio
import logging
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.waiting import WAIT_S, until
from wyoming_superwhisper.audio import SPEECH, AudioFormat, read_wav, write_wav
from wyoming_superwhisper.config.satellite_settings import MicSettings, SndSettings
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.satellite.capture import Deliver
from wyoming_superwhisper.satellite.device import Device, parse_device
from wyoming_superwhisper.satellite.microphone import Microphone, make_microphone
from wyoming_superwhisper.satellite.program import CommandCapture
from wyoming_superwhisper.satellite.reconnect import FIRST_PAUSE_S, JITTER, LONGEST_PAUSE_S, Backoff
from wyoming_superwhisper.satellite.speaker import make_speaker

VOICE = AudioFormat(22050, 2, 1)
REPLY = (np.sin(np.arange(11025) / 10) * 12000).astype("<i2").tobytes()


def python(program: str) -> str:
    return "command:" + shlex.join([sys.executable, "-c", program])


# --- what a setting means --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "device"),
    [
        ("off", Device("off")),
        ("a b/c.WAV", Device("wav", "a b/c.WAV")),
        ("wav:question", Device("wav", "question")),
        ("command:rec -x", Device("command", "rec -x")),
        (f"{sys.executable} -V", Device("command", f"{sys.executable} -V")),
        ("pulse", Device("pulse")),
        ("pulse:echo-cancelled", Device("pulse", "echo-cancelled")),
        ("arecord", Device("alsa")),
        ("aplay:plughw:1,0", Device("alsa", "plughw:1,0")),
        ("USB Audio", Device("portaudio", "USB Audio")),
        ("2", Device("portaudio", "2")),
    ],
)
def test_a_setting_names_a_device(setting: str, device: Device) -> None:
    assert parse_device(setting) == device


# --- microphones -----------------------------------------------------------------------------------------------


async def read_all(microphone: Microphone) -> bytes:
    audio = b""
    while chunk := await microphone.read():
        audio += chunk
    return audio


async def test_a_wav_file_is_heard_at_the_pace_it_was_spoken(tmp_path: Path) -> None:
    spoken = np.arange(8000, dtype="<i2").tobytes()
    write_wav(tmp_path / "in.wav", spoken, SPEECH)
    began = time.monotonic()
    async with make_microphone(MicSettings(device=str(tmp_path / "in.wav"))) as microphone:
        assert microphone.finite
        assert await read_all(microphone) == spoken
    assert time.monotonic() - began >= 0.49


async def test_another_rate_becomes_16_khz_mono_and_nothing_is_lost(tmp_path: Path) -> None:
    write_wav(tmp_path / "in.wav", VOICE.silence(0.5), VOICE)
    async with make_microphone(MicSettings(device=str(tmp_path / "in.wav"))) as microphone:
        assert len(await read_all(microphone)) == pytest.approx(SPEECH.bytes_of(0.5), abs=8)


async def test_a_recorder_that_has_written_more_than_was_read_can_be_left() -> None:
    program = "import sys\nwhile True: sys.stdout.buffer.write(bytes(1 << 16))"
    heard = asyncio.Event()

    def deliver(audio: bytes) -> None:
        nonlocal total
        total += len(audio)
        if total >= 1 << 20:
            heard.set()

    for _ in range(5):  # how much is unread at the end differs
        total = 0
        recording = asyncio.create_task(CommandCapture([sys.executable, "-c", program], MicSettings()).run(deliver))
        await heard.wait()
        recording.cancel()
        await asyncio.wait([recording])
        heard.clear()


async def test_one_channel_of_a_command_is_picked() -> None:
    program = "import sys; sys.stdout.buffer.write(b'\\1\\0\\2\\0' * 1600); sys.stdout.flush(); sys.stdin.read()"
    settings = MicSettings(device=python(program + "; import time; time.sleep(60)"), channels=2, channel=1)
    async with make_microphone(settings) as microphone:
        audio = b""
        async with asyncio.timeout(WAIT_S):
            while len(audio) < 3200:
                audio += await microphone.read()
    assert audio == b"\2\0" * 1600


async def test_what_nobody_reads_is_kept_up_to_a_limit_and_the_oldest_goes_first() -> None:
    microphone = Microphone(Scripted([bytes([n]) * 320 for n in range(200)]), buffer_s=1.0)
    async with microphone:
        await asyncio.sleep(0.05)
        assert (await microphone.read())[0] == 100
        microphone.keep_last(0.02)
        assert [(await microphone.read())[0] for _ in range(2)] == [198, 199]


async def test_a_device_that_breaks_is_opened_again_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    capture = Scripted([b"\1" * 320], failures=2)
    async with Microphone(capture) as microphone, asyncio.timeout(WAIT_S):
        assert await microphone.read() == b"\1" * 320
    said = [record.getMessage() for record in caplog.records if "microphone" in record.getMessage().lower()]
    assert said == ["The microphone is not there: unplugged. Waiting for it.", "The microphone is back."]


async def test_a_command_that_fails_says_why(caplog: pytest.LogCaptureFixture) -> None:
    program = "import sys; print('no such card', file=sys.stderr); sys.exit(3)"
    async with make_microphone(MicSettings(device=python(program))):
        await until(lambda: caplog.records)
    assert "has ended with status 3: no such card" in caplog.text


@pytest.mark.parametrize(
    "settings",
    [
        MicSettings(device="missing.wav"),
        MicSettings(device=f"wav:{__file__}"),
        MicSettings(device="command:"),
        MicSettings(device="command:'unbalanced"),
        MicSettings(device="command:no-such-program-anywhere"),
        MicSettings(device="off"),
        MicSettings(device="command:cat", channels=2, channel=2),
    ],
)
def test_a_microphone_that_is_none_is_a_wrong_setting(settings: MicSettings) -> None:
    with pytest.raises(SettingsError):
        make_microphone(settings)


class Scripted:
    """A capture that fails some times and then delivers its chunks."""

    finite = False
    format = SPEECH

    def __init__(self, chunks: list[bytes], failures: int = 0) -> None:
        self._chunks = chunks
        self._failures = failures

    async def run(self, deliver: Deliver) -> None:
        if self._failures:
            self._failures -= 1
            raise OSError("unplugged")
        for chunk in self._chunks:
            deliver(chunk)
        await asyncio.sleep(60)


# --- loudspeakers ----------------------------------------------------------------------------------------------


async def test_a_wav_file_takes_all_replies_and_is_whole_after_each(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    async with make_speaker(SndSettings(device=str(path), lead_in_s=0.0)) as speaker:
        for count in (1, 2):
            await speaker.start(VOICE)
            await speaker.write(REPLY[:1000])
            await speaker.write(REPLY[1000:])
            await speaker.finish()
            assert read_wav(path) == (VOICE, REPLY * count)


async def test_the_lead_in_the_rate_and_the_volume_are_as_set(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    settings = SndSettings(device=str(path), rate=44100, channels=2, volume=0.5, lead_in_s=0.2)
    async with make_speaker(settings) as speaker:
        await speaker.start(VOICE)
        await speaker.write(REPLY)
        await speaker.finish()
    format, audio = read_wav(path)
    samples = np.frombuffer(audio, "<i2").reshape(-1, 2)
    assert format == AudioFormat(44100, 2, 2)
    assert len(samples) == pytest.approx(44100 * 0.7, abs=4)
    assert not samples[: 44100 // 5 - 50].any()
    assert np.abs(samples).max() == pytest.approx(6000, rel=0.05)


async def test_a_command_hears_every_sample_and_has_ended_when_it_is_over(tmp_path: Path) -> None:
    path = tmp_path / "heard.raw"
    program = f"import sys; open({str(path)!r}, 'ab').write(sys.stdin.buffer.read())"
    async with make_speaker(SndSettings(device=python(program), lead_in_s=0.0)) as speaker:
        for _ in range(2):
            await speaker.start(VOICE)
            await speaker.write(REPLY)
            await speaker.finish()
    assert path.read_bytes() == REPLY * 2


async def test_stopping_is_prompt_and_the_next_reply_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "heard.raw"
    program = (
        "import sys, time\n"
        f"data = sys.stdin.buffer.read(22050); open({str(path)!r}, 'wb').write(data)\n"
        "time.sleep(1000 if len(data) < 22050 else 0)"
    )
    async with make_speaker(SndSettings(device=python(program), lead_in_s=0.0)) as speaker:
        await speaker.start(VOICE)
        await speaker.write(bytes(20000))
        async with asyncio.timeout(WAIT_S):
            await speaker.stop()
        assert not speaker.playing
        await speaker.start(VOICE)
        await speaker.write(REPLY)
        await speaker.finish()
        assert speaker.works
    assert path.read_bytes() == REPLY


async def test_a_loudspeaker_that_breaks_loses_a_reply_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async with make_speaker(SndSettings(device=python("import sys; sys.exit(1)"), lead_in_s=0.0)) as speaker:
        await speaker.start(VOICE)
        for _ in range(20):
            await speaker.write(REPLY)
            await asyncio.sleep(0.01)
        await speaker.finish()
        assert not speaker.works
    assert caplog.text.count("The loudspeaker does not work") == 1


# --- trying again ----------------------------------------------------------------------------------------------


def test_pauses_double_up_to_a_limit_and_begin_anew_after_success() -> None:
    backoff = Backoff()
    pauses = [backoff.next_pause_s() for _ in range(8)]
    expected = [min(FIRST_PAUSE_S * 2**n, LONGEST_PAUSE_S) for n in range(8)]
    assert all(abs(pause - mean) <= mean * JITTER + 1e-9 for pause, mean in zip(pauses, expected, strict=True))
    backoff.succeeded()
    assert backoff.next_pause_s() <= FIRST_PAUSE_S * (1 + JITTER)


class LongPauses(Backoff):
    """Only a nudge ends them."""

    def next_pause_s(self) -> float:
        return 1000.0


async def test_a_pause_can_be_cut_short() -> None:
    backoff = LongPauses()
    async with asyncio.timeout(WAIT_S):
        pausing = asyncio.create_task(backoff.pause())
        await asyncio.sleep(0.01)
        backoff.nudge()
        await pausing
