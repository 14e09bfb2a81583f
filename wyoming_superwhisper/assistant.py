"""The conversation: what was said becomes intents, an answer, or the honest word that it was not understood.

Rules first, then the language model. Who executes is decided here and nowhere else: a client such as Home Assistant
gets every matched intent back and nothing is done; for a satellite that this server drives, what the server can do
itself is done, and the rest goes to an `Executor`, which says so when it can't.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, Protocol

from wyoming_superwhisper import phrases, replies
from wyoming_superwhisper.conversation import Conversation, Conversations
from wyoming_superwhisper.engines.base import (
    AnswerRequest,
    IntentCall,
    IntentRecognizer,
    LanguageModel,
    Priority,
    RecognizeRequest,
)
from wyoming_superwhisper.errors import Busy, EngineLost, NoText, SuperwhisperError
from wyoming_superwhisper.guarded import guarded_target
from wyoming_superwhisper.home import Home
from wyoming_superwhisper.intents_text import language_of, normalise
from wyoming_superwhisper.timers import NoSuchTimer, SeveralTimers, Timer, Timers, TooManyTimers

logger = logging.getLogger(__name__)

CONFIRM_S = 60.0
"""How long a yes to a question counts, in seconds: later it was meant for something else."""


# --- what comes in ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence, and what is known of who said it."""

    text: str
    language: str | None = None
    """Language tag of the request; None: found from the text."""
    conversation: str = ""
    """Conversation id; "": nothing is remembered."""
    speakers: tuple[str, ...] = ()
    """Satellite id, device id, satellite name: what tells the room, the best first."""
    area: str | None = None
    """Id or name of the area, where the request says it."""
    execute: bool = False
    """True for satellites that this server drives, `run-pipeline` and `ask`; False for any other client."""
    older: bool = False
    """An older Home Assistant asks: it executes the first of several intents, and speaks an intent's text as it is."""
    satellite: str = ""
    """Whose timers these are; "": the first of `speakers`."""

    @property
    def owner(self) -> str:
        """The satellite that timers belong to."""
        return self.satellite or next((name for name in self.speakers if name), "") or self.conversation


@dataclass(frozen=True, slots=True)
class Understood:
    """What the rules make of a sentence. Nothing has happened yet: a guess may be thrown away."""

    language: str
    calls: tuple[IntentCall, ...] = ()
    failed: SuperwhisperError | None = None
    """Why the rules could not be asked."""


# --- what comes out --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Intents:
    """Intents for the client to execute. Nothing was done here."""

    calls: tuple[IntentCall, ...]
    by: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """A piece of an answer that is handled; the pieces together are the whole text."""

    text: str
    action: Literal["", "stop"] = ""
    """What a satellite should do besides speaking: "stop" ends playback and ringing."""
    by: str = field(default="", compare=False)
    """Who answered: "assistant", "intent:NAME" or "llm:MODEL"."""


@dataclass(frozen=True, slots=True)
class NotHandled:
    """Understood, but not done; the text says why."""

    text: str
    by: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class NotRecognized:
    """Not understood."""

    text: str
    by: str = field(default="", compare=False)


Part = Intents | Answer | NotHandled | NotRecognized
"""One of: a single `Intents`; one or more `Answer`; a single `NotHandled`; a single `NotRecognized`."""


# --- who does what we can't ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Executed:
    """What became of an intent."""

    text: str
    """What to say of it."""
    done: bool


class Executor(Protocol):
    """Executes the intents of satellites that we drive and that we can't execute ourselves."""

    async def execute(self, call: IntentCall, said: Said, language: str, area: str | None) -> Executed:
        """Execute one intent. Says honestly what came of it; raises nothing but cancellation."""


class NobodyExecutes:
    """There is no Home Assistant: nothing is done, and that is said."""

    async def execute(self, call: IntentCall, said: Said, language: str, area: str | None) -> Executed:
        target = str(call.slots.get("name") or call.slots.get("area") or call.slots.get("floor") or "")
        if not target or "." in target:  # an id stands for a name that several devices have
            target = phrases.say("your_devices", language)
        return Executed(phrases.say("unreachable", language, target=target), False)


class WithoutRules:
    """Where understanding by rules is switched off: nothing is recognised, the packs still reply to a model's calls."""

    def __init__(self, rules: IntentRecognizer) -> None:
        self._rules = rules

    @property
    def languages(self) -> Sequence[str]:
        return self._rules.languages

    async def recognize(self, request: RecognizeRequest, priority: Priority = Priority.FINAL) -> tuple[IntentCall, ...]:
        return ()

    async def complete(
        self, calls: Sequence[IntentCall], language: str, area: str | None = None
    ) -> tuple[IntentCall, ...]:
        return await self._rules.complete(calls, language, area)


# --- the assistant ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Turn:
    """One sentence on its way to its answer."""

    said: Said
    language: str
    area: str | None
    conversation: Conversation
    rehearsed: bool = False
    """It may never be said: nothing is done, nothing is remembered."""
    spoken: list[str] = field(default_factory=list)


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
        self._executor = executor or NobodyExecutes()
        self._now = now
        self._own: dict[str, Callable[[IntentCall, _Turn], str]] = {
            "HassCancelAllTimers": self._cancel_all_timers,
            "HassCancelTimer": self._cancel_timer,
            "HassDecreaseTimer": self._decrease_timer,
            "HassGetCurrentDate": self._date,
            "HassGetCurrentTime": self._time,
            "HassIncreaseTimer": self._increase_timer,
            "HassNevermind": self._nevermind,
            "HassPauseTimer": self._pause_timer,
            "HassRespond": self._nevermind,
            "HassStartTimer": self._start_timer,
            "HassTimerStatus": self._timer_status,
            "HassUnpauseTimer": self._unpause_timer,
        }

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
        turn = _Turn(said, self.language(said), self.area(said), self.conversations.get(said.conversation))
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
        if call.name == "HassGetCurrentTime":
            return call.text or _say(call, time=self._now().time())
        if call.name == "HassGetCurrentDate":
            return call.text or _say(call, date=self._now().date())
        return call.text

    def is_complete(self, said: Said, understood: Understood) -> bool:
        """Whether a sentence is a whole command by itself, as far as rules can tell."""
        turn = self._rehearsed(said)
        at_once = self._at_once(turn)
        if at_once is not None:
            return isinstance(at_once, Answer)
        return bool(understood.calls or self._confirmed(turn))

    def _rehearsed(self, said: Said) -> _Turn:
        known = self.conversations.peek(said.conversation) if said.conversation else Conversation()
        copy = replace(known, exchanges=list(known.exchanges))
        return _Turn(said, self.language(said), self.area(said), copy, rehearsed=True)

    async def _answer(
        self, turn: _Turn, understood: Understood | None, llm: LanguageModel | None
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
            parts, by = self._act(turn, calls), "intent:" + "+".join(call.name for call in calls)
        elif llm is None or self._hangs_in_the_air(turn):
            parts, by = self._without_model(turn, understood), "assistant"
        else:
            parts = self._ask(turn, understood, llm)
        async with _closing(parts):
            async for part in parts:
                yield replace(part, by=by)

    # --- rules

    def _at_once(self, turn: _Turn) -> Part | None:
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

    def _hangs_in_the_air(self, turn: _Turn) -> bool:
        """Whether a sentence goes on from one that was never said: a model would make something up."""
        words = turn.said.text.casefold().strip(" .!?")
        return not turn.conversation.exchanges and bool(_GOES_ON.match(words))

    def _confirmed(self, turn: _Turn) -> tuple[IntentCall, ...]:
        """What was asked about and is now confirmed; anything but a yes drops the question."""
        calls = turn.conversation.take_asked(self.conversations.now())
        words = normalise(turn.said.text, turn.language)
        return calls if calls and phrases.is_said("yes", words, turn.language) else ()

    def _chat(self, calls: Sequence[IntentCall]) -> bool:
        """Whether this is small talk that a language model does better than a pack made for Home Assistant."""
        return self._llm is not None and all(call.name == "HassRespond" for call in calls)

    async def _act(self, turn: _Turn, calls: tuple[IntentCall, ...]) -> AsyncIterator[Part]:
        if not turn.said.execute:
            if turn.said.older:
                asked, calls = calls[0], self._for_older(turn, calls)
                if not calls[0].text:
                    async for part in self._asked_in_vain(turn, asked):
                        yield part
                    return
            turn.conversation.add(turn.said.text, _sentences(call.text for call in calls), calls)
            yield Intents(calls)
            return
        results = [await self._execute(call, turn) for call in calls]
        text = _sentences(result.text for result in results)
        turn.conversation.add(turn.said.text, text, calls)
        yield Answer(text) if all(result.done for result in results) else NotHandled(text)

    def _for_older(self, turn: _Turn, calls: tuple[IntentCall, ...]) -> tuple[IntentCall, ...]:
        """The first, with a text that needs no rendering; "" where only Home Assistant knows the answer."""
        call, *rest = calls
        text = call.text
        if not text and call.template and call.name in _TOLD_BY_CLOCK:
            text = self._own[call.name](call, turn)
        if not text and not call.name.startswith(_QUESTIONS):
            text = phrases.say("done", turn.language)
        if text and rest:
            text = _sentences((text, phrases.say("only_first", turn.language)))
        return (replace(call, text=text, template=""),)

    async def _asked_in_vain(self, turn: _Turn, call: IntentCall) -> AsyncIterator[Part]:
        """A question whose answer an older Home Assistant would not put into words: asked by ourselves where we can."""
        timers = call.name == "HassTimerStatus"  # those of a device in Home Assistant: by itself it tells nobody
        if timers or isinstance(self._executor, NobodyExecutes):
            yield NotHandled(phrases.say("state_unknown", turn.language))
        elif not turn.rehearsed:
            result = await self._executor.execute(call, turn.said, turn.language, turn.area)
            turn.conversation.add(turn.said.text, result.text, (call,))
            yield Answer(result.text) if result.done else NotHandled(result.text)

    async def _execute(self, call: IntentCall, turn: _Turn) -> Executed:
        own = None if "conversation_command" in call.slots else self._own.get(call.name)
        if turn.rehearsed and (own is None or call.name not in _WITHOUT_EFFECT):
            return await self._expect(call, turn, mine=own is not None)
        if own is None:
            return await self._executor.execute(call, turn.said, turn.language, turn.area)
        try:
            return Executed(own(call, turn), True)
        except _CANNOT as error:
            key = next(key for kind, key in _WHY_NOT.items() if isinstance(error, kind))
            return Executed(phrases.say(key, turn.language), False)

    async def _expect(self, call: IntentCall, turn: _Turn, *, mine: bool) -> Executed:
        """What will most likely come of it; nothing is done."""
        if not mine and isinstance(self._executor, NobodyExecutes):
            return await self._executor.execute(call, turn.said, turn.language, turn.area)
        return Executed(_say(call) if mine else call.text, True)

    # --- language model

    async def _without_model(self, turn: _Turn, understood: Understood) -> AsyncIterator[Part]:
        if understood.failed is not None:
            raise understood.failed
        yield NotRecognized(phrases.say("not_understood", turn.language))

    async def _ask(self, turn: _Turn, understood: Understood, llm: LanguageModel) -> AsyncIterator[Part]:
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

    async def _chosen(self, turn: _Turn, chosen: tuple[IntentCall, ...]) -> AsyncIterator[Part]:
        """Act on what the model chose; what opens the house waits for a yes."""
        calls = await self._completed(turn, chosen)
        if target := guarded_target(calls, self.home):
            question = phrases.say("confirm", turn.language, target=target)
            turn.conversation.add(turn.said.text, question)
            if turn.said.conversation:  # else nothing ties a yes to this question
                turn.conversation.ask(calls, self.conversations.now() + CONFIRM_S)
            yield Answer(question)
            return
        async for part in self._act(turn, calls):
            yield part

    async def _completed(self, turn: _Turn, calls: tuple[IntentCall, ...]) -> tuple[IntentCall, ...]:
        try:
            return await self._intents.complete(calls, turn.language, turn.area)
        except SuperwhisperError as error:
            logger.warning("Replies could not be asked for: %s", error)
            return tuple(replace(call, text=call.text or phrases.say("done", turn.language)) for call in calls)

    def _excuse(self, turn: _Turn, understood: Understood, error: SuperwhisperError, text: str) -> Part:
        if text:
            return Answer(" " + phrases.say("answer_broke_off", turn.language))
        if understood.failed is not None:
            return NotHandled(phrases.say("failed", turn.language))
        return NotHandled(phrases.say("busy" if isinstance(error, Busy) else "no_answer", turn.language))

    # --- what we can do ourselves; each returns what to say

    def _time(self, call: IntentCall, turn: _Turn) -> str:
        return _say(call, time=self._now().time())

    def _date(self, call: IntentCall, turn: _Turn) -> str:
        return _say(call, date=self._now().date())

    def _nevermind(self, call: IntentCall, turn: _Turn) -> str:
        return _say(call)

    def _start_timer(self, call: IntentCall, turn: _Turn) -> str:
        area = self.home.areas[turn.area].name if turn.area in self.home.areas else ""
        self.timers.start(turn.said.owner, call.slots, turn.language, area)
        return _say(call)

    def _cancel_timer(self, call: IntentCall, turn: _Turn) -> str:
        self.timers.cancel(self._timer(call, turn))
        return _say(call)

    def _cancel_all_timers(self, call: IntentCall, turn: _Turn) -> str:
        return _say(call, canceled=self.timers.cancel_all(turn.said.owner, call.slots))

    def _increase_timer(self, call: IntentCall, turn: _Turn) -> str:
        self.timers.add(self._timer(call, turn), call.slots)
        return _say(call)

    def _decrease_timer(self, call: IntentCall, turn: _Turn) -> str:
        self.timers.add(self._timer(call, turn), call.slots, sign=-1)
        return _say(call)

    def _pause_timer(self, call: IntentCall, turn: _Turn) -> str:
        self.timers.pause(self._timer(call, turn, active=True))
        return _say(call)

    def _unpause_timer(self, call: IntentCall, turn: _Turn) -> str:
        self.timers.unpause(self._timer(call, turn, active=False))
        return _say(call)

    def _timer_status(self, call: IntentCall, turn: _Turn) -> str:
        return _say(call, timers=self.timers.status(self.timers.matching(turn.said.owner, call.slots)))

    def _timer(self, call: IntentCall, turn: _Turn, active: bool | None = None) -> Timer:
        return self.timers.find(turn.said.owner, call.slots, active)


_WHY_NOT: dict[type[Exception], str] = {
    NoSuchTimer: "timer_not_found",
    SeveralTimers: "multiple_timers",
    TooManyTimers: "too_many_timers",
    ValueError: "no_time_given",
}
_CANNOT = tuple(_WHY_NOT)

_WITHOUT_EFFECT = frozenset(
    {"HassGetCurrentDate", "HassGetCurrentTime", "HassNevermind", "HassRespond", "HassTimerStatus"}
)
"""What is done here and changes nothing: a rehearsal may do it too."""

_TOLD_BY_CLOCK = frozenset({"HassGetCurrentDate", "HassGetCurrentTime"})

_QUESTIONS = ("HassGet", "HassClimateGet", "HassTimerStatus")
"""How the names of intents begin that only ask."""

_GOES_ON = re.compile(r"(et|and|y)\b.*\b(aussi|également|too|as well|also|también)$")
"""What only makes sense after another command: "et dans la cuisine aussi"."""


def _say(call: IntentCall, **known: Any) -> str:
    """The pack's reply, completed with what was found out here."""
    if not call.template:
        return call.text
    return replies.render(call.template, {**call.slots, **known}) or ""


def _sentences(texts: Any) -> str:
    """Several replies as one text."""
    found = [text.strip() for text in texts if text.strip()]
    if len(found) < 2:
        return "".join(found)
    return " ".join(text if text[-1] in ".!?…" else f"{text}." for text in found)


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
