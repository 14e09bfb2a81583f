"""The satellite's own timers: told of, kept, and ringing whatever becomes of whoever told of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from wyoming.timer import TimerCancelled, TimerFinished, TimerStarted, TimerUpdated

from tests.waiting import until
from wyoming_superwhisper.config.satellite_settings import TimerSettings
from wyoming_superwhisper.satellite.news import News
from wyoming_superwhisper.satellite.timers import Timer, Timers


class Rung:
    """What has rung."""

    def __init__(self, path: Path | None = None, late_s: float = 0.05) -> None:
        self.names: list[str] = []
        self.timers = Timers(TimerSettings(late_s=late_s), News(), path, self._ring)

    def _ring(self, timer: Timer) -> None:
        self.names.append(timer.name)

    async def run_until(self, happened: Callable[[], object]) -> None:
        task = asyncio.create_task(self.timers.run())
        await until(happened)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_each_rings_once_whoever_says_so_first() -> None:
    rung = Rung()
    rung.timers.take(TimerStarted(id="a", total_seconds=3600, name="a").event())
    rung.timers.take(TimerFinished(id="a").event())
    rung.timers.take(TimerFinished(id="a").event())
    rung.timers.take(TimerStarted(id="b", total_seconds=0, name="b").event())
    await rung.run_until(lambda: not rung.timers)
    rung.timers.take(TimerFinished(id="b").event())
    assert rung.names == ["a", "b"]
    assert len(rung.timers) == 0


async def test_cancelled_and_held_ones_do_not_ring_and_changed_ones_do_when_they_are_due() -> None:
    rung = Rung()
    for identity in ("cancelled", "held", "shorter"):
        rung.timers.take(
            TimerStarted(id=identity, total_seconds=0 if identity != "shorter" else 60, name=identity).event()
        )
    rung.timers.take(TimerCancelled(id="cancelled").event())
    rung.timers.take(TimerUpdated(id="held", is_active=False, total_seconds=0).event())
    rung.timers.take(TimerUpdated(id="shorter", is_active=True, total_seconds=0).event())
    await rung.run_until(lambda: rung.names)
    assert rung.names == ["shorter"]
    assert len(rung.timers) == 1


async def test_they_outlive_a_restart_and_long_overdue_ones_are_not_rung(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "timers.json"
    first = Rung(path)
    first.timers.take(TimerStarted(id="a", total_seconds=1, name="tea").event())
    first.timers.take(TimerStarted(id="b", total_seconds=3600, name="roast").event())
    later = Rung(path)
    later.timers._clock = lambda: time.time() + 2
    await later.run_until(lambda: later.names)
    assert later.names == ["tea"]
    much_later = Rung(path)
    much_later.timers._clock = lambda: time.time() + 3 * 3600
    await much_later.run_until(lambda: path.read_text() == "[]")
    assert much_later.names == []
    assert len(much_later.timers) == 0


async def test_a_file_that_is_broken_is_no_reason_to_fail(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "timers.json"
    path.write_text('[{"id": 3')
    rung = Rung(path)
    await rung.run_until(lambda: "can't be read" in caplog.text)
    rung.timers.take(TimerStarted(id="a", total_seconds=0, name="a").event())
    await rung.run_until(lambda: rung.names)
    assert rung.names == ["a"]
