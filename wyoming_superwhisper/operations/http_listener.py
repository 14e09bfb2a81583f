"""A small HTTP listener for figures and health: GET of a few known paths, nothing else, each answer its own connection.

On loopback it answers only who calls it by a loopback name (a web page could otherwise read it through a name of its
own), and never a page of another origin.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from wyoming_superwhisper.access import AllowList
from wyoming_superwhisper.errors import SettingsError, system_reason

logger = logging.getLogger(__name__)

HEAD_BYTES = 16_384
"""Longest request head."""
HEAD_S = 5.0
"""Time for a request to be whole."""
ANSWER_S = 10.0
"""Time for an answer to be taken."""
MOST_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path answers."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK


Route = Callable[[Mapping[str, str]], Answer]
"""Answers a request with these headers (names in lower case). Quick: it runs on the loop."""


class HttpListener:
    """Listens on HOST:PORT for these paths."""

    def __init__(self, listen: str, routes: Mapping[str, Route], allow: AllowList) -> None:
        self.host, _, port = listen.rpartition(":")
        self.host = self.host.strip("[]")
        self._port = int(port)
        self._routes = routes
        self.allow = allow
        self._server: asyncio.Server | None = None
        self._open = 0

    @property
    def port(self) -> int:
        """The port that is listened on."""
        if self._server is None:
            return self._port
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen. Raises `SettingsError` for a port in use or an address that isn't ours."""
        try:
            self._server = await asyncio.start_server(self._serve, self.host, self._port, limit=HEAD_BYTES, backlog=16)
        except OSError as error:
            raise SettingsError(
                f"metrics.listen: {self.host}:{self._port} can't be listened on: {system_reason(error)}. "
                "Choose another address with --metrics HOST:PORT."
            ) from error

    async def stop(self) -> None:
        """Close; answers on their way are cut off."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = (writer.get_extra_info("peername") or ("",))[0]
        try:
            if self._open >= MOST_CONNECTIONS or not (peer and self.allow.allows(peer)):
                return
            self._open += 1
            try:
                await self._converse(reader, writer)
            finally:
                self._open -= 1
        except (OSError, asyncio.IncompleteReadError):  # gone, or too slow (TimeoutError is an OSError)
            pass
        finally:
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            answer, is_head = _plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), False
        else:
            answer, is_head = self._answer(head)
        async with asyncio.timeout(ANSWER_S):
            writer.write(_encode(answer, with_body=not is_head))
            await writer.drain()
            # The rest of what is being sent is read, so that a reset doesn't overtake the answer.
            writer.write_eof()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    while await reader.read(HEAD_BYTES):
                        pass

    def _answer(self, head: bytes) -> tuple[Answer, bool]:
        """The answer, and whether only its head is asked for."""
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _plain(HTTPStatus.BAD_REQUEST), False
        method, target, _ = words
        headers = {name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in lines[1:])}
        if method not in ("GET", "HEAD"):
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED), False
        if not self._is_for_us(headers):
            return _plain(HTTPStatus.FORBIDDEN), method == "HEAD"
        route = self._routes.get(target.partition("?")[0])
        if route is None:
            return _plain(HTTPStatus.NOT_FOUND), method == "HEAD"
        try:
            return route(headers), method == "HEAD"
        except Exception:  # the boundary of a request
            logger.exception("%s could not be answered", target.partition("?")[0])
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR), method == "HEAD"

    def _is_for_us(self, headers: Mapping[str, str]) -> bool:
        if "origin" in headers:
            return False
        return not _is_loopback(self.host) or _is_loopback(_host_of(headers.get("host", "localhost")))


def _encode(answer: Answer, *, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (answer.body if with_body else b"")


def _plain(status: HTTPStatus) -> Answer:
    return Answer(f"{status.phrase}\n".encode(), status=status)


def _host_of(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _is_loopback(host: str) -> bool:
    if host.lower() in ("localhost", ""):
        return bool(host)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
