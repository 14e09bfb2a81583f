"""Timers of satellites that no Home Assistant drives: several at once, named, paused and changed by voice."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from wyoming_superwhisper.home import fold

logger = logging.getLogger(__name__)

MOST_TIMERS = 64
"""Timers of one satellite at once."""

LONGEST_S = 30 * 24 * 3600
"""Longest time a timer may run, in seconds."""


class Change(Enum):
    """What happened to a timer; the values are those of Wyoming's timer events."""

    STARTED = "timer-started"
    UPDATED = "timer-updated"
    CANCELLED = "timer-cancelled"
    FINISHED = "timer-finished"


class Loop(Protocol):
    """What of the event loop timers need: a clock and a call at a time of it. `asyncio`'s loop is one."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> Any: ...


@dataclass(eq=False, slots=True)
class Timer:
    """One timer. Only `Timers` changes it."""

    id: str
    satellite: str
    area: str
    name: str
    language: str
    start_hours: int
    start_minutes: int
    start_seconds: int
    is_active: bool = True
    ends_at: float = 0.0
    left_s: float = 0.0
    """Seconds left while paused."""
    handle: Any = field(default=None, repr=False)

    @property
    def start_total_s(self) -> int:
        """Seconds it was set for."""
        return self.start_hours * 3600 + self.start_minutes * 60 + self.start_seconds


class NoSuchTimer(LookupError):
    """No timer fits what was said."""


class SeveralTimers(LookupError):
    """More than one timer fits what was said."""


class TooManyTimers(RuntimeError):
    """A satellite has as many timers as it may have."""


Listener = Callable[[Change, Timer], None]


class Timers:
    """All timers, on one event loop; tells a listener of every change."""

    def __init__(self, listener: Listener | None = None, loop: Loop | None = None) -> None:
        self._listener = listener
        self._given_loop = loop
        self._timers: dict[str, Timer] = {}
        self._numbers = itertools.count(1)
        self._run_id = secrets.token_hex(3)
        """In every id: a satellite remembers its timers, also those of a server that was restarted since."""

    def start(self, satellite: str, slots: Mapping[str, Any], language: str = "", area: str = "") -> Timer:
        """Start a timer from the slots of HassStartTimer. Raises `TooManyTimers`, `ValueError` for no time at all."""
        hours, minutes, seconds = (_number(slots.get(key)) for key in ("hours", "minutes", "seconds"))
        total = hours * 3600 + minutes * 60 + seconds
        if not 0 < total <= LONGEST_S:
            raise ValueError("a timer needs a time")
        if len(self.of(satellite)) >= MOST_TIMERS:
            raise TooManyTimers(satellite)
        name = str(slots.get("name") or "").strip()
        timer = Timer(
            f"timer-{self._run_id}-{next(self._numbers)}",
            satellite,
            area,
            name,
            language,
            int(hours),
            int(minutes),
            int(seconds),
        )
        self._timers[timer.id] = timer
        self._run(timer, total)
        self._tell(Change.STARTED, timer)
        return timer

    def of(self, satellite: str) -> list[Timer]:
        """A satellite's timers, the one that ends first first."""
        return sorted((t for t in self._timers.values() if t.satellite == satellite), key=self.left)

    def left(self, timer: Timer) -> float:
        """Seconds left."""
        return max(0.0, timer.ends_at - self._loop.time()) if timer.is_active else timer.left_s

    def find(self, satellite: str, slots: Mapping[str, Any], active: bool | None = None) -> Timer:
        """The one timer that the slots of an intent mean. Raises `NoSuchTimer`, `SeveralTimers`."""
        found = self.matching(satellite, slots, active)
        if not found:
            raise NoSuchTimer(satellite)
        if len(found) > 1:
            raise SeveralTimers(satellite)
        return found[0]

    def matching(self, satellite: str, slots: Mapping[str, Any], active: bool | None = None) -> list[Timer]:
        """The timers that fit: by name, by the time they were set for, in a named room; of this satellite first."""
        found = list(self._timers.values())
        if active is not None:
            found = [timer for timer in found if timer.is_active == active]
        if name := slots.get("name"):
            found = [timer for timer in found if fold(timer.name) == fold(str(name))]
        if area := slots.get("area"):
            found = [timer for timer in found if fold(timer.area) == fold(str(area))]
        starts = [slots.get(key) for key in ("start_hours", "start_minutes", "start_seconds")]
        if any(start is not None for start in starts):
            hours, minutes, seconds = (_number(start) for start in starts)
            found = [timer for timer in found if timer.start_total_s == hours * 3600 + minutes * 60 + seconds]
        own = [timer for timer in found if timer.satellite == satellite]
        return sorted(own or (found if name or area else []), key=self.left)

    def cancel(self, timer: Timer) -> None:
        """Cancel a timer."""
        self._halt(timer)
        self._timers.pop(timer.id, None)
        self._tell(Change.CANCELLED, timer)

    def cancel_all(self, satellite: str, slots: Mapping[str, Any] | None = None) -> int:
        """Cancel all of a satellite, or of the area in the slots; returns how many."""
        found = self.matching(satellite, slots or {})
        for timer in found:
            self.cancel(timer)
        return len(found)

    def add(self, timer: Timer, slots: Mapping[str, Any], sign: int = 1) -> None:
        """Make a timer longer (sign 1) or shorter (-1) by the slots' hours, minutes and seconds."""
        hours, minutes, seconds = (_number(slots.get(key)) for key in ("hours", "minutes", "seconds"))
        left = min(LONGEST_S, max(0.0, self.left(timer) + sign * (hours * 3600 + minutes * 60 + seconds)))
        if timer.is_active:
            self._run(timer, left)
        else:
            timer.left_s = left
        self._tell(Change.UPDATED, timer)

    def pause(self, timer: Timer) -> None:
        """Hold a timer. Nothing happens to one that is held."""
        if timer.is_active:
            timer.left_s = self.left(timer)
            timer.is_active = False
            self._halt(timer)
            self._tell(Change.UPDATED, timer)

    def unpause(self, timer: Timer) -> None:
        """Let a held timer go on."""
        if not timer.is_active:
            timer.is_active = True
            self._run(timer, timer.left_s)
            self._tell(Change.UPDATED, timer)

    def status(self, timers: list[Timer]) -> list[dict[str, Any]]:
        """What the packs' reply to HassTimerStatus needs to know of timers."""
        return [self._status(timer) for timer in timers]

    def close(self) -> None:
        """Forget all timers, telling nobody."""
        for timer in self._timers.values():
            self._halt(timer)
        self._timers.clear()

    @property
    def _loop(self) -> Loop:
        return self._given_loop or asyncio.get_running_loop()

    def _run(self, timer: Timer, seconds: float) -> None:
        self._halt(timer)
        timer.ends_at = self._loop.time() + seconds
        timer.handle = self._loop.call_at(timer.ends_at, self._finish, timer)

    def _halt(self, timer: Timer) -> None:
        if timer.handle is not None:
            timer.handle.cancel()
            timer.handle = None

    def _finish(self, timer: Timer) -> None:
        timer.handle = None
        self._timers.pop(timer.id, None)
        self._tell(Change.FINISHED, timer)

    def _tell(self, change: Change, timer: Timer) -> None:
        logger.debug("%s: %s", change.value, timer.id)
        if self._listener is not None:
            self._listener(change, timer)

    def _status(self, timer: Timer) -> dict[str, Any]:
        left = int(self.left(timer) + 0.5)
        hours, rest = divmod(left, 3600)
        minutes, seconds = divmod(rest, 60)
        rounded = _rounded(hours, minutes, seconds)
        return {
            "id": timer.id,
            "name": timer.name,
            "area": timer.area,
            "device_id": timer.satellite,
            "language": timer.language,
            "is_active": timer.is_active,
            "start_hours": timer.start_hours,
            "start_minutes": timer.start_minutes,
            "start_seconds": timer.start_seconds,
            "hours_left": hours,
            "minutes_left": minutes,
            "seconds_left": seconds,
            "rounded_hours_left": rounded[0],
            "rounded_minutes_left": rounded[1],
            "rounded_seconds_left": rounded[2],
            "total_seconds_left": left,
        }


def _rounded(hours: int, minutes: int, seconds: int) -> tuple[int, int, int]:
    """The time left as one says it, rounded as Home Assistant does."""
    if hours:
        whole, half = _half(minutes)
        return hours + whole, half, 0
    if minutes:
        whole, half = _half(seconds)
        return 0, minutes + whole, half
    return 0, 0, seconds


def _half(sixtieths: int) -> tuple[int, int]:
    if sixtieths > 45:
        return 1, 0
    return (0, 0) if sixtieths < 15 else (0, 30)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0
