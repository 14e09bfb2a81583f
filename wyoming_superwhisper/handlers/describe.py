"""What the server is: `describe` → `info`, `ping` → `pong`, and the choice of a program."""

from __future__ import annotations

from collections.abc import Mapping

from wyoming.event import Event
from wyoming.ping import Pong

from wyoming_superwhisper.errors import BadData, UnknownModel
from wyoming_superwhisper.handlers import fields
from wyoming_superwhisper.handlers.base import EventMethod, Session


class DescribeHandler:
    """Answers from memory, also while the connection's requests are at work."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def events(self) -> Mapping[str, EventMethod]:
        return {"describe": self._describe, "ping": self._ping, "select-program": self._select}

    async def close(self) -> None:
        pass

    async def _describe(self, event: Event) -> None:
        await self._session.write_encoded(self._session.services.info)

    async def _ping(self, event: Event) -> None:
        await self._session.send(Pong(text=fields.name(event, "text")))

    async def _select(self, event: Event) -> None:
        program = fields.name(event)
        if program is None:
            raise BadData("'select-program' needs the 'name' of a program.")
        if program not in self._session.services.programs:
            raise UnknownModel(f"There is no program '{program}' here; see 'info'.")
