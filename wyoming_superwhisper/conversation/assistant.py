"""Who answers a sentence: the rules first, then the language model."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from wyoming_superwhisper import phrases
from wyoming_superwhisper.conversation.abilities import TOLD_BY_CLOCK, Abilities
from wyoming_superwhisper.conversation.answer import Answer, Intents, NotHandled, NotRecognized, Part
from wyoming_superwhisper.conversation.execution import Execution
from wyoming_superwhisper.conversation.executor import Executor, NobodyExecutes
from wyoming_superwhisper.conversation.guarded import guarded_target
from wyoming_superwhisper.conversation.history import Conversation, Conversations
from wyoming_superwhisper.conversation.said import Said, Understood
from wyoming_superwhisper.conversation.turn import Turn
from wyoming_superwhisper.engines.base import (
    AnswerRequest,
    IntentCall,
    IntentRecognizer,
    LanguageModel,
    Priority,
    RecognizeRequest,
)
from wyoming_superwhisper.errors import Busy, EngineLost, NoText, SuperwhisperError
from wyoming_superwhisper.home import Home
from wyoming_superwhisper.intents_text import language_of, normalise
from wyoming_superwhisper.timers import Timers

logger = logging.getLogger(__name__)

CONFIRM_S = 60.0
"""How long a yes to a question counts, in seconds: later it was meant for something else."""

IN_A_PLACE = frozenset({
    "HassTurnOn", "HassTurnOff", "HassToggle", "HassLightSet", "HassSetPosition", "HassStopMoving", "HassGetState",
    "HassClimateGetTemperature", "HassClimateSetTemperature", "HassFanSetSpeed", "HassVacuumStart",
    "HassVacuumReturnToBase", "HassMediaSearchAndPlay",
})  # fmt: skip
"""Intents that are often told a place."""
PLACES = frozenset({"area", "floor"})
"""The slots that name one."""

_GOES_ON = re.compile(r"(et|and|y)\b.*\b(aussi|également|too|as well|also|también)$")
"""What only makes sense after another command: "et dans la cuisine aussi"."""


class Assistant:
    """Understands and answers, for every client. One per server."""

    def __init__(
        self,
        intents: IntentRecognizer,
        llm: LanguageModel | None,
        home: Home,
        *,
        languages: Sequence[str] = ("fr", "en", "es"),
        default_language: str = "fr",
        guess_language: Callable[[str, Sequence[str], str], str] | None = None,
        forget_s: float = 300.0,
        executor: Executor | None = None,
        timers: Timers | None = None,
        conversations: Conversations | None = None,
        now: Callable[[], datetime] = datetime.now,
        llm_name: str = "",
    ) -> None:
        """`llm_name`: what to call the language model where a reply says who answered."""
        self.home = home
        self.timers = Timers() if timers is None else timers
        self.conversations = Conversations(forget_s) if conversations is None else conversations
        self._intents = intents
        self._llm = llm
        self._llm_name = llm_name
        self._languages = tuple(dict.fromkeys(language_of(tag) for tag in languages))
        self._default_language = language_of(default_language)
        self._guess_language = guess_language
        self._now = now
        self._abilities = Abilities(self.timers, now)
        self._execution = Execution(self._abilities, executor or NobodyExecutes())

    def use_home(self, home: Home) -> None:
        """Use these names of rooms and devices from now on."""
        self.home = home

    def language(self, said: Said) -> str:
        """The base code of the language of a sentence: of the request, else of the text, else the house's."""
        if said.language and said.language.lower() != "auto":
            return language_of(said.language)
        if self._guess_language is not None and self._languages:
            return self._guess_language(said.text, self._languages, self._default_language)
        return self._default_language

    def area(self, said: Said) -> str | None:
        """The id of the area that a sentence was said in, if it is known."""
        return self.home.area_of(said.area, *said.speakers, said.satellite)

    async def understand(
        self, said: Said, priority: Priority = Priority.GUESS, intents: IntentRecognizer | None = None
    ) -> Understood:
        """What the rules (`intents`, else its own) make of a sentence, with no effect at all."""
        language = self.language(said)
        if not _has_words(said.text):
            return Understood(language)
        previous = self.conversations.peek(said.conversation).last_intents if said.conversation else ()
        request = RecognizeRequest(said.text, said.language or language, self.area(said), previous)
        try:
            return Understood(language, tuple(await (intents or self._intents).recognize(request, priority)))
        except SuperwhisperError as error:
            logger.warning("Rules could not be asked: %s", error)
            return Understood(language, failed=error)

    async def respond(self, said: Said, understood: Understood | None = None) -> AsyncIterator[Part]:
        """Answer a sentence, in parts as they come. Close the iterator to drop the work.

        Raises what the engines raise only where no honest sentence can be said instead.
        """
        turn = self._turn(said, self.conversations.get(said.conversation))
        async with _closing(self._answer(turn, understood, self._llm)) as parts:
            async for part in parts:
                yield part

    async def rehearse(self, said: Said, understood: Understood, llm: LanguageModel | None) -> AsyncIterator[Part]:
        """What `respond` would say, as far as that can be known, with no effect at all; `llm` answers for its own."""
        async with _closing(self._answer(self._rehearsed(said), understood, llm)) as parts:
            async for part in parts:
                yield part

    def expected_words(self, part: Part) -> str:
        """What will be spoken of a part, also where its client says it; "" where nobody here can know."""
        if not isinstance(part, Intents):
            return part.text
        if len(part.calls) != 1:
            return ""
        [call] = part.calls
        return call.text or (self._abilities.tell(call) if call.name in TOLD_BY_CLOCK else "")

    def is_complete(self, said: Said, understood: Understood) -> bool:
        """Whether a sentence is a whole command by itself, as far as rules can tell."""
        turn = self._rehearsed(said)
        at_once = self._at_once(turn)
        if at_once is not None:
            return isinstance(at_once, Answer)
        return bool(understood.calls or self._confirmed(turn))

    def place_may_follow(self, understood: Understood) -> bool:
        """Whether one of the commands is about something in a room and names none: that could still be said."""
        return any(call.name in IN_A_PLACE and not PLACES & call.slots.keys() for call in understood.calls)

    def _rehearsed(self, said: Said) -> Turn:
        known = self.conversations.peek(said.conversation) if said.conversation else Conversation()
        copy = replace(known, exchanges=list(known.exchanges))
        return self._turn(said, copy, rehearsed=True)

    def _turn(self, said: Said, conversation: Conversation, rehearsed: bool = False) -> Turn:
        area = self.area(said)
        name = self.home.areas[area].name if area in self.home.areas else ""
        return Turn(said, self.language(said), area, name, conversation, rehearsed)

    async def _answer(
        self, turn: Turn, understood: Understood | None, llm: LanguageModel | None
    ) -> AsyncIterator[Part]:
        said = turn.said
        if (part := self._at_once(turn)) is not None:
            yield replace(part, by="assistant")
            return
        if understood is None:
            understood = await self.understand(said, Priority.FINAL)
        if isinstance(understood.failed, EngineLost):
            raise understood.failed  # a client must learn that its request died, and may ask again at once
        calls = self._confirmed(turn) or understood.calls
        by = f"llm:{self._llm_name}"
        if calls and not (self._chat(calls) and said.execute):
            parts, by = self._execution.act(turn, calls), "intent:" + "+".join(call.name for call in calls)
        elif llm is None or self._hangs_in_the_air(turn):
            parts, by = self._without_model(turn, understood), "assistant"
        else:
            parts = self._ask(turn, understood, llm)
        async with _closing(parts):
            async for part in parts:
                yield replace(part, by=by)

    # --- rules

    def _at_once(self, turn: Turn) -> Part | None:
        """What needs no engine: silence, stop, repeat, and a no to a question of ours."""
        words, conversation = normalise(turn.said.text, turn.language), turn.conversation
        if not _has_words(words):
            return NotRecognized(phrases.say("not_understood", turn.language))
        if phrases.is_said("stop", words, turn.language):
            conversation.to_confirm = ()
            return Answer(phrases.say("stopped", turn.language), action="stop")
        if phrases.is_said("repeat", words, turn.language):
            return Answer(conversation.last_reply or phrases.say("nothing_said", turn.language))
        if conversation.to_confirm and phrases.is_said("no", words, turn.language):
            conversation.to_confirm = ()
            return Answer(phrases.say("dropped", turn.language))
        return None

    def _hangs_in_the_air(self, turn: Turn) -> bool:
        """Whether a sentence goes on from one that was never said: a model would make something up."""
        words = turn.said.text.casefold().strip(" .!?")
        return not turn.conversation.exchanges and bool(_GOES_ON.match(words))

    def _confirmed(self, turn: Turn) -> tuple[IntentCall, ...]:
        """What was asked about and is now confirmed; anything but a yes drops the question."""
        calls = turn.conversation.take_asked(self.conversations.now())
        words = normalise(turn.said.text, turn.language)
        return calls if calls and phrases.is_said("yes", words, turn.language) else ()

    def _chat(self, calls: Sequence[IntentCall]) -> bool:
        """Whether this is small talk that a language model does better than a pack made for Home Assistant."""
        return self._llm is not None and all(call.name == "HassRespond" for call in calls)

    # --- language model

    async def _without_model(self, turn: Turn, understood: Understood) -> AsyncIterator[Part]:
        if understood.failed is not None:
            raise understood.failed
        yield NotRecognized(phrases.say("not_understood", turn.language))

    async def _ask(self, turn: Turn, understood: Understood, llm: LanguageModel) -> AsyncIterator[Part]:
        said, text = turn.said, ""
        request = AnswerRequest(
            text=said.text,
            language=turn.language,
            conversation=said.conversation,
            history=tuple(turn.conversation.exchanges),
            area=turn.area,
            now=self._now().isoformat(sep=" ", timespec="minutes"),
        )
        try:
            async with _closing(llm.answer(request)) as answer:
                async for part in answer:
                    if part.intents and not text:
                        async for done in self._chosen(turn, part.intents):
                            yield done
                        return
                    if part.text:
                        text += part.text
                        yield Answer(part.text)
        except EngineLost:
            raise  # a client must learn that its request died, and may ask again at once
        except NoText:  # nothing is left of it once the marks of chat are taken out
            yield NotRecognized(phrases.say("not_understood", turn.language))
            return
        except SuperwhisperError as error:
            logger.warning("The language model did not answer: %s", error)
            yield self._excuse(turn, understood, error, text)
            return
        if text.strip():
            turn.conversation.add(said.text, text)
        else:
            yield NotRecognized(phrases.say("not_understood", turn.language))

    async def _chosen(self, turn: Turn, chosen: tuple[IntentCall, ...]) -> AsyncIterator[Part]:
        """Act on what the model chose; what opens the house waits for a yes."""
        calls = await self._completed(turn, chosen)
        if target := guarded_target(calls, self.home):
            question = phrases.say("confirm", turn.language, target=target)
            turn.conversation.add(turn.said.text, question)
            if turn.said.conversation:  # else nothing ties a yes to this question
                turn.conversation.ask(calls, self.conversations.now() + CONFIRM_S)
            yield Answer(question)
            return
        async for part in self._execution.act(turn, calls):
            yield part

    async def _completed(self, turn: Turn, calls: tuple[IntentCall, ...]) -> tuple[IntentCall, ...]:
        try:
            return await self._intents.complete(calls, turn.language, turn.area)
        except SuperwhisperError as error:
            logger.warning("Replies could not be asked for: %s", error)
            return tuple(replace(call, text=call.text or phrases.say("done", turn.language)) for call in calls)

    def _excuse(self, turn: Turn, understood: Understood, error: SuperwhisperError, text: str) -> Part:
        if text:
            return Answer(" " + phrases.say("answer_broke_off", turn.language))
        if understood.failed is not None:
            return NotHandled(phrases.say("failed", turn.language))
        return NotHandled(phrases.say("busy" if isinstance(error, Busy) else "no_answer", turn.language))


def _has_words(text: str) -> bool:
    return any(char.isalnum() for char in text)


class _closing:  # noqa: N801  # reads as contextlib's own
    """`aclosing` for an iterator that may have nothing to close."""

    def __init__(self, iterator: AsyncIterator[Any]) -> None:
        self._iterator = iterator

    async def __aenter__(self) -> AsyncIterator[Any]:
        return self._iterator

    async def __aexit__(self, *_: object) -> None:
        close: Callable[[], Awaitable[None]] | None = getattr(self._iterator, "aclose", None)
        if close is not None:
            await close()
