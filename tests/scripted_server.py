"""A Wyoming server that does what a test's script says, on a real socket, with the stock library's framing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from wyoming.event import Event, Eventable, async_read_event, async_write_event


@dataclass
class Peer:
    """The script's end of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    received: list[Event] = field(default_factory=list)

    async def read(self) -> Event | None:
        """The next event of the client; None: it is gone."""
        event = await async_read_event(self.reader)
        if event is not None:
            self.received.append(event)
        return event

    async def read_until(self, *types: str) -> Event:
        """Skip the client's events up to one of these types."""
        while True:
            event = await self.read()
            if event is None:
                raise ConnectionResetError(f"the client left before it sent {types}")
            if event.type in types:
                return event

    async def send(self, *events: Eventable | Event | tuple[str, dict[str, Any]]) -> None:
        """Send events; a tuple is a type and its data."""
        for event in events:
            if isinstance(event, tuple):
                event = Event(event[0], event[1])
            await async_write_event(event if isinstance(event, Event) else event.event(), self.writer)

    def types(self) -> list[str]:
        """The types of what the client has sent, repetitions left out."""
        types = [event.type for event in self.received]
        return [kind for at, kind in enumerate(types) if at == 0 or types[at - 1] != kind]

    def audio(self) -> bytes:
        """All audio that the client has sent."""
        return b"".join(event.payload or b"" for event in self.received if event.type == "audio-chunk")


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class ScriptedServer:
    """Where it listens, and whoever connected."""

    uri: str
    peers: list[Peer] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)


@asynccontextmanager
async def scripted_server(script: Script, port: int = 0, path: str | None = None) -> AsyncIterator[ScriptedServer]:
    """Runs the script for each connection, which is closed at its end. What a script raises fails the test."""
    server = ScriptedServer("")
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        peer = Peer(reader, writer)
        server.peers.append(peer)
        try:
            await script(peer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has left, or the test is over
        except Exception as error:
            server.failures.append(error)
        finally:
            writer.close()
            tasks.discard(asyncio.current_task())  # type: ignore[arg-type]

    if path is not None:
        listener = await asyncio.start_unix_server(serve, path)
        server.uri = f"unix://{path}"
    else:
        listener = await asyncio.start_server(serve, "127.0.0.1", port)
        server.uri = f"tcp://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()
    if server.failures:
        raise server.failures[0]
