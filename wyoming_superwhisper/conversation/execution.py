"""Who executes what was understood, and what is said of it. Decided here and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

from wyoming_superwhisper import phrases
from wyoming_superwhisper.conversation.abilities import TOLD_BY_CLOCK, WITHOUT_EFFECT, Abilities, CannotDo, reply
from wyoming_superwhisper.conversation.answer import Answer, Intents, NotHandled, Part
from wyoming_superwhisper.conversation.executor import Executed, Executor, NobodyExecutes
from wyoming_superwhisper.conversation.turn import Turn
from wyoming_superwhisper.engines.base import IntentCall

QUESTIONS = ("HassGet", "HassClimateGet", "HassTimerStatus")
"""How the names of intents begin that only ask."""


class Execution:
    """Gives intents to whom they belong: to the client, to what this server can do itself, or to the executor."""

    def __init__(self, abilities: Abilities, executor: Executor) -> None:
        self._abilities = abilities
        self._executor = executor

    async def act(self, turn: Turn, calls: tuple[IntentCall, ...]) -> AsyncIterator[Part]:
        """Intents for a client that executes them itself, else what came of each."""
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

    def _for_older(self, turn: Turn, calls: tuple[IntentCall, ...]) -> tuple[IntentCall, ...]:
        """The first, with a text that needs no rendering; "" where only Home Assistant knows the answer."""
        call, *rest = calls
        text = call.text
        if not text and call.template and call.name in TOLD_BY_CLOCK:
            text = self._abilities.tell(call)
        if not text and not call.name.startswith(QUESTIONS):
            text = phrases.say("done", turn.language)
        if text and rest:
            text = _sentences((text, phrases.say("only_first", turn.language)))
        return (replace(call, text=text, template=""),)

    async def _asked_in_vain(self, turn: Turn, call: IntentCall) -> AsyncIterator[Part]:
        """A question whose answer an older Home Assistant would not put into words: asked by ourselves where we can."""
        timers = call.name == "HassTimerStatus"  # those of a device in Home Assistant: by itself it tells nobody
        if timers or isinstance(self._executor, NobodyExecutes):
            yield NotHandled(phrases.say("state_unknown", turn.language))
        elif not turn.rehearsed:
            result = await self._executor.execute(call, turn.said, turn.language, turn.area)
            turn.conversation.add(turn.said.text, result.text, (call,))
            yield Answer(result.text) if result.done else NotHandled(result.text)

    async def _execute(self, call: IntentCall, turn: Turn) -> Executed:
        mine = self._abilities.covers(call)
        if turn.rehearsed and not (mine and call.name in WITHOUT_EFFECT):
            return await self._expect(call, turn, mine=mine)
        if not mine:
            return await self._executor.execute(call, turn.said, turn.language, turn.area)
        try:
            return Executed(self._abilities.do(call, turn), True)
        except CannotDo as error:
            return Executed(phrases.say(error.phrase, turn.language), False)

    async def _expect(self, call: IntentCall, turn: Turn, *, mine: bool) -> Executed:
        """What will most likely come of it; nothing is done."""
        if not mine and isinstance(self._executor, NobodyExecutes):
            return await self._executor.execute(call, turn.said, turn.language, turn.area)
        return Executed(reply(call) if mine else call.text, True)


def _sentences(texts: Iterable[str]) -> str:
    """Several replies as one text."""
    found = [text.strip() for text in texts if text.strip()]
    if len(found) < 2:
        return "".join(found)
    return " ".join(text if text[-1] in ".!?…" else f"{text}." for text in found)
