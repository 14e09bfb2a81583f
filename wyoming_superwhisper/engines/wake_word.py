"""Wake words by pymicro-wakeword or pyopen-wakeword, with the models that these packages carry.

The names, phrases and languages are data here, so that the front can offer them without loading anything.
Streams are cut into the engines' own steps, counted from the first sample: chunk sizes change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from wyoming_superwhisper import errors
from wyoming_superwhisper.engines.base import SAMPLE_RATE, WakeWordDetection, WakeWordInfo

REFRACTORY_SAMPLES = 2 * SAMPLE_RATE
"""A word that was heard isn't heard again for 2 s, or one saying would be several detections. As Wyoming's servers."""

OPEN_THRESHOLD = 0.5
"""Probability from which openWakeWord's models count as having heard, its own default."""

_MICRO_STEP = 160
_OPEN_STEP = 1280

_PHRASES = {
    "okay_nabu": "Okay Nabu",
    "hey_jarvis": "Hey Jarvis",
    "hey_mycroft": "Hey Mycroft",
    "alexa": "Alexa",
    "hey_rhasspy": "Hey Rhasspy",
}
_MICRO_LANGUAGES = {
    "okay_nabu": ("en", "nl", "fr", "de", "it", "es", "sv"),
    "hey_jarvis": ("en",),
    "hey_mycroft": ("en",),
    "alexa": ("en",),
}
_OTHER_NAMES = {"ok_nabu": "okay_nabu"}


def builtin_words(engine: str) -> tuple[WakeWordInfo, ...]:
    """All wake words of an engine, "micro" or "open". Raises `SettingsError` for another."""
    if engine == "micro":
        return tuple(WakeWordInfo(name, _PHRASES[name], spoken, engine) for name, spoken in _MICRO_LANGUAGES.items())
    if engine == "open":
        return tuple(WakeWordInfo(name, phrase, ("en",), engine) for name, phrase in _PHRASES.items())
    raise errors.SettingsError(f"wake.engine is {engine!r}; allowed: micro, open")


def choose_words(engine: str, names: Sequence[str]) -> tuple[WakeWordInfo, ...]:
    """The words of these names, in that order. Raises `UnknownModel`."""
    known = {word.name: word for word in builtin_words(engine)}
    chosen: dict[str, WakeWordInfo] = {}
    for name in names:
        plain = plain_name(name)
        if plain not in known:
            raise errors.UnknownModel(f"no wake word {name!r}; there are: {', '.join(known)}")
        chosen[plain] = known[plain]
    return tuple(chosen.values())


def plain_name(name: str) -> str:
    """Our name for what clients may call "Ok Nabu", "ok-nabu" or "ok_nabu_v0.1"."""
    plain = re.sub(r"_v\d+(\.\d+)*$", "", re.sub(r"[\s-]+", "_", name.strip().lower()))
    return _OTHER_NAMES.get(plain, plain)


class Listener(Protocol):
    """One stream's detection by one engine."""

    step_samples: int
    """It takes pieces of exactly this many samples."""

    def hear(self, step: bytes) -> Iterable[str]:
        """Names that are heard now. The same word may be named in several steps."""


class WakeWords:
    """Detection over one stream of audio."""

    def __init__(self, words: Sequence[WakeWordInfo]) -> None:
        """Raises `SettingsError` where the engine's package is not installed."""
        self._listener = open_listener(words)
        self._rest = b""
        self._samples = 0
        self._deaf_until: dict[str, int] = {}

    def feed(self, audio: bytes) -> list[WakeWordDetection]:
        """Take s16le mono 16 kHz of any length; the words heard in it."""
        waiting = self._rest + audio
        step_bytes = 2 * self._listener.step_samples
        whole = len(waiting) - len(waiting) % step_bytes
        detections = []
        for at in range(0, whole, step_bytes):
            self._samples += self._listener.step_samples
            heard = list(self._listener.hear(waiting[at : at + step_bytes]))
            detections += [WakeWordDetection(name, self._samples) for name in heard if self._is_new(name)]
        self._rest = waiting[whole:]
        return detections

    def _is_new(self, name: str) -> bool:
        if self._samples < self._deaf_until.get(name, 0):
            return False
        self._deaf_until[name] = self._samples + REFRACTORY_SAMPLES
        return True


def open_listener(words: Sequence[WakeWordInfo]) -> Listener:
    """A listener for words of one engine."""
    listeners: dict[str, Callable[[list[str]], Listener]] = {"micro": _MicroListener, "open": _OpenListener}
    engine = words[0].engine
    try:
        return listeners[engine]([word.name for word in words])
    except ImportError as error:
        raise errors.SettingsError(f"py{engine}-wakeword is not installed: pip install py{engine}-wakeword") from error


class _MicroListener:
    """pymicro-wakeword: one set of features for all words, a small model each."""

    step_samples = _MICRO_STEP

    def __init__(self, names: Sequence[str]) -> None:
        from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model

        self._features = MicroWakeWordFeatures()
        self._models: dict[str, Any] = {name: MicroWakeWord.from_builtin(Model(name)) for name in names}

    def hear(self, step: bytes) -> Iterable[str]:
        for features in self._features.process_streaming(step):
            yield from (name for name, model in self._models.items() if model.process_streaming(features))


class _OpenListener:
    """pyopen-wakeword: a shared embedding for all words, a small model each."""

    step_samples = _OPEN_STEP

    def __init__(self, names: Sequence[str]) -> None:
        from pyopen_wakeword import Model, OpenWakeWord, OpenWakeWordFeatures

        self._features = OpenWakeWordFeatures.from_builtin()
        self._models: dict[str, Any] = {name: OpenWakeWord.from_builtin(Model(name)) for name in names}

    def hear(self, step: bytes) -> Iterable[str]:
        for embeddings in self._features.process_streaming(step):
            for name, model in self._models.items():
                # max, not any: the model's generator must run to its end.
                if max(model.process_streaming(embeddings), default=0.0) >= OPEN_THRESHOLD:
                    yield name
