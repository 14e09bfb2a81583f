"""Noise to be played in a virtual room, and how much a recording is like what was played."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import soxr

from tests.satellite import room

Samples = npt.NDArray[np.float64]

VOICE_RATE = 22_050


def noise(seconds: float, seed: int = 3) -> bytes:
    """White noise at the rate of most voices, s16le: no two parts of it are alike."""
    samples = np.random.default_rng(seed).normal(0, 6000, round(seconds * VOICE_RATE))
    return samples.clip(-32768, 32767).astype("<i2").tobytes()


def resampled(audio: bytes, rate: int = VOICE_RATE) -> Samples:
    """A reply as the recorder of the loudspeaker gets it."""
    samples: Samples = soxr.resample(np.frombuffer(audio, "<i2").astype(np.float64), rate, room.RATE)
    return samples


def likeness(where: Samples, what: Samples) -> float:
    """How much some part of a recording is like a sound: 1 for the same, 0.98 with a 25th of it missing."""
    size = 1 << (len(where) + len(what)).bit_length()
    match = np.fft.irfft(np.fft.rfft(where, size) * np.conj(np.fft.rfft(what, size)), size)[
        : len(where) - len(what) + 1
    ]
    sums = np.concatenate([[0.0], np.cumsum(where**2)])
    energy = np.sqrt(np.maximum(sums[len(what) :] - sums[: -len(what)], 0.0)) + 1.0
    return float((match / energy / np.linalg.norm(what)).max())
