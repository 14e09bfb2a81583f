"""Timers as the satellite keeps them: told of by the other side, kept here, ringing here whatever becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from wyoming.event import Event

from wyoming_superwhisper.config.satellite_settings import TimerSettings
from wyoming_superwhisper.satellite.news import News

logger = logging.getLogger(__name__)

OVERDUE_S = 3600.0
"""A timer that should have rung longer ago than this, while the satellite was off, is only told of, in seconds."""
TOLD_KEPT = 256
"""So many finished timers are remembered, so that none rings twice."""


@dataclass(slots=True)
class Timer:
    """One timer that runs or is held."""

    id: str
    name: str
    ends_at: float
    """By the clock of the world: it must survive a restart."""
    active: bool = True
    left_s: float = 0.0
    """Seconds left while it is held."""


class Timers:
    """The timers of this satellite. `on_finished` is called once for each that has run out."""

    def __init__(
        self,
        settings: TimerSettings,
        news: News,
        path: Path | None,
        on_finished: Callable[[Timer], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._news = news
        self._path = path if settings.keep else None
        self._on_finished = on_finished
        self._clock = clock
        self._timers: dict[str, Timer] = {}
        self._finished: dict[str, None] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._timers)

    def take(self, event: Event) -> bool:
        """Take an event of the other side; whether it was one of a timer."""
        handle = _HANDLERS.get(event.type)
        if handle is None:
            return False
        identity = str(event.data.get("id") or "")
        if identity:
            handle(self, identity, event)
            self._save()
            self._changed.set()
        return True

    async def run(self) -> None:
        """Bring back what was kept, and let what is due ring although nobody says so. Runs until cancelled."""
        self._load()
        while True:
            self._changed.clear()
            due = [timer.ends_at + self._settings.late_s for timer in self._timers.values() if timer.active]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(due) - self._clock()) if due else None):
                    await self._changed.wait()
            for timer in list(self._timers.values()):
                if timer.active and timer.ends_at + self._settings.late_s <= self._clock():
                    self._finish(timer)

    # --- what the other side tells ---

    def _started(self, identity: str, event: Event) -> None:
        self._finished.pop(identity, None)
        total_s = float(event.data.get("total_seconds") or 0)
        timer = Timer(identity, str(event.data.get("name") or ""), self._clock() + total_s)
        self._timers[identity] = timer
        self._news.tell("timer-started", timer.name, id=identity, seconds=total_s)

    def _updated(self, identity: str, event: Event) -> None:
        timer = self._timers.get(identity)
        if timer is None:
            return
        left_s = float(event.data.get("total_seconds") or 0)
        timer.active = bool(event.data.get("is_active", True))
        timer.left_s = left_s
        timer.ends_at = self._clock() + left_s
        self._news.tell("timer-updated", timer.name, id=identity, seconds=left_s, active=timer.active)

    def _cancelled(self, identity: str, event: Event) -> None:
        timer = self._timers.pop(identity, None)
        if timer is not None:
            self._news.tell("timer-cancelled", timer.name, id=identity)

    def _ended(self, identity: str, event: Event) -> None:
        if identity not in self._finished:
            self._finish(self._timers.get(identity) or Timer(identity, "", self._clock()))

    def _finish(self, timer: Timer) -> None:
        self._timers.pop(timer.id, None)
        self._finished[timer.id] = None
        while len(self._finished) > TOLD_KEPT:
            del self._finished[next(iter(self._finished))]
        self._save()
        self._news.tell("timer-finished", timer.name, id=timer.id)
        if self._clock() - timer.ends_at > OVERDUE_S:
            logger.warning("A timer (%s) has finished long ago, while the satellite was off", timer.name or timer.id)
            return
        self._on_finished(timer)

    # --- what outlives a restart ---

    def _load(self) -> None:
        if self._path is None:
            return
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            self._timers |= {str(one["id"]): Timer(**one) for one in kept if one["id"] not in self._timers}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger.warning("The timers in %s can't be read: %s", self._path, error)

    def _save(self) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft = self._path.with_suffix(".new")
            draft.write_text(json.dumps([asdict(timer) for timer in self._timers.values()]), encoding="utf-8")
            draft.replace(self._path)
        except OSError as error:
            logger.warning("The timers can't be kept in %s: %s", self._path, error)


_HANDLERS = {
    "timer-started": Timers._started,
    "timer-updated": Timers._updated,
    "timer-cancelled": Timers._cancelled,
    "timer-finished": Timers._ended,
}
