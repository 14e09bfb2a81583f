"""Tells everybody who uses the names of rooms and devices of a home that has changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from wyoming_superwhisper.errors import Stopping, SuperwhisperError
from wyoming_superwhisper.home import Home

logger = logging.getLogger(__name__)


class KnowsHome(Protocol):
    """An engine that uses names."""

    async def set_home(self, home: Mapping[str, Any]) -> None:
        """Use these rooms and devices from now on, also after a restart of the engine."""


class HomeNews:
    """Passes the newest home on: to the front at once, to each engine as soon as it can take it."""

    def __init__(self) -> None:
        self._front: list[Callable[[Home], None]] = []
        self._engines: dict[str, tuple[KnowsHome, asyncio.Event]] = {}
        self._home = Home()

    def tell_front(self, receiver: Callable[[Home], None]) -> None:
        """Call this with every new home."""
        self._front.append(receiver)

    def tell_engine(self, name: str, engine: KnowsHome) -> None:
        """Give this engine every new home; one that is busy for long gets the newest only."""
        self._engines[name] = (engine, asyncio.Event())

    def changed(self, home: Home) -> None:
        """There is a new home. Waits for nobody."""
        self._home = home
        for receiver in self._front:
            receiver(home)
        for _, news in self._engines.values():
            news.set()

    async def run(self) -> None:
        """Keep the engines informed, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, (engine, news) in self._engines.items():
                tasks.create_task(self._inform(name, engine, news), name=f"home for {name}")

    async def _inform(self, name: str, engine: KnowsHome, news: asyncio.Event) -> None:
        while True:
            await news.wait()
            news.clear()
            try:
                await engine.set_home(self._home.as_json())
            except Stopping:
                return
            except SuperwhisperError as error:
                # It gets the home with its configuration when it starts again.
                logger.warning("%s could not be told the new names: %s", name, error)
