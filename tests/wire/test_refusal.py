"""A refused peer reads why, and is not listened to for long."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from wyoming.event import Event, async_read_event

from tests.waiting import WAIT_S
from tests.wire.examples import (
    LIMITS,
    connected,
)
from wyoming_superwhisper import wire
from wyoming_superwhisper.errors import Busy, SuperwhisperError, TooLarge


@contextlib.asynccontextmanager
async def refusing(error: SuperwhisperError, **options: Any) -> AsyncIterator[tuple[str, int]]:
    """A TCP server that reads one event and then refuses its peer."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with pytest.raises(TooLarge):
            await wire.EventReader(reader, LIMITS).read()
        await wire.refuse(reader, wire.EventWriter(writer), error, **options)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()
        await server.wait_closed()


async def test_a_refused_peer_that_goes_on_sending_reads_the_error() -> None:
    async with refusing(Busy("Come back later.")) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b'{"type": "t", "payload_length": 1000000000000}\n' + bytes(5_000_000))
        event = await async_read_event(reader)
        assert event == Event("error", {"text": "Come back later.", "code": "busy"})
        assert await reader.read() == b""
        writer.close()


async def test_a_refused_peer_is_not_listened_to_for_long() -> None:
    async with refusing(Busy("Go."), linger_s=0.2, most_s=0.5) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b'{"type": "t", "payload_length": 1000000000000}\n')
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(OSError):
                while not reader.exception():
                    writer.write(bytes(10_000))
                    await writer.drain()
                    await asyncio.sleep(0.01)
        writer.close()


async def test_a_refused_peer_may_send_to_its_end_as_long_as_it_is_not_silent() -> None:
    async with refusing(Busy("Later."), linger_s=1.0, most_s=WAIT_S) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b'{"type": "t", "payload_length": 1000000000000}\n')
        for _ in range(6):  # longer than the pause that is allowed, none of them as long
            await asyncio.sleep(0.25)
            writer.write(bytes(100))
            await writer.drain()
        assert (await async_read_event(reader)).type == "error"
        assert await reader.read() == b""
        assert reader.exception() is None
        writer.close()


async def test_refusing_a_peer_that_is_gone_is_quiet() -> None:
    async with connected() as (reader, writer, theirs):
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        await wire.refuse(reader.stream, writer, Busy("Nobody hears this."))


async def test_refusing_where_half_a_connection_cannot_be_closed() -> None:
    async with connected() as (reader, writer, theirs):
        stream = writer.stream

        class Encrypted:
            """TLS has no half-closed state."""

            def __getattr__(self, name: str) -> Callable[..., Any]:
                return getattr(stream, name)  # type: ignore[no-any-return]

            def can_write_eof(self) -> bool:
                return False

        encrypted = wire.EventWriter(Encrypted())  # type: ignore[arg-type]
        refusal = asyncio.create_task(wire.refuse(reader.stream, encrypted, Busy("Later."), linger_s=0.1))
        await refusal
        assert b"Later." in theirs.recv(1000)
