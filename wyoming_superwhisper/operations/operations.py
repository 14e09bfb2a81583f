"""What running a server takes besides serving: its state, its figures, its page, its memory. Built by `app`."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from wyoming_superwhisper import gpu
from wyoming_superwhisper.access import AllowList
from wyoming_superwhisper.config.settings import Settings
from wyoming_superwhisper.engines.front.availability import WorkerState
from wyoming_superwhisper.engines.front.process import WorkerProcess
from wyoming_superwhisper.observer import NOBODY, Observer, Usage
from wyoming_superwhisper.operations.heap import Heap
from wyoming_superwhisper.operations.http_listener import Answer, HttpListener
from wyoming_superwhisper.operations.life import Life
from wyoming_superwhisper.operations.memory import Budget, CardGone, MemoryWatch

if TYPE_CHECKING:
    from wyoming_superwhisper.operations.metrics import Metrics

logger = logging.getLogger(__name__)


class Operations:
    """The state and the figures of one server."""

    def __init__(
        self,
        settings: Settings,
        card: gpu.GpuChoice,
        needs_mb: Mapping[str, int],
        survey: Callable[[], gpu.Survey] = gpu.survey,
    ) -> None:
        """`needs_mb`: video memory that each engine on the card is expected to take."""
        self.settings = settings
        """Those that hold now."""
        self.life = Life()
        self.metrics: Metrics | None = None
        self.workers: Mapping[str, WorkerProcess] = {}
        self.page: HttpListener | None = None
        self._card = card
        self._needs_mb = needs_mb
        self._watch: MemoryWatch | None = None
        self._budget = Budget(
            card,
            needs_mb,
            limit_mb=lambda: self.settings.gpu.memory_limit_mb,
            usage=self.usage,
            loading=self._is_loading,
            survey=survey,
        )
        if settings.metrics.listen != "off":
            # Nothing of it is needed, nor imported, where nobody reads the figures.
            from wyoming_superwhisper.operations.metrics import Metrics

            self.metrics = Metrics()

    @property
    def observer(self) -> Observer:
        """To be told of what happens."""
        return self.metrics or NOBODY

    def usage(self) -> Usage:
        """The memory of the workers, as it was found last."""
        return self._watch.usage if self._watch is not None else Usage({}, {})

    # --- hooks for the workers

    def worker_changed(self, worker: WorkerProcess) -> None:
        """A worker is in a new state."""
        self.life.look()

    def before_load(self, worker: WorkerProcess) -> None:
        """Raises `EngineUnavailable` where its model has no place on the card.

        Where the card is gone and the settings name none (`gpu.device: auto`), it is loaded on the CPU.
        """
        try:
            self._budget.check(worker.name)
        except CardGone as error:
            if self.settings.gpu.device.strip().lower() not in ("", "auto"):
                raise
            if worker.configuration.get("device") == "cuda":
                logger.warning("%s runs on the CPU: %s", worker.name, error)
            self._put(worker, "cpu", "")
        else:
            if worker.name in self._needs_mb:
                self._put(worker, "cuda", self._card.uuid)

    def _put(self, worker: WorkerProcess, device: str, uuid: str) -> None:
        """Have a worker's next process use this device."""
        if worker.configuration.get("device") != device:
            worker.configuration = {**worker.configuration, "device": device, "gpu_uuid": uuid}
            worker.environment = {**worker.environment, "CUDA_VISIBLE_DEVICES": uuid}

    def _is_loading(self, name: str) -> bool:
        worker = self.workers.get(name)
        return worker is not None and worker.state in (WorkerState.LOADING, WorkerState.RELOADING)

    # --- running

    @asynccontextmanager
    async def running(self, workers: Mapping[str, WorkerProcess]) -> AsyncIterator[None]:
        """Watch these workers, and show what is seen. Raises `SettingsError` for a page that can't be listened on."""
        self.workers = workers
        self.life.watch(workers)
        on_card = any(worker.environment.get("CUDA_VISIBLE_DEVICES") for worker in workers.values())
        card = gpu.CardWatch(self._card.uuid) if on_card else None
        self._watch = MemoryWatch(workers, lambda: self.settings, card)
        if self.metrics is not None:
            self.metrics.watch(tuple(workers.values()), lambda: self.life.state.value, self.usage)
            await self._open_page(self.settings)
        looking = [
            asyncio.create_task(self._watch.run(), name="memory"),
            asyncio.create_task(Heap().run(), name="heap"),
        ]
        try:
            yield
        finally:
            self.life.stopping()
            for task in looking:
                task.cancel()
            await asyncio.gather(*looking, return_exceptions=True)
            if self.page is not None:
                await self.page.stop()

    def use(self, settings: Settings, changed: Collection[str]) -> None:
        """These settings hold from now on."""
        self.settings = settings
        if self.page is not None and "server.allow" in changed:
            self.page.allow = AllowList(settings.server.allow)

    async def _open_page(self, settings: Settings) -> None:
        routes: dict[str, Callable[[Mapping[str, str]], Answer]] = {
            "/metrics": self._figures,
            "/health/live": self._alive,
            "/health/ready": self._ready,
        }
        self.page = HttpListener(settings.metrics.listen, routes, AllowList(settings.server.allow))
        await self.page.start()

    def _figures(self, headers: Mapping[str, str]) -> Answer:
        assert self.metrics is not None
        return Answer(*self.metrics.page(headers.get("accept", "")))

    def _alive(self, headers: Mapping[str, str]) -> Answer:
        """That this is answered says it all."""
        return self._state(HTTPStatus.OK)

    def _ready(self, headers: Mapping[str, str]) -> Answer:
        return self._state(HTTPStatus.OK if self.life.serves else HTTPStatus.SERVICE_UNAVAILABLE)

    def _state(self, status: HTTPStatus) -> Answer:
        body = {"state": self.life.state.value, "engines": self.life.engines()}
        return Answer(json.dumps(body).encode() + b"\n", "application/json", status)
