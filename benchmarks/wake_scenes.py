"""What a satellite's microphone may hear, for the benchmark of wake words: words, commands, noises, talk (espeak-ng).

Signals are float arrays of full scale 1 at 16 kHz. Everything is drawn by a generator with a seed, so that a run can be
repeated to the sample.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import soxr

from wyoming_superwhisper.models.demo import espeak
from wyoming_superwhisper.models.demo.domain import load_domain
from wyoming_superwhisper.models.demo.llama_data import random_sample
from wyoming_superwhisper.models.demo.llama_homes import demo_home

Signal = npt.NDArray[np.float64]

RATE = 16_000
WORDS = {"okay_nabu": "okay nabu", "alexa": "alexa"}
"""By wake word, what is said."""
WORD_VOICES = ("en-us", "en", "fr")
TALK_VOICES = {"fr": ("fr", "fr-be", "fr-ch"), "en": ("en-us", "en", "en-gb-scotland", "en-gb-x-rp")}
VARIANTS = ("", "+f2", "+f3", "+m1", "+m3", "+m7", "+Andrea", "+belinda")
"""Variants of espeak-ng's voices that are heard as well as people's: no whispers, robots or croaks."""
NEAR_WORDS = (
    ("Alexandre est là.", "fr"), ("Alexandra mange une pomme.", "fr"), ("Axel est parti.", "fr"),
    ("Le lexique est sur la table.", "fr"), ("Elle exagère.", "fr"), ("Il a les cheveux longs.", "fr"),
    ("Au quai, il n'y a plus de bateau.", "fr"), ("Okay, on y va.", "fr"), ("Okay Nathalie, à demain.", "fr"),
    ("Alex is at home.", "en-us"), ("Alexander the Great.", "en-us"), ("The election is on Sunday.", "en-us"),
    ("A Lexus is a car.", "en-us"), ("Okay, maybe tomorrow.", "en-us"), ("Okay Nancy, see you.", "en-us"),
    ("Okay, now boot the computer.", "en-us"), ("Relax a bit.", "en-us"), ("I'd like to elect a chairman.", "en-us"),
)  # fmt: skip
"""Sentences that are near the words; names that begin with "Alexa" among them."""
AUDIBLE = 0.01
"""What is quieter than this share of the loudest of a word is the silence before and after it."""


@dataclass(frozen=True)
class Scene:
    """A wake word, and perhaps a command after it."""

    sound: Signal
    word_end: int
    """Where the word ends, in samples."""
    command: str = ""
    command_begins: int = 0
    """Where it begins, in samples."""


def voices() -> list[str]:
    """Every voice that says wake words."""
    return [voice + variant for voice in WORD_VOICES for variant in VARIANTS]


def scene(
    word: str,
    voice: str,
    rng: random.Random,
    *,
    gap_s: float | None = None,
    another: bool = False,
    noise: str = "",
    snr_db: float = 0.0,
) -> Scene:
    """The word said once, and after a gap a French command by the same speaker; `gap_s` None: the word alone.

    `another`: another speaker says the command.

    `noise`: "pink", "babble", "music" or "reply", through all of it, by so much quieter than the word.
    """
    spoken = _trimmed(say(WORDS[word], voice, rng))
    level = 10 ** (rng.uniform(-20, -3) / 20)
    begin = np.zeros(RATE + rng.randrange(RATE // 10))
    parts, command = [begin, spoken], ""
    if gap_s is not None:
        [command] = load_domain().sample("fr", rng, 1)
        variant = rng.choice(VARIANTS) if another else voice[voice.index("+") :] if "+" in voice else ""
        parts += [np.zeros(int(gap_s * RATE)), _trimmed(say(command, "fr" + variant, rng))]
    sound = np.concatenate([*parts, np.zeros(int(1.2 * RATE))])
    if noise:
        background = NOISES[noise](len(sound), rng)
        sound = sound + background * _loudness(spoken) / _loudness(background) * 10 ** (-snr_db / 20)
    word_end = len(begin) + len(spoken)
    return Scene(level * sound, word_end, command, word_end + int((gap_s or 0.0) * RATE))


def talk(seconds: float, rng: random.Random) -> Iterator[Signal]:
    """So much speech in French and English without a wake word, by many voices, a third of it in noise, in pieces."""
    made = 0
    while made < seconds * RATE:
        request = random_sample(rng, demo_home(), brief=True).request
        voice = rng.choice(TALK_VOICES[request.language[:2]]) + rng.choice(VARIANTS)
        spoken = say(request.text, voice, rng)
        if not len(spoken):
            continue
        piece = np.concatenate([spoken, np.zeros(int(rng.uniform(0.05, 0.6) * RATE))])
        if rng.random() < 1 / 3:
            background = NOISES[rng.choice(("pink", "babble", "music"))](len(piece), rng)
            piece = piece + background * _loudness(spoken) / _loudness(background) * 10 ** (-rng.uniform(5, 20) / 20)
        made += len(piece)
        yield 10 ** (rng.uniform(-20, -3) / 20) * piece


def say(text: str, voice: str, rng: random.Random) -> Signal:
    """Spoken with its peak at half of full scale, at a speed and pitch of chance."""
    samples = _spoken(text, voice, rng.randrange(135, 186, 10), rng.randrange(40, 61, 5))
    loudest = float(np.abs(samples).max(initial=1e-9))
    return samples * (0.5 / loudest)


@lru_cache(maxsize=4096)
def _spoken(text: str, voice: str, rate: int, pitch: int) -> Signal:
    samples = espeak.speak(text, voice, rate, pitch).astype(np.float64)
    resampled: Signal = soxr.resample(samples, espeak.SAMPLE_RATE, RATE)
    return resampled


def _trimmed(samples: Signal) -> Signal:
    loud = np.nonzero(np.abs(samples) > AUDIBLE * np.abs(samples).max())[0]
    return samples[loud[0] : loud[-1]]


def _loudness(samples: Signal) -> float:
    return float(np.sqrt(np.mean(samples**2))) + 1e-9


# --- noises: any loudness, as many samples as are asked for ---


def _pink(length: int, rng: random.Random) -> Signal:
    spectrum = np.fft.rfft(np.random.default_rng(rng.randrange(1 << 30)).standard_normal(length))
    spectrum *= np.maximum(np.fft.rfftfreq(length, 1 / RATE), 20.0) ** -0.5
    made: Signal = np.fft.irfft(spectrum, length)
    return made


def _babble(length: int, rng: random.Random) -> Signal:
    """Five people who talk at once."""
    babble: Signal = np.sum([_speech(length, rng) for _ in range(5)], axis=0)
    return babble


def _reply(length: int, rng: random.Random) -> Signal:
    """One voice that goes on all the time: the satellite's own reply."""
    return _speech(length, rng)


def _speech(length: int, rng: random.Random) -> Signal:
    pieces: list[Signal] = []
    while sum(map(len, pieces)) < length + RATE:
        language = rng.choice(("fr", "en"))
        [text] = load_domain().sample(language, rng, 1)
        pieces.append(_trimmed(say(text, rng.choice(TALK_VOICES[language]) + rng.choice(VARIANTS), rng)))
    begin = rng.randrange(RATE)
    return np.concatenate(pieces)[begin : begin + length]


def _music(length: int, rng: random.Random) -> Signal:
    """Chords that change twice a second, with overtones, and a drum on each."""
    time = np.arange(RATE // 2) / RATE
    beats = []
    for _ in range(length // len(time) + 1):
        root = rng.choice((130.8, 146.8, 164.8, 174.6, 196.0, 220.0))
        chord = np.sum(
            [np.sin(2 * np.pi * root * ratio * k * time) / k for ratio in (1, 1.26, 1.5) for k in range(1, 9)], axis=0
        )
        drum = _pink(len(time), rng) * np.exp(-time * 30)
        beats.append(chord * np.exp(-time * 2) + 3 * drum * _loudness(chord) / _loudness(drum))
    return np.concatenate(beats)[:length]


NOISES = {"pink": _pink, "babble": _babble, "music": _music, "reply": _reply}
