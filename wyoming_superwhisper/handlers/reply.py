"""The assistant's reply as events: intents, or an answer that is streamed as it is written."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from wyoming.event import Event
from wyoming.handle import Handled, HandledChunk, HandledStart, HandledStop
from wyoming.handle import NotHandled as NotHandledEvent
from wyoming.intent import Entity, Intent, IntentsStart, IntentsStop
from wyoming.intent import NotRecognized as NotRecognizedEvent

from wyoming_superwhisper.conversation.answer import Answer, Intents, NotHandled, NotRecognized, Part
from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.handlers.base import Session


class ReplyEvents:
    """Sends one reply; the `context` of the request goes back with it, and `answered_by` in it."""

    def __init__(self, session: Session, context: Mapping[str, Any], *, renders: bool = False) -> None:
        """`renders`: the client renders the sentence pack's own templates, where only it knows a state."""
        self._session = session
        self._context: dict[str, Any] = dict(context)
        self._renders = renders
        self._text = ""
        self._started = False

    async def send(self, parts: AsyncIterator[Part]) -> None:
        """Send every part as it comes. Raises what the assistant raises."""
        async with aclosing(parts) as reply:  # type: ignore[type-var]
            async for part in reply:
                await self._send_part(part)
        if self._started:
            await self._session.send(Handled(text=self._text.strip(), context=self._context))
            await self._session.send(HandledStop())

    async def _send_part(self, part: Part) -> None:
        self._context["answered_by"] = part.by
        if isinstance(part, Answer):
            await self._send_answer(part)
        elif isinstance(part, Intents):
            for event in intent_events(part.calls, self._context, self._renders):
                await self._session.send(event)
        elif isinstance(part, NotHandled):
            await self._session.send(NotHandledEvent(text=part.text, context=self._context))
        elif isinstance(part, NotRecognized):
            await self._session.send(NotRecognizedEvent(text=part.text, context=self._context))

    async def _send_answer(self, answer: Answer) -> None:
        if not self._started:
            self._started = True
            await self._session.send(HandledStart(context=self._context))
        if answer.text:
            self._text += answer.text
            await self._session.send(HandledChunk(text=answer.text))


_TEMPLATE = re.compile(r"\{(?=[{%#])")


def without_templates(text: str) -> str:
    """The same words, in which Jinja finds nothing to do: Home Assistant renders the text of an intent as a template,
    and words of a user, a model or a device's name may be in it."""
    return _TEMPLATE.sub("{ ", text)


def intent_events(calls: tuple[IntentCall, ...], context: dict[str, Any] | None, renders: bool = False) -> list[Event]:
    """One `intent`, or several between `intents-start` and `intents-stop`."""
    intents = [_intent(call, context, renders) for call in calls]
    if len(intents) == 1:
        return intents
    return [IntentsStart(context=context).event(), *intents, IntentsStop(context=context).event()]


def _intent(call: IntentCall, context: dict[str, Any] | None, renders: bool) -> Event:
    text = without_templates(call.text) or (call.template if renders else "")
    entities = [Entity(name=name, value=value) for name, value in call.slots.items()]
    event: Event = Intent(name=call.name, entities=entities, text=text, context=context).event()
    return event
