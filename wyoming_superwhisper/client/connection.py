"""A connection to a server: events out, events in, each within a time limit; an `error` event is an exception."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.ping import Ping, Pong

from wyoming_superwhisper.access import TlsFiles, client_tls
from wyoming_superwhisper.errors import BadData, SettingsError, SuperwhisperError, Timeout, from_code, system_reason
from wyoming_superwhisper.wire import EventReader, EventWriter, Limits

T = TypeVar("T")

CONNECT_S = 5.0
"""Time for a connection to be made, in seconds."""
ANSWER_S = 120.0
"""Longest silence of a server that owes an answer, in seconds; its models may still be loading."""
WRITE_S = 15.0
"""Time without progress after which sending is given up, in seconds."""


class Unreachable(SuperwhisperError):
    """Nobody listens at the URI, or the connection was not made in time."""


class Disconnected(SuperwhisperError):
    """The server closed the connection before it had answered."""


class Connection:
    """An open connection to a Wyoming server: events out, events in, each within a time limit.

    Use as `async with await Connection.open(uri) as connection`. Pings of the server are answered in passing.
    """

    def __init__(self, uri: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer_s: float) -> None:
        self.uri = uri
        self._incoming = EventReader(reader, Limits())
        self._outgoing = EventWriter(writer, write_s=WRITE_S)
        self._answer_s = answer_s

    @classmethod
    async def open(cls, uri: str, connect_s: float = CONNECT_S, answer_s: float = ANSWER_S) -> Self:
        """Connect. Raises `Unreachable`, and `SettingsError` for a URI that is none or its files."""
        try:
            async with asyncio.timeout(connect_s):
                reader, writer = await _connect(uri)
        except TimeoutError as error:
            raise Unreachable(f"{uri} does not answer within {connect_s:g} s") from error
        except ssl.SSLError as error:
            raise Unreachable(f"no encrypted connection to {uri}: {_tls_reason(error)}") from error
        except OSError as error:
            raise Unreachable(
                f"cannot connect to {uri} ({system_reason(error)}): is a server running there?"
            ) from error
        return cls(uri, reader, writer, answer_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def send(self, event: Eventable | Event) -> None:
        """Send one event. Raises `Disconnected`, also where the server takes nothing any more."""
        try:
            await self._outgoing.write(event if isinstance(event, Event) else event.event())
        except OSError as error:
            raise Disconnected(f"{self.uri} closed the connection") from error

    async def receive(self, answer_s: float | None = None) -> Event:
        """The next event. Raises `Disconnected`, `Timeout`, and what an `error` event stands for."""
        event = await self.receive_any(answer_s)
        if Error.is_type(event.type):
            raise error_of(event)
        return event

    async def receive_any(self, answer_s: float | None = None) -> Event:
        """The next event, an `error` too. Raises `Disconnected`, `Timeout`."""
        limit_s = self._answer_s if answer_s is None else answer_s
        try:
            async with asyncio.timeout(limit_s):
                event = await self._next()
        except TimeoutError as error:
            raise Timeout(f"{self.uri} has not answered within {limit_s:g} s") from error
        except OSError as error:
            raise Disconnected(f"{self.uri} closed the connection") from error
        return event

    def abort(self) -> None:
        """Cut the connection off, with whatever was not sent yet."""
        self._outgoing.abort()

    async def close(self) -> None:
        """Close the connection; it may be closed already."""
        await self._outgoing.close()

    async def _next(self) -> Event:
        while True:
            event = await self._incoming.read()
            if event is None:
                raise Disconnected(f"{self.uri} closed the connection before it had answered")
            if not Ping.is_type(event.type):
                return event
            await self._outgoing.write(Pong(text=Ping.from_event(event).text).event())


def parsed(kind: type[T], event: Event) -> T:
    """The event as this class of the protocol. Raises `BadData` where its fields are not what the protocol says."""
    try:
        made: T = kind.from_event(event)  # type: ignore[attr-defined]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadData(f"the server's '{event.type}' is not what the protocol says ({error})") from error
    return made


def error_of(event: Event) -> SuperwhisperError:
    """The exception that a server's `error` event stands for."""
    data = event.data or {}
    return from_code(str(data.get("code") or ""), str(data.get("text") or "the server reports an error"))


async def _connect(uri: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(uri)
    if parts.scheme == "unix" and parts.netloc + parts.path:
        return await asyncio.open_unix_connection(parts.netloc + parts.path)
    if parts.scheme == "tcp" and parts.hostname and _port(uri):
        return await asyncio.open_connection(parts.hostname, _port(uri))
    if parts.scheme == "tls" and parts.hostname and _port(uri):
        return await asyncio.open_connection(parts.hostname, _port(uri), ssl=client_tls(_tls_files(uri)))
    raise SettingsError(f"{uri!r} is no address of a server: write tcp://HOST:PORT, tls://HOST:PORT or unix://PATH")


def _tls_files(uri: str) -> TlsFiles:
    named = {key: str(Path(value).expanduser()) for key, value in parse_qsl(urlsplit(uri).query)}
    try:
        return TlsFiles(**named)
    except TypeError:
        raise SettingsError(f"{uri!r} names an unknown file: ca, certificate and key are known") from None


def _port(uri: str) -> int | None:
    try:
        return urlsplit(uri).port
    except ValueError:
        return None


def _tls_reason(error: ssl.SSLError) -> str:
    """In words; the numbers of such errors are OpenSSL's, not the system's."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); ca=FILE in the address says who signs it"
    reason = (error.reason or str(error)).replace("_", " ").lower()
    return f"{reason}; does it speak TLS there?"
