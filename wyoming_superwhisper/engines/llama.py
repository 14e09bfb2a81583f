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

import codecs
import logging
import os
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from wyoming_superwhisper.engines.base import AnswerRequest, Call, Exchange, Priority
from wyoming_superwhisper.engines.card import check_card
from wyoming_superwhisper.engines.llama_native import Logits, NativeContext, NativeGrammar, NativeModel, NoRoom, Token
from wyoming_superwhisper.engines.llm_calls import aimed_at, is_call, parse_calls, placed_as_said
from wyoming_superwhisper.engines.llm_grammar import build_grammar
from wyoming_superwhisper.engines.llm_home import Home, home_from, plain_text
from wyoming_superwhisper.engines.llm_prompt import ChatTemplate, Segment, fitting_history, messages_for, system_text
from wyoming_superwhisper.errors import BadData, NoText, NotSupported, OutOfMemory

logger = logging.getLogger(__name__)

PIECE_TOKENS = 128
"""Tokens of prompts in one step at most: so long may a cancel take."""

_FIXED_SHARE = 0.6
"""Share of a sequence that the instructions and the home may take."""
_SMALL_MODEL_BYTES = 64 * 2**20
"""A model below this is slower on two threads than on one."""
_LIKELIEST = 40
"""Tokens that are sampled from where the temperature isn't 0."""
_CALL_CONFIDENCE = 0.75
"""A call is begun only if it is at least so likely: to act takes more certainty than to talk."""
_LEAST_PROBABILITY = 0.02
"""A call whose next word the grammar bent to something less likely than this is given up: it means something else."""
_MARKS = ".!?…"
"""What ends a sentence. Recognition writes one after half a sentence too, so it is looked at what comes before it."""


@dataclass(slots=True)
class _Sequence:
    """One sequence of the context and the tokens it holds, kept after an answer for the turn that comes after."""

    number: int
    tokens: list[int] = field(default_factory=list)
    whole: tuple[int, float] | None = None
    """How likely a sentence ends after the token at a position, where that was read."""
    used: int = 0
    busy: bool = False


@dataclass(slots=True)
class _Answer:
    """A call that is being answered."""

    call: Call
    request: AnswerRequest
    home: Home
    prompt: list[int]
    most_tokens: int
    sequence: _Sequence
    grammar: NativeGrammar | None
    sentence_end: int | None = None
    """The position of the sentence's last word, where it shall be said whether the sentence is whole."""
    reused: int = 0
    evaluated: int = 0
    generated: list[int] = field(default_factory=list)
    text: str = ""
    decoder: Any = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))

    @property
    def due(self) -> list[int]:
        """Tokens that are still to be evaluated before the next can be chosen."""
        return (self.prompt + self.generated)[len(self.sequence.tokens) :]

    @property
    def is_call(self) -> bool:
        """Whether it answers by a call, as far as can be said."""
        return is_call(self.text)


class LlamaEngine:
    """Answers what no rule understands; see `Engine` for the contract."""

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        self._configuration = configuration
        self.capacity = max(1, int(configuration.get("sequences", 4)))
        self._waiting: deque[Call] = deque()
        self._answers: list[_Answer] = []
        self._new_home: Call | None = None
        self._fixed: list[int] = []
        self._clock = 0
        self._random = np.random.default_rng(0)

    # --- the worker's side

    def load(self) -> Mapping[str, Any]:
        path = Path(self._configuration["model_file"])
        on_card = self._configuration.get("device") == "cuda"
        if on_card:
            check_card(str(self._configuration.get("gpu_uuid") or ""), "The language model")
        self._model = NativeModel(path, int(self._configuration.get("gpu_layers", -1)) if on_card else 0)
        cells = int(self._configuration.get("context", 8192))
        self._sequences = [_Sequence(number) for number in range(1, 2 * self.capacity + 1)]
        self._context = NativeContext(
            self._model, cells, PIECE_TOKENS + self.capacity, len(self._sequences) + 1, self._threads(path)
        )
        self._template = ChatTemplate(
            self._model.chat_template, self._model.special_text("bos"), self._model.special_text("eos")
        )
        self._use_home(home_from(self._configuration.get("home") or {}))
        return {
            "model": self._model.metadata("general.name") or path.stem,
            "sequences": self.capacity,
            "context": self._room + len(self._fixed),
            "fixed_tokens": len(self._fixed),
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
        """Evaluate the fixed part of the prompts once, what is new of it; sequences then begin with a copy of it."""
        self._home = home
        known = self._fixed
        self._grammar = build_grammar(home)
        longest = min(self._model.trained_context, self._context.cells)
        self._system, self._fixed = self._fixed_part(home, int(longest * _FIXED_SHARE))
        self._room = min(longest - len(self._fixed), (self._context.cells - len(self._fixed)) // self.capacity) - 1
        if self._fixed != known:  # a change may concern only what the prompt leaves out
            self._evaluate_fixed(_common(known, self._fixed))

    def _fixed_part(self, home: Home, most_tokens: int) -> tuple[str, list[int]]:
        """The system text and its tokens, the home shortened until they fit."""
        instructions = str(self._configuration.get("system_prompt") or "")
        chars = 20_000
        while True:
            system = system_text(home, instructions, chars)
            messages = [{"role": "system", "content": system}, {"role": "user", "content": "\ufffc"}]
            segments = self._template.segments(messages)
            tokens = self._tokens(segments[: segments.index(Segment("\ufffc", special=False))])
            if len(tokens) <= most_tokens or chars < 100:
                return system, tokens
            chars = int(min(chars, len(system)) * 0.8)

    def _evaluate_fixed(self, kept: int = 0) -> None:
        """`kept`: how many of its tokens are evaluated already."""
        if not kept:
            self._context.clear()
        for sequence in self._sequences:
            self._forget(sequence)
        self._context.cut(0, kept)
        tokens = [Token(token, position, 0) for position, token in enumerate(self._fixed)]
        for start in range(kept, len(tokens), PIECE_TOKENS):
            self._context.evaluate(tokens[start : start + PIECE_TOKENS])

    def _start_over(self) -> None:
        """After a fault: the worker fails all calls; nothing that was evaluated can be trusted."""
        for answer in self._answers:
            self._release(answer)
        self._answers.clear()
        self._waiting.clear()
        self._new_home = None
        self._evaluate_fixed()

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
        prompt = self._prompt(request, self._room - most_tokens)
        sequence = self._sequence_for(prompt)
        grammar = NativeGrammar(self._model, self._grammar)
        answer = _Answer(call, request, self._home, prompt, most_tokens, sequence, grammar)
        if call.priority == Priority.GUESS:
            answer.sentence_end = self._sentence_end(request, prompt)
        self._answers.append(answer)
        self._reuse(answer)
        self._make_room()

    def _prompt(self, request: AnswerRequest, room: int) -> list[int]:
        """The prompt's tokens; a long text is cut, then as much history is kept as there is room for."""
        text = self._shortened(plain_text(request.text), room // 2)
        request = replace(request, text=text)
        bare = self._chat_tokens(request, ())
        budget = min(int(self._configuration.get("history_tokens", 1024)), len(self._fixed) + room - len(bare))
        history = fitting_history(request.history, budget, lambda one: len(self._model.tokens(one)))
        while history:
            prompt = self._chat_tokens(request, history)
            if len(prompt) - len(self._fixed) <= room:
                return prompt
            history = history[1:]  # what the template writes around the turns took too much
        return bare

    def _sentence_end(self, request: AnswerRequest, prompt: Sequence[int]) -> int | None:
        """Where in the prompt the sentence's last word ends; None where it can't be told, as in a text that was cut."""
        content = self._model.tokens(messages_for(request, self._home, "")[-1]["content"])
        words = self._model.tokens(plain_text(request.text).rstrip(f"{_MARKS} "))
        if not words or content[: len(words)] != words:
            return None
        starts = range(len(prompt) - len(content), len(self._fixed) - 1, -1)
        start = next((one for one in starts if prompt[one : one + len(content)] == content), None)
        return None if start is None else start + len(words) - 1

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

    # --- sequences

    def _sequence_for(self, prompt: Sequence[int]) -> _Sequence:
        """A free sequence: the one that has most of the prompt already, else the one used longest ago."""
        free = [one for one in self._sequences if not one.busy]
        best = max(free, key=lambda one: (_common(one.tokens, prompt), -one.used))
        if _common(best.tokens, prompt) <= len(self._fixed):
            best = min(free, key=lambda one: (bool(one.tokens), one.used))
        return best

    def _reuse(self, answer: _Answer) -> None:
        """Keep of the sequence what the prompt has in common with it, at least the shared fixed part."""
        sequence, fixed = answer.sequence, len(self._fixed)
        sequence.busy = True
        common = min(_common(sequence.tokens, answer.prompt), len(answer.prompt) - 1)
        if sequence.whole is not None and sequence.whole[0] >= common:
            sequence.whole = None
        if (end := answer.sentence_end) is not None:
            if sequence.whole is not None and sequence.whole[0] == end:
                self._tell_whole(answer, sequence.whole[1])
            else:
                common = min(common, end)  # what follows the sentence's last word is to be read there
        if common > fixed:
            self._context.cut(sequence.number, common)
        else:
            common = min(fixed, _common(self._fixed, answer.prompt))
            self._context.share(0, sequence.number, common)
        sequence.tokens = answer.prompt[:common]
        answer.reused = common

    def _make_room(self) -> None:
        """Forget idle sequences, the longest unused first, until all that is being answered has its cells for sure."""
        fixed = len(self._fixed)
        wanted = sum(len(one.prompt) - fixed + one.most_tokens for one in self._answers)
        idle = sorted((one for one in self._sequences if not one.busy and one.tokens), key=lambda one: one.used)
        while idle and fixed + wanted + sum(len(one.tokens) - fixed for one in idle) > self._context.cells:
            self._forget(idle.pop(0))

    def _forget(self, sequence: _Sequence) -> None:
        self._context.cut(sequence.number, 0)
        sequence.tokens = []

    def _release(self, answer: _Answer) -> None:
        """The call is over; what its sequence holds stays for the next turn."""
        self._clock += 1
        answer.sequence.used, answer.sequence.busy = self._clock, False
        if answer.grammar is not None:
            answer.grammar.close()

    # --- answering

    def _drop_cancelled(self) -> None:
        for call in [one for one in self._waiting if one.cancelled]:
            self._waiting.remove(call)
        for answer in [one for one in self._answers if one.call.cancelled]:
            self._end(answer)

    def _advance(self) -> None:
        """One evaluation: a token for each answer that is being written, and a piece of those prompts that wait."""
        tokens: list[Token] = []
        reading: list[tuple[_Answer, int]] = []
        writing: list[tuple[_Answer, int]] = []
        taken: list[tuple[_Answer, list[int]]] = []
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
            self._tell_whole(answer, self._probability_of_end(self._context.logits(index)))
        for answer, index in writing:
            self._write(answer, self._context.logits(index))

    def _served(self) -> list[_Answer]:
        """Whose turn it is: guesses wait while anything final is being answered."""
        final = [one for one in self._answers if one.call.priority == Priority.FINAL]
        return final or self._answers

    def _evaluated(self, tokens: Sequence[Token]) -> bool:
        """Evaluate; where there is no room after all, give up the newest answer and try again in the next step."""
        try:
            self._context.evaluate(tokens)
        except NoRoom:
            for sequence in self._sequences:
                if not sequence.busy:
                    self._forget(sequence)
            newest = self._answers[-1]
            newest.call.fail(OutOfMemory("The language model has no room for this answer."))
            self._end(newest)
            return False
        return True

    def _write(self, answer: _Answer, logits: Logits) -> None:
        """Choose the next token and send what it adds."""
        token = self._choose(answer, logits)
        if token is None:
            self._finish(answer, "no-call")
            return
        if self._model.ends_turn(token):
            self._finish(answer, "stop")
            return
        answer.generated.append(token)
        self._add_text(answer, self._model.piece(token))
        if answer.is_call and answer.text.endswith(("}", "]")) and parse_calls(answer.text, answer.home):
            self._finish(answer, "stop")
        elif len(answer.generated) >= answer.most_tokens:
            self._finish(answer, "length")

    def _choose(self, answer: _Answer, logits: Logits) -> int | None:
        """The next token; None where a call would have to become another than the one that was meant."""
        token = self._sampled(logits)
        grammar = answer.grammar
        if grammar is None:
            return token
        if not answer.generated and self._is_doubtful_call(token, logits):
            logits = self._without_calls(logits)
            token = int(logits.argmax())
        if not grammar.admits(token):
            token = grammar.best(logits)
            if answer.is_call and _probability(logits, token) < _LEAST_PROBABILITY:
                return None
        grammar.accept(token)
        return token

    def _tell_whole(self, answer: _Answer, probability: float) -> None:
        assert answer.sentence_end is not None
        answer.sequence.whole = answer.sentence_end, probability
        answer.call.part({"whole": probability})

    def _probability_of_end(self, logits: Logits) -> float:
        """How likely a sentence ends after a word, by a mark or without one."""
        likeliest = np.argpartition(logits, -_LIKELIEST)[-_LIKELIEST:]
        ends = [token for token in likeliest if self._ends_sentence(int(token))]
        highest = logits.max()
        return float(np.exp(logits[ends] - highest).sum() / np.exp(logits - highest).sum())

    def _ends_sentence(self, token: int) -> bool:
        return self._model.ends_turn(token) or self._text_of(token).lstrip(" ")[:1] in {*_MARKS, "\n"}

    def _is_doubtful_call(self, token: int, logits: Logits) -> bool:
        return is_call(self._text_of(token)) and _probability(logits, token) < _CALL_CONFIDENCE

    def _without_calls(self, logits: Logits) -> Logits:
        """The logits of the likeliest tokens with which an answer begins that is no call."""
        kept = np.full_like(logits, -np.inf)
        talk = [one for one in np.argsort(logits)[-_LIKELIEST:] if not is_call(self._text_of(int(one)))]
        kept[talk] = logits[talk]
        return kept

    def _text_of(self, token: int) -> str:
        return self._model.piece(token).decode("utf-8", "replace")

    def _sampled(self, logits: Logits) -> int:
        temperature = float(self._configuration.get("temperature") or 0.0)
        if temperature <= 0:
            return int(logits.argmax())
        likeliest = np.argsort(logits)[-_LIKELIEST:]
        weights = np.exp((logits[likeliest] - logits[likeliest].max()) / temperature)
        return int(self._random.choice(likeliest, p=weights / weights.sum()))

    def _add_text(self, answer: _Answer, piece: bytes, final: bool = False) -> None:
        """Send free text as it comes; keep a call until it is whole."""
        fresh = answer.decoder.decode(piece, final)
        if not answer.text:
            fresh = fresh.lstrip()
        answer.text += fresh
        if answer.text and not answer.is_call:
            if answer.grammar is not None:
                answer.grammar.close()  # free text may go on as it likes
                answer.grammar = None
            if fresh:
                answer.call.part({"text": fresh})

    def _finish(self, answer: _Answer, why: str) -> None:
        self._add_text(answer, b"", final=True)
        if answer.is_call:
            calls = placed_as_said(parse_calls(answer.text, answer.home), answer.home, answer.request.text)
            intents = aimed_at(calls, answer.home, answer.request.area)
            why = why if intents else "no-call"
            if intents:
                answer.call.part({"intents": [asdict(one) for one in intents]})
        tokens = {"tokens": len(answer.generated), "prompt_tokens": len(answer.prompt)}
        answer.call.done({**tokens, "evaluated": answer.evaluated, "finish": why})
        self._end(answer)

    def _end(self, answer: _Answer) -> None:
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


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences have in common at their beginnings."""
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return length


def _probability(logits: Logits, token: int) -> float:
    highest = logits.max()
    return float(np.exp(logits[token] - highest) / np.exp(logits - highest).sum())
