"""A real worker process with the fake engine, and waiting for what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.fakes import FAKE_ENGINE
from wyoming_superwhisper.engines.front.process import WorkerProcess

ROOT = str(Path(__file__).parent.parent.parent.parent)
"""Where a worker finds `tests.fakes`."""


@asynccontextmanager
async def running(
    configuration: dict[str, Any] | None = None, *, ready: bool = True, **options: Any
) -> AsyncIterator[WorkerProcess]:
    """A worker with the fake engine."""
    environment = {"PYTHONPATH": ROOT, **options.pop("environment", {})}
    worker = WorkerProcess("fake", configuration or {}, engine=FAKE_ENGINE, environment=environment, **options)
    await worker.start()
    try:
        if ready:
            await worker.ready()
        yield worker
    finally:
        await worker.close()


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
