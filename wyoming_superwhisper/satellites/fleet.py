"""All satellites that this server drives: those of the settings, and those found on the network."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable

from wyoming_superwhisper import discovery
from wyoming_superwhisper.pipeline.timer_news import TimerNews
from wyoming_superwhisper.satellites.arbiter import Arbiter
from wyoming_superwhisper.satellites.driver import SatelliteDriver
from wyoming_superwhisper.satellites.inside import Serve

logger = logging.getLogger(__name__)

DISCOVER = "discover"
"""In place of an address: whatever satellites of ours are on the network."""
SEARCH_S = 5.0
PAUSE_S = 30.0
"""Pause between two looks at the network, in seconds."""


class Fleet:
    """Drives satellites until it is cancelled."""

    def __init__(self, addresses: Iterable[str], serve: Serve, timer_news: TimerNews) -> None:
        self._addresses = tuple(addresses)
        self._serve = serve
        self._timer_news = timer_news
        self._arbiter = Arbiter()
        self._found: dict[str, str] = {}

    async def run(self) -> None:
        """Drive them. Ends only by being cancelled."""
        async with asyncio.TaskGroup() as group:
            for address in self._addresses:
                if address != DISCOVER:
                    self._drive(group, address)
            if DISCOVER in self._addresses:
                await self._discover(group)

    def _drive(self, group: asyncio.TaskGroup, uri: str) -> asyncio.Task[None]:
        driver = SatelliteDriver(uri, self._serve, self._timer_news, self._arbiter)
        return group.create_task(driver.run(), name=f"satellite {uri}")

    async def _discover(self, group: asyncio.TaskGroup) -> None:
        """Drive what is found; one that comes back at another address is driven there."""
        driven: dict[str, tuple[tuple[str, ...], asyncio.Task[None]]] = {}
        while True:
            for service in await discovery.find_satellites(SEARCH_S):
                known = driven.get(service.name)
                if known is not None and set(known[0]) & set(service.uris):
                    continue
                if known is not None:
                    known[1].cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await known[1]
                if service.uris and not set(service.uris) & set(self._addresses):
                    logger.info("Found the satellite %s at %s", service.name, service.uris[0])
                    driven[service.name] = (service.uris, self._drive(group, service.uris[0]))
            await asyncio.sleep(PAUSE_S)
