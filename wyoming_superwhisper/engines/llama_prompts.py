"""The tokens of the language model's prompts: what all begin with, and each request within the room there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wyoming_superwhisper.engines.base import AnswerRequest, Exchange
from wyoming_superwhisper.engines.llama_native import NativeModel
from wyoming_superwhisper.engines.llama_token_choice import MARKS
from wyoming_superwhisper.engines.llm_home import Home, plain_text
from wyoming_superwhisper.engines.llm_prompt import ChatTemplate, Segment, fitting_history, messages_for, system_text

_MOST_HOME_CHARS = 20_000


class Prompts:
    """Writes the prompts for one home."""

    def __init__(self, model: NativeModel, home: Home, instructions: str, most_fixed: int, history_tokens: int) -> None:
        """`most_fixed`: tokens that instructions and home may take; the home is shortened until they fit.

        `history_tokens`: how much of the turns before is told at most.
        """
        self._model = model
        self._template = ChatTemplate(model.chat_template, model.special_text("bos"), model.special_text("eos"))
        self._home = home
        self._history_tokens = history_tokens
        self._system, self.fixed = self._fixed_part(instructions, most_fixed)

    def tokens(self, request: AnswerRequest, room: int) -> list[int]:
        """The prompt, at most `room` tokens beside the fixed part: a long text is cut, then history is left out."""
        request = replace(request, text=self._shortened(plain_text(request.text), room // 2))
        bare = self._chat_tokens(request, ())
        budget = min(self._history_tokens, len(self.fixed) + room - len(bare))
        history = fitting_history(request.history, budget, lambda one: len(self._model.tokens(one)))
        while history:
            prompt = self._chat_tokens(request, history)
            if len(prompt) - len(self.fixed) <= room:
                return prompt
            history = history[1:]  # what the template writes around the turns took too much
        return bare

    def sentence_end(self, request: AnswerRequest, prompt: Sequence[int]) -> int | None:
        """Where in the prompt the sentence's last word ends; None where it can't be told, as in a text that was cut."""
        content = self._model.tokens(messages_for(request, self._home, "")[-1]["content"])
        words = self._model.tokens(plain_text(request.text).rstrip(f"{MARKS} "))
        if not words or content[: len(words)] != words:
            return None
        starts = range(len(prompt) - len(content), len(self.fixed) - 1, -1)
        start = next((one for one in starts if prompt[one : one + len(content)] == content), None)
        return None if start is None else start + len(words) - 1

    def _fixed_part(self, instructions: str, most_tokens: int) -> tuple[str, list[int]]:
        """The system text and its tokens."""
        chars = _MOST_HOME_CHARS
        while True:
            system = system_text(self._home, instructions, chars)
            messages = [{"role": "system", "content": system}, {"role": "user", "content": "\ufffc"}]
            segments = self._template.segments(messages)
            tokens = self._tokens(segments[: segments.index(Segment("\ufffc", special=False))])
            if len(tokens) <= most_tokens or chars < 100:
                return system, tokens
            chars = int(min(chars, len(system)) * 0.8)

    def _shortened(self, text: str, most_tokens: int) -> str:
        """The beginning of a text that has too many tokens."""
        while (count := len(self._model.tokens(text))) > most_tokens:
            text = text[: int(len(text) * most_tokens / count * 0.95)]
        return text

    def _chat_tokens(self, request: AnswerRequest, history: Sequence[Exchange]) -> list[int]:
        return self._tokens(self._template.segments(messages_for(request, self._home, self._system, history)))

    def _tokens(self, segments: Sequence[Segment]) -> list[int]:
        """Contents and template apart, so that no content can become a chat token."""
        tokens = [token for one in segments for token in self._model.tokens(one.text, special=one.special)]
        beginning = self._model.beginning
        return tokens if beginning is None or tokens[:1] == [beginning] else [beginning, *tokens]
