"""Whether a wake word has ended in what was heard last, and where: a small network that was taught on words that run
straight into a command, which the models of the wake words themselves were not.

It looks at the same features as those models, takes a few milliseconds, and is only asked where a model suspects its
word. Its weights are made by `python -m wyoming_superwhisper.models.demo word-ends`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.satellite.noise_floor import NoiseFloor

WEIGHTS = Path(__file__).with_name("word_ends.npz")
WINDOW_S = 2.0
"""What it looks at, in seconds."""
FRAME_S = 0.01
"""Step of the features, in seconds."""
FRAME_MIDDLE_S = 0.015
"""The middle of a feature's stretch of sound, from its beginning, in seconds."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Ended:
    """What is known of one word."""

    certainty: float
    """How likely it is that the word was said and is over, 0 to 1."""
    ago: int
    """How many bytes before the end of what was heard it ended, if it did."""


class WordEnds:
    """Finds where words end. Keeps no audio."""

    def __init__(self, features: Any) -> None:
        """`features`: a generator of features of its own, of pymicro-wakeword."""
        self._features = features
        self._network = load(WEIGHTS)

    def knows(self, word: str) -> bool:
        """Whether it was taught this word."""
        return word in self._network.words

    def find(self, heard: bytes, word: str) -> Ended:
        """Look for the word in the newest of `heard`, 16 kHz mono with the noise floor in it."""
        window = heard[-SPEECH.bytes_of(WINDOW_S) :]
        before = NoiseFloor().under(SPEECH.silence(WINDOW_S))[len(window) :]
        self._features.reset()
        frames = [np.reshape(one, -1) for one in self._features.process_streaming(before + window)]
        scores = self._network.scores(np.stack(frames).astype(np.float32).T)[self._network.words.index(word)]
        best = float(scores.max())
        odds = float(np.exp(scores - best).sum() * np.exp(min(best, 50.0)))
        end_s = int(scores.argmax()) * FRAME_S + FRAME_MIDDLE_S
        return Ended(odds / (1.0 + odds), SPEECH.bytes_of(WINDOW_S) - SPEECH.bytes_of(end_s))


class Network:
    """Convolutions over time, each reaching further than the one before; a score for each word to end in each frame,
    against 0 for its not having ended at all."""

    def __init__(self, weights: Mapping[str, npt.NDArray[Any]]) -> None:
        """`weights`: by name, as the training writes them."""
        self.words = tuple(str(word) for word in weights["words"])
        self._mean, self._scale = (weights[name].astype(np.float32)[:, None] for name in ("mean", "scale"))
        self._reaches = [(int(step), int(before)) for step, before in weights["reaches"]]
        self._layers = [
            tuple(weights[f"{name}{number}"].astype(np.float32) for name in ("weight", "bias"))
            for number in range(len(self._reaches) + 1)
        ]

    def scores(self, features: Array) -> Array:
        """Of `features`, channels by frames: words by frames."""
        sound = (features - self._mean) / self._scale
        for (step, before), (weight, bias) in zip(self._reaches, self._layers, strict=False):
            heard = np.maximum(_convolved(sound, weight, step, before) + bias[:, None], 0.0)
            sound = heard if heard.shape != sound.shape else heard + sound
        weight, bias = self._layers[-1]
        scores: Array = weight @ sound + bias[:, None]
        return scores


def _convolved(sound: Array, weight: Array, step: int, before: int) -> Array:
    """`weight`: outputs by inputs by taps, which are so many frames apart; the first one lies that far before."""
    taps, length = weight.shape[2], sound.shape[1]
    padded = np.pad(sound, ((0, 0), (before, (taps - 1) * step - before)))
    rows = np.concatenate([padded[:, tap * step : tap * step + length] for tap in range(taps)])
    convolved: Array = weight.transpose(0, 2, 1).reshape(len(weight), -1) @ rows
    return convolved


@lru_cache(maxsize=2)
def load(path: Path) -> Network:
    """The network with these weights."""
    with np.load(path) as weights:
        return Network(dict(weights))
