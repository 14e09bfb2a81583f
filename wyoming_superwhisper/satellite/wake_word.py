"""The wake word, heard on the satellite itself by pymicro-wakeword, with what was said around it kept."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.config.satellite_settings import WakeWordSettings
from wyoming_superwhisper.errors import SettingsError


class WakeWordListener:
    """Listens for one or several wake words in a stream of 16 kHz mono audio."""

    def __init__(self, settings: WakeWordSettings) -> None:
        """Loads the models. Raises `SettingsError` for a word that there is no model of."""
        module = _library()
        self._features = module.MicroWakeWordFeatures()
        self._models = [_load(module, word) for word in settings.words]
        self._refractory_s = settings.refractory_s
        self._heard_s = 0.0
        self._deaf_until_s: dict[str, float] = {}
        """By the audio heard, not by the clock: audio may come in bursts."""
        self._pre_roll_bytes = SPEECH.bytes_of(settings.pre_roll_s)
        self._recent: deque[bytes] = deque()
        self._recent_bytes = 0

    @property
    def phrases(self) -> list[str]:
        """What to say, in words."""
        return [str(model.wake_word) for model in self._models]

    @property
    def pre_roll(self) -> bytes:
        """What was heard last, up to the moment of detection and with what came after it in the same chunk."""
        return b"".join(self._recent)[-self._pre_roll_bytes :] if self._pre_roll_bytes else b""

    def feed(self, chunk: bytes) -> str | None:
        """Take the next audio; the name of the wake word that it completes."""
        self._remember(chunk)
        self._heard_s += SPEECH.seconds(len(chunk))
        heard: str | None = None
        for features in self._features.process_streaming(chunk):
            for model in self._models:  # each sees everything, also when another has heard its word
                if model.process_streaming(features) and self._is_new(model.id):
                    heard = heard or str(model.id)
        return heard

    def reset(self) -> None:
        """Forget what was heard, so that listening begins anew after a turn."""
        self._features.reset()
        for model in self._models:
            model.reset()
        self._recent.clear()
        self._recent_bytes = 0

    def _remember(self, chunk: bytes) -> None:
        self._recent.append(chunk)
        self._recent_bytes += len(chunk)
        while self._recent_bytes - len(self._recent[0]) >= self._pre_roll_bytes:
            self._recent_bytes -= len(self._recent.popleft())

    def _is_new(self, word: str) -> bool:
        """Whether the word is no echo of the last detection of it."""
        new = self._heard_s >= self._deaf_until_s.get(word, 0.0)
        if new:
            self._deaf_until_s[word] = self._heard_s + self._refractory_s
        return new


def known_words() -> Sequence[str]:
    """The wake words that there are models of. Raises `SettingsError` without the library."""
    return [str(model.value) for model in _library().Model]


def _library() -> ModuleType:
    try:
        return importlib.import_module("pymicro_wakeword")
    except (ImportError, OSError) as error:
        raise SettingsError(
            "A wake word needs the package pymicro-wakeword: pip install 'wyoming-superwhisper[satellite]'."
        ) from error


def _load(module: ModuleType, word: str) -> Any:
    name = word.strip().lower().replace(" ", "_")
    if name not in known_words():
        raise SettingsError(f"There is no wake word '{word}'. There are: {', '.join(known_words())}.")
    return module.MicroWakeWord.from_builtin(module.Model(name))
