"""The parts together, with real workers of a fake engine: a card that vanishes, a worker that grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.engines.front.fake_worker import ROOT
from tests.fakes import FAKE_ENGINE
from tests.waiting import WAIT_S, until
from wyoming_superwhisper.config.settings import GpuSettings, LimitSettings, Settings
from wyoming_superwhisper.engines.front import supervisor
from wyoming_superwhisper.engines.front.availability import WorkerState
from wyoming_superwhisper.engines.front.process import WorkerProcess
from wyoming_superwhisper.errors import EngineLost, EngineUnavailable
from wyoming_superwhisper.gpu import Card, GpuChoice, Survey
from wyoming_superwhisper.operations import memory
from wyoming_superwhisper.operations.life import State
from wyoming_superwhisper.operations.operations import Operations

CARD = Card(0, "GPU-1", "RTX 3090", 24576, 24000)


class Driver:
    """What NVML shows."""

    def __init__(self) -> None:
        self.cards: tuple[Card, ...] = (CARD,)

    def __call__(self) -> Survey:
        return Survey(self.cards, problem="" if self.cards else "the NVIDIA driver finds no card")


@asynccontextmanager
async def operating(settings: Settings, driver: Driver) -> AsyncIterator[tuple[Operations, WorkerProcess]]:
    choice = GpuChoice("", uuid=CARD.uuid, name=CARD.name, memory_mb=CARD.memory_mb)
    operations = Operations(settings, choice, {"whisper": 4200}, driver)
    worker = WorkerProcess(
        "whisper", {"device": "cuda", "gpu_uuid": CARD.uuid}, engine=FAKE_ENGINE,
        environment={"PYTHONPATH": ROOT, "CUDA_VISIBLE_DEVICES": CARD.uuid},
        on_state=operations.worker_changed, on_job=operations.observer.job, before_load=operations.before_load,
    )  # fmt: skip
    async with operations.running({"whisper": worker}):
        await worker.start()
        try:
            await worker.ready()
            yield operations, worker
        finally:
            await worker.close()


async def device(worker: WorkerProcess) -> object:
    await worker.call("echo")
    return worker.capabilities["configuration"]["device"]


async def test_a_card_that_vanishes_is_survived_on_the_cpu_where_none_was_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    driver = Driver()
    async with operating(Settings(), driver) as (operations, worker):
        assert await device(worker) == "cuda"
        driver.cards = ()
        with pytest.raises(EngineLost, match="graphics card"):
            await worker.call("lose card")
        assert await device(worker) == "cpu"
        assert "whisper runs on the CPU: the graphics card RTX 3090" in caplog.text
        driver.cards = (CARD,)
        worker.recycle(beside=False)
        await until(lambda: worker.generation == 3)
        assert await device(worker) == "cuda"
        assert operations.life.state is State.READY


async def test_a_card_that_was_named_is_missed_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOAD_RETRY_S", (1.0,))
    driver = Driver()
    async with operating(Settings(gpu=GpuSettings(device="RTX 3090")), driver) as (operations, worker):
        driver.cards = ()
        with pytest.raises(EngineLost):
            await worker.call("lose card")
        await until(lambda: worker.state is WorkerState.FAILED)
        with pytest.raises(EngineUnavailable, match=r"graphics card RTX 3090 \(GPU-1\) is gone"):
            await worker.call("echo")
        assert operations.life.state is State.DEGRADED
        driver.cards = (CARD,)
        await until(lambda: worker.state is WorkerState.READY)
        assert await device(worker) == "cuda"


async def test_a_worker_that_grows_past_its_limit_is_replaced_and_nobody_notices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "SETTLE_S", 0.0)
    monkeypatch.setattr(memory, "LOOK_S", 0.05)
    settings = replace(Settings(), limits=LimitSettings(worker_memory_mb=256))
    async with operating(settings, Driver()) as (operations, worker):
        answered = 0
        first = worker.pid

        async def ask() -> None:
            nonlocal answered
            while worker.generation == 1 or answered <= 20:  # before it, meanwhile and, on a slow machine, after it
                assert (await worker.call("echo", {"n": answered})).data == {"n": answered}
                answered += 1

        asking = asyncio.create_task(ask())
        watch = operations._watch
        assert watch is not None
        await until(lambda: "whisper" in watch._ages and watch._ages["whisper"].own)  # looked at as it was at first
        await worker.call("hog", {"bytes": 300_000_000})
        await asyncio.wait_for(asking, WAIT_S)
        assert answered > 20
        assert (worker.recycled, worker.restarts) == (1, 0)
        assert worker.pid != first
        await until(lambda: 0 < operations.usage().memory_bytes["whisper"] < 200_000_000)
