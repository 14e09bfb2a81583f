"""Time that passes only while everybody waits: minutes of speech and pauses in milliseconds, the same in every run."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _Selector(selectors.SelectSelector):
    """Never sleeps: where the loop would wait, its clock moves on."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everybody waits, and nothing will ever happen")
            self.now_s += max(timeout, 0.0)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is its selector's."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_s


def run_virtual(main: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end; whatever is still at work then is a mistake."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(_and_nothing_else(main))


async def _and_nothing_else(main: Coroutine[Any, Any, Result]) -> Result:
    result = await main
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, left
    return result
