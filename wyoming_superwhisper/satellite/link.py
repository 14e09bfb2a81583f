"""The other side of the satellite, whoever dialled: what a turn needs of Home Assistant or of a server."""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from wyoming.event import Event, Eventable
from wyoming.snd import Played

from wyoming_superwhisper.errors import SuperwhisperError

WAITING_BYTES = 64 * 1024 * 1024
"""Payload that may wait to be taken (Home Assistant sends a whole reply at once); beyond that no more is read."""


class LinkState(enum.Enum):
    """Where the link to the other side stands."""

    CLOSED = "closed"
    """Not begun, or ended for good."""
    SEARCHING = "searching"
    """Looking for a server on this machine and on the network."""
    CONNECTING = "connecting"
    """Dialling, and asking what the server can do; or listening for somebody who takes the seat."""
    CONNECTED = "connected"
    """Turns can be run."""
    MUTED = "muted"
    """Whoever has the seat wants nothing to be heard."""
    PAUSING = "pausing"
    """Lost or refused; the next attempt comes after a pause."""


class LinkLost(SuperwhisperError):
    """The connection to the server was lost, or there is none at the moment."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a turn asks for."""

    name: str = ""
    area: str = ""
    language: str = ""
    voice: str = ""
    pipeline: str = ""
    """The name of one of several that the other side has; "": the one that it prefers."""
    conversation: str = ""
    wake_word: str = ""
    """The wake word that was heard here; "": none was."""
    listen_for: tuple[str, ...] | None = None
    """The wake words that the other side is to listen for first; None: none, the utterance begins at once."""
    loudness: float = 0.0
    """How loud the wake word was over the noise of the room, in dB."""


class TurnEnd(Protocol):
    """Knows when the other side has told all of a turn."""

    reached: bool

    def watch(self, event: Event) -> None:
        """Take the next event of the other side."""


class Link(Protocol):
    """A connection that is there or not, and comes back by itself."""

    state: LinkState
    wants_played: bool
    """Whether the other side waits for `played`."""
    on_change: Callable[[], None] | None
    """Called after every change of the state."""

    @property
    def trouble(self) -> str:
        """Why there is no connection, in words; "" if nothing is wrong."""

    async def connected(self) -> None:
        """Return once there is a connection."""

    async def send(self, event: Eventable | Event) -> None:
        """Send an event. Raises `LinkLost`."""

    async def receive(self, answer_s: float | None = None) -> Event:
        """The next event, `error` too. Raises `LinkLost` once all that came is taken, and `Timeout`."""

    def requests(self, ask: Ask) -> Sequence[Eventable | Event]:
        """The events that ask for a turn."""

    def turn_end(self) -> TurnEnd:
        """Who watches for the end of a turn that is about to begin."""

    async def cut_off(self) -> None:
        """End whatever the other side still does for the turn, as far as it can be ended."""


async def tell_played(link: Link) -> None:
    """Say that what was sent has been played to its end, where somebody waits for that."""
    if link.wants_played:
        with contextlib.suppress(LinkLost):
            await link.send(Played())


class Inbox:
    """Events that have come and wait to be taken, in order."""

    def __init__(self, limit_bytes: int = WAITING_BYTES) -> None:
        self._events: deque[Event] = deque()
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()
        self._closed = False

    async def put(self, event: Event) -> None:
        """Add an event; waits while there are too many."""
        while self._held_bytes > self._limit_bytes and not self._closed:
            self._taken.clear()
            await self._taken.wait()
        self.add(event)

    def add(self, event: Event) -> None:
        """Add an event, however many there are."""
        self._events.append(event)
        self._held_bytes += len(event.payload or b"")
        self._filled.set()

    async def get(self) -> Event:
        """Take the oldest event. Raises `LinkLost` once it is closed and empty."""
        while not self._events:
            if self._closed:
                raise LinkLost("The connection to the server was lost.")
            self._filled.clear()
            await self._filled.wait()
        self._taken.set()
        event = self._events.popleft()
        self._held_bytes -= len(event.payload or b"")
        return event

    def close(self, discard: bool = False) -> None:
        """Nothing will come any more; what is waiting can still be taken, unless it is discarded."""
        self._closed = True
        if discard:
            self._events.clear()
            self._held_bytes = 0
        self._filled.set()
        self._taken.set()
