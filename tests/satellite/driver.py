"""A client that drives a satellite as Home Assistant does: pings every 2 s, drops after 5 s of silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from wyoming.event import Event, Eventable, async_read_event, async_write_event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.satellite import RunSatellite

from tests.waiting import WAIT_S

PING_S = 2.0
LOST_S = 5.0


class Dropped(Exception):
    """The satellite has left, or was silent for too long."""


@dataclass
class Driver:
    """Home Assistant's end of the link."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    info: Info | None = None
    received: list[Event] = field(default_factory=list)
    dropped: bool = False
    answers_pings: bool = True
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    taken: int = 0

    async def send(self, *events: Eventable | Event | tuple[str, dict[str, Any]]) -> None:
        """Send events; a tuple is a type and its data."""
        for event in events:
            if isinstance(event, tuple):
                event = Event(event[0], event[1])
            await async_write_event(event if isinstance(event, Event) else event.event(), self.writer)

    async def expect(self, *types: str, timeout_s: float = WAIT_S) -> Event:
        """The next event of one of these types, those before it skipped."""
        async with asyncio.timeout(timeout_s), self.changed:
            while True:
                while self.taken < len(self.received):
                    self.taken += 1
                    if self.received[self.taken - 1].type in types:
                        return self.received[self.taken - 1]
                if self.dropped:
                    raise Dropped(f"dropped before {types}; received: {self.types()}")
                await self.changed.wait()

    async def described(self) -> Info:
        """What the satellite says of itself; what came before that is still to be expected."""
        async with asyncio.timeout(WAIT_S), self.changed:
            await self.changed.wait_for(lambda: self.info is not None or self.dropped)
            if self.info is None:
                raise Dropped(f"dropped before info; received: {self.types()}")
            return self.info

    async def caught_up(self) -> None:
        """Wait until all that the satellite has sent by now has come; it is still to be expected."""
        text = f"caught up {len(self.received)}"
        await self.send(Ping(text=text))
        async with asyncio.timeout(WAIT_S), self.changed:
            await self.changed.wait_for(
                lambda: self.dropped or any(event.data.get("text") == text for event in self.received)
            )

    def types(self) -> list[str]:
        """The types of what has come, repetitions left out."""
        types = [event.type for event in self.received if event.type not in ("ping", "pong")]
        return [kind for at, kind in enumerate(types) if at == 0 or types[at - 1] != kind]

    def audio(self) -> bytes:
        """All that the microphone has sent."""
        return b"".join(event.payload or b"" for event in self.received if event.type == "audio-chunk")

    async def run(self) -> None:
        """Read and ping, as Home Assistant does, until dropped."""
        ping: asyncio.Task[None] | None = asyncio.create_task(self._ping())
        try:
            while True:
                async with asyncio.timeout(LOST_S):
                    event = await async_read_event(self.reader)
                if event is None:
                    return
                if event.type == "pong":
                    ping = asyncio.create_task(self._ping())
                elif event.type == "ping" and self.answers_pings:
                    await self.send(Pong(text=event.data.get("text")))
                elif event.type == "info":
                    self.info = Info.from_event(event)
                async with self.changed:
                    self.received.append(event)
                    self.changed.notify_all()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            if ping is not None:
                ping.cancel()
            self.dropped = True
            async with self.changed:
                self.changed.notify_all()

    async def _ping(self) -> None:
        await asyncio.sleep(PING_S)
        if self.answers_pings:
            await self.send(Ping())


@asynccontextmanager
async def driver(uri: str, *, run: bool = True, address: str = "127.0.0.1") -> AsyncIterator[Driver]:
    """Connected from this address; with `run` it has asked for the seat and what the satellite is."""
    host, _, port = uri.removeprefix("tcp://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), local_addr=(address, 0))
    one = Driver(reader, writer)
    task = asyncio.create_task(one.run())
    try:
        if run:
            await one.send(RunSatellite(), Describe())
            await one.described()
        yield one
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        writer.close()
