"""One worker for the tests that leave it as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.engines.front.fake_worker import running
from wyoming_superwhisper.engines.front.process import WorkerProcess


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared() -> AsyncIterator[WorkerProcess]:
    """For the tests of one module."""
    async with running() as worker:
        yield worker
        assert worker.generation == 1
