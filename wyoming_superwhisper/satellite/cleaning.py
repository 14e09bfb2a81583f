"""What is done to the sound of the microphone before anybody hears it: gain, noise suppression, automatic gain."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

import numpy as np

from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.config.satellite_settings import MicSettings
from wyoming_superwhisper.errors import SettingsError

_STEP_BYTES = SPEECH.bytes_of(0.01)
"""webrtc-noise-gain takes 10 ms at once."""


class Cleaner(Protocol):
    """Does something to a stream of 16 kHz mono audio."""

    def feed(self, audio: bytes) -> bytes:
        """The next of the stream; what comes back may be a little less or more."""


def make_cleaner(settings: MicSettings) -> Cleaner | None:
    """What the settings ask for; None: nothing. Raises `SettingsError` where the library for it is missing."""
    if settings.noise_suppression or settings.auto_gain:
        return NoiseGain(settings)
    return Gain(settings.gain) if settings.gain != 1.0 else None


class Gain:
    """Makes it louder or quieter."""

    def __init__(self, factor: float) -> None:
        self._factor = np.float32(factor)

    def feed(self, audio: bytes) -> bytes:
        """See `Cleaner`."""
        samples = np.frombuffer(audio, "<i2").astype(np.float32) * self._factor
        louder: bytes = np.rint(samples).clip(-32768, 32767).astype("<i2").tobytes()
        return louder


class NoiseGain:
    """webrtc-noise-gain, after the plain gain."""

    def __init__(self, settings: MicSettings) -> None:
        """Raises `SettingsError` without the library."""
        try:
            library: Any = importlib.import_module("webrtc_noise_gain")
        except (ImportError, OSError) as error:
            raise SettingsError(
                "mic.noise_suppression and mic.auto_gain need the package webrtc-noise-gain, which there is for Linux."
            ) from error
        self._processor = library.AudioProcessor(settings.auto_gain, settings.noise_suppression)
        self._gain = Gain(settings.gain) if settings.gain != 1.0 else None
        self._rest = b""

    def feed(self, audio: bytes) -> bytes:
        """See `Cleaner`."""
        audio = self._rest + (self._gain.feed(audio) if self._gain is not None else audio)
        whole = len(audio) - len(audio) % _STEP_BYTES
        self._rest = audio[whole:]
        steps = (audio[at : at + _STEP_BYTES] for at in range(0, whole, _STEP_BYTES))
        return b"".join(bytes(self._processor.Process10ms(step).audio) for step in steps)
