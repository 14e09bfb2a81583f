"""Greedy decoding of Whisper by ctranslate2: quicker on a CPU, and the same words.

What it does otherwise than `whisper_decoding`: a row is one call into the library, so rows are not dropped between
tokens, only before they are begun; and each row is worked on by itself, several side by side where there are threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wyoming_superwhisper import errors
from wyoming_superwhisper.engines.whisper_rules import Decoder, Heard, Row, Rules

Logits = npt.NDArray[np.float32]

_LEAST_VOCABULARY = 51865
"""With fewer tokens ctranslate2 takes a model for one of English only, and detects no languages."""


def open_model(folder: Path, device: str, compute: str, threads: int, side_by_side: int) -> Any:
    """A converted model. Raises `ModelError`, also for a number format that this machine can't compute in."""
    import ctranslate2

    supported = ctranslate2.get_supported_compute_types(device)
    if compute not in supported:
        raise errors.ModelError(
            f"ctranslate2 can't compute in {compute} here (asr.compute); it can in {', '.join(supported)}"
        )
    try:
        return ctranslate2.models.Whisper(
            str(folder), device=device, compute_type=compute, intra_threads=threads, inter_threads=side_by_side
        )
    except Exception as error:  # damaged files, no memory, no card
        raise errors.ModelError(f"ctranslate2 cannot load {folder}: {error}") from error


class ConvertedDecoder:
    """Decodes with a converted model, by the rules of the checkpoint that it was made of."""

    def __init__(self, model: Any, rules: Rules, languages: Sequence[str], detector: Decoder | None = None) -> None:
        """`languages`: those that automatic language chooses from; `detector`: decodes rows whose language is not
        known, where ctranslate2 can't detect it (`detects`)."""
        self._model = model
        self._rules = rules
        self._languages = [language for language in languages if language in rules.languages]
        self._detector = detector

    @staticmethod
    def detects(vocabulary: int) -> bool:
        """Whether ctranslate2 can tell languages apart with a model of so many tokens."""
        return vocabulary >= _LEAST_VOCABULARY

    @staticmethod
    def can(rules: Rules) -> bool:
        """Whether ctranslate2 decodes by these rules: without timestamps it only does where a token asks for that."""
        return rules.no_timestamps is not None

    def decode(self, rows: Sequence[Row]) -> list[Heard]:
        """Decode a batch; its rows may be of different lengths."""
        heard: list[Heard | None] = [None] * len(rows)
        if self._detector is not None and self._rules.languages and len(self._languages) > 1:
            unknown = [at for at, row in enumerate(rows) if row.language is None]
            if unknown:
                for at, one in zip(unknown, self._detector.decode([rows[at] for at in unknown]), strict=True):
                    heard[at] = one
        begun = [(at, self._begin(row)) for at, row in enumerate(rows) if heard[at] is None]
        for at, (language, result) in begun:
            heard[at] = language if result is None else self._read(language, result.result())
        return [one for one in heard if one is not None]

    def _begin(self, row: Row) -> tuple[Heard, Any]:
        """The row's language, and the library's promise of a result; None: nobody wants it any more."""
        import ctranslate2

        features = ctranslate2.StorageView.from_array(row.features.numpy()[None])
        if not row.wanted():
            return Heard(row.language or self._languages[0]), None
        if row.language is None and len(self._languages) > 1:
            features = self._model.encode(features)  # once, for both
        heard = self._choose_language(row, features)
        prompt = [*row.prompt, *self._rules.prefix(heard.language)]
        room = self._rules.limit(len(prompt)) - len(prompt)
        return heard, self._model.generate(
            features, [prompt], asynchronous=True, beam_size=1, return_no_speech_prob=True, return_logits_vocab=True,
            # The library takes half of it at most for the text, and counts all of the prompt but its last token.
            max_length=max(2 * room, room + len(prompt) - 1),
            suppress_tokens=list(self._rules.suppressed), suppress_blank=bool(self._rules.suppressed_first),
        )[0]  # fmt: skip

    def _choose_language(self, row: Row, encoded: Any) -> Heard:
        if not self._rules.languages:
            return Heard("en")
        if row.language is not None or len(self._languages) == 1:
            return Heard(row.language or self._languages[0])
        found = dict(self._model.detect_language(encoded)[0])
        ranked = sorted(self._languages, key=lambda language: -found[f"<|{language}|>"])
        best, second = (math.log(max(found[f"<|{language}|>"], 1e-30)) for language in ranked[:2])
        return Heard(ranked[0], margin=best - second)

    def _read(self, heard: Heard, result: Any) -> Heard:
        """What was heard, with the certainty of each token by the library's logits."""
        tokens = list(result.sequences_ids[0])
        scores = np.stack([np.asarray(step.to_device(_cpu())) for step in result.logits[0]])
        scores[:, list(self._rules.suppressed)] = -np.inf
        scores[0, list(self._rules.suppressed_first)] = -np.inf
        best = scores.max(-1)
        logprobs = -np.log(np.exp(scores - best[:, None]).sum(-1))
        ended = len(scores) > len(tokens) or bool(tokens and tokens[-1] in self._rules.ends)
        return replace(
            heard, no_speech=result.no_speech_prob if self._rules.no_speech is not None else 0.0,
            tokens=[token for token in tokens if token not in self._rules.ends],
            logprobs=logprobs.tolist(),
            margin=min(heard.margin, float(_margins(scores).min())), ended=ended,
        )  # fmt: skip


def _margins(scores: Logits) -> Logits:
    """How far the best token of each step is above the next best."""
    second, best = np.partition(scores, -2, axis=-1)[:, -2:].T
    margins: Logits = best - second
    return margins


def _cpu() -> Any:
    import ctranslate2

    return ctranslate2.Device.cpu
