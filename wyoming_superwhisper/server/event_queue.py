"""Events of one connection that wait to be handled."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from wyoming.event import Event

from wyoming_superwhisper.byte_budget import ByteBudget

FREE_BYTES = 32_768
"""So much may wait on every connection, whatever the others hold: a second of speech."""


class EventQueue:
    """Events that wait for their turn, bounded by count and bytes; at least one always fits."""

    def __init__(self, most_events: int, most_bytes: int, budget: ByteBudget | None = None) -> None:
        """`budget`: what is over `FREE_BYTES` and the first event comes out of it, while it waits."""
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._budget = budget or ByteBudget()
        self._events: deque[tuple[Event, int, int, float]] = deque()
        self._bytes = 0
        self.read_at = 0.0
        """When the event that was taken last had been read from its client (monotonic)."""
        self._closed = False
        self._in_hand = False
        self._changed = asyncio.Condition()

    def __bool__(self) -> bool:
        return bool(self._events)

    async def put(self, event: Event, size: int) -> None:
        """Add an event that came in so many bytes; waits while the queue is full."""
        read_at = time.monotonic()
        async with self._changed:
            await self._changed.wait_for(lambda: self.has_room_for(size))
            reserved = self._over(size)
            self._budget.take(reserved)
            self._events.append((event, size, reserved, read_at))
            self._bytes += size
            self._changed.notify_all()

    async def settled(self) -> None:
        """Wait until all events were taken, and whoever took them comes for the next one."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._events and not self._in_hand)

    async def get(self) -> Event | None:
        """The oldest event, once the one before it is done with; None once the queue is closed and empty."""
        async with self._changed:
            self._in_hand = False
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._events or self._closed)
            if not self._events:
                return None
            event, size, reserved, self.read_at = self._events.popleft()
            self._bytes -= size
            self._budget.give_back(reserved)
            self._in_hand = True
            self._changed.notify_all()
            return event

    async def close(self) -> None:
        """No more events come."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    def forget(self) -> None:
        """Drop what waits, and give back what it held of the budget."""
        while self._events:
            self._budget.give_back(self._events.popleft()[2])
        self._bytes = 0

    def has_room_for(self, size: int) -> bool:
        """Whether an event of so many bytes can be added without waiting."""
        if not self._events:
            return True
        bounded = len(self._events) < self._most_events and self._bytes < self._most_bytes
        return bounded and self._over(size) <= self._budget.free

    def _over(self, size: int) -> int:
        """What such an event would take out of the budget."""
        return min(size, max(0, self._bytes + size - FREE_BYTES)) if self._events else 0
