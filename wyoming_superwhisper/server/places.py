"""Who has a place, and who is ended to make room for others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wyoming_superwhisper.access import is_loopback
from wyoming_superwhisper.config.settings import LimitSettings
from wyoming_superwhisper.server.connection import Connection
from wyoming_superwhisper.server.open_files import most_connections

CROWD = 12
"""So many more than there are places may be here for a moment, while others are ended for them; then it goes slower."""


@dataclass(eq=False, slots=True)
class Client:
    """A peer that was let in."""

    address: str
    peer: str
    connection: Connection | None = None
    """None: still shaking hands."""
    since: float = 0.0
    """Its `last_event_s` when all were last put in order."""

    @property
    def last_event_s(self) -> float:
        return 0.0 if self.connection is None else self.connection.last_event_s


class Places:
    """The peers that were let in, each with the task that serves it; as many as the limits allow."""

    def __init__(self, limits: LimitSettings) -> None:
        self.clients: dict[Client, asyncio.Task[None]] = {}
        self._idle_first: list[Client] = []  # the order in which places are made free, the next one last
        self.use(limits)

    def use(self, limits: LimitSettings) -> None:
        """Hold whoever comes from now on to these limits."""
        self._limits = limits
        self._most = most_connections(limits.connections)

    @property
    def crowded(self) -> bool:
        """Whether those that were ended for others need a moment to go."""
        return len(self.clients) >= self._most + CROWD

    def have_room_for(self, address: str) -> bool:
        """Whether there is a place, made by ending the connection that has been idle longest where that helps."""
        if not is_loopback(address):
            theirs = [client for client in self.clients if client.address == address]
            if len(theirs) >= self._limits.connections_per_address and not any(
                map(_evict, reversed(_by_idleness(theirs)))
            ):
                return False
        if len(self.clients) < self._most:
            return True
        if len(self.clients) >= self._most + 2 * CROWD:  # those that were ended are still going
            return False
        return self.make_room()

    def make_room(self) -> bool:
        """End the connection that has been idle longest; one with work in flight never. Whether there was one."""
        if any(_evict(client) for client in self._idlest()):
            return True
        self._idle_first = _by_idleness(self.clients)
        return any(_evict(client) for client in self._idlest())

    def _idlest(self) -> Iterator[Client]:
        """Those that were idle longest when that was last looked at, and have not moved since."""
        while self._idle_first:
            client = self._idle_first.pop()
            if client in self.clients and client.since == client.last_event_s:
                yield client


def _by_idleness(clients: Iterable[Client]) -> list[Client]:
    """The one idle longest comes last."""
    for client in clients:
        client.since = client.last_event_s
    return sorted(clients, key=lambda client: client.since, reverse=True)


def _evict(client: Client) -> bool:
    """End this connection, unless it works or is ending already."""
    connection = client.connection
    if connection is None or connection.busy or connection.ending:
        return False
    connection.evict()
    return True
