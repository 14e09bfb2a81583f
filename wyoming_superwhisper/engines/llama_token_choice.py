"""Which token the language model writes next, within the grammar of its calls, and how sure it is of an end."""

from __future__ import annotations

import numpy as np

from wyoming_superwhisper.engines.llama_native import Logits, NativeGrammar, NativeModel
from wyoming_superwhisper.engines.llm_calls import is_call

MARKS = ".!?…"
"""What ends a sentence. Recognition writes one after half a sentence too, so it is looked at what comes before it."""

_LIKELIEST = 40
"""Tokens that are sampled from where the temperature isn't 0."""
_CALL_CONFIDENCE = 0.75
"""A call is begun only if it is at least so likely: to act takes more certainty than to talk."""
_LEAST_PROBABILITY = 0.02
"""A call whose next word the grammar bent to something less likely than this is given up: it means something else."""


class TokenChoice:
    """Chooses the tokens of all answers of one model."""

    def __init__(self, model: NativeModel, temperature: float) -> None:
        """`temperature` 0: always the likeliest token."""
        self._model = model
        self._temperature = temperature
        self._random = np.random.default_rng(0)

    def first(self, grammar: NativeGrammar, logits: Logits) -> int | None:
        """The first token of an answer: that of a call only where the model is sure of it; None as in `next`."""
        token = self._sampled(logits)
        if is_call(self._text_of(token)) and _probability(logits, token) < _CALL_CONFIDENCE:
            logits = self._without_calls(logits)
            token = int(logits.argmax())
        return self._within(grammar, token, logits, calling=False)

    def next(self, grammar: NativeGrammar | None, logits: Logits, *, calling: bool) -> int | None:
        """The next token, which the grammar takes in. `calling`: the answer is a call as far as can be said.

        None: the call would have to become another than the one that was meant.
        """
        token = self._sampled(logits)
        return token if grammar is None else self._within(grammar, token, logits, calling)

    def probability_of_end(self, logits: Logits) -> float:
        """How likely a sentence ends after a word, by a mark or without one."""
        likeliest = np.argpartition(logits, -_LIKELIEST)[-_LIKELIEST:]
        ends = [token for token in likeliest if self._ends_sentence(int(token))]
        highest = logits.max()
        return float(np.exp(logits[ends] - highest).sum() / np.exp(logits - highest).sum())

    def _within(self, grammar: NativeGrammar, token: int, logits: Logits, calling: bool) -> int | None:
        if not grammar.admits(token):
            token = grammar.best(logits)
            if calling and _probability(logits, token) < _LEAST_PROBABILITY:
                return None
        grammar.accept(token)
        return token

    def _without_calls(self, logits: Logits) -> Logits:
        """The logits of the likeliest tokens with which an answer begins that is no call."""
        kept = np.full_like(logits, -np.inf)
        talk = [one for one in np.argsort(logits)[-_LIKELIEST:] if not is_call(self._text_of(int(one)))]
        kept[talk] = logits[talk]
        return kept

    def _sampled(self, logits: Logits) -> int:
        if self._temperature <= 0:
            return int(logits.argmax())
        likeliest = np.argsort(logits)[-_LIKELIEST:]
        weights = np.exp((logits[likeliest] - logits[likeliest].max()) / self._temperature)
        return int(self._random.choice(likeliest, p=weights / weights.sum()))

    def _ends_sentence(self, token: int) -> bool:
        return self._model.ends_turn(token) or self._text_of(token).lstrip(" ")[:1] in {*MARKS, "\n"}

    def _text_of(self, token: int) -> str:
        return self._model.piece(token).decode("utf-8", "replace")


def _probability(logits: Logits, token: int) -> float:
    highest = logits.max()
    return float(np.exp(logits[token] - highest) / np.exp(logits - highest).sum())
