"""Rings for timers that have finished, several at once, until somebody stops it or it has rung long enough."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from wyoming_superwhisper.config.satellite_settings import TimerSettings
from wyoming_superwhisper.satellite.news import News
from wyoming_superwhisper.satellite.own_sounds import OwnSounds
from wyoming_superwhisper.satellite.timers import Timer

logger = logging.getLogger(__name__)

PAUSE_S = 0.7
"""Pause between two rings, in seconds."""


class Bell:
    """Holds the timers that nobody has stopped yet."""

    def __init__(self, settings: TimerSettings, news: News, sounds: OwnSounds) -> None:
        self._settings = settings
        self._news = news
        self._sounds = sounds
        self._timers: list[Timer] = []

    @property
    def wanted(self) -> bool:
        """Whether there is anything to ring for."""
        return bool(self._timers)

    def add(self, timer: Timer) -> None:
        """It has finished. One that rings already takes it up, and rings as long for it."""
        self._timers.append(timer)

    def silence(self) -> None:
        """Nobody wants to hear any of them any more."""
        if self._timers:
            self._timers.clear()
            self._news.tell("silenced")

    async def ring(self, interrupted: Callable[[], bool]) -> None:
        """Ring for all of them. What interrupts it is heard first, and then it may ring on."""
        told = 0
        ends = 0.0
        while not interrupted():
            for timer in self._timers[told:]:
                told += 1
                ends = time.monotonic() + self._settings.ring_s
                self._news.tell("ringing", timer.name, id=timer.id)
                logger.info("A timer has finished%s", f": {timer.name}" if timer.name else "")
            if time.monotonic() >= ends:
                self.silence()
                return
            await self._sounds.play("timer")
            await asyncio.sleep(PAUSE_S)
