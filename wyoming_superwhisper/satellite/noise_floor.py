"""The hiss that every real microphone has, for sound that has none.

The wake words' features are taken over the noise of the room. In perfect silence (a virtual microphone, a gated one)
they are far from what the models were taught on, and words go unheard.
"""

from __future__ import annotations

import numpy as np

from wyoming_superwhisper.audio import SPEECH

LEVEL = 8.0
"""Root mean square of the hiss in 16-bit units: -72 dB of full scale."""
_LENGTH = SPEECH.rate
_HISS = np.rint(np.random.default_rng(0).normal(0.0, LEVEL, _LENGTH)).astype("<i2")


class NoiseFloor:
    """Puts a faint hiss under a stream of 16 kHz mono audio."""

    def __init__(self) -> None:
        self._at = 0

    def under(self, audio: bytes) -> bytes:
        """The next of the stream, with the hiss."""
        samples = np.frombuffer(audio[: len(audio) // 2 * 2], "<i2").astype(np.int32)
        hiss = _HISS[np.arange(self._at, self._at + len(samples)) % _LENGTH]
        self._at = (self._at + len(samples)) % _LENGTH
        noisy: bytes = (samples + hiss).clip(-32768, 32767).astype("<i2").tobytes()
        return noisy
