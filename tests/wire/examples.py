"""Events of every kind, what the stock library makes of them, and streams to read and write them on."""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from wyoming.event import Event, write_event

from wyoming_superwhisper import wire
from wyoming_superwhisper.byte_budget import ByteBudget
from wyoming_superwhisper.errors import SuperwhisperError

some = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
"""No time limit per example: the machine may be busy. The same examples every time: a failure must be one of ours."""
many = settings(some, max_examples=150)

LIMITS = wire.Limits(header_bytes=1000, data_bytes=2000, payload_bytes=3000)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
events = st.builds(
    Event,
    type=texts.filter(bool),
    data=st.dictionaries(texts, values, max_size=5),
    payload=st.none() | st.binary(min_size=1, max_size=200),
)

FOLLOWING = b'{"type": "next"}\n'


def stock_bytes(event: Event) -> bytes:
    """What the stock library writes."""
    file = io.BytesIO()
    write_event(event, file)
    return file.getvalue()


def our_bytes(event: Event) -> bytes:
    return wire.encode(event) + (event.payload or b"")


def parse(stream: bytes, chunks: Iterator[bytes] | None = None, limits: wire.Limits | None = None) -> list[Any]:
    """Events and errors that come out of a stream; after lost framing that error is the last one."""
    parser = wire.EventParser(limits or wire.Limits())
    found: list[Any] = []
    for chunk in chunks or iter([stream]):
        parser.feed(chunk)
        while True:
            try:
                event = parser.next_event()
            except SuperwhisperError as error:
                found.append((type(error), str(error), error.framing_lost))
                if error.framing_lost:
                    return found
                continue
            if event is None:
                break
            found.append(event)
    return found


def cut(stream: bytes, seed: int) -> Iterator[bytes]:
    """The stream in chunks of random sizes."""
    generator = random.Random(seed)
    at = 0
    while at < len(stream):
        size = generator.choice([1, 2, 7, 50, 1000])
        yield stream[at : at + size]
        at += size


def reader_of(
    *chunks: bytes, limits: wire.Limits = LIMITS, event_s: float | None = None, budget: ByteBudget | None = None
) -> wire.EventReader:
    stream = asyncio.StreamReader()
    for chunk in chunks:
        stream.feed_data(chunk)
    return wire.EventReader(stream, limits, event_s=event_s, budget=budget)


@contextlib.asynccontextmanager
async def connected(
    write_s: float | None = None,
) -> AsyncIterator[tuple[wire.EventReader, wire.EventWriter, socket.socket]]:
    """Our reader and writer, and the peer's end as a plain socket that doesn't block."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=ours)
    event_writer = wire.EventWriter(writer, write_s=write_s)
    try:
        yield wire.EventReader(reader, LIMITS), event_writer, theirs
    finally:
        await event_writer.close()
        theirs.close()
