"""Wyoming events on a stream of bytes: one bounded, strict parser, used for clients and for our own workers.

An event is a line of JSON (`type`, and optionally `data`, `data_length`, `payload_length`), then `data_length`
bytes of JSON that are merged over `data`, then `payload_length` bytes. `EventParser` does no input or output
itself; `EventReader` and `EventWriter` put it on asyncio streams with time limits.

What is wrong with an event is raised as `BadJson`, `BadEvent`, `BadData`, `TooLarge` or `Timeout` of `errors`.
Where `error.framing_lost` is set nothing more can be read and the connection must be refused; else the event was
skipped whole and the next one can be read. A peer that is gone raises `Disconnected`, which is no error of ours.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from wyoming.error import Error as ErrorEvent
from wyoming.event import Event
from wyoming.version import __version__ as WYOMING_VERSION

from wyoming_superwhisper.byte_budget import ByteBudget
from wyoming_superwhisper.errors import BadData, BadEvent, BadJson, Busy, SuperwhisperError, Timeout, TooLarge

CHUNK_BYTES = 65_536
"""Bytes taken from a stream in one step; with it a parser never holds more than one event and this."""
LINGER_S = 1.5
"""How long a refused peer may be silent before it is cut: while it sends, a reset would overtake the error."""
LINGER_MOST_S = 15.0
"""How long a refused peer that goes on sending is listened to at most."""
LATE_S = 1.0
"""A time limit noticed this late says that this process stood still, and nothing of the peer."""
CLOSE_S = 2.0
"""How long a closing connection may take to send its last bytes."""
LARGE_BYTES = 65_536
"""An event that announces more than this after its line is large: all connections share what they may hold of such."""
VALUE_BYTES = 200
"""What a value of JSON takes in Python, about: up to a hundred times what it takes on the wire."""
JOIN_BYTES = 16_384
"""Payloads up to this size travel in the same write as their header."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one event may measure at most."""

    header_bytes: int = 65_536
    data_bytes: int = 1_048_576
    payload_bytes: int = 1_048_576
    depth: int = 32
    """Lists and objects inside each other, in the header and in the data."""
    values: int = 200_000
    """Values in the header, and in the data."""
    surrogates: bool = False
    """Whether halves of surrogate pairs are let through; only between ends that are both ours."""


class Disconnected(ConnectionResetError):
    """The peer is gone. Not an error to report: there is nobody to report it to."""


class TruncatedEvent(Disconnected):
    """The peer ended its stream in the middle of an event."""


class EventParser:
    """Turns bytes, however they are cut, into events. Holds at most one event and what was fed beyond it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._searched = 0  # bytes of the buffer known to hold no newline
        self._header: _Header | None = None
        self._lost: SuperwhisperError | None = None
        self.event_bytes = 0
        """Memory that the event that was given last takes, about: the bytes in which it came, and its values."""

    @property
    def mid_event(self) -> bool:
        """Whether the beginning of an event has come and its end has not."""
        return self._header is not None or bool(self._buffer)

    @property
    def held_bytes(self) -> int:
        """Bytes held at the moment."""
        return len(self._buffer)

    @property
    def announced_bytes(self) -> int:
        """Bytes that follow the line of the event whose end has not come yet."""
        return 0 if self._header is None else self._header.data_length + self._header.payload_length

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer. After lost framing they are dropped."""
        if self._lost is None:
            self._buffer += data

    def forget(self) -> None:
        """Hold nothing any more: what comes next is not read."""
        self._header = None
        self._buffer.clear()

    def next_event(self) -> Event | None:
        """The next whole event; None: more bytes are needed.

        Raises `BadJson`, `BadEvent`, `BadData` or `TooLarge`; once one of them says `framing_lost`, always the same.
        """
        if self._lost is not None:
            raise self._lost
        try:
            return self._next_event()
        except SuperwhisperError as error:
            if error.framing_lost:
                self._lost = error
                self._buffer.clear()
            raise

    def _next_event(self) -> Event | None:
        if self._header is None:
            line = self._take_line()
            if line is None:
                return None
            self._header = _parse_header(line, self._limits)
        header = self._header
        if len(self._buffer) < header.data_length + header.payload_length:
            return None
        data = self._take(header.data_length)
        payload = self._take(header.payload_length)
        self._header = None
        values = header.values + _separators(data)
        self.event_bytes = header.line_length + len(data) + len(payload) + values * VALUE_BYTES
        return _build_event(header, data, payload, self._limits)

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched)
        self._searched = len(self._buffer)
        if (self._searched if end < 0 else end) > self._limits.header_bytes:
            _lose(TooLarge(f"The header line of an event is longer than {self._limits.header_bytes} bytes."))
        if end < 0:
            return None
        line = self._take(end)
        del self._buffer[:1]
        self._searched = 0
        return line

    def _take(self, length: int) -> bytes:
        taken = bytes(memoryview(self._buffer)[:length])
        del self._buffer[:length]
        return taken


class EventReader:
    """Reads events from an asyncio stream. Whoever uses it reads nothing else from that stream."""

    def __init__(
        self,
        stream: asyncio.StreamReader,
        limits: Limits,
        *,
        event_s: float | None = None,
        budget: ByteBudget | None = None,
    ) -> None:
        """`event_s`: time for a whole event from its first byte; None: no limit. `budget`: for large events."""
        self.stream = stream
        self._parser = EventParser(limits)
        self._event_s = event_s
        self._deadline: float | None = None
        self._budget = budget
        self._reserved = 0

    @property
    def event_bytes(self) -> int:
        """Memory that the event that was read last takes, about."""
        return self._parser.event_bytes

    @property
    def holds_large(self) -> bool:
        """Whether the event that was read last is a large one, whose room in the budget is held until the next read."""
        return self._reserved > 0

    def end(self) -> None:
        """Read no more: forget what is half there, and give back what is held of the budget."""
        self._parser.forget()
        self._release()

    @property
    def mid_event(self) -> bool:
        """Whether the beginning of an event has come and its end has not."""
        return self._parser.mid_event

    async def read(self) -> Event | None:
        """The next event; None: the peer ended its stream between two events.

        Raises what `EventParser` raises, `Timeout` (framing lost) for an event that is not whole in time, `Busy`
        (framing lost) for a large one for which there was no room in that time, and `Disconnected` (`TruncatedEvent` in
        the middle of an event) for a peer that is gone. Lets other tasks run before each event, whatever is in the
        buffer, so that a peer that sends many at once starves nobody.
        """
        await asyncio.sleep(0)
        self._release()
        self._deadline = None
        while (event := self._parser.next_event()) is None:
            if self._deadline is None and self._event_s is not None and self._parser.mid_event:
                self._deadline = asyncio.get_running_loop().time() + self._event_s
            await self._reserve()
            chunk = await self._read_chunk()
            if chunk:
                self._parser.feed(chunk)
            elif self._parser.mid_event:
                raise TruncatedEvent("The stream ended in the middle of an event.")
            else:
                return None
        return event

    def _release(self) -> None:
        if self._budget is not None:
            self._budget.give_back(self._reserved)
        self._reserved = 0

    async def _reserve(self) -> None:
        """Wait for room for a large event before more of it is read."""
        wanted = self._parser.announced_bytes
        if self._budget is None or self._reserved or wanted <= LARGE_BYTES:
            return
        try:
            async with asyncio.timeout_at(self._deadline):
                await self._budget.wait_for(wanted)
        except TimeoutError as error:
            _lose(Busy("Too much is being sent to the server at once; try again later, or in smaller pieces."), error)
        self._reserved = wanted

    async def _read_chunk(self) -> bytes:
        while True:
            try:
                async with asyncio.timeout_at(self._deadline) as limit:
                    return await self.stream.read(CHUNK_BYTES)
            except OSError as error:
                if not limit.expired():
                    raise Disconnected(str(error)) from error
                self._check_deadline(error)

    def _check_deadline(self, error: OSError) -> None:
        """Give the peer its time again if it was this process that stood still (a laptop that slept, SIGSTOP)."""
        assert self._deadline is not None
        assert self._event_s is not None
        now = asyncio.get_running_loop().time()
        if now - self._deadline < LATE_S:
            _lose(Timeout(f"An event was not whole {self._event_s:g} seconds after its first byte."), error)
        self._deadline = now + self._event_s


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


async def refuse(
    reader: asyncio.StreamReader,
    writer: EventWriter,
    error: SuperwhisperError,
    *,
    linger_s: float = LINGER_S,
    most_s: float = LINGER_MOST_S,
) -> None:
    """Tell the peer what is wrong and close, such that it can read it. Never raises for a peer that is gone.

    The sending side is closed first, and what the peer still sends is read and dropped until it has been silent for
    `linger_s`, for `most_s` at most: bytes that nobody read would make the kernel reset the connection, and the
    error would be lost with it.
    """
    try:
        async with asyncio.timeout(most_s):
            async with asyncio.timeout(linger_s) as silence:
                await writer.write(error_event(error))
                if writer.stream.can_write_eof():
                    writer.stream.write_eof()
                while await reader.read(CHUNK_BYTES):
                    silence.reschedule(asyncio.get_running_loop().time() + linger_s)
    except (OSError, RuntimeError):
        pass  # gone, or lingered long enough (TimeoutError is an OSError)
    finally:
        await writer.close()


def error_event(error: SuperwhisperError) -> Event:
    """The `error` event that says what is wrong."""
    event: Event = ErrorEvent(text=str(error), code=error.code).event()
    return event


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


@dataclass(slots=True)
class _Header:
    """A header line whose lengths can be trusted; `fault` is what is wrong with the rest of it."""

    type: str
    data: dict[str, Any]
    line_length: int
    data_length: int
    payload_length: int
    fault: SuperwhisperError | None
    values: int
    """Values in the line, about."""


def _parse_header(line: bytes, limits: Limits) -> _Header:
    """Raises with lost framing if it can't be told how many bytes follow the line."""
    try:
        fields = _parse_json(line, limits, _unique)
    except _NotJson as error:
        _lose(BadJson(f"The header line of an event is not JSON: {error}."), error)
    if not isinstance(fields, dict):
        _lose(BadEvent("The header of an event must be a JSON object."))
    data_length = _length(fields, "data_length", limits.data_bytes)
    payload_length = _length(fields, "payload_length", limits.payload_bytes)
    data = fields.get("data")
    inline = data if isinstance(data, dict) else {}
    header = _Header("", inline, len(line), data_length, payload_length, None, _separators(line))
    if not isinstance(data, dict | None):
        header.fault = BadData("The data of an event must be a JSON object.")
    kind = fields.get("type")
    if isinstance(kind, str) and kind:
        header.type = kind
    else:
        header.fault = BadEvent("An event needs a type, a string that is not empty.")
    return header


def _length(fields: Mapping[str, Any], name: str, limit: int) -> int:
    value = fields.get(name)
    if value is None:
        return 0
    if type(value) is not int or value < 0:  # True is an int, and would read one byte
        _lose(BadEvent(f"{name} must be a whole number of bytes."))
    if value > limit:
        _lose(TooLarge(f"{name} is over the limit of {limit} bytes."))
    return value


def _build_event(header: _Header, data: bytes, payload: bytes, limits: Limits) -> Event:
    if header.fault is not None:
        raise header.fault
    if data:
        try:
            fields = _parse_json(data, limits)
        except _NotJson as error:
            raise BadJson(f"The data of an event is not JSON: {error}.") from error
        if isinstance(fields, dict):
            header.data.update(fields)
        elif fields is not None:
            raise BadData("The data of an event must be a JSON object.")
    return Event(type=header.type, data=header.data, payload=payload or None)


class _NotJson(ValueError):
    """Says in a few words why some bytes are not JSON that is accepted."""


def _parse_json(text: bytes, limits: Limits, pairs_hook: Any = None) -> Any:
    """The value that the bytes say. Raises `_NotJson` with a few words on what is wrong."""
    _check_depth(text, limits.depth)
    if _separators(text) > limits.values and _separators(_outside_strings(text)) > limits.values:
        raise _NotJson(f"it has more than {limits.values} values")
    try:
        value = json.loads(
            text.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=pairs_hook
        )
    except UnicodeDecodeError as error:
        raise _NotJson("not UTF-8") from error
    except json.JSONDecodeError as error:
        raise _NotJson(f"{error.msg} at character {error.pos}") from error
    except _NotJson:
        raise
    except ValueError as error:  # Python refuses to convert thousands of digits
        raise _NotJson("a number is too long") from error
    if not limits.surrogates and _SURROGATE.search(text):
        _check_surrogates(value)
    return value


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _check_depth(text: bytes, depth: int) -> None:
    """Refuse deep nesting before the JSON module recurses into it. Linear in the text, none of it in Python."""
    if text.count(b"[") + text.count(b"{") <= depth:
        return
    brackets = _outside_strings(text).translate(_BRACES_AS_BRACKETS, _NOT_BRACKETS)
    for _ in range(depth):
        outer = brackets.replace(b"[]", b"")
        if not outer:
            return
        if len(outer) == len(brackets):
            raise _NotJson("brackets don't match")
        brackets = outer
    raise _NotJson(f"nested deeper than {depth}")


def _outside_strings(text: bytes) -> bytes:
    unescaped = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(unescaped.split(b'"')[::2])


def _separators(text: bytes) -> int:
    """About as many as the values in a text of JSON, those in its strings included."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


_BRACES_AS_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise _NotJson("half of a surrogate pair") from error


def _no_constant(name: str) -> NoReturn:
    raise _NotJson(f"{name} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _NotJson("a number is too large")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two lengths in one header would let two readers see different events. In the data the last one counts."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _NotJson("a name is given twice")
    return fields


def _lose(error: SuperwhisperError, cause: Exception | None = None) -> NoReturn:
    error.framing_lost = True
    raise error from cause
