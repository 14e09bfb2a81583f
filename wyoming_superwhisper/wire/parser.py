"""Bytes, however they are cut, to events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wyoming.event import Event

from wyoming_superwhisper.errors import BadData, BadEvent, BadJson, SuperwhisperError, TooLarge
from wyoming_superwhisper.wire.errors import lose
from wyoming_superwhisper.wire.limits import Limits
from wyoming_superwhisper.wire.strict_json import NotJson, parse_json, separators, unique

VALUE_BYTES = 200
"""What a value of JSON takes in Python, about: up to a hundred times what it takes on the wire."""


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
        values = header.values + separators(data)
        self.event_bytes = header.line_length + len(data) + len(payload) + values * VALUE_BYTES
        return _build_event(header, data, payload, self._limits)

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched)
        self._searched = len(self._buffer)
        if (self._searched if end < 0 else end) > self._limits.header_bytes:
            lose(TooLarge(f"The header line of an event is longer than {self._limits.header_bytes} bytes."))
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
        fields = parse_json(line, limits, unique)
    except NotJson as error:
        lose(BadJson(f"The header line of an event is not JSON: {error}."), error)
    if not isinstance(fields, dict):
        lose(BadEvent("The header of an event must be a JSON object."))
    data_length = _length(fields, "data_length", limits.data_bytes)
    payload_length = _length(fields, "payload_length", limits.payload_bytes)
    data = fields.get("data")
    inline = data if isinstance(data, dict) else {}
    header = _Header("", inline, len(line), data_length, payload_length, None, separators(line))
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
        lose(BadEvent(f"{name} must be a whole number of bytes."))
    if value > limit:
        lose(TooLarge(f"{name} is over the limit of {limit} bytes."))
    return value


def _build_event(header: _Header, data: bytes, payload: bytes, limits: Limits) -> Event:
    if header.fault is not None:
        raise header.fault
    if data:
        try:
            fields = parse_json(data, limits)
        except NotJson as error:
            raise BadJson(f"The data of an event is not JSON: {error}.") from error
        if isinstance(fields, dict):
            header.data.update(fields)
        elif fields is not None:
            raise BadData("The data of an event must be a JSON object.")
    return Event(type=header.type, data=header.data, payload=payload or None)
