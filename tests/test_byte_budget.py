"""The memory that all connections share is given in order, and comes back whole."""

from __future__ import annotations

import asyncio

import pytest

from tests.waiting import WAIT_S
from wyoming_superwhisper.byte_budget import ByteBudget


async def test_what_is_there_is_given_at_once_and_comes_back() -> None:
    budget = ByteBudget(100)
    await budget.wait_for(60)
    assert budget.take(40)
    assert not budget.take(1)
    budget.give_back(100)
    assert budget.free == 100


async def test_those_who_wait_are_served_in_order() -> None:
    budget = ByteBudget(100)
    await budget.wait_for(100)
    served: list[str] = []

    async def wait(name: str, size: int) -> None:
        await budget.wait_for(size)
        served.append(name)

    async with asyncio.TaskGroup() as group:
        for name, size in (("large", 80), ("small", 10), ("next", 50)):
            group.create_task(wait(name, size))
            await asyncio.sleep(0)
        budget.give_back(20)
        await asyncio.sleep(0.01)
        assert served == [], "the small one doesn't overtake: the large one would wait for ever"
        budget.give_back(70)
        await asyncio.sleep(0.01)
        assert served == ["large", "small"]
        budget.give_back(80)
    assert served == ["large", "small", "next"]
    budget.give_back(60)
    assert budget.free == 90


async def test_who_gives_up_holds_nothing_and_lets_the_next_one_go_first() -> None:
    budget = ByteBudget(100)
    assert budget.take(50)
    first = asyncio.create_task(budget.wait_for(80))
    second = asyncio.create_task(budget.wait_for(50))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait_for(second, WAIT_S)
    assert budget.free == 0
    third = asyncio.create_task(budget.wait_for(50))
    await asyncio.sleep(0)
    budget.give_back(50)
    third.cancel()  # in the moment in which it was given its part
    with pytest.raises(asyncio.CancelledError):
        await third
    assert budget.free == 50
