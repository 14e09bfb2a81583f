"""Events from a stream: in time, within the budget, and whoever has gone."""

from __future__ import annotations

import asyncio
import time

import pytest
from wyoming.event import Event

from tests.wire.examples import (
    FOLLOWING,
    connected,
    parse,
    reader_of,
)
from wyoming_superwhisper import wire
from wyoming_superwhisper.byte_budget import ByteBudget
from wyoming_superwhisper.errors import BadJson, Busy, Timeout


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
    event_s = 1.0
    reader = reader_of(FOLLOWING[:5], event_s=event_s)
    waiting = asyncio.create_task(reader.read())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(event_s + wire.LATE_S)  # noqa: ASYNC251  # the loop stands still, as after SIGSTOP
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
