"""The satellite's own sounds: a few pure tones each, made here, so that they can be taken out of what is heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from wyoming_superwhisper.audio import AudioFormat, read_wav
from wyoming_superwhisper.config.satellite_settings import SoundSettings
from wyoming_superwhisper.errors import BadFormat, SettingsError

Kind = Literal["awake", "done", "cancelled", "error", "timer"]

RATE = 22_050
FADE_S = 0.012
"""Each tone fades in and out for this long, so that it doesn't click, in seconds."""

_TONES: dict[Kind, tuple[tuple[float, float], ...]] = {
    "awake": ((1318.5, 0.06), (1975.5, 0.09)),
    "done": ((1975.5, 0.05), (1318.5, 0.07)),
    "cancelled": ((1975.5, 0.05), (1318.5, 0.07)),
    "error": ((415.3, 0.14), (311.1, 0.22)),
    "timer": ((1046.5, 0.12), (0.0, 0.06), (1046.5, 0.12), (0.0, 0.06), (1318.5, 0.3)),
}
"""By sound: tones in Hz (0: silence) and how long each lasts, in seconds."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Something short to be played."""

    format: AudioFormat
    audio: bytes
    tones: tuple[float, ...] = ()
    """The only tones in it, in Hz; empty: it is more than tones."""

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.format.seconds(len(self.audio))


class Sounds:
    """The sounds as the settings name them."""

    def __init__(self, settings: SoundSettings) -> None:
        """Raises `SettingsError` for a file that is no WAV file."""
        named: dict[Kind, str] = {
            "awake": settings.awake, "done": settings.done, "cancelled": settings.cancelled, "error": settings.error,
            "timer": settings.timer,
        }  # fmt: skip
        self._sounds = {kind: _sound(kind, setting, settings.volume) for kind, setting in named.items()}

    def get(self, kind: Kind) -> Sound | None:
        """The sound, or None where it is off."""
        return self._sounds[kind]


def _sound(kind: Kind, setting: str, volume: float) -> Sound | None:
    if setting in ("off", ""):
        return None
    if setting == "default":
        return make(kind, volume)
    try:
        format, audio = read_wav(setting)
    except BadFormat as error:
        raise SettingsError(f"sounds.{kind}: {error}") from error
    return Sound(format, audio)


def make(kind: Kind, volume: float = 1.0) -> Sound:
    """The built-in sound."""
    samples = np.concatenate([_tone(hz, seconds) for hz, seconds in _TONES[kind]])
    loud = np.rint(samples * 9000 * volume).clip(-32768, 32767).astype("<i2")
    tones = tuple(dict.fromkeys(hz for hz, _ in _TONES[kind] if hz))
    return Sound(AudioFormat(RATE, 2, 1), loud.tobytes(), tones)


def _tone(hz: float, seconds: float) -> np.ndarray[Any, Any]:
    time = np.arange(round(seconds * RATE)) / RATE
    fade = np.clip(np.minimum(time, seconds - time) / FADE_S, 0, 1)
    return np.sin(2 * np.pi * hz * time) * fade
