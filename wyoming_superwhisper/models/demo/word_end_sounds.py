"""Wake words said by espeak-ng's voices, with and without something right behind them, and talk without any.

What the network learns from that tells a satellite where a wake word ends (`word_end_training`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

from wyoming_superwhisper.models.demo import espeak
from wyoming_superwhisper.models.demo.llama_data import random_sample
from wyoming_superwhisper.models.demo.llama_homes import demo_home
from wyoming_superwhisper.models.demo.whisper_sounds import SAMPLE_RATE, make_noise, make_sound

Signal = npt.NDArray[np.float64]

WORDS = {"okay_nabu": "okay nabu", "alexa": "alexa", "hey_jarvis": "hey Jarvis", "hey_mycroft": "hey Mycroft"}
"""The wake words of pymicro-wakeword, and how each is said."""
WINDOW_S = 2.0
"""What the network looks at, in seconds."""
HISS = 8.0 / 32768
"""Root mean square of the hiss under everything: what the satellite puts there too."""
AUDIBLE = 0.01
"""What is quieter than this share of the loudest of a word is the silence before and after it."""
LIKENESSES = (
    "okay", "okay na", "okay Nathalie, à demain.", "okay, n'importe quoi.", "okay, maybe", "okay Nancy", "nabu",
    "okay boomer", "au quai", "okay, nous y voilà.", "okay, now", "quai Nabert", "Alex", "Alexandre est là.",
    "Alexandra", "Alexis", "a Lexus", "elect", "election", "Axel", "le lexique", "elle exagère", "relax",
    "Alexander the Great", "les cheveux", "hey", "hey Jack", "hey Jarle", "j'arrive", "jardin", "hey Michael",
    "my craft", "microphone", "hey Mike", "hé, ma croûte", "hey you", "okay Google",
)  # fmt: skip
"""What is near a wake word and none."""


@dataclass(frozen=True)
class Window:
    """What was heard last, and which word ended in it."""

    audio: npt.NDArray[np.int16]
    word: int
    """Its place in `WORDS`; -1: none has ended."""
    end: int
    """Where, in samples."""


class Speakers:
    """Chooses who speaks, and how."""

    def __init__(self, rng: random.Random, variants: Sequence[str]) -> None:
        self.rng = rng
        self._variants = variants

    def voice(self, language: str) -> str:
        """One of that language."""
        rng = self.rng
        accent = rng.choice(espeak.ACCENTS[language]) if rng.random() < 0.4 else espeak.DEFAULT_VOICES[language]
        return accent + ("+" + rng.choice(self._variants) if rng.random() < 0.9 else "")

    def say(self, text: str, voice: str) -> Signal:
        """Spoken, with nothing before and after it; its loudest moment is at half of full scale."""
        rng = self.rng
        samples = espeak.speak(text, voice, rng.randrange(120, 215), rng.randrange(25, 76), rng.randrange(25, 80))
        return _trimmed(np.asarray(soxr.resample(samples.astype(np.float64), espeak.SAMPLE_RATE, SAMPLE_RATE)))


def make_window(rng: random.Random, speakers: Speakers) -> Window:
    """One, in two of three a word that has ended."""
    noises = np.random.default_rng(rng.randrange(1 << 30))
    word = rng.randrange(len(WORDS))
    if rng.random() < 2 / 3:
        sound, end = _word_and_more(rng, speakers, list(WORDS.values())[word])
        seen = end + int(rng.uniform(-0.15, 0.5) * SAMPLE_RATE)
    else:
        sound, word, end = _other(rng, noises, speakers), -1, 0
        seen = rng.randrange(SAMPLE_RATE // 2, max(len(sound), SAMPLE_RATE))
    if word >= 0 and seen < end:
        word = -1
    length = int(WINDOW_S * SAMPLE_RATE)
    sound = np.concatenate([np.zeros(length), sound, np.zeros(SAMPLE_RATE)])[seen : seen + length]
    if rng.random() < 0.2:  # somebody else talks, or the satellite itself
        sound = _over_talk(rng, speakers, sound)
    return Window(_as_heard(rng, noises, sound), word, end - seen + length)


def make_other_window(rng: random.Random, speakers: Speakers) -> Window:
    """One in which no word was said."""
    noises = np.random.default_rng(rng.randrange(1 << 30))
    sound = _other(rng, noises, speakers)
    length = int(WINDOW_S * SAMPLE_RATE)
    seen = rng.randrange(SAMPLE_RATE // 2, max(len(sound), SAMPLE_RATE))
    sound = np.concatenate([np.zeros(length), sound, np.zeros(SAMPLE_RATE)])[seen : seen + length]
    return Window(_as_heard(rng, noises, sound), -1, 0)


def _word_and_more(rng: random.Random, speakers: Speakers, text: str) -> tuple[Signal, int]:
    """A word, mostly with a command behind it; and where the word ends."""
    voice = speakers.voice(rng.choice(("en", "en", "fr")))
    word = speakers.say(text, voice)
    before = np.zeros(0)
    if rng.random() < 0.25:
        before = np.concatenate([speakers.say(*_talk(rng, speakers)), np.zeros(_samples(rng, 0.02, 0.5))])
    said, speaker = _talk(rng, speakers)
    if rng.random() < 0.4 and speaker[:2] == voice[:2]:
        speaker = voice
    elif rng.random() < 0.5 and "+" in voice:  # the same throat in another language
        speaker = speaker.partition("+")[0] + voice[voice.index("+") :]
    chance = rng.random()
    gap = 0 if chance < 0.55 else _samples(rng, 0.0, 0.1) if chance < 0.75 else _samples(rng, 0.1, 0.6)
    behind = np.zeros(0) if chance > 0.9 else speakers.say(said, speaker) * 10 ** (rng.uniform(-6, 6) / 20)
    return np.concatenate([before, word, np.zeros(gap), behind]), len(before) + len(word)


def _other(rng: random.Random, noises: np.random.Generator, speakers: Speakers) -> Signal:
    """Anything but a word."""
    chance = rng.random()
    if chance < 0.15:
        return make_sound(noises, 3.0).astype(np.float64) * 0.5
    if chance < 0.5:
        near = speakers.say(rng.choice(LIKENESSES), speakers.voice(rng.choice(("fr", "en"))))
        return np.concatenate([near, np.zeros(_samples(rng, 0.0, 0.2)), speakers.say(*_talk(rng, speakers))])
    return np.concatenate([speakers.say(*_talk(rng, speakers)), speakers.say(*_talk(rng, speakers))])


def _talk(rng: random.Random, speakers: Speakers) -> tuple[str, str]:
    """A sentence, and who says it."""
    request = random_sample(rng, demo_home(), brief=True).request
    return request.text, speakers.voice(request.language[:2])


def _as_heard(rng: random.Random, noises: np.random.Generator, sound: Signal) -> npt.NDArray[np.int16]:
    """In a room with its noise, by a microphone that has a sound of its own."""
    if rng.random() < 0.4:
        sound = _in_a_room(rng, noises, sound)
    if rng.random() < 0.3:
        tilt = rng.uniform(-0.5, 0.5)
        sound = sound + tilt * np.concatenate([[0.0], sound[:-1]])
    if rng.random() < 0.45:
        noise = (make_noise if rng.random() < 0.7 else make_sound)(noises, WINDOW_S).astype(np.float64)
        sound = sound + noise * (_loudness(sound) / _loudness(noise) * 10 ** (-rng.uniform(3, 30) / 20))
    sound = sound * 10 ** (rng.uniform(-24, 4) / 20)
    sound = sound + noises.standard_normal(len(sound)) * HISS
    return np.rint(sound * 32767).clip(-32768, 32767).astype(np.int16)


def _over_talk(rng: random.Random, speakers: Speakers, sound: Signal) -> Signal:
    talk = np.concatenate([speakers.say(*_talk(rng, speakers)) for _ in range(2)])
    begin = rng.randrange(max(1, len(talk) - len(sound)))
    talk = np.resize(talk, begin + len(sound))[begin:]
    return sound + talk * (_loudness(sound) / _loudness(talk) * 10 ** (-rng.uniform(5, 25) / 20))


def _in_a_room(rng: random.Random, noises: np.random.Generator, sound: Signal) -> Signal:
    """With the echoes of its walls."""
    fades_s = rng.uniform(0.02, 0.12)
    time = np.arange(int(0.4 * SAMPLE_RATE)) / SAMPLE_RATE
    walls = noises.standard_normal(len(time)) * np.exp(-time / fades_s)
    walls[: int(0.002 * SAMPLE_RATE)] = 0.0
    walls *= 10 ** (-rng.uniform(3, 15) / 20) / np.sqrt(np.sum(walls**2))
    walls[0] = 1.0
    return np.asarray(np.fft.irfft(np.fft.rfft(sound, 1 << 16) * np.fft.rfft(walls, 1 << 16), 1 << 16))[: len(sound)]


def _trimmed(samples: Signal) -> Signal:
    loud = np.nonzero(np.abs(samples) > AUDIBLE * np.abs(samples).max(initial=1e-9))[0]
    return samples[loud[0] : loud[-1]] * (0.5 / np.abs(samples).max()) if len(loud) > 1 else np.zeros(0)


def _samples(rng: random.Random, shortest_s: float, longest_s: float) -> int:
    return int(rng.uniform(shortest_s, longest_s) * SAMPLE_RATE)


def _loudness(samples: Signal) -> float:
    return float(np.sqrt(np.mean(samples**2))) + 1e-6
