"""The page's listener, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from tests.waiting import WAIT_S
from wyoming_superwhisper.access import AllowList
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.operations import http_listener
from wyoming_superwhisper.operations.http_listener import Answer, HttpListener


def page(headers: Mapping[str, str]) -> Answer:
    return Answer(b"figures " * 1000, headers.get("accept", "text/plain"))


def broken(headers: Mapping[str, str]) -> Answer:
    raise ValueError("no")


@asynccontextmanager
async def listening(allow: tuple[str, ...] = ("loopback",)) -> AsyncIterator[HttpListener]:
    listener = HttpListener("127.0.0.1:0", {"/metrics": page, "/broken": broken}, AllowList(allow))
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


async def ask(listener: HttpListener, request: bytes) -> bytes:
    """Everything that comes back until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), WAIT_S)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def test_a_page_is_given_whole() -> None:
    async with listening() as listener:
        answer = await ask(listener, b"GET /metrics?x=1 HTTP/1.1\r\nHost: localhost:1\r\nAccept: text/x\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nContent-Length: 8000\r\n")
        assert body == b"figures " * 1000
        head_only = await ask(listener, b"HEAD /metrics HTTP/1.0\r\n\r\n")
        assert b"Content-Length: 8000" in head_only
        assert head_only.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /other HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"405"),
        (b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"403"),
        (b"GET /metrics HTTP/1.1\r\nHost: [::1]:9\r\nOrigin: http://evil.example\r\n\r\n", b"403"),
        (b"GET /metrics HTTP/1.1\r\nHost: [::1]:9\r\n\r\n", b"200"),
        (b"GET /broken HTTP/1.1\r\n\r\n", b"500"),
        (b'{"type": "describe"}\r\n\r\n', b"400"),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"x" * 40_000 + b"\r\n\r\n", b"431"),
    ],
)
async def test_what_is_not_answered(request_: bytes, status: bytes) -> None:
    async with listening() as listener:
        assert (await ask(listener, request_)).split(b" ")[1] == status


async def test_strangers_and_the_slow_get_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(allow=("192.0.2.0/24",)) as listener:
        assert await ask(listener, b"GET /metrics HTTP/1.1\r\n\r\n") == b""
    monkeypatch.setattr(http_listener, "HEAD_S", 0.1)
    async with listening() as listener:
        assert await ask(listener, b"GET /met") == b""


async def test_a_port_in_use_is_said() -> None:
    async with listening() as listener:
        other = HttpListener(f"127.0.0.1:{listener.port}", {}, AllowList(()))
        with pytest.raises(SettingsError, match="metrics.listen"):
            await other.start()
