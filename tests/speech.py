"""Speech and other sounds for tests, s16le mono 16 kHz: made on the spot, never recorded."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import soxr

from wyoming_superwhisper.models.demo import espeak

RATE = 16_000
Signal = npt.NDArray[np.float64]


def speech(
    text: str, voice: str = "fr", *, rate: int = 160, gain_db: float = 0.0, before_s: float = 0.5, after_s: float = 0.5,
    noise: str = "", snr_db: float = 8.0, seed: int = 0,
) -> bytes:  # fmt: skip
    """A sentence by espeak-ng with silence around it, and perhaps noise through all of it."""
    spoken = _spoken(text, voice, rate)
    signal = np.concatenate([np.zeros(int(before_s * RATE)), spoken, np.zeros(int(after_s * RATE))])
    if noise:
        loudness = np.sqrt(np.mean(spoken**2))
        signal = signal + loudness * 10 ** (-snr_db / 20) * _noise(noise, len(signal), seed)
    return pcm(signal * 10 ** (gain_db / 20))


def sound(kind: str, seconds: float = 3.0, level_db: float = -20.0, seed: int = 0) -> bytes:
    """A sound with no words in it: a noise (white, pink, brown), hum50, hum60, tone, chord, clicks or silence."""
    signal = _noise(kind, int(seconds * RATE), seed)
    return pcm(signal * 10 ** (level_db / 20))


def pcm(signal: Signal) -> bytes:
    """Quantise a signal of full scale 1."""
    return np.rint(signal * 32767).clip(-32768, 32767).astype("<i2").tobytes()


@lru_cache(maxsize=256)
def _spoken(text: str, voice: str, rate: int) -> Signal:
    # Apart: a process that has piper loaded can't have espeak-ng speak.
    samples = espeak.speak_apart(text, voice, rate).astype(np.float64)
    resampled = soxr.resample(samples, espeak.SAMPLE_RATE, RATE, quality="HQ")
    return 0.5 * resampled / np.abs(resampled).max()


def _noise(kind: str, length: int, seed: int) -> Signal:
    """Of root mean square 1."""
    rng = np.random.default_rng(seed)
    time = np.arange(length) / RATE
    if kind in ("white", "pink", "brown"):
        slope = {"white": 0, "pink": 1, "brown": 2}[kind]
        spectrum = np.fft.rfft(rng.standard_normal(length))
        spectrum *= np.maximum(np.fft.rfftfreq(length, 1 / RATE), 20) ** (-slope / 2)
        made = np.fft.irfft(spectrum, length)
    elif kind.startswith("hum"):
        made = sum((np.sin(2 * np.pi * int(kind[3:]) * k * time) / k for k in range(1, 16)), np.zeros(length))
    elif kind == "tone":
        made = np.sin(2 * np.pi * rng.uniform(150, 2500) * time)
    elif kind == "chord":
        root = rng.uniform(130, 520)
        made = sum((np.sin(2 * np.pi * root * ratio * time) for ratio in (1, 1.25, 1.5)), np.zeros(length))
    elif kind == "clicks":
        made = rng.standard_normal(length) * (np.arange(length) % 7000 < 24)
    elif kind == "silence":
        return np.zeros(length)
    else:
        raise ValueError(kind)
    return made / np.sqrt(np.mean(made**2))
