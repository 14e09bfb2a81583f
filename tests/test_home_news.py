"""A changed home reaches everybody who uses its names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from wyoming_superwhisper.config.settings import Area, HomeSettings
from wyoming_superwhisper.errors import EngineUnavailable
from wyoming_superwhisper.home import Home
from wyoming_superwhisper.pipeline.home_news import HomeNews


class Engine:
    """Takes a home when it is let; says which ones it took."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()
        self.took: list[str] = []
        self.asked = asyncio.Queue[str]()
        self.broken = False

    async def set_home(self, home: Mapping[str, Any]) -> None:
        name = home["areas"][0]["name"]
        self.asked.put_nowait(name)
        await self.free.wait()
        if self.broken:
            raise EngineUnavailable("It is not loaded.")
        self.took.append(name)


def home(name: str) -> Home:
    return Home(HomeSettings(areas=(Area("a", name),)))


@asynccontextmanager
async def telling(**engines: Engine) -> AsyncIterator[HomeNews]:
    news = HomeNews()
    for name, engine in engines.items():
        news.tell_engine(name, engine)
    task = asyncio.create_task(news.run())
    yield news
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_front_knows_at_once_and_a_busy_engine_gets_the_newest() -> None:
    known: list[Home] = []
    busy, free = Engine(), Engine()
    busy.free.clear()
    async with telling(busy=busy, free=free) as news:
        news.tell_front(known.append)
        news.changed(home("Salon"))
        assert [one.settings.areas[0].name for one in known] == ["Salon"]
        assert await busy.asked.get() == await free.asked.get() == "Salon"
        news.changed(home("Cuisine"))
        news.changed(home("Bureau"))
        assert await free.asked.get() == "Bureau"
        busy.free.set()
        assert await busy.asked.get() == "Bureau"


async def test_an_engine_that_can_not_take_it_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    broken, sound = Engine(), Engine()
    broken.broken = True
    async with telling(broken=broken, sound=sound) as news:
        for name in ("Salon", "Cuisine"):
            news.changed(home(name))
            assert await broken.asked.get() == await sound.asked.get() == name
        await asyncio.sleep(0)
    assert sound.took == ["Salon", "Cuisine"]
    assert "broken could not be told the new names" in caplog.text
