"""Options of the stock Wyoming satellite that mean the same here, so that a service written for it starts ours."""

from __future__ import annotations

import argparse
import logging

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
}
"""Its options that mean nothing here, and why."""

_FLAGS = ("vad", "debug", "mic-no-mute-during-awake-wav")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take them, without a word in --help."""
    for name in (*_VALUES, *_IGNORED):
        nargs = 2 if name == "timer-finished-wav-repeat" else "+" if name == "wake-word-name" else None
        kind = "append" if name == "wake-word-name" else "store"
        parser.add_argument(f"--{name}", dest=_stored(name), nargs=nargs, action=kind, help=argparse.SUPPRESS)
    for name in _FLAGS:
        parser.add_argument(f"--{name}", dest=_stored(name), action="store_true", help=argparse.SUPPRESS)


def overrides(options: argparse.Namespace) -> list[Override]:
    """What they set."""
    given = {name: value for name in _VALUES if (value := getattr(options, _stored(name), None)) is not None}
    found = [Override(_VALUES[name], _text(name, value), f"--{name}") for name, value in given.items()]
    words = "wake-word-name" in given or options.wake_word
    if not words and (options.stock_vad or "mic-command" in given):
        wakes_here = getattr(options, _stored("wake-uri"), None) is not None
        setting = ("wake.words", "okay_nabu") if wakes_here else ("wake.mode", "server")
        found.append(Override(*setting, "--mic-command"))
    if options.stock_debug:
        found.append(Override("log.level", "debug", "--debug"))
    return found


def warnings(options: argparse.Namespace) -> list[str]:
    """A sentence for each option that means nothing here."""
    given = [name for name in _IGNORED if getattr(options, _stored(name), None) is not None]
    return [f"--{name} is not needed: {_IGNORED[name]}" for name in given]


def _stored(name: str) -> str:
    return "stock_" + name.replace("-", "_")


def _text(name: str, value: object) -> str:
    if name in ("mic-command", "snd-command"):
        return f"command:{value}"
    if isinstance(value, list):  # each --wake-word-name: the name, and perhaps a pipeline of Home Assistant
        return ",".join("okay_nabu" if word[0] == "ok_nabu" else word[0] for word in value)
    return str(value)
