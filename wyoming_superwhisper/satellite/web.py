"""A small web server: the button by POST /trigger and /stop, GET /state, and everything that happens at /events.

/events is a WebSocket that sends one JSON object for each thing that happens. Only allowed addresses get an answer,
and no page of a browser from elsewhere: what it asks for carries an Origin that is not ours.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import logging
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Self

from wyoming_superwhisper.access import AllowList
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.satellite.news import Item

logger = logging.getLogger(__name__)

REQUEST_S = 5.0
"""Time for a whole request, in seconds."""
REQUEST_BYTES = 8192
GUESTS = 16
"""Connections at once."""
WAITING = 256
"""Events that wait for a slow listener; one that is slower is shown out."""
_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PHRASES = {200: "OK", 202: "Accepted", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Not Allowed"}


class Web:
    """Serves while the context is open; a `Reader` of the news."""

    def __init__(
        self, address: str, allow: Iterable[str], state: Callable[[], str], actions: Mapping[str, Callable[[], None]]
    ) -> None:
        """`address`: HOST:PORT. `actions`: what a POST to a path does."""
        self.port = 0
        host, _, port = address.rpartition(":")
        self._host, self._wanted_port = host.strip("[]"), int(port)
        self._allow = AllowList(allow)
        self._state = state
        self._actions = actions
        self._listeners: set[asyncio.Queue[str | None]] = set()
        self._guests: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        try:
            self._server = await asyncio.start_server(self._accept, self._host, self._wanted_port, limit=REQUEST_BYTES)
        except OSError as error:
            address = f"{self._host}:{self._wanted_port}"
            raise SettingsError(f"hooks.web: {address} can't be listened on: {error.strerror or error}.") from error
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._guests:
            task.cancel()
        await asyncio.gather(*self._guests, return_exceptions=True)

    def __call__(self, item: Item) -> None:
        """It has happened."""
        text = json.dumps({"event": item.kind, "text": item.text, **item.data})
        for listener in self._listeners:
            if listener.qsize() >= WAITING:
                while not listener.empty():
                    listener.get_nowait()
                listener.put_nowait(None)
            else:
                listener.put_nowait(text)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._guests) < GUESTS and self._allow.allows(str(writer.get_extra_info("peername")[0])):
            self._guests.add(task)
            with contextlib.suppress(OSError, asyncio.CancelledError, TimeoutError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
            self._guests.discard(task)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(REQUEST_S):
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            except asyncio.LimitOverrunError:
                await _answer(writer, 400)
                return
        line, *rest = head.split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)}
        method, path = [*line.split(" "), "", ""][:2]
        origin = headers.get("origin", "")
        if origin and origin.partition("://")[2] != headers.get("host", ""):
            await _answer(writer, 403)
        elif path == "/events" and headers.get("upgrade", "").lower() == "websocket":
            await self._stream(reader, writer, headers.get("sec-websocket-key", ""))
        elif path == "/state":
            await _answer(writer, 200, {"state": self._state(), "tasks": len(asyncio.all_tasks())})
        elif path in self._actions and method == "POST":
            self._actions[path]()
            await _answer(writer, 202, {"state": self._state()})
        else:
            await _answer(writer, 405 if path in self._actions else 404)

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        accept = base64.b64encode(hashlib.sha1((key + _MAGIC).encode(), usedforsecurity=False).digest()).decode()
        writer.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        listener: asyncio.Queue[str | None] = asyncio.Queue()
        listener.put_nowait(json.dumps({"event": "state", "text": self._state()}))
        self._listeners.add(listener)
        leaving = asyncio.create_task(self._read_until_closed(reader, writer), name="web: listener")
        leaving.add_done_callback(lambda _: listener.put_nowait(None))
        try:
            while (text := await listener.get()) is not None:
                writer.write(_frame(0x1, text.encode()))
                await writer.drain()
        finally:
            self._listeners.discard(listener)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)

    async def _read_until_closed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer pings; returns when the listener closes, or sends more than a listener has to say."""
        while True:
            first, second = await reader.readexactly(2)
            size = second & 0x7F
            if size > 125:
                return
            mask = await reader.readexactly(4) if second & 0x80 else bytes(4)
            data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(await reader.readexactly(size)))
            if first & 0xF == 0x8:
                writer.write(_frame(0x8, data))
                return
            if first & 0xF == 0x9:
                writer.write(_frame(0xA, data))


def _frame(kind: int, data: bytes) -> bytes:
    if len(data) < 126:
        return struct.pack("!BB", 0x80 | kind, len(data)) + data
    return struct.pack("!BBH", 0x80 | kind, 126, len(data)) + data[:65535]


async def _answer(writer: asyncio.StreamWriter, status: int, content: Mapping[str, str | int] | None = None) -> None:
    body = json.dumps(content or {"error": _PHRASES[status]}).encode()
    writer.write(
        f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n".encode()
        + body
    )
    await writer.drain()
