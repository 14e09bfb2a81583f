"""Conversation: `transcript` or `recognize` in; intents for the client to execute, or an answer, out.

Nothing is executed for these events: they come from Home Assistant or another client, which executes what it gets.
"""

from __future__ import annotations

from collections.abc import Mapping

from wyoming.event import Event
from wyoming.handle import NotHandled as NotHandledEvent

from wyoming_superwhisper.conversation.said import Said
from wyoming_superwhisper.handlers import fields
from wyoming_superwhisper.handlers.base import EventMethod, Session
from wyoming_superwhisper.handlers.reply import ReplyEvents
from wyoming_superwhisper.handlers.spoken_ahead import SpokenAhead

_SPEAKERS = ("satellite_id", "device_id", "name")
"""Where a request's context tells the room: newer Home Assistant sends the first two, our own clients the name."""


class ConversationHandler:
    """Answers each sentence of a connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def events(self) -> Mapping[str, EventMethod]:
        return {"transcript": self._answer, "recognize": self._answer, "intent": self._intent}

    async def close(self) -> None:
        pass

    async def _answer(self, event: Event) -> None:
        if self._session.turn is not None:
            await self._session.turn.transcript(event)
            return
        self._session.require("intent", "handle")
        services = self._session.services
        said = read_sentence(self._session, event)
        services.habits.conversation(self._session.peer, said)
        # Only the Home Assistant that sends the language renders templates; an older one would speak them.
        renders = event.type == "transcript" and not said.older
        reply = ReplyEvents(self._session, fields.mapping(event, "context"), renders=renders)
        async with SpokenAhead(self._session) as ahead:
            await reply.send(ahead.heard(services.assistant.respond(said)))

    async def _intent(self, event: Event) -> None:
        """A structured intent to handle. We understand; whoever owns the devices executes."""
        name = fields.name(event)
        await self._session.send(NotHandledEvent(text=f"The intent '{name}' can't be executed here."))


def read_sentence(session: Session, event: Event) -> Said:
    """The sentence in a `transcript` or `recognize`, and what its context says of who spoke."""
    context = fields.mapping(event, "context")
    return Said(
        text=fields.text(event, session.services.settings.limits.text_chars),
        language=fields.name(event, "language") or fields.name_in(event, context, "language"),
        conversation=fields.name_in(event, context, "conversation_id") or "",
        speakers=tuple(one for key in _SPEAKERS if (one := fields.name_in(event, context, key))),
        area=fields.name_in(event, context, "area"),
        older=event.type == "transcript" and "language" not in event.data,
    )
