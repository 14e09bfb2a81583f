"""Speech by Piper voices: one call is one piece of text, clients are served in turn.

**Level.** Piper would bring every piece to full scale on its own, so that a reply's sentences come out unequally loud;
that is switched off. Instead one gain holds for a whole reply, found from its first piece:

    level = round(min(LEVEL_PEAK / peak, MOST_GAIN), 4)      peak = largest |sample| of the first piece

where the samples are `audio_float_array` of `PiperVoice.synthesize(piece, SynthesisConfig(normalize_audio=False, …))`.
What is sent are these samples times the level, as signed 16-bit integers the way Piper itself makes them:
`clip(samples * level * 32767, ±32767)`, cut towards zero. It is, bit for bit, what Piper gives with `volume=level`.
A call that carries a level uses it; one that carries none is a reply's first piece, and reports the level it found.
"""

from __future__ import annotations

import json
import logging
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wyoming_superwhisper.engines.base import Call
from wyoming_superwhisper.engines.card import check_card
from wyoming_superwhisper.engines.processors import physical_cores
from wyoming_superwhisper.errors import (
    BadData,
    EngineUnavailable,
    ModelError,
    NotSupported,
    SuperwhisperError,
    UnknownVoice,
)
from wyoming_superwhisper.models.voices import speaker_ids

logger = logging.getLogger(__name__)

LEVEL_PEAK = 0.7
"""Peak that a reply's first piece is brought to; later ones have the rest as headroom."""
MOST_GAIN = 8.0
"""A first piece that is all but silent doesn't make the next ones scream."""
MOST_VOICES_LOADED = 4
"""Voices kept in memory; the one unused for longest makes room for another."""

_FULL_SCALE = 32767.0
_WARM_UP_TEXTS = ("1.", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10.")

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _LoadedVoice:
    voice: Any
    """`piper.PiperVoice`"""
    sample_rate: int
    speakers: Mapping[str, int]


class PiperEngine:
    """Speech synthesis in a worker; see `Engine` for the contract.

    `speak` {text, voice, speaker, length_scale, noise_scale, noise_w, level, client} → {sample_rate, level} and s16le
    mono samples. Scales that are null are those of the configuration, and else the voice's own.
    """

    capacity = 4

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        self._files: Mapping[str, Mapping[str, str]] = configuration["voices"]
        self._scales: Mapping[str, float] = configuration.get("default") or {}
        self._threads = int(configuration.get("threads") or 0)
        self._on_cuda = configuration.get("device") == "cuda"
        self._gpu_uuid: str = configuration.get("gpu_uuid") or ""
        self._loaded: OrderedDict[str, _LoadedVoice] = OrderedDict()  # the one used last comes last
        self._waiting: list[Call] = []
        self._last_served: dict[str, int] = {}
        self._served = 0

    def load(self) -> Mapping[str, Any]:
        if not self._files:
            raise ModelError("No Piper voice is installed: run wyoming-superwhisper models download")
        if self._on_cuda:
            _check_card(self._gpu_uuid)
        broken = [error for name in self._files if (error := self._prepare(name)) is not None]
        if len(broken) == len(self._files):
            raise broken[0]
        for error in broken:  # another voice speaks in its place
            logger.warning("%s", error)
        return {"voices": list(self._loaded)}

    def _prepare(self, name: str) -> ModelError | None:
        """Check a voice, and load it while there is room; what is wrong with it."""
        try:
            _check_files(name, self._files[name])
            if len(self._loaded) < MOST_VOICES_LOADED:
                self._voice(name)
        except ModelError as error:
            return error
        return None

    def admit(self, call: Call) -> None:
        if call.method != "speak":
            call.fail(NotSupported(f"Piper has no method {call.method!r}."))
        else:
            self._waiting.append(call)

    def step(self) -> bool:
        """Speak one piece: finals before guesses, then the client that was served longest ago."""
        self._waiting = [call for call in self._waiting if not call.cancelled]
        if not self._waiting:
            return False
        call = min(self._waiting, key=lambda one: (one.priority, self._last_served.get(_client(one), 0)))
        self._waiting.remove(call)
        self._note_served(_client(call))
        try:
            self._speak(call)
        except ModelError as error:  # of one voice; the others go on
            call.fail(EngineUnavailable(str(error)))
        except SuperwhisperError as error:
            call.fail(error)
        if not self._waiting:
            self._last_served.clear()
        return bool(self._waiting)

    def _note_served(self, client: str) -> None:
        self._served += 1
        self._last_served[client] = self._served

    def _speak(self, call: Call) -> None:
        voice = self._voice(str(call.data.get("voice")))
        samples = _join(self._pieces(voice, call))
        if call.cancelled:
            return
        level = _number(call.data, "level")
        if level is None:
            level = level_of(samples)
        call.done({"sample_rate": voice.sample_rate, "level": level}, to_pcm(samples, level))

    def _pieces(self, voice: _LoadedVoice, call: Call) -> Iterator[Samples]:
        """Piper cuts once more, at each end of a sentence that it finds; a cancel is noticed there."""
        text = str(call.data.get("text") or "").replace("\0", " ")
        for chunk in voice.voice.synthesize(text, self._options(voice, call.data)):
            if call.cancelled:
                return
            yield chunk.audio_float_array

    def _options(self, voice: _LoadedVoice, data: Mapping[str, Any]) -> Any:
        from piper import SynthesisConfig

        return SynthesisConfig(
            speaker_id=_speaker_id(voice, data),
            length_scale=self._scale(data, "length_scale"),
            noise_scale=self._scale(data, "noise_scale"),
            noise_w_scale=self._scale(data, "noise_w"),
            normalize_audio=False,
        )

    def _scale(self, data: Mapping[str, Any], name: str) -> float | None:
        value = _number(data, name)
        return _number(self._scales, name) if value is None else value

    def _voice(self, name: str) -> _LoadedVoice:
        """A voice by its name in the table, loaded if it isn't yet."""
        if name not in self._files:
            raise UnknownVoice(f"There is no voice {name!r}.")
        if name not in self._loaded:
            while len(self._loaded) >= MOST_VOICES_LOADED:
                self._loaded.popitem(last=False)
            self._loaded[name] = self._load_voice(name)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def _load_voice(self, name: str) -> _LoadedVoice:
        """Raises `ModelError`."""
        paths = self._files[name]
        try:
            from piper import PiperVoice
            from piper.config import PiperConfig

            config = json.loads(Path(paths["config"]).read_text(encoding="utf-8"))
            voice = PiperVoice(session=self._session(Path(paths["model"])), config=PiperConfig.from_dict(config))
            loaded = _LoadedVoice(voice, int(config["audio"]["sample_rate"]), speaker_ids(config))
            _warm_up(voice)
        except SuperwhisperError:
            raise
        except Exception as error:  # damaged files raise all kinds: protobuf, shapes, JSON, missing keys
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise ModelError(f"The voice {name} can't be loaded from {paths['model']}: {reason}") from error
        logger.debug("the voice %s is loaded", name)
        return loaded

    def _session(self, model: Path) -> Any:
        """As Piper's own loading makes one, but its threads sleep while they wait, and are bound to no core.

        As many of them, all the same: how the work is shared out changes the last bit of some samples.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads or physical_cores()
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        if not self._on_cuda:
            return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        cuda = ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"})
        session = onnxruntime.InferenceSession(str(model), options, providers=[cuda, "CPUExecutionProvider"])
        if "CUDAExecutionProvider" not in session.get_providers():
            raise ModelError("Piper shall run on the GPU, but onnxruntime can't use it: set tts.device to cpu")
        return session


def level_of(samples: Samples) -> float:
    """The gain of a reply whose first piece has these samples (-1 … 1); 1.0 for silence."""
    peak = float(np.max(np.abs(samples), initial=0.0))
    return round(min(LEVEL_PEAK / peak, MOST_GAIN), 4) if peak > 1e-4 else 1.0


def to_pcm(samples: Samples, level: float) -> bytes:
    """Samples (-1 … 1) times the level as s16le, beyond full scale clipped."""
    scaled = np.clip(samples * np.float32(level), -1.0, 1.0)
    return np.clip(scaled * np.float32(_FULL_SCALE), -_FULL_SCALE, _FULL_SCALE).astype("<i2").tobytes()


def _join(pieces: Iterator[Samples]) -> Samples:
    found = [np.atleast_1d(piece) for piece in pieces]
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def _client(call: Call) -> str:
    return str(call.data.get("client") or "")


def _number(data: Mapping[str, Any], name: str) -> float | None:
    """A finite number that isn't negative, or None. Raises `BadData`."""
    value = data.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 <= value < math.inf):
        raise BadData(f"{name} is no number that speech can be made with: {value!r}")
    return float(value)


def _speaker_id(voice: _LoadedVoice, data: Mapping[str, Any]) -> int | None:
    speaker = data.get("speaker")
    if speaker is None:
        return None
    if speaker not in voice.speakers:
        raise UnknownVoice(f"The voice {data['voice']} has no speaker {speaker!r}.")
    return voice.speakers[speaker]


def _warm_up(voice: Any) -> None:
    """A session takes its memory, and prepares its kernels, on its first runs."""
    for text in _WARM_UP_TEXTS:
        for _ in voice.synthesize(text):
            pass


def _check_files(name: str, paths: Mapping[str, str]) -> None:
    for path in paths.values():
        if not Path(path).is_file():
            raise ModelError(
                f"The voice {name} is not whole: {path} is missing. Run wyoming-superwhisper models download"
            )


def _check_card(wanted: str) -> None:
    """Refuse another card than the one named."""
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise ModelError("Piper shall run on the GPU, but onnxruntime has no CUDA: set tts.device to cpu")
    check_card(wanted, "Piper")
