"""One answer that the language model is writing: its prompt, what it wrote, and what of that was sent."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from typing import Any

from wyoming_superwhisper.engines.base import AnswerRequest, Call
from wyoming_superwhisper.engines.llama_native import NativeGrammar
from wyoming_superwhisper.engines.llama_sequences import CachedSequence
from wyoming_superwhisper.engines.llm_calls import is_call
from wyoming_superwhisper.engines.llm_home import Home


@dataclass(slots=True)
class LlamaAnswer:
    """A call that is being answered."""

    call: Call
    request: AnswerRequest
    home: Home
    prompt: list[int]
    most_tokens: int
    sequence: CachedSequence
    grammar: NativeGrammar | None
    """What it may write; None for free text, which may go on as it likes."""
    sentence_end: int | None = None
    """The position of the sentence's last word, where it shall be said whether the sentence is whole."""
    evaluated: int = 0
    generated: list[int] = field(default_factory=list)
    text: str = ""
    _decoder: Any = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))

    @property
    def due(self) -> list[int]:
        """Tokens that are still to be evaluated before the next can be chosen."""
        return (self.prompt + self.generated)[len(self.sequence.tokens) :]

    @property
    def is_call(self) -> bool:
        """Whether it answers by a call, as far as can be said."""
        return is_call(self.text)

    def add(self, piece: bytes, *, final: bool = False) -> None:
        """Send free text as it comes; keep a call until it is whole."""
        fresh = self._decoder.decode(piece, final)
        if not self.text:
            fresh = fresh.lstrip()
        self.text += fresh
        if self.text and not self.is_call:
            self.let_go()
            if fresh:
                self.call.part({"text": fresh})

    def tell_whole(self, probability: float) -> None:
        """Say how likely the sentence ends where it does."""
        self.call.part({"whole": probability})

    def let_go(self) -> None:
        """Nothing binds it to a grammar any more. Idempotent."""
        if self.grammar is not None:
            self.grammar.close()
            self.grammar = None
