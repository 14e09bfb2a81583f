"""The language model's engine: several conversations answered side by side, over their common beginning.

Configuration: `model_file`, `context` (cells in all), `history_tokens`, `sequences`, `system_prompt`, `max_tokens`,
`temperature`, `gpu_layers`, `threads`, `home` (as in the settings), `device` ("cpu" or "cuda"), `gpu_uuid` (the card
that CUDA must be shown).

Calls: `answer` with the fields of `AnswerRequest`: parts `{"text": …}`, or one part `{"intents": [{"name", "slots",
"text", "template"}]}`; for a guess, before these, a part `{"whole": …}`, the probability that the sentence ends where
it does; done `{"tokens", "prompt_tokens", "evaluated", "finish"}`, where `finish` is "stop", "length" or "no-call" (it
tried a call that this home has no names for; nothing was sent). `home` with a home: use it for all answers that begin
from now on.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from wyoming_superwhisper.engines.base import AnswerRequest, Call, Exchange, Priority
from wyoming_superwhisper.engines.card import check_card
from wyoming_superwhisper.engines.llama_answer import LlamaAnswer
from wyoming_superwhisper.engines.llama_native import Logits, NativeContext, NativeGrammar, NativeModel, NoRoom, Token
from wyoming_superwhisper.engines.llama_prompts import Prompts
from wyoming_superwhisper.engines.llama_sequences import Sequences
from wyoming_superwhisper.engines.llama_token_choice import TokenChoice
from wyoming_superwhisper.engines.llm_calls import aimed_at, parse_calls, placed_as_said
from wyoming_superwhisper.engines.llm_grammar import build_grammar
from wyoming_superwhisper.engines.llm_home import Home, home_from, plain_text
from wyoming_superwhisper.errors import BadData, NoText, NotSupported, OutOfMemory

logger = logging.getLogger(__name__)

PIECE_TOKENS = 128
"""Tokens of prompts in one step at most: so long may a cancel take."""

_FIXED_SHARE = 0.6
"""Share of a sequence that the instructions and the home may take."""
_SMALL_MODEL_BYTES = 64 * 2**20
"""A model below this is slower on two threads than on one."""


class LlamaEngine:
    """Answers what no rule understands; see `Engine` for the contract."""

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        self._configuration = configuration
        self.capacity = max(1, int(configuration.get("sequences", 4)))
        self._waiting: deque[Call] = deque()
        self._answers: list[LlamaAnswer] = []
        self._new_home: Call | None = None

    # --- the worker's side

    def load(self) -> Mapping[str, Any]:
        path = Path(self._configuration["model_file"])
        on_card = self._configuration.get("device") == "cuda"
        if on_card:
            check_card(str(self._configuration.get("gpu_uuid") or ""), "The language model")
        self._model = NativeModel(path, int(self._configuration.get("gpu_layers", -1)) if on_card else 0)
        cells = int(self._configuration.get("context", 8192))
        sequences = 2 * self.capacity  # half of them for conversations that will go on
        self._context = NativeContext(
            self._model, cells, PIECE_TOKENS + self.capacity, sequences + 1, self._threads(path)
        )
        self._sequences = Sequences(self._context, sequences, PIECE_TOKENS)
        self._choice = TokenChoice(self._model, float(self._configuration.get("temperature") or 0.0))
        self._use_home(home_from(self._configuration.get("home") or {}))
        return {
            "model": self._model.metadata("general.name") or path.stem,
            "sequences": self.capacity,
            "context": self._room + len(self._prompts.fixed),
            "fixed_tokens": len(self._prompts.fixed),
        }

    def admit(self, call: Call) -> None:
        if call.method == "answer":
            self._waiting.append(call)
        elif call.method == "home":
            if self._new_home is not None:
                self._new_home.done()  # the newer one replaces it
            self._new_home = call
        else:
            call.fail(NotSupported(f"the language model knows no call {call.method!r}"))

    def step(self) -> bool:
        try:
            self._drop_cancelled()
            self._begin()
            self._advance()
        except Exception:
            self._start_over()
            raise
        return bool(self._answers or self._waiting or self._new_home)

    def close(self) -> None:
        """Free the model."""
        for answer in self._answers:
            self._release(answer)
        self._context.close()
        self._model.close()

    @property
    def evaluated_tokens(self) -> int:
        """Tokens evaluated since the start, for tests and figures."""
        return self._context.evaluated

    # --- the home and what all conversations begin with

    def _use_home(self, home: Home) -> None:
        """Evaluate what is new of the fixed part of the prompts: a change may concern only what that leaves out."""
        longest = min(self._model.trained_context, self._context.cells)
        instructions = str(self._configuration.get("system_prompt") or "")
        history_tokens = int(self._configuration.get("history_tokens", 1024))
        self._home = home
        self._grammar = build_grammar(home)
        self._prompts = Prompts(self._model, home, instructions, int(longest * _FIXED_SHARE), history_tokens)
        fixed = len(self._prompts.fixed)
        self._room = min(longest - fixed, (self._context.cells - fixed) // self.capacity) - 1
        self._sequences.begin_with(self._prompts.fixed)

    def _start_over(self) -> None:
        """After a fault: the worker fails all calls; nothing that was evaluated can be trusted."""
        for answer in self._answers:
            self._release(answer)
        self._answers.clear()
        self._waiting.clear()
        self._new_home = None
        self._sequences.start_over()

    # --- beginning answers

    def _begin(self) -> None:
        if self._new_home is not None:
            if self._answers:
                return  # theirs is the old home; nobody begins before the new one is there
            call, self._new_home = self._new_home, None
            self._use_home(home_from(call.data.get("home", call.data)))
            call.done()
        for call in sorted(self._waiting, key=lambda one: one.priority):
            if len(self._answers) >= self.capacity:
                return
            self._waiting.remove(call)
            if not call.cancelled:
                self._begin_one(call)

    def _begin_one(self, call: Call) -> None:
        request = _request(call.data)
        if request is None:
            call.fail(BadData("A request for an answer is not complete."))
            return
        if not plain_text(request.text):
            call.fail(NoText("There is no text to answer."))
            return
        most_tokens = min(int(self._configuration.get("max_tokens", 256)), self._room // 3)
        prompt = self._prompts.tokens(request, self._room - most_tokens)
        sentence_end = self._prompts.sentence_end(request, prompt) if call.priority == Priority.GUESS else None
        sequence = self._sequences.take(prompt, sentence_end)
        grammar = NativeGrammar(self._model, self._grammar)
        answer = LlamaAnswer(call, request, self._home, prompt, most_tokens, sequence, grammar, sentence_end)
        self._answers.append(answer)
        if sentence_end is not None and (known := sequence.whole_at(sentence_end)) is not None:
            answer.tell_whole(known)
        fixed = len(self._prompts.fixed)
        self._sequences.make_room(sum(len(one.prompt) - fixed + one.most_tokens for one in self._answers))

    def _release(self, answer: LlamaAnswer) -> None:
        """The call is over; what its sequence holds stays for the next turn."""
        self._sequences.give_back(answer.sequence)
        answer.let_go()

    # --- answering

    def _drop_cancelled(self) -> None:
        for call in [one for one in self._waiting if one.cancelled]:
            self._waiting.remove(call)
        for answer in [one for one in self._answers if one.call.cancelled]:
            self._end(answer)

    def _advance(self) -> None:
        """One evaluation: a token for each answer that is being written, and a piece of those prompts that wait."""
        tokens: list[Token] = []
        reading: list[tuple[LlamaAnswer, int]] = []
        writing: list[tuple[LlamaAnswer, int]] = []
        taken: list[tuple[LlamaAnswer, list[int]]] = []
        left = PIECE_TOKENS
        for answer in sorted(self._served(), key=lambda one: not one.generated):
            piece = answer.due if answer.generated else answer.due[:left]
            if not piece:
                continue
            left -= 0 if answer.generated else len(piece)
            start = len(answer.sequence.tokens)
            complete = len(piece) == len(answer.due)
            tokens += [Token(token, start + index, answer.sequence.number) for index, token in enumerate(piece)]
            if answer.sentence_end is not None and start <= answer.sentence_end < start + len(piece):
                at = len(tokens) - len(piece) + answer.sentence_end - start
                tokens[at] = replace(tokens[at], wanted=True)
                reading.append((answer, at))
            if complete:
                tokens[-1] = replace(tokens[-1], wanted=True)
                writing.append((answer, len(tokens) - 1))
            taken.append((answer, piece))
        if not tokens or not self._evaluated(tokens):
            return
        for answer, piece in taken:
            answer.sequence.tokens += piece
            answer.evaluated += len(piece)
        for answer, index in reading:
            self._read_end(answer, self._context.logits(index))
        for answer, index in writing:
            self._write(answer, self._context.logits(index))

    def _served(self) -> list[LlamaAnswer]:
        """Whose turn it is: guesses wait while anything final is being answered."""
        final = [one for one in self._answers if one.call.priority == Priority.FINAL]
        return final or self._answers

    def _evaluated(self, tokens: Sequence[Token]) -> bool:
        """Evaluate; where there is no room after all, give up the newest answer and try again in the next step."""
        try:
            self._context.evaluate(tokens)
        except NoRoom:
            self._sequences.forget_idle()
            newest = self._answers[-1]
            newest.call.fail(OutOfMemory("The language model has no room for this answer."))
            self._end(newest)
            return False
        return True

    def _write(self, answer: LlamaAnswer, logits: Logits) -> None:
        """Choose the next token and send what it adds."""
        token = self._choose(answer, logits)
        if token is None:
            self._finish(answer, "no-call")
            return
        if self._model.ends_turn(token):
            self._finish(answer, "stop")
            return
        answer.generated.append(token)
        answer.add(self._model.piece(token))
        if answer.is_call and answer.text.endswith(("}", "]")) and parse_calls(answer.text, answer.home):
            self._finish(answer, "stop")
        elif len(answer.generated) >= answer.most_tokens:
            self._finish(answer, "length")

    def _choose(self, answer: LlamaAnswer, logits: Logits) -> int | None:
        """The next token; None where a call would have to become another than the one that was meant."""
        if answer.grammar is not None and not answer.generated:
            return self._choice.first(answer.grammar, logits)
        return self._choice.next(answer.grammar, logits, calling=answer.is_call)

    def _read_end(self, answer: LlamaAnswer, logits: Logits) -> None:
        """Say how likely the sentence ends where it does, by what would come after its last word."""
        assert answer.sentence_end is not None
        probability = self._choice.probability_of_end(logits)
        answer.sequence.whole = answer.sentence_end, probability
        answer.tell_whole(probability)

    def _finish(self, answer: LlamaAnswer, why: str) -> None:
        answer.add(b"", final=True)
        if answer.is_call:
            calls = placed_as_said(parse_calls(answer.text, answer.home), answer.home, answer.request.text)
            intents = aimed_at(calls, answer.home, answer.request.area)
            why = why if intents else "no-call"
            if intents:
                answer.call.part({"intents": [asdict(one) for one in intents]})
        tokens = {"tokens": len(answer.generated), "prompt_tokens": len(answer.prompt)}
        answer.call.done({**tokens, "evaluated": answer.evaluated, "finish": why})
        self._end(answer)

    def _end(self, answer: LlamaAnswer) -> None:
        self._answers.remove(answer)
        self._release(answer)

    def _threads(self, path: Path) -> int:
        chosen = int(self._configuration.get("threads") or 0)
        if chosen > 0:
            return chosen
        return 1 if path.stat().st_size < _SMALL_MODEL_BYTES else max(1, min(8, (os.cpu_count() or 2) // 2))


def _request(data: Mapping[str, Any]) -> AnswerRequest | None:
    """The request out of the frame's data; None where it isn't one."""
    try:
        history = tuple(Exchange(str(one["user"]), str(one["assistant"])) for one in data.get("history") or ())
        return AnswerRequest(
            text=str(data["text"]),
            language=str(data.get("language") or ""),
            conversation=str(data.get("conversation") or ""),
            history=history,
            area=data.get("area") or None,
            now=str(data.get("now") or ""),
        )
    except (KeyError, TypeError):
        return None
