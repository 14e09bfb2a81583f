"""Engines that know what was made ahead: a request that was guessed finds its answer, any other is asked as ever.

Each has two sides. The engine itself serves requests, and looks on the shelf first. `ahead(owner)` is the same engine
for somebody who rehearses a turn: what it answers goes on the shelf too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from wyoming_superwhisper.engines.base import (
    AnswerPart,
    AnswerRequest,
    IntentCall,
    IntentRecognizer,
    LanguageModel,
    Priority,
    RecognizeRequest,
    SpeakRequest,
    Speech,
    SpeechSynthesizer,
    VoiceInfo,
)
from wyoming_superwhisper.pipeline.ahead import Guess, Owner, Shelf, at_once, promotion


class PreparedIntents:
    """Intents, of which some were recognised ahead."""

    def __init__(self, intents: IntentRecognizer, shelf: Shelf) -> None:
        self._intents = intents
        self._shelf = shelf

    @property
    def languages(self) -> Sequence[str]:
        return self._intents.languages

    def ahead(self, owner: Owner) -> IntentRecognizer:
        """For a rehearsal."""
        return _IntentsAhead(self._intents, self._shelf, owner)

    async def recognize(self, request: RecognizeRequest, priority: Priority = Priority.FINAL) -> tuple[IntentCall, ...]:
        guess: Guess[tuple[IntentCall, ...]] | None = self._shelf.claim(_intents_key(request))
        if guess is None:
            return await self._intents.recognize(request, priority)
        try:
            return await guess.only()
        finally:
            guess.drop()

    async def complete(
        self, calls: Sequence[IntentCall], language: str, area: str | None = None
    ) -> tuple[IntentCall, ...]:
        return await self._intents.complete(calls, language, area)


class _IntentsAhead:
    """The rehearsal's side of `PreparedIntents`."""

    def __init__(self, intents: IntentRecognizer, shelf: Shelf, owner: Owner) -> None:
        self._intents = intents
        self._shelf = shelf
        self._owner = owner

    @property
    def languages(self) -> Sequence[str]:
        return self._intents.languages

    async def recognize(self, request: RecognizeRequest, priority: Priority = Priority.GUESS) -> tuple[IntentCall, ...]:
        key = _intents_key(request)
        guess: Guess[tuple[IntentCall, ...]] | None = self._shelf.adopt(key, self._owner)
        if guess is None:
            answer = at_once(self._intents.recognize(request, Priority.GUESS))
            guess = Guess("intents", answer, promotion(self._intents, request))
            self._shelf.put(key, guess, self._owner)
        return await guess.only()

    async def complete(
        self, calls: Sequence[IntentCall], language: str, area: str | None = None
    ) -> tuple[IntentCall, ...]:
        return await self._intents.complete(calls, language, area)


class PreparedLanguageModel:
    """A language model, some of whose answers were begun ahead."""

    def __init__(self, llm: LanguageModel, shelf: Shelf) -> None:
        self._llm = llm
        self._shelf = shelf

    def ahead(self, owner: Owner) -> LanguageModel:
        """For a rehearsal."""
        return _LanguageModelAhead(self._llm, self._shelf, owner)

    async def answer(self, request: AnswerRequest, priority: Priority = Priority.FINAL) -> AsyncIterator[AnswerPart]:
        guess: Guess[AnswerPart] | None = self._shelf.claim(_answer_key(request))
        try:
            answer = self._llm.answer(request, priority) if guess is None else guess.parts()
            async with aclosing(answer) as parts:  # type: ignore[type-var]
                async for part in parts:
                    yield part
        finally:
            if guess is not None:
                guess.drop()


class _LanguageModelAhead:
    """The rehearsal's side of `PreparedLanguageModel`."""

    def __init__(self, llm: LanguageModel, shelf: Shelf, owner: Owner) -> None:
        self._llm = llm
        self._shelf = shelf
        self._owner = owner

    async def answer(self, request: AnswerRequest, priority: Priority = Priority.GUESS) -> AsyncIterator[AnswerPart]:
        key = _answer_key(request)
        guess: Guess[AnswerPart] | None = self._shelf.adopt(key, self._owner)
        if guess is None:
            guess = Guess("llm", self._llm.answer(request, Priority.GUESS), promotion(self._llm, request))
            self._shelf.put(key, guess, self._owner)
        async with aclosing(guess.parts()) as parts:
            async for part in parts:
                yield part


class PreparedSynthesizer:
    """Speech, some of which was made ahead."""

    def __init__(self, synthesizer: SpeechSynthesizer, shelf: Shelf) -> None:
        self._synthesizer = synthesizer
        self._shelf = shelf

    @property
    def voices(self) -> Sequence[VoiceInfo]:
        return self._synthesizer.voices

    def ahead(self, owner: Owner) -> SpeechSynthesizer:
        """For a rehearsal."""
        return _SynthesizerAhead(self._synthesizer, self._shelf, owner)

    async def speak(self, request: SpeakRequest, priority: Priority = Priority.FINAL) -> Speech:
        guess: Guess[Speech] | None = self._shelf.claim(_speech_key(request))
        if guess is None:
            return await self._synthesizer.speak(request, priority)
        try:
            return await guess.only()
        finally:
            guess.drop()


class _SynthesizerAhead:
    """The rehearsal's side of `PreparedSynthesizer`."""

    def __init__(self, synthesizer: SpeechSynthesizer, shelf: Shelf, owner: Owner) -> None:
        self._synthesizer = synthesizer
        self._shelf = shelf
        self._owner = owner

    @property
    def voices(self) -> Sequence[VoiceInfo]:
        return self._synthesizer.voices

    async def speak(self, request: SpeakRequest, priority: Priority = Priority.GUESS) -> Speech:
        key = _speech_key(request)
        guess: Guess[Speech] | None = self._shelf.adopt(key, self._owner)
        if guess is None:
            answer = at_once(self._synthesizer.speak(request, Priority.GUESS))
            guess = Guess("tts", answer, promotion(self._synthesizer, request))
            self._shelf.put(key, guess, self._owner)
        return await guess.only()


@dataclass(frozen=True)
class Prepared:
    """The engines with their shelf; `llm` is None where there is no language model."""

    shelf: Shelf
    intents: PreparedIntents
    llm: PreparedLanguageModel | None
    synthesizer: PreparedSynthesizer

    @classmethod
    def of(
        cls, shelf: Shelf, intents: IntentRecognizer, llm: LanguageModel | None, synthesizer: SpeechSynthesizer
    ) -> Prepared:
        """These engines, with this shelf in front of them."""
        return cls(
            shelf,
            PreparedIntents(intents, shelf),
            None if llm is None else PreparedLanguageModel(llm, shelf),
            PreparedSynthesizer(synthesizer, shelf),
        )


def _intents_key(request: RecognizeRequest) -> Hashable:
    return "intents", repr(request)  # slots are mappings, which have no hash


def _answer_key(request: AnswerRequest) -> Hashable:
    """An answer depends on everything but the name of the conversation, which only finds its cached sequence,
    and the clock: what was answered in the last seconds of a minute is as good in the first ones of the next.
    """
    return "llm", replace(request, conversation="", now="")


def _speech_key(request: SpeakRequest) -> Hashable:
    """A sound depends on everything but who asked."""
    return "tts", replace(request, client="")
