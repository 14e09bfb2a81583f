"""Spoken commands for the benchmarks: made on the spot by espeak-ng, as 16 kHz s16le mono."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import soxr

from wyoming_superwhisper.models.demo import espeak
from wyoming_superwhisper.models.demo.domain import load_domain

RATE = 16_000
BEFORE_S = 0.3
VOICES = {"fr": ("fr", "fr-be", "fr-ch"), "en": ("en-us", "en", "en-gb-scotland")}
END_OF_SPEECH_DB = -40.0
"""Speech ends with the last sample above this, relative to its peak."""


@dataclass(frozen=True)
class Spoken:
    """A sentence as audio, with silence before and after it."""

    text: str
    language: str
    audio: bytes
    end_s: float
    """Where speech ends."""


def say(text: str, language: str, after_s: float, *, voice: str = "", rate: int = 165) -> Spoken:
    """A sentence."""
    return join([(text, 0.0)], language, after_s, voice=voice, rate=rate)


def join(pieces: list[tuple[str, float]], language: str, after_s: float, *, voice: str = "", rate: int = 165) -> Spoken:
    """Pieces of a sentence, each after so many seconds of silence: somebody who hesitates."""
    made = [np.zeros(int(BEFORE_S * RATE), np.float32)]
    for text, gap_s in pieces:
        made += [np.zeros(int(gap_s * RATE), np.float32), _voiced(text, voice or VOICES[language][0], rate)]
    end_s = sum(map(len, made)) / RATE
    made.append(np.zeros(int(after_s * RATE), np.float32))
    pcm = (np.concatenate(made) * 32767).astype("<i2").tobytes()
    return Spoken(" ".join(text for text, _ in pieces), language, pcm, end_s)


def commands(count: int, after_s: float, seed: int = 1) -> list[Spoken]:
    """Sentences of the demo models' language by several voices, French and English in turn."""
    rng, domain = random.Random(seed), load_domain()
    made = []
    for number in range(count):
        language = ("fr", "en")[number % 2]
        [text] = domain.sample(language, rng, 1)
        voice = rng.choice(VOICES[language])
        made.append(say(text, language, after_s, voice=voice, rate=rng.randint(140, 190)))
    return made


@lru_cache(maxsize=512)
def _voiced(text: str, voice: str, rate: int) -> npt.NDArray[np.float32]:
    """From the first to the last sample that counts as speech."""
    samples = espeak.speak_apart(text, voice, rate).astype(np.float32) / 32768
    audio = soxr.resample(samples, espeak.SAMPLE_RATE, RATE)
    loud = np.flatnonzero(np.abs(audio) > np.abs(audio).max() * 10 ** (END_OF_SPEECH_DB / 20))
    spoken: npt.NDArray[np.float32] = 0.7 * audio[loud[0] : loud[-1] + 1] / np.abs(audio).max()
    return spoken
