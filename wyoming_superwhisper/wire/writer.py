"""Events to an asyncio stream, each whole."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from typing import Any

from wyoming.event import Event
from wyoming.version import __version__ as WYOMING_VERSION

from wyoming_superwhisper.wire.errors import Disconnected

CLOSE_S = 2.0
"""How long a closing connection may take to send its last bytes."""
JOIN_BYTES = 16_384
"""Payloads up to this size travel in the same write as their header."""


class EventWriter:
    """Writes events to an asyncio stream. Several tasks may write: each event goes out whole."""

    def __init__(
        self,
        stream: asyncio.StreamWriter,
        *,
        write_s: float | None = None,
        on_sent: Callable[[Event], None] | None = None,
    ) -> None:
        """`write_s`: time without any progress after which the connection is aborted; None: no limit.

        `on_sent`: told of each event that is on its way to the peer.
        """
        self.stream = stream
        self.on_sent = on_sent
        self._write_s = write_s

    @property
    def descriptor(self) -> int:
        """The file descriptor of the connection's socket; -1 where there is none."""
        connection = self.stream.get_extra_info("socket")
        return -1 if connection is None else int(connection.fileno())

    async def write(self, event: Event) -> None:
        """Send an event and wait until the peer has taken enough of what was sent.

        Raises `Disconnected` if the peer is gone or takes nothing; then the connection is aborted.
        """
        await self.write_bytes(encode(event), event.payload or b"", event=event)

    async def write_bytes(self, *parts: bytes, event: Event | None = None) -> None:
        """The same for an event that was encoded before (`encode`, and its payload)."""
        if self.stream.transport.is_closing():
            raise Disconnected("The connection is closed.")
        try:
            self._send(parts)
            if event is not None and self.on_sent is not None:
                self.on_sent(event)
            await self._drain()
        except Disconnected:
            raise
        except (OSError, AttributeError, TypeError, RuntimeError) as error:
            # Python 3.12.1 and 3.13.0 raise AttributeError or TypeError on a lost connection, uvloop RuntimeError.
            self.stream.transport.abort()
            raise Disconnected(str(error)) from error

    async def close(self, timeout_s: float = CLOSE_S) -> None:
        """Send what is waiting and close; cut off after `timeout_s`. Never raises for a peer that is gone."""
        transport = self.stream.transport
        cut_off = asyncio.get_running_loop().call_later(timeout_s, self.abort)
        try:
            self.stream.close()
            # Shielded: to cancel the wait itself would spoil every later wait for the same end.
            await asyncio.shield(self.stream.wait_closed())
        except (OSError, AttributeError, TypeError, RuntimeError):
            pass  # gone already
        finally:
            cut_off.cancel()
            transport.abort()

    def abort(self) -> None:
        """Cut the connection, and throw away what the kernel still holds for a peer that doesn't take it."""
        connection = self.stream.get_extra_info("socket")
        if self.descriptor >= 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.transport.abort()

    def _send(self, parts: tuple[bytes, ...]) -> None:
        if sum(map(len, parts)) <= JOIN_BYTES:
            self.stream.write(b"".join(parts))
            return
        for part in parts:
            self.stream.write(part)

    async def _drain(self) -> None:
        # Others run between two events, however much there is to send; and a transport of TLS says only by way of the
        # loop that its peer is gone: until then it takes all that is written, and complains in the log each time.
        await asyncio.sleep(0)
        transport = self.stream.transport
        if self._write_s is None or not transport.get_write_buffer_size():
            return await self.stream.drain()
        while True:
            waiting = transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(self._write_s):
                    return await self.stream.drain()
            except TimeoutError:
                if transport.get_write_buffer_size() >= waiting:
                    self.abort()
                    raise Disconnected(f"The peer took nothing for {self._write_s:g} seconds.") from None


def encode(event: Event) -> bytes:
    """The bytes of an event up to its payload, as the stock library writes them, but in ASCII.

    Text that holds a lone surrogate can't be UTF-8; escaped it passes. Raises ValueError for NaN and infinity.
    """
    header: dict[str, Any] = {"type": event.type}
    header["version"] = WYOMING_VERSION
    data = b""
    if event.data:
        data = json.dumps(event.data, allow_nan=False).encode("ascii")
        header["data_length"] = len(data)
    if event.payload:
        header["payload_length"] = len(event.payload)
    return json.dumps(header).encode("ascii") + b"\n" + data
