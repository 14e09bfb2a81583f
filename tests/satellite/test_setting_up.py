"""Setting a satellite up, examining it, and the options of the stock one."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import free_port
from tests.speech import speech
from wyoming_superwhisper.audio import write_wav
from wyoming_superwhisper.cli import options as options_of_commands
from wyoming_superwhisper.cli import satellite as satellite_command
from wyoming_superwhisper.cli import stock_flags
from wyoming_superwhisper.config import loader
from wyoming_superwhisper.config.satellite_settings import (
    ListenSettings,
    MicSettings,
    SatelliteSettings,
    SndSettings,
    WakeWordSettings,
)
from wyoming_superwhisper.satellite.examination import examine
from wyoming_superwhisper.satellite.setting_up import SetUp


@pytest.fixture
def talk(tmp_path: Path) -> str:
    """A recording of somebody who is silent, then says a sentence, then the wake word."""
    path = tmp_path / "talk.wav"
    write_wav(path, speech("okay nabu", "en-us", before_s=0.6) + speech("Bonjour à tous.", "fr"))
    return str(path)


async def test_set_up_tries_the_sound_and_writes_settings_that_load_and_a_service(talk: str, tmp_path: Path) -> None:
    said: list[str] = []
    answers = iter([talk, "off", "yes", "okay_nabu", "küche-pi", "Küche", "no", "tcp://box:10300"])
    set_up = SetUp(SatelliteSettings(), tmp_path / "own", lambda _: next(answers), said.append)
    set_up.noise_s, set_up.record_s = 0.5, 1.5
    assert await set_up.run() == 0
    settings = loader.load(SatelliteSettings, tmp_path / "own" / "satellite.yaml", {})
    assert (settings.name, settings.area, settings.mic.device) == ("küche-pi", "Küche", talk)
    assert (settings.wake.words, settings.server.uri) == (("okay_nabu",), "tcp://box:10300")
    unit = (tmp_path / "own" / "wyoming-superwhisper-satellite.service").read_text()
    assert "WatchdogSec=" in unit
    assert str(tmp_path / "own" / "satellite.yaml") in unit
    assert any("dB above the noise" in line for line in said)


async def test_the_doctor_is_content_with_what_works(talk: str) -> None:
    port = free_port()
    settings = SatelliteSettings(
        mic=MicSettings(device=f"command:tail -c +1001 {talk}"),
        snd=SndSettings(device="off"),
        wake=WakeWordSettings(words=("okay_nabu",)),
        listen=ListenSettings(uri=f"tcp://127.0.0.1:{port}"),
    )  # fmt: skip
    findings = [finding async for finding in examine(settings)]
    assert [finding.text for finding in findings if not finding.well] == []


async def test_the_doctor_says_what_is_wrong_and_what_to_do() -> None:
    settings = SatelliteSettings(
        mic=MicSettings(device=f'command:{sys.executable} -c "import sys; sys.stdout.buffer.write(bytes(200000))"'),
        snd=SndSettings(device="command:no-such-player"),
        wake=WakeWordSettings(words=("abracadabra",)),
        server=loader.load(SatelliteSettings, None, {}, {"server.uri": f"tcp://127.0.0.1:{free_port()}"}).server,
    )
    texts = [finding.text for finding in [one async for one in examine(settings)] if not finding.well]
    assert len(texts) == 4
    for word, text in zip(("muted", "no-such-player", "abracadabra", "server.allow"), texts, strict=True):
        assert word in text


STOCK = [
    "--name", "my satellite", "--uri", "tcp://0.0.0.0:10700", "--mic-command", "cat -", "--snd-command", "tee x",
    "--wake-uri", "tcp://127.0.0.1:10400", "--wake-word-name", "ok_nabu", "--mic-auto-gain", "5",
    "--mic-noise-suppression", "2", "--awake-wav", "awake.wav", "--event-uri", "tcp://127.0.0.1:10500",
    "--transcript-command", "cat", "--snd-command-rate", "44100", "--debug", "--vad-threshold", "0.5",
]  # fmt: skip


def test_the_stock_satellites_options_mean_the_same() -> None:
    code = (
        "import argparse, sys\n"
        "from wyoming_superwhisper.cli import satellite, options, stock_flags\n"
        "from wyoming_superwhisper.config.satellite_settings import SatelliteSettings\n"
        "p = argparse.ArgumentParser(); satellite.add_arguments(p); o = p.parse_args(sys.argv[1:])\n"
        "s = options.load(SatelliteSettings, o, satellite._KEYS, stock_flags.overrides(o))\n"
        "print(s.name, s.listen.uri, s.mic.device, s.mic.auto_gain, s.mic.noise_suppression, s.snd.device,\n"
        " s.snd.rate, s.wake.words, s.wake.mode, s.sounds.awake, s.hooks.event_uri, s.hooks.commands, s.log.level,\n"
        " len(stock_flags.warnings(o)), sep='|')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *STOCK], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "my satellite|tcp://0.0.0.0:10700|command:cat -|5|2|command:tee x|44100|('okay_nabu',)|auto|awake.wav|"
        "tcp://127.0.0.1:10500|{'transcript': 'cat'}|debug|2"
    )


WHOLE = {
    "mic-uri": "tcp://127.0.0.1:10600", "mic-command": "cat -", "mic-command-rate": "16000", "mic-command-width": "2",
    "mic-command-channels": "2", "mic-command-samples-per-chunk": "1024", "mic-volume-multiplier": "1.5",
    "mic-noise-suppression": "0", "mic-auto-gain": "0", "mic-seconds-to-mute-after-awake-wav": "0.5",
    "mic-channel-index": "1", "snd-uri": "tcp://127.0.0.1:10601", "snd-command": "tee x", "snd-command-rate": "22050",
    "snd-command-width": "2", "snd-command-samples-per-chunk": "1024", "snd-command-channels": "1",
    "snd-volume-multiplier": "0.5",
    "wake-uri": "tcp://127.0.0.1:10400", "wake-command": "cat", "wake-command-rate": "16000",
    "wake-command-width": "2", "wake-command-channels": "1", "wake-refractory-seconds": "5", "vad-threshold": "0.5",
    "vad-trigger-level": "1", "vad-buffer-seconds": "2", "vad-wake-word-timeout": "5",
    "event-uri": "tcp://127.0.0.1:10500", "startup-command": "true", "detect-command": "true",
    "detection-command": "true", "transcript-command": "true", "stt-start-command": "true", "stt-stop-command": "true",
    "synthesize-command": "true", "tts-start-command": "true", "tts-stop-command": "true",
    "tts-played-command": "true", "streaming-start-command": "true", "streaming-stop-command": "true",
    "error-command": "true", "connected-command": "true", "disconnected-command": "true",
    "timer-started-command": "true", "timer-updated-command": "true", "timer-canceled-command": "true",
    "timer-finished-command": "true", "awake-wav": "a.wav", "done-wav": "d.wav", "timer-finished-wav": "t.wav",
    "uri": "tcp://0.0.0.0:10700", "name": "stock", "area": "Salon", "zeroconf-name": "x", "zeroconf-host": "10.0.0.1",
    "debug-recording-dir": "/tmp", "log-format": "%(message)s",
}  # fmt: skip
"""Every option of wyoming-satellite 1.4.1 that takes one value."""


def test_every_option_of_the_stock_satellite_is_understood() -> None:
    options = [word for name, value in WHOLE.items() for word in (f"--{name}", value)]
    options += ["--wake-word-name", "ok_nabu_v0.1", "Cuisine", "--wake-word-name", "alexa", "--vad", "--no-zeroconf"]
    options += ["--timer-finished-wav-repeat", "3", "0.5", "--mic-no-mute-during-awake-wav", "--debug"]
    parser = argparse.ArgumentParser()
    satellite_command.add_arguments(parser)
    given = parser.parse_args(options)
    stock_flags.take_log_format(given)
    settings = options_of_commands.load(SatelliteSettings, given, satellite_command._KEYS, stock_flags.overrides(given))
    assert settings.wake.words == ("okay_nabu", "alexa")
    assert settings.wake.pipelines == {"okay_nabu": "Cuisine"}
    assert (settings.mic.channels, settings.mic.channel, settings.mic.gain) == (2, 1, 1.5)
    assert settings.hooks.commands["timer-cancelled"] == "true"
    assert not settings.listen.zeroconf
    assert len(stock_flags.warnings(given)) == len(stock_flags._IGNORED)


def test_a_stock_satellite_without_a_wake_word_streams_to_whoever_listens_for_it() -> None:
    code = (
        "import argparse, sys\n"
        "from wyoming_superwhisper.cli import satellite, stock_flags\n"
        "p = argparse.ArgumentParser(); satellite.add_arguments(p); o = p.parse_args(sys.argv[1:])\n"
        "print([(one.key, one.value) for one in stock_flags.overrides(o)])\n"
    )
    options = ["--uri", "tcp://0.0.0.0:10700", "--mic-command", "cat -", "--vad"]
    done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True, check=True)
    assert "('wake.mode', 'server')" in done.stdout
