"""Which library decodes: transformers, or ctranslate2 where it is installed and quicker here.

`auto` measures both when a model is loaded for the first time, on a command of forced length, and notes the figures
beside the conversion; from then on only the quicker one is loaded.
"""

from __future__ import annotations

import importlib.util
import logging
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch  # noqa: TID253  this module is imported by engines.whisper when it loads, in its worker

from wyoming_superwhisper import errors
from wyoming_superwhisper.engines import whisper_conversion
from wyoming_superwhisper.engines.processors import usable_cpus
from wyoming_superwhisper.engines.whisper_checkpoint import Checkpoint
from wyoming_superwhisper.engines.whisper_ctranslate2 import ConvertedDecoder, open_model
from wyoming_superwhisper.engines.whisper_rules import Decoder, Row, Rules

logger = logging.getLogger(__name__)

TRANSFORMERS, CTRANSLATE2 = "transformers", "ctranslate2"

_TIMES = "superwhisper-times.json"
_TIMED_S = 3.0
_TIMED_TOKENS = 12
_TIMED_RUNS = 5


@dataclass(frozen=True)
class Wish:
    """How a checkpoint is to be decoded."""

    engine: str
    """auto, transformers or ctranslate2."""
    on_cuda: bool
    compute: str
    """auto, or a number format."""
    threads: int
    batch: int
    static: bool
    """Steps of fixed shapes (transformers)."""
    speech_window: bool
    """Less than the window may be encoded, and margins are watched."""
    languages: Sequence[str]
    """Those that automatic language chooses from."""

    @property
    def device(self) -> str:
        """As both libraries call it."""
        return "cuda" if self.on_cuda else "cpu"

    @property
    def side_by_side(self) -> int:
        """How many rows ctranslate2 works on at once: where a row gets one thread, as many as there are processors."""
        return 1 if self.on_cuda or self.threads > 1 else max(1, min(self.batch, usable_cpus()))


def choose(checkpoint: Checkpoint, wish: Wish) -> Decoder:
    """The decoder that was wished for. Raises `ModelError` for a wish that can't be granted."""
    if wish.engine == CTRANSLATE2:
        if not _is_installed():
            raise errors.ModelError(
                "asr.engine is ctranslate2, which is not installed: pip install 'wyoming-superwhisper[ctranslate2]'"
            )
        if not ConvertedDecoder.can(checkpoint.rules):
            raise errors.ModelError(f"{checkpoint.folder} has no token against timestamps, which ctranslate2 needs")
        return _Ctranslate2(checkpoint, wish).decoder()
    if wish.engine == TRANSFORMERS or not _is_open(checkpoint, wish):
        return _Transformers(checkpoint, wish).decoder()
    try:
        return _quicker(checkpoint, wish)
    except errors.ModelError as error:
        logger.warning("Whisper is decoded by transformers: %s", error)
        return _Transformers(checkpoint, wish).decoder()


def _is_installed() -> bool:
    return importlib.util.find_spec("ctranslate2") is not None


def _is_open(checkpoint: Checkpoint, wish: Wish) -> bool:
    """Whether `auto` has anything to measure: not on a card, and for the number formats that both know."""
    both = wish.compute in ("auto", "float32", "int8")
    return _is_installed() and both and not wish.on_cuda and not wish.static and ConvertedDecoder.can(checkpoint.rules)


def _quicker(checkpoint: Checkpoint, wish: Wish) -> Decoder:
    """The quicker of the two, as it was noted when they were measured. Raises `ModelError`: no conversion."""
    theirs = _Ctranslate2(checkpoint, wish)
    if wish.compute == "int8":
        return theirs.decoder()  # transformers can't
    noted, case = whisper_conversion.read_notes(theirs.folder, _TIMES), _case(wish)
    times, ours = _as_times(noted.get(case)), None
    if times is None:
        ours = _Transformers(checkpoint, wish)
        times = _measure(checkpoint, {TRANSFORMERS: ours.make, CTRANSLATE2: theirs.make})
        whisper_conversion.write_notes(theirs.folder, _TIMES, {**noted, case: times})
    chosen, other = sorted((TRANSFORMERS, CTRANSLATE2), key=lambda name: times[name])
    logger.info(
        "Whisper is decoded by %s: %.1f ms for a command of %g s, by %s %.1f ms (%s)",
        chosen, times[chosen], _TIMED_S, other, times[other], "measured now" if ours else "noted earlier",
    )  # fmt: skip
    if chosen == CTRANSLATE2:
        return theirs.decoder()
    return (ours or _Transformers(checkpoint, wish)).decoder()


def _as_times(noted: object) -> dict[str, float] | None:
    """What was noted, if it is what we write; None: measure again."""
    if not isinstance(noted, dict) or set(noted) != {TRANSFORMERS, CTRANSLATE2}:
        return None
    return noted if all(isinstance(time_ms, float) for time_ms in noted.values()) else None


def _case(wish: Wish) -> str:
    """What the times depend on."""
    import ctranslate2

    versions = f"torch {torch.__version__}, ctranslate2 {ctranslate2.__version__}"
    machine = f"{platform.machine()} with {usable_cpus()} processors"
    window = "speech" if wish.speech_window else "full"
    return f"{versions}; {machine}; {wish.compute}, {wish.threads} threads, window {window}"


def _measure(checkpoint: Checkpoint, makers: Mapping[str, Callable[[Rules], Decoder]]) -> dict[str, float]:
    """Milliseconds for a command of noise and of so many tokens, by each, in turn so that both meet the same load."""
    rules = replace(
        checkpoint.rules,
        suppressed=(*checkpoint.rules.suppressed, *checkpoint.rules.ends),
        max_new_tokens=_TIMED_TOKENS,
    )
    row = _timed_row(checkpoint)
    decoders = {name: make(rules) for name, make in makers.items()}
    times: dict[str, list[float]] = {name: [] for name in decoders}
    for _ in range(1 + _TIMED_RUNS):
        for name, decoder in decoders.items():
            began = time.perf_counter()
            decoder.decode([row])
            times[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(all_of_it[1:]) for name, all_of_it in times.items()}


def _timed_row(checkpoint: Checkpoint) -> Row:
    frames = min(checkpoint.window_frames, int(_TIMED_S * 100))
    noise = torch.randn(checkpoint.config.num_mel_bins, frames, generator=torch.Generator().manual_seed(0))
    return Row(noise, (), next(iter(checkpoint.rules.languages), None))


class _Transformers:
    """The checkpoint in transformers, and decoders over it."""

    def __init__(self, checkpoint: Checkpoint, wish: Wish) -> None:
        if wish.compute == "int8":
            raise errors.ModelError("asr.compute: int8 is for asr.engine: ctranslate2 alone")
        self._wish = wish
        self._rules = checkpoint.rules
        self._model = checkpoint.load(self._dtype(), wish.device)

    def decoder(self) -> Decoder:
        return self.make(self._rules)

    def make(self, rules: Rules) -> Decoder:
        from wyoming_superwhisper.engines.whisper_decoding import GreedyDecoder
        from wyoming_superwhisper.engines.whisper_static import StaticDecoder

        wish = self._wish
        if not wish.static:
            return GreedyDecoder(self._model, rules, wish.languages, wish.speech_window)
        static = StaticDecoder(self._model, rules, wish.languages, wish.batch, wish.speech_window)
        static.prepare()
        return static

    def _dtype(self) -> torch.dtype:
        name = self._wish.compute
        if name == "auto":
            name = "float16" if self._wish.on_cuda else "float32"
        dtype: torch.dtype = getattr(torch, name)
        return dtype


class _Ctranslate2:
    """The checkpoint's conversion, and decoders over it."""

    def __init__(self, checkpoint: Checkpoint, wish: Wish) -> None:
        self._checkpoint = checkpoint
        self._wish = wish
        self.folder = whisper_conversion.converted(checkpoint)
        compute = ("float16" if wish.on_cuda else "float32") if wish.compute == "auto" else wish.compute
        self._model = open_model(self.folder, wish.device, compute, wish.threads, wish.side_by_side)

    def decoder(self) -> Decoder:
        return self.make(self._checkpoint.rules, self._detector())

    def make(self, rules: Rules, detector: Decoder | None = None) -> Decoder:
        return ConvertedDecoder(self._model, rules, self._wish.languages, detector)

    def _detector(self) -> Decoder | None:
        """Who decodes rows whose language is to be found out where ctranslate2 can't: a small model has few tokens."""
        if ConvertedDecoder.detects(self._checkpoint.config.vocab_size) or len(self._wish.languages) < 2:
            return None
        plain = replace(self._wish, compute="auto", static=False)
        return _Transformers(self._checkpoint, plain).decoder()
