"""Wake words, heard on the satellite itself by pymicro-wakeword or pyopen-wakeword, and where in the sound they end."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

import numpy as np

from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.config.satellite_settings import WakeWordSettings
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.satellite.noise_floor import NoiseFloor
from wyoming_superwhisper.satellite.word_end import Ended, WordEnds

Engine = Literal["micro", "open"]

FRAME_S = 0.01
"""Step of pymicro-wakeword's features, in seconds."""
LIKELY = 0.8
"""Certainty from which on a word is likely, for where it ended."""
LATE_S = {"okay_nabu": 0.03, "alexa": 0.17}
"""How long after the end of a word its model first thinks it likely, in seconds; measured on speech by espeak-ng."""
OTHER_LATE_S = 0.1
SUSPICIONS = {"okay_nabu": 0.05, "alexa": 0.04, "hey_jarvis": 0.05, "hey_mycroft": 0.05}
"""Certainty of a model of pymicro-wakeword from which on its word is suspected, and looked for by `WordEnds`."""
CERTAIN = 0.85
"""A suspected word was spoken if it has ended with this certainty."""
DOUBTED = 0.1
"""A word that was heard is doubtful if it has ended with less certainty, and where it ended is not known."""
SURE = 0.95
"""Certainty of a model from which on a doubtful word was heard all the same."""
REST_S = 0.09
"""Sound between two looks at a suspected word, in seconds."""
EARLY_S = 0.03
"""How much earlier than it is found a word without a pause may have ended, in seconds: a little of the word before
the command does less harm than a command without its beginning."""
WARM_UP_S = 1.0
"""Length of the still room that models hear when they begin, in seconds."""
OPEN_CUTOFF = 0.5
SNAP_S = (0.05, 0.09)
"""How far before and after a word's estimated end the pause after it may begin, in seconds."""
LEAST_PAUSE_S = 0.07
"""A shorter one that is over already is a pause inside a word, in seconds."""
PAUSE = 0.25
"""A pause is quieter than this share of the loudest moment near it."""


@dataclass(frozen=True, slots=True)
class Detection:
    """A wake word that was heard."""

    name: str
    end: int
    """Where in the stream the word ended, in bytes from its beginning."""
    stops: bool = False
    """Whether it is a word that only ends things."""
    loudness_db: float = 0.0
    """How loud it was over the noise before it."""

    def moved(self, by: int) -> Detection:
        """The same in a stream that began so much earlier."""
        return replace(self, end=self.end + by)


class Model(Protocol):
    """One wake word's model."""

    id: str
    phrase: str

    def feed(self, features: Any) -> int | None:
        """Take features; at a detection, how many steps of the features ago the word became likely."""

    def suspect(self, heard: bytes, position: int) -> int | None:
        """How many bytes before the end of what was heard the word ended, if it was one that is spoken on."""

    def ended(self, heard: bytes) -> Ended | None:
        """What `WordEnds` finds of a word that was heard; None: it was not taught that word."""

    @property
    def is_sure(self) -> bool:
        """Whether the word it heard is beyond doubt."""

    def reset(self) -> None:
        """Forget what was heard."""


class WakeWordListener:
    """Listens for one or several wake words in a stream of 16 kHz mono audio."""

    def __init__(self, settings: WakeWordSettings) -> None:
        """Loads the models. Raises `SettingsError` for a word that there is no model of."""
        self._features = _features(settings.engine)
        self._step_bytes = SPEECH.bytes_of(FRAME_S if settings.engine == "micro" else 0.08)
        words = (*settings.words, *settings.stop_words)
        self._models = [_load(settings.engine, word, settings.threshold) for word in words]
        self._stops = {model.id for model in self._models[len(settings.words) :]}
        self._refractory_s = settings.refractory_s
        self.heard_bytes = 0
        """How much it has heard."""
        self._deaf_until_s: dict[str, float] = {}
        """By the audio heard, not by the clock: audio may come in bursts."""
        self._recent = bytearray()
        self._floor = NoiseFloor()
        self._warm_up()

    @property
    def phrases(self) -> list[str]:
        """What to say, in words."""
        return [model.phrase for model in self._models if model.id not in self._stops]

    def feed(self, chunk: bytes) -> Detection | None:
        """Take the next audio; the wake word that it completes."""
        chunk = self._floor.under(chunk)
        self._remember(chunk)
        found: Detection | None = None
        for features in self._features.process_streaming(chunk):
            for model in self._models:  # each sees everything, also when another has heard its word
                steps = model.feed(features)
                if steps is not None and self._is_new(model.id):
                    found = self._heard(model, steps) or found
        for model in () if found else self._models:
            new = self._is_new(model.id)
            ended = model.suspect(bytes(self._recent), self.heard_bytes) if new else None
            if ended is not None:
                found = self._detection(model, ended, known=True)
        return found

    def _heard(self, model: Model, steps: int) -> Detection | None:
        """What a model has heard, unless that is doubtful."""
        ended = model.ended(bytes(self._recent))
        if ended is None or ended.certainty < DOUBTED:
            if ended is not None and not model.is_sure:
                return None
            return self._detection(model, steps * self._step_bytes + _late_bytes(model.id), known=False)
        return self._detection(model, ended.ago, known=True)

    def reset(self) -> None:
        """Forget what was heard, so that listening begins anew after a turn."""
        if hasattr(self._features, "reset"):
            self._features.reset()
        for model in self._models:
            model.reset()
        self._recent.clear()
        self._warm_up()

    def _warm_up(self) -> None:
        """Let the models hear a still room first: they are less sure of a word that is the first thing they hear."""
        for features in self._features.process_streaming(NoiseFloor().under(SPEECH.silence(WARM_UP_S))):
            for model in self._models:
                model.feed(features)

    def _remember(self, chunk: bytes) -> None:
        self.heard_bytes += len(chunk)
        self._recent += chunk
        del self._recent[: -SPEECH.bytes_of(2.0)]

    def _is_new(self, word: str) -> bool:
        """Whether the word is no echo of the last detection of it."""
        return SPEECH.seconds(self.heard_bytes) >= self._deaf_until_s.get(word, 0.0)

    def _detection(self, model: Model, ago: int, known: bool) -> Detection:
        """A word that ended so many bytes ago; `known`: not only about so many."""
        self._deaf_until_s[model.id] = SPEECH.seconds(self.heard_bytes) + self._refractory_s
        recent = np.frombuffer(bytes(self._recent), "<i2")
        end = None if known else _pause_near(recent, len(recent) - ago // SPEECH.frame_bytes, SNAP_S)
        if end is None:
            end = max(0, len(recent) - (ago + SPEECH.bytes_of(EARLY_S)) // SPEECH.frame_bytes)
        return Detection(
            model.id,
            max(0, self.heard_bytes - (len(recent) - end) * SPEECH.frame_bytes),
            model.id in self._stops,
            _loudness_db(recent, end),
        )


def _late_bytes(word: str) -> int:
    return SPEECH.bytes_of(LATE_S.get(word, OTHER_LATE_S))


def _pause_near(samples: np.ndarray[Any, Any], end: int, within_s: tuple[float, float]) -> int | None:
    """Where the longest pause near `end` begins, in samples; None: there is none, the speaker went on."""
    step = int(FRAME_S * SPEECH.rate)
    before, after = (int(seconds * SPEECH.rate) for seconds in within_s)
    first = max(0, end - before)
    frames = samples[first : first + (len(samples) - first) // step * step].astype(np.float32).reshape(-1, step)
    if not len(frames):
        return None
    loudness = np.sqrt((frames**2).mean(axis=1)) + 1.0
    near = (before + after) // step
    longest, begin, run = 0, 0, 0
    for at, quiet in enumerate(loudness < PAUSE * loudness[:near].max()):
        run = run + 1 if quiet else 0
        better = run >= longest > 0 or run > longest  # of two equally long ones the later: a word has pauses inside
        if better and at + 1 - run <= near:
            longest, begin = run, at + 1 - run
    lasts = begin + longest == len(frames)
    if longest and (lasts or longest * FRAME_S >= LEAST_PAUSE_S):
        return first + begin * step
    return None


def _loudness_db(samples: np.ndarray[Any, Any], end: int) -> float:
    """Level of the last half second before `end` over the quietest of what was heard before, in dB."""
    step = SPEECH.rate // 20
    frames = samples[: max(end, 0) // step * step].astype(np.float32).reshape(-1, step)
    if len(frames) < 12:
        return 0.0
    level = (frames**2).mean(axis=1) + 1.0
    return float(10 * np.log10(level[-10:].mean() / np.sort(level)[: len(level) // 5 + 1].mean()))


# --- the libraries ---------------------------------------------------------------------------------------------


class MicroModel:
    """A model of pymicro-wakeword: the mean of its last answers counts."""

    def __init__(self, model: Any, features: Any, threshold: float) -> None:
        """`features`: a generator of this model's own; `threshold`: 0 for what suits the model."""
        self.id = str(model.id)
        self.phrase = str(model.wake_word)
        self._model = model
        self._cutoff = threshold or float(model.probability_cutoff)
        self._suspicion = max(SUSPICIONS.get(self.id, 1.0), threshold / 2)
        self._certain = max(CERTAIN, threshold)
        self._ends = WordEnds(features)
        self._rests_until = 0
        self._mean = 0.0
        self._likely: int | None = None
        """Steps since the word became likely; None: it is not."""

    def feed(self, features: Any) -> int | None:
        """See `Model`."""
        self._mean = mean = self._model.process_streaming_prob(features) or 0.0
        newest = self._newest
        if newest > LIKELY:
            self._likely = 0 if self._likely is None else self._likely + 1
        elif self._likely is not None and newest < 0.2:
            self._likely = None
        if mean <= self._cutoff:
            return None
        return self._likely or 0

    def suspect(self, heard: bytes, position: int) -> int | None:
        """See `Model`."""
        if not self._ends.knows(self.id) or self._newest < self._suspicion or position < self._rests_until:
            return None
        self._rests_until = position + SPEECH.bytes_of(REST_S)
        ended = self._ends.find(heard, self.id)
        return ended.ago if ended.certainty >= self._certain else None

    def ended(self, heard: bytes) -> Ended | None:
        """See `Model`."""
        return self._ends.find(heard, self.id) if self._ends.knows(self.id) else None

    @property
    def is_sure(self) -> bool:
        """See `Model`."""
        return self._mean > max(SURE, self._cutoff)

    @property
    def _newest(self) -> float:
        return self._model._probabilities[-1] if self._model._probabilities else 0.0

    def reset(self) -> None:
        """See `Model`."""
        self._model.reset()
        self._likely = None


class OpenModel:
    """A model of pyopen-wakeword."""

    def __init__(self, model: Any, threshold: float) -> None:
        self.id = Path(model.id).stem.removesuffix("_v0.1")
        self.phrase = self.id.replace("_", " ")
        self._model = model
        self._cutoff = threshold or OPEN_CUTOFF

    def feed(self, features: Any) -> int | None:
        """See `Model`."""
        certainties = list(self._model.process_streaming(features))  # all: each step counts for what follows
        return 1 if any(certainty > self._cutoff for certainty in certainties) else None

    def suspect(self, heard: bytes, position: int) -> int | None:
        """See `Model`: this library's models are sure at once, or not at all."""
        return None

    def ended(self, heard: bytes) -> Ended | None:
        """See `Model`."""
        return None

    is_sure = True
    """See `Model`."""

    def reset(self) -> None:
        """See `Model`."""
        self._model.reset()


def known_words(engine: Engine = "micro") -> Sequence[str]:
    """The wake words that there are models of. Raises `SettingsError` without the library."""
    return [str(model.value).removesuffix("_v0.1") for model in _library(engine).Model]


def _library(engine: Engine) -> ModuleType:
    name = f"py{engine}_wakeword"
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        package = name.replace("_", "-")
        raise SettingsError(f"This wake word needs the package {package}: pip install {package}.") from error


def _features(engine: Engine) -> Any:
    library = _library(engine)
    return library.MicroWakeWordFeatures() if engine == "micro" else library.OpenWakeWordFeatures.from_builtin()


def _load(engine: Engine, word: str, threshold: float) -> Model:
    library = _library(engine)
    if word.endswith((".json", ".tflite")):
        return _load_file(library, engine, Path(word).expanduser(), threshold)
    name = word.strip().lower().replace(" ", "_")
    for model in library.Model:
        if str(model.value).removesuffix("_v0.1") == name:
            if engine == "micro":
                return MicroModel(library.MicroWakeWord.from_builtin(model), _features(engine), threshold)
            return OpenModel(library.OpenWakeWord.from_builtin(model), threshold)
    raise SettingsError(f"There is no wake word '{word}'. There are: {', '.join(known_words(engine))}.")


def _load_file(library: ModuleType, engine: Engine, path: Path, threshold: float) -> Model:
    try:
        if engine == "micro":
            model = library.MicroWakeWord.from_config(path.with_suffix(".json"))
            return MicroModel(model, _features(engine), threshold)
        path.open("rb").close()
        return OpenModel(library.OpenWakeWord.from_model(path), threshold)
    except (OSError, ValueError, KeyError) as error:
        raise SettingsError(f"The wake word's model {path} can't be read: {error}.") from error


def names_of(words: Sequence[str]) -> Iterator[str]:
    """The names by which words of the settings are told of."""
    for word in words:
        yield Path(word).stem if word.endswith((".json", ".tflite")) else word.strip().lower().replace(" ", "_")
