"""Options of the stock Wyoming satellite that mean the same here, so that a service written for it starts ours."""

from __future__ import annotations

import argparse
import logging
import re

from wyoming_superwhisper.config.loader import Override

logger = logging.getLogger(__name__)

_VALUES = {
    "mic-command": "mic.device",
    "mic-command-rate": "mic.rate",
    "mic-command-channels": "mic.channels",
    "mic-channel-index": "mic.channel",
    "mic-volume-multiplier": "mic.gain",
    "mic-noise-suppression": "mic.noise_suppression",
    "mic-auto-gain": "mic.auto_gain",
    "snd-command": "snd.device",
    "snd-command-rate": "snd.rate",
    "snd-command-channels": "snd.channels",
    "snd-volume-multiplier": "snd.volume",
    "wake-word-name": "wake.words",
    "wake-refractory-seconds": "wake.refractory_s",
    "awake-wav": "sounds.awake",
    "done-wav": "sounds.done",
    "timer-finished-wav": "sounds.timer",
    "event-uri": "hooks.event_uri",
    "zeroconf-name": "listen.service_name",
    "startup-command": "hooks.commands.startup",
    "detect-command": "hooks.commands.idle",
    "detection-command": "hooks.commands.awake",
    "transcript-command": "hooks.commands.transcript",
    "stt-start-command": "hooks.commands.voice-started",
    "stt-stop-command": "hooks.commands.voice-stopped",
    "synthesize-command": "hooks.commands.reply",
    "tts-start-command": "hooks.commands.speaking",
    "tts-stop-command": "hooks.commands.played",
    "tts-played-command": "hooks.commands.played",
    "streaming-start-command": "hooks.commands.listening",
    "streaming-stop-command": "hooks.commands.thinking",
    "error-command": "hooks.commands.error",
    "connected-command": "hooks.commands.connected",
    "disconnected-command": "hooks.commands.disconnected",
    "timer-started-command": "hooks.commands.timer-started",
    "timer-updated-command": "hooks.commands.timer-updated",
    "timer-cancelled-command": "hooks.commands.timer-cancelled",
    "timer-finished-command": "hooks.commands.timer-finished",
}
"""Its option → our setting."""

_IGNORED = {
    "wake-uri": "wake words are heard here, no service is needed",
    "wake-command": "wake words are heard here, no program is needed",
    "wake-command-rate": "wake words are heard here, no program is needed",
    "wake-command-width": "wake words are heard here, no program is needed",
    "wake-command-channels": "wake words are heard here, no program is needed",
    "mic-seconds-to-mute-after-awake-wav": "its own sounds are taken out of what it hears",
    "mic-uri": "a microphone is named by --mic",
    "snd-uri": "a loudspeaker is named by --snd",
    "mic-command-width": "it is always 2",
    "mic-command-samples-per-chunk": "it makes no difference",
    "snd-command-width": "it is always 2",
    "snd-command-samples-per-chunk": "it makes no difference",
    "vad-threshold": "voice activity needs no tuning",
    "vad-trigger-level": "voice activity needs no tuning",
    "vad-buffer-seconds": "see wake.voice_pre_roll_s",
    "vad-wake-word-timeout": "it makes no difference",
    "zeroconf-host": "every address of this machine is advertised",
    "timer-finished-wav-repeat": "a timer rings for timers.ring_s",
    "debug-recording-dir": "the server records what it hears, where record.dir says so",
}
"""Its options that mean nothing here, and why."""

_FLAGS = ("vad", "debug", "mic-no-mute-during-awake-wav")


_ALSO = {"timer-cancelled-command": "timer-canceled-command"}
"""Other names of its options."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take them, without a word in --help."""
    for name in (*_VALUES, *_IGNORED):
        nargs = 2 if name == "timer-finished-wav-repeat" else "+" if name == "wake-word-name" else None
        kind = "append" if name == "wake-word-name" else "store"
        names = [f"--{one}" for one in (name, _ALSO.get(name)) if one]
        parser.add_argument(*names, dest=_stored(name), nargs=nargs, action=kind, help=argparse.SUPPRESS)
    for name in _FLAGS:
        parser.add_argument(f"--{name}", dest=_stored(name), action="store_true", help=argparse.SUPPRESS)


def overrides(options: argparse.Namespace) -> list[Override]:
    """What they set."""
    given = {name: value for name in _VALUES if (value := getattr(options, _stored(name), None)) is not None}
    found = [Override(_VALUES[name], _text(name, value), f"--{name}") for name, value in given.items()]
    found += _pipelines(getattr(options, _stored("wake-word-name"), None) or [])
    words = "wake-word-name" in given or options.wake_word
    if not words and (options.stock_vad or "mic-command" in given):
        wakes_here = any(getattr(options, _stored(name), None) is not None for name in ("wake-uri", "wake-command"))
        setting = ("wake.words", "okay_nabu") if wakes_here else ("wake.mode", "server")
        found.append(Override(*setting, "--mic-command"))
    if options.stock_debug:
        found.append(Override("log.level", "debug", "--debug"))
    return found


def take_log_format(options: argparse.Namespace) -> None:
    """Its --log-format is how the library writes a line; ours is text or json."""
    if "%(" in (options.log_format or ""):
        options.log_format = None


def warnings(options: argparse.Namespace) -> list[str]:
    """A sentence for each option that means nothing here."""
    given = [name for name in _IGNORED if getattr(options, _stored(name), None) is not None]
    return [f"--{name} is not needed: {_IGNORED[name]}" for name in given]


def _stored(name: str) -> str:
    return "stock_" + name.replace("-", "_")


def _text(name: str, value: object) -> str:
    if name in ("mic-command", "snd-command"):
        return f"command:{value}"
    if isinstance(value, list):  # each --wake-word-name: the name, and perhaps a pipeline
        return ",".join(_word(given[0]) for given in value)
    return str(value)


def _pipelines(given: list[list[str]]) -> list[Override]:
    """The pipelines that wake words were given with."""
    return [
        Override(f"wake.pipelines.{_word(word)}", pipeline, "--wake-word-name")
        for word, *pipelines in given
        for pipeline in pipelines[:1]
    ]


def _word(name: str) -> str:
    """A wake word by the name that it has here: its service also puts a version into it."""
    plain = re.sub(r"_v\d+(\.\d+)*$", "", name)
    return "okay_nabu" if plain == "ok_nabu" else plain
