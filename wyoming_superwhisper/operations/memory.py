"""Watches the memory of the workers, has those that grow too far replaced, unloads the idle, and keeps the budget.

What is watched is a worker's own memory: its resident set without the files that are mapped into it (a model on the
CPU is one, and comes and goes with what is used of it). Video memory is what the driver says of each process.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wyoming_superwhisper import gpu
from wyoming_superwhisper.config.settings import Settings
from wyoming_superwhisper.engines.front.availability import WorkerState
from wyoming_superwhisper.errors import EngineUnavailable
from wyoming_superwhisper.observer import CardFigures, Usage

logger = logging.getLogger(__name__)

LOOK_S = 5.0
"""Time between two looks."""
SETTLE_S = 60.0
"""A fresh worker is not replaced again before it is this old."""
MORE_MB = 1024
"""A worker may always grow by as much, where the settings set no limit."""
SPARE_MB = 512
"""What must be left when a fresh worker is loaded beside the old one."""
UNLOADABLE = ("whisper", "llama", "piper")
_MB = 1 << 20


class Worker(Protocol):
    """What is looked at, and ordered, of a worker (`engines.front.process.WorkerProcess`)."""

    name: str

    @property
    def generation(self) -> int: ...

    @property
    def state(self) -> WorkerState: ...

    @property
    def pid(self) -> int | None: ...

    @property
    def pids(self) -> Sequence[int]: ...

    @property
    def idle_s(self) -> float: ...

    def recycle(self, *, beside: bool) -> None: ...

    def unload(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Memory of a process, in bytes."""

    resident: int
    own: int
    """Without the files that are mapped into it."""


@dataclass(slots=True)
class _Age:
    """A worker's present process, since when, and what it took when it was first looked at."""

    generation: int
    since_s: float
    own: int = 0


def read_memory(pid: int) -> ProcessMemory:
    """Zeros where the system doesn't say."""
    try:
        resident, shared = (int(field) for field in Path(f"/proc/{pid}/statm").read_text("ascii").split()[1:3])
    except (OSError, ValueError):
        return ProcessMemory(0, 0)
    page = os.sysconf("SC_PAGE_SIZE")
    return ProcessMemory(resident * page, (resident - shared) * page)


def available_memory() -> int:
    """Memory of this machine that can be had, in bytes; 0: not known."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)


class MemoryWatch:
    """Looks after the memory of these workers."""

    def __init__(
        self,
        workers: Mapping[str, Worker],
        settings: Callable[[], Settings],
        card: gpu.CardWatch | None = None,
        *,
        read: Callable[[int], ProcessMemory] = read_memory,
        available: Callable[[], int] = available_memory,
    ) -> None:
        """`settings`: those that hold now. `card`: None where no worker uses one."""
        self._workers = workers
        self._settings = settings
        self._card = card
        self._read = read
        self._available = available
        self._ages: dict[str, _Age] = {}
        self._video: dict[str, int] = {}
        self._figures: CardFigures | None = None

    @property
    def usage(self) -> Usage:
        """Resident memory as it is now, cheap to read; video memory and the card's figures as they were found last."""
        resident = {
            name: sum(self._read(pid).resident for pid in worker.pids) for name, worker in self._workers.items()
        }
        return Usage(resident, self._video, self._figures)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        try:
            while True:
                await self.look()
                idle_s = self._settings().gpu.idle_unload_s
                await asyncio.sleep(min(LOOK_S, idle_s / 4) if idle_s else LOOK_S)
        finally:
            if self._card is not None:
                self._card.close()

    async def look(self) -> None:
        """Look once, and order what must be done."""
        by_pid: dict[int, int] = {}
        if self._card is not None:
            self._figures, by_pid = await asyncio.to_thread(self._card.read)
        video: dict[str, int] = {}
        for name, worker in self._workers.items():
            if on_card := [by_pid[pid] for pid in worker.pids if pid in by_pid]:
                video[name] = sum(on_card)
        self._video = video
        for name, worker in self._workers.items():
            if worker.state is WorkerState.READY:
                self._judge(name, worker, video)

    def _judge(self, name: str, worker: Worker, video: Mapping[str, int]) -> None:
        settings = self._settings()
        own = self._read(worker.pid).own if worker.pid is not None else 0
        age = self._age(name, worker, own)
        idle_s = settings.gpu.idle_unload_s
        if idle_s and name in UNLOADABLE and worker.idle_s >= idle_s:
            worker.unload()
            return
        if self._now() - age.since_s < SETTLE_S:
            return
        limit = self._limit(age.own)
        if own > limit:
            self._replace(name, worker, f"{own // _MB} MiB of memory, the limit is {limit // _MB}", video)
        elif self._takes_too_much_of_the_card(name, video):
            budget = settings.gpu.memory_limit_mb
            self._replace(
                name,
                worker,
                f"{video[name] // _MB} MiB of video memory, all have {budget} MiB together",
                {},
                alone=True,
            )

    def _age(self, name: str, worker: Worker, own: int) -> _Age:
        age = self._ages.get(name)
        if age is None or age.generation != worker.generation:
            age = self._ages[name] = _Age(worker.generation, self._now())
        if not age.own:
            age.own = own
        return age

    def _limit(self, at_first: int) -> int:
        set_mb: int = self._settings().limits.worker_memory_mb
        if not set_mb:
            return at_first + max(at_first, MORE_MB * _MB)
        # A limit that a fresh worker is over already would have it replaced for ever.
        return max(set_mb * _MB, at_first + at_first // 4)

    def _takes_too_much_of_the_card(self, name: str, video: Mapping[str, int]) -> bool:
        """Whether all together are over the budget, and this one takes most."""
        limit = self._settings().gpu.memory_limit_mb * _MB
        return bool(limit) and sum(video.values()) > limit and name == max(video, key=lambda one: video[one])

    def _replace(self, name: str, worker: Worker, why: str, video: Mapping[str, int], *, alone: bool = False) -> None:
        beside = not alone and self._has_room_for(name, video)
        logger.warning("%s: the worker has grown to %s; it is replaced by a fresh one", name, why)
        worker.recycle(beside=beside)

    def _has_room_for(self, name: str, video: Mapping[str, int]) -> bool:
        """Whether a second worker of this kind fits beside the first."""
        if self._available() < self._ages[name].own + SPARE_MB * _MB:
            return False
        if name not in video:
            return True
        figures, limit = self._figures, self._settings().gpu.memory_limit_mb * _MB
        if figures is None or figures.memory_total_bytes - figures.memory_used_bytes < video[name] + SPARE_MB * _MB:
            return False
        return not limit or sum(video.values()) + video[name] <= limit

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class CardGone(EngineUnavailable):
    """The card that was chosen at the start is not there any more."""


class Budget:
    """The video memory that the models may take: checked before each load, so that the sentence names the numbers."""

    def __init__(
        self,
        card: gpu.GpuChoice,
        needs_mb: Mapping[str, int],
        *,
        limit_mb: Callable[[], int],
        usage: Callable[[], Usage],
        loading: Callable[[str], bool],
        survey: Callable[[], gpu.Survey] = gpu.survey,
    ) -> None:
        """`needs_mb`: what each engine on the card is expected to take. `loading`: whether an engine is loading now."""
        self._card = card
        self._needs_mb = needs_mb
        self._limit_mb = limit_mb
        self._usage = usage
        self._loading = loading
        self._survey = survey

    def check(self, engine: str) -> None:
        """Raises `CardGone`, and `EngineUnavailable` where the card is too full for this engine."""
        if engine not in self._needs_mb:
            return
        found = self._survey()
        card = next((card for card in found.cards if card.uuid == self._card.uuid), None)
        if card is None:
            why = found.problem or "the driver does not show it"
            raise CardGone(f"the graphics card {self._card.name} ({self._card.uuid}) is gone: {why}")
        need = self._needs_mb[engine]
        taken = {name: mb // _MB for name, mb in self._usage().gpu_memory_bytes.items() if name != engine}
        coming = {
            name: max(0, mb - taken.get(name, 0))
            for name, mb in self._needs_mb.items()
            if name != engine and self._loading(name)
        }
        free = card.free_mb - sum(coming.values())
        if need > free:
            raise EngineUnavailable(
                f"it needs about {need} MiB of video memory, and of the {card.memory_mb} MiB of {card.name} "
                f"{max(0, free)} are free"
            )
        limit, others = self._limit_mb(), sum(taken.values()) + sum(coming.values())
        if limit and others + need > limit:
            raise EngineUnavailable(
                f"it needs about {need} MiB of video memory, the others take {others}, and gpu.memory_limit_mb is "
                f"{limit}"
            )
