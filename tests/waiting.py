"""How tests wait for what must happen: they look until it has, and only a fault ever reaches the limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

WAIT_S = 60.0
"""How long something that must happen may take, in seconds: many times what it does on a slow machine that is busy.
A test that passes never waits so long; what may take no longer than it should is measured by benchmarks."""
LOOK_S = 0.01
"""Time between two looks, in seconds, where what is waited for can't tell: it happens in another process."""


async def until(happened: Callable[[], object], told: Callable[[], str] = str, within_s: float = WAIT_S) -> None:
    """Wait until this is true; `told` gives what a failure says beside what it waited for."""
    deadline = time.monotonic() + within_s
    while not happened():  # at least once more after the deadline: this process may have been stopped meanwhile
        assert time.monotonic() < deadline, f"not within {within_s} s. {told()}"
        await asyncio.sleep(LOOK_S)
