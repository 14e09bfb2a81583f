"""Memory of workers and card: who is replaced, who is unloaded, what is not even begun."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from wyoming_superwhisper.config.settings import GpuSettings, Settings
from wyoming_superwhisper.engines.front.availability import WorkerState
from wyoming_superwhisper.errors import EngineUnavailable
from wyoming_superwhisper.gpu import Card, CardWatch, GpuChoice, Survey
from wyoming_superwhisper.observer import CardFigures, Usage
from wyoming_superwhisper.operations import memory
from wyoming_superwhisper.operations.memory import Budget, MemoryWatch, ProcessMemory

MB = 1 << 20


@dataclass
class Worker:
    """A worker that only takes orders."""

    name: str
    pid: int
    generation: int = 1
    state: WorkerState = WorkerState.READY
    idle_s: float = 0.0
    orders: list[str] = field(default_factory=list)

    @property
    def pids(self) -> tuple[int, ...]:
        return (self.pid,)

    def recycle(self, *, beside: bool) -> None:
        self.orders.append("beside" if beside else "between")

    def unload(self) -> None:
        self.orders.append("unload")


class House:
    """Two workers and their memory, in MiB."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, card: Any = None) -> None:
        monkeypatch.setattr(memory, "SETTLE_S", 0.0)
        self.settings = Settings()
        self.own = {1: 400, 2: 100}
        self.available = 8000
        self.workers = {"whisper": Worker("whisper", 1), "light": Worker("light", 2)}
        self.watch = MemoryWatch(
            self.workers,
            lambda: self.settings,
            card,
            read=lambda pid: ProcessMemory(self.own[pid] * MB + MB, self.own[pid] * MB),
            available=lambda: self.available * MB,
        )

    async def grows(self, megabytes: int, pid: int = 1) -> list[str]:
        self.own[pid] = megabytes
        await self.watch.look()
        return next(worker.orders[:] for worker in self.workers.values() if worker.pid == pid)


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    return House(monkeypatch)


async def test_what_the_workers_take_is_shown_as_it_is_now(house: House) -> None:
    assert house.watch.usage.memory_bytes == {"whisper": 401 * MB, "light": 101 * MB}
    await house.watch.look()
    house.own[2] = 300
    assert house.watch.usage == Usage({"whisper": 401 * MB, "light": 301 * MB}, {})


async def test_a_worker_that_grows_past_its_limit_is_replaced(house: House) -> None:
    assert await house.grows(400) == []
    assert await house.grows(1400) == []
    assert await house.grows(1500) == ["beside"]
    house.workers["whisper"].generation = 2
    assert await house.grows(1500) == ["beside"], "this is what the fresh one takes"


async def test_a_limit_of_the_settings_holds_unless_a_fresh_worker_is_over_it_already(house: House) -> None:
    house.settings = replace(house.settings, limits=replace(house.settings.limits, worker_memory_mb=450))
    assert await house.grows(400) == []
    assert await house.grows(490) == [], "a quarter more than at first is always allowed"
    assert await house.grows(510) == ["beside"]


async def test_where_there_is_no_room_for_two_the_old_one_goes_first(house: House) -> None:
    house.available = 600
    await house.grows(400)
    assert await house.grows(1500) == ["between"]


async def test_a_worker_that_has_just_begun_is_left_alone(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SETTLE_S", 60.0)
    await house.grows(400)
    assert await house.grows(5000) == []


async def test_idle_models_are_unloaded_where_that_is_asked(house: House) -> None:
    for worker in house.workers.values():
        worker.idle_s = 100.0
    await house.watch.look()
    assert house.workers["whisper"].orders == []
    house.settings = replace(house.settings, gpu=GpuSettings(idle_unload_s=60.0))
    await house.watch.look()
    assert house.workers["whisper"].orders == ["unload"]
    assert house.workers["light"].orders == [], "it must answer at once"


def test_memory_of_a_real_process() -> None:
    found = memory.read_memory(os.getpid())
    assert 5 * MB < found.own < found.resident
    assert memory.read_memory(2**30) == ProcessMemory(0, 0)
    assert memory.available_memory() > 10 * MB


# --- the card ---


class NvmlError(Exception):
    """As NVML's."""


class Nvml:
    """NVML for one card, on which processes take memory; it can vanish."""

    NVML_TEMPERATURE_GPU = 0
    NVMLError = NvmlError

    def __init__(self, **by_pid: int) -> None:
        self.by_pid = {int(pid[1:]): megabytes for pid, megabytes in by_pid.items()}
        self.gone = False
        self.opened = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if self.gone:
            raise NvmlError("GPU is lost")
        return getattr(self, f"_{name}")

    def _nvmlInit(self) -> None:  # noqa: N802 - NVML's names
        self.opened += 1

    def _nvmlShutdown(self) -> None:  # noqa: N802
        self.opened -= 1

    def _nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        return uuid

    def _nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:  # noqa: N802
        used = sum(self.by_pid.values())
        return type("Memory", (), {"used": used * MB, "total": 24000 * MB, "free": (24000 - used) * MB})

    def _nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:  # noqa: N802
        return type("Rates", (), {"gpu": 37})

    def _nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:  # noqa: N802
        return 61

    def _nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        one = type("Process", (), {})
        found = []
        for pid, megabytes in self.by_pid.items():
            made = one()
            made.pid, made.usedGpuMemory = pid, megabytes * MB or None
            found.append(made)
        return found


def test_a_card_is_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    nvml = Nvml(p1=4000, p9=500, p7=0)
    card = CardWatch("GPU-1", nvml)
    figures, by_pid = card.read()
    assert figures == CardFigures(0.37, 61, 4500 * MB, 24000 * MB)
    assert by_pid == {1: 4000 * MB, 9: 500 * MB}
    nvml.gone = True
    assert card.read() == card.read() == (None, {})
    assert caplog.text.count("can't be watched: GPU is lost") == 1
    nvml.gone = False
    assert card.read()[0] == figures
    assert "answers again" in caplog.text
    card.close()


async def test_workers_over_the_budget_of_the_card_are_replaced_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml(p1=4000, p2=1000)
    house = House(monkeypatch, CardWatch("GPU-1", nvml))
    house.settings = replace(house.settings, gpu=GpuSettings(memory_limit_mb=6000))
    await house.watch.look()
    assert house.watch.usage.gpu_memory_bytes == {"whisper": 4000 * MB, "light": 1000 * MB}
    assert not house.workers["whisper"].orders
    nvml.by_pid[1] = 5500
    await house.watch.look()
    assert house.workers["whisper"].orders == ["between"]
    assert not house.workers["light"].orders


async def test_a_card_that_vanishes_costs_the_watch_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml(p1=4000)
    house = House(monkeypatch, CardWatch("GPU-1", nvml))
    await house.watch.look()
    nvml.gone = True
    await house.watch.look()
    assert house.watch.usage.card is None
    assert house.watch.usage.memory_bytes["whisper"] == 401 * MB


async def test_a_second_worker_is_loaded_beside_only_where_the_card_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, expected in ((0, "beside"), (6000, "between")):
        house = House(monkeypatch, CardWatch("GPU-1", Nvml(p1=4000)))
        house.settings = replace(house.settings, gpu=GpuSettings(memory_limit_mb=limit))
        await house.grows(400)
        assert await house.grows(1500) == [expected]


def budget(
    free_mb: int = 24000, limit_mb: int = 0, *, taken: int = 0, loading: bool = False, there: bool = True
) -> Budget:
    card = Card(0, "GPU-1", "RTX 3090", 24576, free_mb)
    return Budget(
        GpuChoice("", uuid="GPU-1", name="RTX 3090"),
        {"whisper": 4200, "llama": 7200},
        limit_mb=lambda: limit_mb,
        usage=lambda: Usage({}, {"llama": taken * MB} if taken else {}),
        loading=lambda name: loading,
        survey=lambda: Survey((card,)) if there else Survey(problem="the NVIDIA driver finds no card"),
    )


def test_a_model_that_fits_may_be_loaded() -> None:
    budget().check("whisper")
    budget(limit_mb=12288, taken=7200).check("whisper")
    budget(free_mb=0, there=False).check("piper")  # it is not on the card


@pytest.mark.parametrize(
    ("of", "says"),
    [
        (budget(free_mb=4000), "needs about 4200 MiB of video memory, and of the 24576 MiB of RTX 3090 4000 are free"),
        (budget(free_mb=9000, loading=True), "needs about 4200 MiB of video memory, and of the .* 1800 are free"),
        (budget(limit_mb=10000, taken=7000), "the others take 7000, and gpu.memory_limit_mb is 10000"),
        (budget(there=False), r"the graphics card RTX 3090 \(GPU-1\) is gone: the NVIDIA driver finds no card"),
    ],
)
def test_a_model_that_does_not_fit_is_named_with_the_numbers(of: Budget, says: str) -> None:
    with pytest.raises(EngineUnavailable, match=says):
        of.check("whisper")
