"""The language model's sequences: what was evaluated is kept and shared, so that nothing is evaluated twice.

All conversations begin with the same tokens, which are evaluated once; each sequence begins with a copy of them, and
keeps what it holds after an answer for the turn that comes after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from wyoming_superwhisper.engines.llama_native import NativeContext, Token

_SHARED = 0
"""The sequence that holds the common beginning."""


@dataclass(slots=True)
class CachedSequence:
    """One sequence of the context and the tokens it holds."""

    number: int
    tokens: list[int] = field(default_factory=list)
    whole: tuple[int, float] | None = None
    """How likely a sentence ends after the token at a position, where that was read."""
    used: int = 0
    busy: bool = False

    def whole_at(self, position: int) -> float | None:
        """How likely a sentence ends after that token, if that was read."""
        return self.whole[1] if self.whole is not None and self.whole[0] == position else None


class Sequences:
    """All sequences of one context."""

    def __init__(self, context: NativeContext, count: int, piece_tokens: int) -> None:
        """`piece_tokens`: how many tokens are evaluated in one step at most."""
        self._context = context
        self._piece_tokens = piece_tokens
        self._all = [CachedSequence(number) for number in range(1, count + 1)]
        self._clock = 0
        self.fixed: list[int] = []
        """What all conversations begin with."""

    def begin_with(self, fixed: list[int]) -> None:
        """Evaluate what is new of the common beginning. All sequences forget what they hold."""
        known, self.fixed = self.fixed, fixed
        if fixed != known:
            self._evaluate_fixed(_common(known, fixed))

    def start_over(self) -> None:
        """Trust nothing that was evaluated."""
        self._evaluate_fixed(0)

    def take(self, prompt: Sequence[int], sentence_end: int | None) -> CachedSequence:
        """A free sequence that holds as much of the beginning of a prompt as there is.

        `sentence_end`: the position whose logits are to be read, unless the sequence tells already what they said.
        """
        sequence = self._best_for(prompt)
        sequence.busy = True
        common = min(_common(sequence.tokens, prompt), len(prompt) - 1)
        if sequence.whole is not None and sequence.whole[0] >= common:
            sequence.whole = None
        if sentence_end is not None and sequence.whole_at(sentence_end) is None:
            common = min(common, sentence_end)
        if common > len(self.fixed):
            self._context.cut(sequence.number, common)
        else:
            common = _common(self.fixed, prompt)
            self._context.share(_SHARED, sequence.number, common)
        sequence.tokens = list(prompt[:common])
        return sequence

    def give_back(self, sequence: CachedSequence) -> None:
        """Nobody writes to it any more; what it holds stays for the next turn."""
        self._clock += 1
        sequence.used, sequence.busy = self._clock, False

    def make_room(self, cells: int) -> None:
        """Forget idle sequences, the longest unused first, until there is room for so many tokens beside the fixed."""
        fixed = len(self.fixed)
        idle = sorted(self._idle(), key=lambda one: one.used)
        while idle and fixed + cells + sum(len(one.tokens) - fixed for one in idle) > self._context.cells:
            self._forget(idle.pop(0))

    def forget_idle(self) -> None:
        """Forget all that nobody is writing to."""
        for sequence in self._idle():
            self._forget(sequence)

    def _idle(self) -> list[CachedSequence]:
        return [one for one in self._all if not one.busy and one.tokens]

    def _best_for(self, prompt: Sequence[int]) -> CachedSequence:
        """The one that has most of the prompt already, else the one used longest ago."""
        free = [one for one in self._all if not one.busy]
        best = max(free, key=lambda one: (_common(one.tokens, prompt), -one.used))
        if _common(best.tokens, prompt) <= len(self.fixed):
            best = min(free, key=lambda one: (bool(one.tokens), one.used))
        return best

    def _evaluate_fixed(self, kept: int) -> None:
        """`kept`: how many of its tokens are evaluated already."""
        if not kept:
            self._context.clear()
        for sequence in self._all:
            self._forget(sequence)
        self._context.cut(_SHARED, kept)
        tokens = [Token(token, position, _SHARED) for position, token in enumerate(self.fixed)]
        for start in range(kept, len(tokens), self._piece_tokens):
            self._context.evaluate(tokens[start : start + self._piece_tokens])

    def _forget(self, sequence: CachedSequence) -> None:
        self._context.cut(sequence.number, 0)
        sequence.tokens = []


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences have in common at their beginnings."""
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return length
