"""Timers on a clock of the test's own."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import pytest

from wyoming_superwhisper.timers import MOST_TIMERS, Change, NoSuchTimer, SeveralTimers, Timer, Timers, TooManyTimers


class FakeLoop:
    """The part of an event loop that timers need; time passes when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self._calls: list[tuple[float, int, FakeHandle]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> FakeHandle:
        handle = FakeHandle(callback, args)
        heapq.heappush(self._calls, (when, id(handle), handle))
        return handle

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self._calls and self._calls[0][0] <= until:
            self.now, _, handle = heapq.heappop(self._calls)
            if not handle.cancelled:
                handle.callback(*handle.args)
        self.now = until


class FakeHandle:
    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.callback, self.args, self.cancelled = callback, args, False

    def cancel(self) -> None:
        self.cancelled = True


class Bench:
    """Timers, their loop, and what they told."""

    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.told: list[tuple[Change, str]] = []
        self.timers = Timers(self._hear, self.loop)

    def _hear(self, change: Change, timer: Timer) -> None:
        self.told.append((change, timer.name or timer.id))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_timer_ends_after_its_time_and_says_so(bench: Bench) -> None:
    bench.timers.start("salon", {"minutes": 1, "seconds": 30, "name": "oeufs"})
    bench.loop.pass_time(89)
    assert bench.told == [(Change.STARTED, "oeufs")]
    bench.loop.pass_time(1)
    assert bench.told[-1] == (Change.FINISHED, "oeufs")
    assert bench.timers.of("salon") == []


def test_several_timers_run_side_by_side_and_are_told_apart(bench: Bench) -> None:
    eggs = bench.timers.start("salon", {"minutes": 3, "name": "Oeufs"})
    tea = bench.timers.start("salon", {"minutes": 5, "name": "thé"})
    plain = bench.timers.start("cuisine", {"seconds": 90}, area="Cuisine")
    assert bench.timers.find("salon", {"name": "oeufs"}) is eggs
    assert bench.timers.find("salon", {"start_minutes": 5}) is tea
    assert bench.timers.find("cuisine", {}) is plain
    assert bench.timers.find("salon", {"area": "cuisine"}) is plain
    assert bench.timers.find("cuisine", {"start_minutes": 1, "start_seconds": 30}) is plain
    with pytest.raises(SeveralTimers):
        bench.timers.find("salon", {})
    with pytest.raises(NoSuchTimer):
        bench.timers.find("salon", {"name": "pâtes"})
    with pytest.raises(NoSuchTimer):
        bench.timers.find("bureau", {})


def test_a_timer_of_another_room_is_not_touched_without_being_named(bench: Bench) -> None:
    bench.timers.start("salon", {"minutes": 3})
    assert bench.timers.cancel_all("cuisine") == 0
    assert len(bench.timers.of("salon")) == 1


def test_a_cancelled_timer_never_ends(bench: Bench) -> None:
    bench.timers.cancel(bench.timers.start("salon", {"seconds": 5}))
    bench.loop.pass_time(10)
    assert [change for change, _ in bench.told] == [Change.STARTED, Change.CANCELLED]


def test_a_held_timer_keeps_its_time(bench: Bench) -> None:
    timer = bench.timers.start("salon", {"seconds": 60})
    bench.loop.pass_time(20)
    bench.timers.pause(timer)
    bench.timers.pause(timer)
    bench.loop.pass_time(1000)
    assert bench.timers.left(timer) == 40
    bench.timers.unpause(timer)
    bench.loop.pass_time(39)
    assert bench.told[-1][0] is Change.UPDATED
    bench.loop.pass_time(1)
    assert bench.told[-1][0] is Change.FINISHED


def test_a_timer_is_made_longer_and_shorter(bench: Bench) -> None:
    timer = bench.timers.start("salon", {"minutes": 2})
    bench.timers.add(timer, {"minutes": 1})
    assert bench.timers.left(timer) == 180
    bench.timers.add(timer, {"seconds": 30}, sign=-1)
    assert bench.timers.left(timer) == 150
    bench.timers.pause(timer)
    bench.timers.add(timer, {"seconds": 30}, sign=-1)
    assert bench.timers.left(timer) == 120


def test_a_timer_shortened_below_nothing_ends_at_once(bench: Bench) -> None:
    timer = bench.timers.start("salon", {"seconds": 30})
    bench.timers.add(timer, {"minutes": 5}, sign=-1)
    bench.loop.pass_time(0)
    assert bench.told[-1][0] is Change.FINISHED


@pytest.mark.parametrize("slots", [{}, {"minutes": 0}, {"minutes": "many"}, {"hours": 10_000}])
def test_a_timer_needs_a_time_that_makes_sense(bench: Bench, slots: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="time"):
        bench.timers.start("salon", slots)


def test_a_satellite_has_a_bounded_number_of_timers(bench: Bench) -> None:
    for _ in range(MOST_TIMERS):
        bench.timers.start("salon", {"minutes": 1})
    with pytest.raises(TooManyTimers):
        bench.timers.start("salon", {"minutes": 1})
    bench.timers.start("cuisine", {"minutes": 1})


@pytest.mark.parametrize(
    ("slots", "rounded"),
    [
        ({"seconds": 20}, (0, 0, 20)), ({"minutes": 1, "seconds": 50}, (0, 2, 0)),
        ({"minutes": 1, "seconds": 25}, (0, 1, 30)),
        ({"minutes": 1, "seconds": 10}, (0, 1, 0)), ({"hours": 1, "minutes": 50}, (2, 0, 0)),
        ({"hours": 1, "minutes": 25}, (1, 30, 0)),
    ],
)  # fmt: skip
def test_the_time_left_is_rounded_as_home_assistant_does(
    bench: Bench, slots: dict[str, Any], rounded: tuple[int, int, int]
) -> None:
    (status,) = bench.timers.status([bench.timers.start("salon", slots)])
    assert tuple(status[f"rounded_{unit}_left"] for unit in ("hours", "minutes", "seconds")) == rounded


def test_closing_forgets_all_and_tells_nobody(bench: Bench) -> None:
    bench.timers.start("salon", {"seconds": 1})
    bench.timers.close()
    bench.loop.pass_time(10)
    assert [change for change, _ in bench.told] == [Change.STARTED]


async def test_timers_run_on_asyncios_own_loop() -> None:
    told: list[Change] = []
    timers = Timers(lambda change, timer: told.append(change))
    timers.start("salon", {"seconds": 60})
    timers.close()
    assert told == [Change.STARTED]
