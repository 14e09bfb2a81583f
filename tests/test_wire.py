"""The parser takes what the stock library writes, answers for everything else, and holds no more than its limits."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
import select
import socket
import struct
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wyoming.event import Event, async_read_event, read_event, write_event

from wyoming_superwhisper import wire
from wyoming_superwhisper.byte_budget import ByteBudget
from wyoming_superwhisper.errors import BadData, BadEvent, BadJson, Busy, SuperwhisperError, Timeout, TooLarge

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


# --- the same events as the stock library ---


@some
@given(events)
def test_what_the_stock_library_writes_is_read(event: Event) -> None:
    assert parse(stock_bytes(event)) == [event]


@some
@given(events)
def test_what_we_write_is_read_by_the_stock_library_and_by_us(event: Event) -> None:
    assert read_event(io.BytesIO(our_bytes(event))) == event
    assert parse(our_bytes(event)) == [event]


@some
@given(st.lists(events, max_size=4), st.integers(0, 2**32))
def test_chunks_make_no_difference(several: list[Event], seed: int) -> None:
    stream = b"".join(map(stock_bytes, several))
    assert parse(stream, cut(stream, seed)) == several


@some
@given(events, st.integers(0, 2**32))
async def test_the_async_readers_agree(event: Event, seed: int) -> None:
    ours = reader_of(*cut(stock_bytes(event), seed), limits=wire.Limits())
    ours.stream.feed_eof()
    assert await ours.read() == event
    assert await ours.read() is None
    stock = asyncio.StreamReader()
    stock.feed_data(our_bytes(event))
    stock.feed_eof()
    assert await async_read_event(stock) == event


def test_data_of_both_places_is_merged_as_the_stock_library_does() -> None:
    stream = b'{"type": "t", "data": {"a": 1, "b": 1}, "data_length": 8}\n{"b": 2}'
    assert parse(stream) == [read_event(io.BytesIO(stream))] == [Event("t", {"a": 1, "b": 2})]


@pytest.mark.parametrize(
    "header",
    [
        b'{"type": "t"}',
        b'{"type": "t", "data": null}',
        b'{"type": "t", "data": {}, "data_length": 0, "payload_length": 0}',
        b'{"type": "t", "data_length": null, "payload_length": null}',
        b'{"type": "t", "version": [1]}',
        b' {"type" : "t", "more": "ignored"}\r',
    ],
)
def test_ways_to_say_nothing(header: bytes) -> None:
    assert parse(header + b"\n") == [Event("t", {}, None)]


def test_data_that_is_null_is_no_data() -> None:
    assert parse(b'{"type": "t", "data_length": 4}\nnull') == [Event("t", {})]


def test_a_lone_surrogate_is_written_such_that_the_stock_library_can_read_it() -> None:
    event = Event("t", {"text": "\ud800"})
    assert read_event(io.BytesIO(our_bytes(event))) == event


def test_between_ends_of_ours_a_lone_surrogate_is_let_through() -> None:
    event = Event("t", {"text": "\ud800"})
    assert parse(our_bytes(event), limits=wire.Limits(surrogates=True)) == [event]


def test_not_a_number_is_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        wire.encode(Event("t", {"x": float("nan")}))


# --- what is wrong is said ---

FOLLOWING = b'{"type": "next"}\n'


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (b"", BadJson),
        (b"   ", BadJson),
        (b"hello", BadJson),
        (b"POST / HTTP/1.1\r", BadJson),
        (b'{"type": "t"', BadJson),
        (b'{"type": "t"} {}', BadJson),
        (b'\xff{"type": "t"}', BadJson),
        (b'\xef\xbb\xbf{"type": "t"}', BadJson),
        ('{"type": "t"}'.encode("utf-16-le"), BadJson),
        (b'{"type": "\xed\xa0\x80"}', BadJson),
        (b'{"type": "\\ud800"}', BadJson),
        (b'{"type": "t", "data": {"\\uDFFF": 1}}', BadJson),
        (b'{"type": "t", "data_length": NaN}', BadJson),
        (b'{"type": "t", "payload_length": Infinity}', BadJson),
        (b'{"type": "t", "payload_length": -Infinity}', BadJson),
        (b'{"type": "t", "payload_length": 1e999}', BadJson),
        (b'{"type": "t", "data_length": 1, "data_length": 2}', BadJson),
        (b"[" * 900, BadJson),
        (b'{"a":' * 150, BadJson),
        (b"[" * 33 + b"]" * 33, BadJson),
        (b'{"type": "t", "data": {"a": ' + b"[" * 31 + b"]" * 31 + b"}}", BadJson),
        (b"]" * 40 + b"[" * 40, BadJson),
        (b"[]", BadEvent),
        (b"null", BadEvent),
        (b"7", BadEvent),
        (b'"type"', BadEvent),
        (b'{"type": "t", "data_length": -1}', BadEvent),
        (b'{"type": "t", "data_length": true}', BadEvent),
        (b'{"type": "t", "data_length": 1.0}', BadEvent),
        (b'{"type": "t", "data_length": "1"}', BadEvent),
        (b'{"type": "t", "payload_length": [1]}', BadEvent),
        (b'{"type": "t", "payload_length": {}}', BadEvent),
        (b'{"type": "t", "payload_length": false}', BadEvent),
        (b'{"type": "t", "data_length": 2001}', TooLarge),
        (b'{"type": "t", "payload_length": 1000000000000}', TooLarge),
        (b'{"type": "t", "x": "' + b"a" * 1000 + b'"}', TooLarge),
    ],
)
def test_lost_framing(header: bytes, kind: type[SuperwhisperError]) -> None:
    (found,) = parse(header + b"\n" + FOLLOWING, limits=LIMITS)
    assert found[0] is kind
    assert found[1].endswith(".")
    assert found[2]


def test_numbers_with_thousands_of_digits_are_refused() -> None:
    (found,) = parse(b'{"type": "t", "data_length": ' + b"1" * 5000 + b"}\n")
    assert found == (BadJson, "The header line of an event is not JSON: a number is too long.", True)


@pytest.mark.parametrize(
    ("header", "rest", "kind"),
    [
        (b"{}", b"", BadEvent),
        (b'{"type": null}', b"", BadEvent),
        (b'{"type": ""}', b"", BadEvent),
        (b'{"type": 7, "data_length": 2, "payload_length": 3}', b"{}abc", BadEvent),
        (b'{"type": ["t"], "payload_length": 3}', b"abc", BadEvent),
        (b'{"type": "t", "data": []}', b"", BadData),
        (b'{"type": "t", "data": "x", "payload_length": 1}', b"x", BadData),
        (b'{"type": "t", "data": false}', b"", BadData),
        (b'{"type": "t", "data_length": 2}', b"[]", BadData),
        (b'{"type": "t", "data_length": 1, "payload_length": 2}', b"7ab", BadData),
        (b'{"type": "t", "data_length": 3}', b"abc", BadJson),
        (b'{"type": "t", "data_length": 2}', b"  ", BadJson),
        (b'{"type": "t", "data_length": 2}', b'"\xff', BadJson),
        (b'{"type": "t", "data_length": 8}', b'{"a":NaN', BadJson),
        (b'{"type": "t", "data_length": 15}', b'{"a": "\\udc00"}', BadJson),
        (b'{"type": "t", "data_length": 1800}', b"[" * 1800, BadJson),
    ],
)
def test_what_is_framed_but_means_nothing_costs_only_itself(
    header: bytes, rest: bytes, kind: type[SuperwhisperError]
) -> None:
    found, following = parse(header + b"\n" + rest + FOLLOWING, limits=LIMITS)
    assert (found[0], found[2]) == (kind, False)
    assert following == Event("next")


@pytest.mark.parametrize(
    "data",
    [
        {"a": [[[]] * 40] * 20},
        {"brackets": "[" * 500 + "{" * 500},
        {"escapes": '\\"[' * 100},
        {"deep": json.loads("[" * 30 + "]" * 30)},
        {"pair": "\U0001f600"},
    ],
)
def test_what_only_looks_deep_or_broken_is_taken(data: dict[str, Any]) -> None:
    event = Event("t", data)
    assert parse(our_bytes(event)) == parse(stock_bytes(event)) == [event]


def test_in_the_data_the_last_of_two_names_counts_as_in_the_stock_library() -> None:
    stream = b'{"type": "t", "data_length": 15}\n{"a": 1,"a": 2}'
    assert parse(stream) == [read_event(io.BytesIO(stream))]


def test_after_lost_framing_the_parser_says_the_same_again_and_holds_nothing() -> None:
    parser = wire.EventParser(LIMITS)
    parser.feed(b"hello\n" + b"x" * 1000)
    for _ in range(3):
        with pytest.raises(BadJson):
            parser.next_event()
        parser.feed(b"x" * 1000)
        assert parser.held_bytes == 0


# --- anything at all ---


def mutate(stream: bytes, generator: random.Random) -> bytes:
    """Some bytes changed, left out, doubled or put in."""
    mutated = bytearray(stream)
    for _ in range(generator.randint(1, 6)):
        at = generator.randrange(len(mutated) + 1)
        what = generator.randrange(5)
        if what == 0:
            mutated[at : at + 1] = bytes([generator.randrange(256)])
        elif what == 1:
            del mutated[at : at + generator.randint(1, 5)]
        elif what == 2:
            mutated[at:at] = mutated[at : at + generator.randint(1, 20)]
        elif what == 3:
            mutated[at:at] = generator.choice(
                [b"\n", b"{", b"[", b'"', b"\\", b"-", b"1e9", b"null", b"\xff", b"\\ud800"]
            )
        else:
            mutated[at : at + 1] = generator.choice([b"0", b"9", b"true", b"NaN"])
    return bytes(mutated)


@many
@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_random_bytes_give_events_or_our_errors_however_they_are_cut(stream: bytes, seed: int) -> None:
    assert parse(stream) == parse(stream, cut(stream, seed))


@many
@given(st.lists(events, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_mutated_events_give_events_or_our_errors_however_they_are_cut(several: list[Event], generator: Any) -> None:
    stream = mutate(b"".join(map(stock_bytes, several)), generator)
    assert parse(stream) == parse(stream, cut(stream, generator.randrange(2**32)))


def test_ten_thousand_mutated_events() -> None:
    """Whatever the stock library reads from them as well, it reads the same."""
    generator = random.Random(1)
    seeds = [
        Event("transcribe", {"language": "fr", "context": {"names": ["Salon", "Cuisine"]}}),
        Event("audio-chunk", {"rate": 16000, "width": 2, "channels": 1, "timestamp": None}, bytes(range(64))),
        Event("synthesize", {"text": "Il fait 21,5 °C « dehors ».", "voice": {"name": "fr_FR-demo-low"}}),
        Event("describe"),
    ]
    streams = [stock_bytes(event) for event in seeds]
    for _ in range(10_000):
        stream = mutate(generator.choice(streams), generator)
        for found in parse(stream, limits=LIMITS):
            if isinstance(found, Event):
                assert isinstance(found.type, str)
                assert isinstance(found.data, dict)
            else:
                assert issubclass(found[0], BadJson | BadEvent | BadData | TooLarge)


@pytest.mark.parametrize(
    "start",
    [
        b'{"type": "t", "payload_length": 1000000000000}\n',
        b'{"type": "t", "data_length": 1000000000000}\n',
        b'{"type": "t", "payload_length": 3000',
        b"",
    ],
)
def test_memory_stays_within_the_limits(start: bytes) -> None:
    parser = wire.EventParser(LIMITS)
    chunk = b"x" * wire.CHUNK_BYTES
    tracemalloc.start()
    try:
        parser.feed(start)
        for _ in range(1000):
            parser.feed(chunk)
            with pytest.raises(SuperwhisperError):
                parser.next_event()
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_parser_that_waits_for_an_event_holds_nothing() -> None:
    parser = wire.EventParser(wire.Limits())
    parser.feed(our_bytes(Event("t", {"a": "x" * 1_000_000}, bytes(1_000_000))))
    assert parser.mid_event
    assert parser.next_event() is not None
    assert (parser.held_bytes, parser.mid_event) == (0, False)


# --- reading ---


async def test_the_end_between_events_is_none_and_within_one_is_an_end_of_its_own() -> None:
    reader = reader_of(FOLLOWING)
    reader.stream.feed_eof()
    assert await reader.read() == Event("next")
    assert await reader.read() is None
    for truncated in (b"{", b'{"type": "t", "payload_length": 2}\n', b'{"type": "t", "payload_length": 2}\nx'):
        reader = reader_of(truncated)
        reader.stream.feed_eof()
        with pytest.raises(wire.TruncatedEvent):
            await reader.read()


async def test_a_reset_is_a_disconnect() -> None:
    reader = reader_of(b"{")
    reader.stream.set_exception(ConnectionResetError("reset"))
    with pytest.raises(wire.Disconnected):
        await reader.read()
    reader = reader_of(b"{", event_s=5)
    reader.stream.set_exception(TimeoutError("the kernel gave up"))
    with pytest.raises(wire.Disconnected):
        await reader.read()


async def test_a_whole_event_must_come_in_time_from_its_first_byte() -> None:
    reader = reader_of(event_s=0.05)
    waiting = asyncio.create_task(reader.read())
    await asyncio.sleep(0.1)
    assert not waiting.done()  # nothing has come: idle, not slow
    reader.stream.feed_data(FOLLOWING[:5])
    await asyncio.sleep(0.03)
    reader.stream.feed_data(FOLLOWING[5:8])  # a byte now and then is no reprieve
    with pytest.raises(Timeout) as caught:
        await waiting
    assert caught.value.framing_lost


async def test_time_in_which_this_process_stood_still_is_not_the_peers() -> None:
    reader = reader_of(FOLLOWING[:5], event_s=0.2)
    waiting = asyncio.create_task(reader.read())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(0.2 + wire.LATE_S)  # noqa: ASYNC251  # the loop stands still, as after SIGSTOP
    await asyncio.sleep(0.05)
    assert not waiting.done()
    reader.stream.feed_data(FOLLOWING[5:])
    assert await waiting is not None
    reader.stream.feed_data(FOLLOWING[:5])
    with pytest.raises(Timeout):  # it has its time once more, not for ever
        await reader.read()


async def test_a_reader_knows_how_much_an_event_was() -> None:
    reader = reader_of(FOLLOWING)
    await reader.read()
    assert len(FOLLOWING) - 1 + wire.VALUE_BYTES <= reader.event_bytes <= len(FOLLOWING) + 2 * wire.VALUE_BYTES


def test_values_are_counted_and_commas_in_words_are_none() -> None:
    limits = wire.Limits(values=100)
    for data, taken in (
        ({"text": "one, two, [three], {four} \\" * 50}, True),
        ({"names": ["a, b"] * 98}, True),
        ({"names": ["a"] * 101}, False),
        ({"names": [{}] * 60}, False),
        ({"names": [[[]] * 20] * 3}, False),
    ):
        stream = wire.encode(Event("t", data)) + FOLLOWING
        first, *rest = parse(stream, limits=limits)
        assert isinstance(first, Event) is taken, data
        assert taken or first == (BadJson, "The data of an event is not JSON: it has more than 100 values.", False)
        assert len(rest) == 1, "the next one is read"
    (lost,) = parse(b'{"type": "t", "data": {"a": [' + b"1," * 120 + b"1]}}\n", limits=limits)
    assert (lost[0], lost[2]) == (BadJson, True)


async def test_what_is_large_waits_for_room_and_small_events_never_do() -> None:
    budget = ByteBudget(300_000)
    large = b'{"type": "large", "payload_length": 200000}\n'
    first, second, small = (reader_of(limits=wire.Limits(), budget=budget) for _ in range(3))
    first.stream.feed_data(large)
    holding = asyncio.create_task(first.read())
    await asyncio.sleep(0.01)
    assert budget.free == 100_000
    assert first.mid_event
    assert not second.mid_event
    second.stream.feed_data(large + bytes(200_000))
    waiting = asyncio.create_task(second.read())
    small.stream.feed_data(FOLLOWING)
    assert await small.read() is not None
    assert not small.holds_large
    assert not waiting.done()
    first.stream.feed_data(bytes(200_000))
    event = await holding
    assert event is not None
    assert (event.type, first.holds_large, waiting.done()) == ("large", True, False)
    first.end()
    assert (await waiting) is not None
    assert budget.free == 100_000
    second.stream.feed_eof()
    assert await second.read() is None
    assert budget.free == 300_000


async def test_a_large_event_that_finds_no_room_in_its_time_is_told_that_it_is_busy() -> None:
    budget = ByteBudget(100_000)
    line = b'{"type": "large", "payload_length": 200000}\n'
    reader = reader_of(line, limits=wire.Limits(), event_s=0.05, budget=budget)
    with pytest.raises(Busy) as told:
        await reader.read()
    assert told.value.framing_lost
    assert reader.mid_event
    reader.end()
    assert not reader.mid_event, "the half of it is forgotten"
    assert budget.free == 100_000


async def test_a_writer_knows_its_socket() -> None:
    async with connected() as (_, writer, _):
        assert writer.descriptor == writer.stream.get_extra_info("socket").fileno()


async def test_other_tasks_run_between_events_that_are_there_already() -> None:
    reader = reader_of(FOLLOWING * 100)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(100):
        await reader.read()
    task.cancel()
    assert turns >= 99


# --- writing ---


async def test_events_of_several_tasks_go_out_whole() -> None:
    async with connected() as (_, writer, theirs):
        sent = [Event("t", {"n": n}, bytes([n]) * 5000 * n) for n in range(10)]
        reader, peer = await asyncio.open_connection(sock=theirs)
        async with asyncio.TaskGroup() as group:
            for event in sent:
                group.create_task(writer.write(event))
            received = [await async_read_event(reader) for _ in sent]
        assert [(event.data, event.payload) for event in received if event] == [
            (event.data, event.payload or None) for event in sent
        ]
        peer.close()


async def test_a_peer_that_takes_nothing_is_cut_off() -> None:
    async with connected(write_s=0.1) as (_, writer, _):
        with pytest.raises(wire.Disconnected, match=r"took nothing for 0\.1 seconds"):
            await writer.write(Event("t", {}, bytes(10_000_000)))
        assert writer.stream.transport.is_closing()


async def test_whoever_counts_events_is_told_of_each_that_is_written() -> None:
    async with connected() as (_, writer, _):
        told: list[str] = []
        await writer.write(Event("before"))
        writer.on_sent = lambda event: told.append(event.type)
        await writer.write(Event("one"))
        await writer.write_bytes(wire.encode(Event("not named")))
        await writer.write_bytes(wire.encode(Event("two")), event=Event("two"))
        assert told == ["one", "two"]


async def test_a_peer_that_is_cut_off_is_reset_and_leaves_nothing_in_the_kernel() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        _, stream = await asyncio.open_connection(sock=listening.accept()[0])
    writer = wire.EventWriter(stream)
    with contextlib.suppress(TimeoutError):  # until it would have to wait
        async with asyncio.timeout(0.5):
            while True:
                await writer.write(Event("t", {}, bytes(100_000)))
    writer.abort()
    await asyncio.sleep(0)
    assert writer.descriptor == -1
    hung_up = select.poll()
    hung_up.register(theirs, select.POLLHUP)  # both directions: a reset, with all that was on its way
    assert hung_up.poll(1000)
    writer.abort()  # is nothing any more
    theirs.close()


async def test_a_peer_that_is_slow_but_takes_something_is_not() -> None:
    async with connected(write_s=0.15) as (_, writer, theirs):
        total = 3_000_000

        async def sip() -> None:
            received = 0
            while received < total:
                await asyncio.sleep(0.01)
                try:
                    received += len(theirs.recv(60_000))
                except BlockingIOError:
                    continue

        async with asyncio.TaskGroup() as group:
            group.create_task(sip())
            await writer.write(Event("t", {}, bytes(total)))


async def test_a_lost_connection_is_one_kind_of_error() -> None:
    async with connected() as (_, writer, theirs):
        theirs.close()
        with pytest.raises(wire.Disconnected):
            await writer.write(Event("t", {}, bytes(10_000_000)))
        with pytest.raises(wire.Disconnected):
            await writer.write(Event("t"))


@pytest.mark.parametrize("kind", [AttributeError, TypeError, RuntimeError, BrokenPipeError])
async def test_so_are_the_errors_of_some_python_versions(kind: type[Exception]) -> None:
    async with connected() as (_, writer, _):
        stream = writer.stream

        class Broken:
            transport = stream.transport

            def write(self, data: bytes) -> None:
                raise kind("'NoneType' object")

        with pytest.raises(wire.Disconnected):
            await wire.EventWriter(Broken()).write(Event("t"))  # type: ignore[arg-type]


async def test_closing_a_connection_whose_peer_reads_nothing_ends() -> None:
    async with connected() as (_, writer, _):
        writer.stream.write(bytes(10_000_000))
        await asyncio.wait_for(writer.close(0.05), 1)


# --- refusing ---


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
        async with asyncio.timeout(5):
            with contextlib.suppress(OSError):
                while not reader.exception():
                    writer.write(bytes(10_000))
                    await writer.drain()
                    await asyncio.sleep(0.01)
        writer.close()


async def test_a_refused_peer_may_send_to_its_end_as_long_as_it_is_not_silent() -> None:
    async with refusing(Busy("Later."), linger_s=0.2, most_s=5.0) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b'{"type": "t", "payload_length": 1000000000000}\n')
        for _ in range(8):  # longer than the pause that is allowed, none of them as long
            await asyncio.sleep(0.1)
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
