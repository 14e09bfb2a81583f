"""The parser takes what the stock library writes, answers for everything else, and holds no more than its limits."""

from __future__ import annotations

import asyncio
import io
import json
import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wyoming.event import Event, async_read_event, read_event

from tests.wire.examples import (
    FOLLOWING,
    LIMITS,
    cut,
    events,
    many,
    our_bytes,
    parse,
    reader_of,
    some,
    stock_bytes,
)
from wyoming_superwhisper import wire
from wyoming_superwhisper.errors import BadData, BadEvent, BadJson, SuperwhisperError, TooLarge

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
