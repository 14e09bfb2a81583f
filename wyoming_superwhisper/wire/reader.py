"""Events from an asyncio stream, each in its time and within the budget."""

from __future__ import annotations

import asyncio

from wyoming.event import Event

from wyoming_superwhisper.byte_budget import ByteBudget
from wyoming_superwhisper.errors import Busy, Timeout
from wyoming_superwhisper.wire.errors import Disconnected, TruncatedEvent, lose
from wyoming_superwhisper.wire.limits import Limits
from wyoming_superwhisper.wire.parser import EventParser

CHUNK_BYTES = 65_536
"""Bytes taken from a stream in one step; with it a parser never holds more than one event and this."""
LATE_S = 1.0
"""A time limit noticed this late says that this process stood still, and nothing of the peer."""
LARGE_BYTES = 65_536
"""An event that announces more than this after its line is large: all connections share what they may hold of such."""


class EventReader:
    """Reads events from an asyncio stream. Whoever uses it reads nothing else from that stream."""

    def __init__(
        self,
        stream: asyncio.StreamReader,
        limits: Limits,
        *,
        event_s: float | None = None,
        budget: ByteBudget | None = None,
    ) -> None:
        """`event_s`: time for a whole event from its first byte; None: no limit. `budget`: for large events."""
        self.stream = stream
        self._parser = EventParser(limits)
        self._event_s = event_s
        self._deadline: float | None = None
        self._budget = budget
        self._reserved = 0

    @property
    def event_bytes(self) -> int:
        """Memory that the event that was read last takes, about."""
        return self._parser.event_bytes

    @property
    def holds_large(self) -> bool:
        """Whether the event that was read last is a large one, whose room in the budget is held until the next read."""
        return self._reserved > 0

    def end(self) -> None:
        """Read no more: forget what is half there, and give back what is held of the budget."""
        self._parser.forget()
        self._release()

    @property
    def mid_event(self) -> bool:
        """Whether the beginning of an event has come and its end has not."""
        return self._parser.mid_event

    async def read(self) -> Event | None:
        """The next event; None: the peer ended its stream between two events.

        Raises what `EventParser` raises, `Timeout` (framing lost) for an event that is not whole in time, `Busy`
        (framing lost) for a large one for which there was no room in that time, and `Disconnected` (`TruncatedEvent` in
        the middle of an event) for a peer that is gone. Lets other tasks run before each event, whatever is in the
        buffer, so that a peer that sends many at once starves nobody.
        """
        await asyncio.sleep(0)
        self._release()
        self._deadline = None
        while (event := self._parser.next_event()) is None:
            if self._deadline is None and self._event_s is not None and self._parser.mid_event:
                self._deadline = asyncio.get_running_loop().time() + self._event_s
            await self._reserve()
            chunk = await self._read_chunk()
            if chunk:
                self._parser.feed(chunk)
            elif self._parser.mid_event:
                raise TruncatedEvent("The stream ended in the middle of an event.")
            else:
                return None
        return event

    def _release(self) -> None:
        if self._budget is not None:
            self._budget.give_back(self._reserved)
        self._reserved = 0

    async def _reserve(self) -> None:
        """Wait for room for a large event before more of it is read."""
        wanted = self._parser.announced_bytes
        if self._budget is None or self._reserved or wanted <= LARGE_BYTES:
            return
        try:
            async with asyncio.timeout_at(self._deadline):
                await self._budget.wait_for(wanted)
        except TimeoutError as error:
            lose(Busy("Too much is being sent to the server at once; try again later, or in smaller pieces."), error)
        self._reserved = wanted

    async def _read_chunk(self) -> bytes:
        while True:
            try:
                async with asyncio.timeout_at(self._deadline) as limit:
                    return await self.stream.read(CHUNK_BYTES)
            except OSError as error:
                if not limit.expired():
                    raise Disconnected(str(error)) from error
                self._check_deadline(error)

    def _check_deadline(self, error: OSError) -> None:
        """Give the peer its time again if it was this process that stood still (a laptop that slept, SIGSTOP)."""
        assert self._deadline is not None
        assert self._event_s is not None
        now = asyncio.get_running_loop().time()
        if now - self._deadline < LATE_S:
            lose(Timeout(f"An event was not whole {self._event_s:g} seconds after its first byte."), error)
        self._deadline = now + self._event_s
