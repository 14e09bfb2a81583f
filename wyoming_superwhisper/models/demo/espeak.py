"""Speech from the espeak-ng inside piper-tts: samples and timed phonemes, with no system package.

espeak-ng keeps one voice per process, the one piper phonemises with too. So a process either synthesises here or
phonemises for Piper; one that does both calls `speak_apart`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 22050
DEFAULT_VOICES = {"fr": "fr", "en": "en-us"}
ACCENTS = {
    "fr": ("fr", "fr-be", "fr-ch"),
    "en": (
        "en",
        "en-us",
        "en-gb-scotland",
        "en-gb-x-rp",
        "en-029",
        "en-us-nyc",
        "en-gb-x-gbclan",
        "en-gb-x-gbcwmd",
    ),
}
"""The espeak-ng voices of each language; each may carry a variant, as in "fr+m3"."""

# espeak-ng/speak_lib.h
_SYNCHRONOUS = 2
_PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 0x0001, 0x0002, 0x8000
_RATE, _PITCH, _RANGE = 1, 3, 4
_UTF8 = 1
_EVENT_END_OF_LIST, _EVENT_PHONEME = 0, 7

Samples = npt.NDArray[np.int16]


class EspeakError(RuntimeError):
    """espeak-ng is not there, or doesn't know the voice."""


@dataclass(frozen=True)
class Speech:
    """Spoken text: 22.05 kHz samples, and where each phoneme begins (in samples; IPA)."""

    samples: Samples
    phonemes: tuple[tuple[int, str], ...]


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def speak(text: str, voice: str = "en-us", rate: int = 160, pitch: int = 50, pitch_range: int = 50) -> Samples:
    """Speak in this process: int16 mono at 22.05 kHz; `rate` in words a minute, pitches 0-99.

    Raises EspeakError for an unknown voice.
    """
    return speak_timed(text, voice, rate, pitch, pitch_range).samples


def speak_timed(text: str, voice: str = "en-us", rate: int = 160, pitch: int = 50, pitch_range: int = 50) -> Speech:
    """As `speak`, with the phonemes and where each begins."""
    return _synthesiser().speak(text, voice, rate, pitch, pitch_range)


def speak_apart(text: str, voice: str = "en-us", rate: int = 160, pitch: int = 50, pitch_range: int = 50) -> Samples:
    """As `speak`, from a process of its own: for processes in which Piper phonemises."""
    return _process().submit(speak, text, voice, rate, pitch, pitch_range).result()


def use_data_folder(folder: Path) -> None:
    """Take voices from this espeak-ng-data folder; to be called before anything is spoken in this process."""
    _Synthesiser.data_folder = folder


def find_data_folder() -> Path:
    """The espeak-ng-data folder that piper-tts brought along. Raises EspeakError without piper-tts."""
    return _piper_folder() / "espeak-ng-data"


def variants() -> list[str]:
    """The names of all voice variants, the broken klatt ones left out."""
    return sorted(
        path.name for path in (find_data_folder() / "voices" / "!v").iterdir() if "klatt" not in path.read_text("utf-8")
    )


class _Synthesiser:
    """The one espeak-ng of this process."""

    data_folder: Path | None = None

    def __init__(self) -> None:
        self._library = ctypes.CDLL(str(_find_library()))
        folder = self.data_folder or find_data_folder()
        rate = self._library.espeak_Initialize(
            _SYNCHRONOUS, 0, str(folder.parent).encode(), _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT
        )
        if rate != SAMPLE_RATE:
            raise EspeakError(f"espeak-ng could not start with the data in {folder}")
        self._chunks: list[Samples] = []
        self._phonemes: list[tuple[int, str]] = []
        self._callback = _SynthCallback(self._collect)  # kept: C holds a bare pointer to it
        self._library.espeak_SetSynthCallback(self._callback)
        self._voice = ""

    def speak(self, text: str, voice: str, rate: int, pitch: int, pitch_range: int) -> Speech:
        self._choose(voice)
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._chunks, self._phonemes = [], []
        encoded = text.encode("utf-8") + b"\0"
        self._library.espeak_Synth(encoded, len(encoded), 0, 0, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        samples = np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.int16)
        return Speech(samples, tuple(self._phonemes))

    def _choose(self, voice: str) -> None:
        if voice != self._voice and self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise EspeakError(f"espeak-ng has no voice {voice!r}")
        self._voice = voice

    def _collect(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        at = 0
        while events[at].type != _EVENT_END_OF_LIST:
            if events[at].type == _EVENT_PHONEME:
                self._phonemes.append((events[at].sample, events[at].id.string.decode("utf-8", "replace")))
            at += 1
        return 0


@lru_cache(maxsize=1)
def _synthesiser() -> _Synthesiser:
    return _Synthesiser()


@lru_cache(maxsize=1)
def _process() -> ProcessPoolExecutor:
    # Spawned, not forked: a fork would share the library's state and whatever threads hold.
    return ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn"))


def _piper_folder() -> Path:
    # Found without importing piper, which would load onnxruntime.
    spec = importlib.util.find_spec("piper")
    if spec is None or spec.origin is None:
        raise EspeakError("piper-tts is not installed")
    return Path(spec.origin).parent


def _find_library() -> Path:
    libraries = sorted(_piper_folder().glob("espeakbridge*.so")) + sorted(_piper_folder().glob("espeakbridge*.pyd"))
    if not libraries:
        raise EspeakError("piper-tts has no espeakbridge library")
    return libraries[0]
