"""A connection to this very server, without a network: how the turns of driven satellites reach its services."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from wyoming_superwhisper.wire import EventReader, EventWriter, Limits

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[None]]
"""Serves a connection of the named client, from its first byte to its last."""

BUFFER_BYTES = 1 << 20


@asynccontextmanager
async def inside(serve: Serve, name: str) -> AsyncIterator[tuple[EventReader, EventWriter]]:
    """Our end of a connection that is served here; leaving cancels what is still done for it."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    reader, writer = await asyncio.open_connection(sock=ours)
    their_reader, their_writer = await asyncio.open_connection(sock=theirs)
    serving = asyncio.ensure_future(serve(their_reader, their_writer, name))
    outgoing = EventWriter(writer)
    try:
        yield EventReader(reader, Limits()), outgoing
    finally:
        serving.cancel()  # rather than wait until it sees that we are gone: what is cut off ends at once
        try:
            await asyncio.gather(serving, return_exceptions=True)
        finally:  # whoever leaves may be cancelled once more meanwhile
            writer.transport.abort()
            their_writer.transport.abort()
