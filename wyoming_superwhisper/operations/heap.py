"""The front's own heap: what was freed in it is given back to the system.

glibc keeps freed memory below anything that is still in use. After hundreds of clients at once that is hundreds of
megabytes, for ever.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
from collections.abc import Callable

from wyoming_superwhisper.operations.memory import ProcessMemory, read_memory

LOOK_S = 15.0
"""Time between two looks."""
GROWN_BYTES = 48 << 20
"""Grown by less, it is left alone: giving back holds up whoever needs memory just then, 0.4 ms for each megabyte."""


def trim() -> None:
    """Give back all that is free. Does nothing with another C library."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        pass


class Heap:
    """Looks at this process's memory, and gives back what is free once it has grown."""

    def __init__(
        self, *, read: Callable[[int], ProcessMemory] = read_memory, give_back: Callable[[], None] = trim
    ) -> None:
        self._read = read
        self._give_back = give_back
        self._least: int | None = None

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look once."""
        own = self._read(os.getpid()).own
        if self._least is not None and own > self._least + GROWN_BYTES:
            gc.collect()  # connections that ended hang together in cycles, and nothing looks while nothing happens
            await asyncio.to_thread(self._give_back)
        self._least = own if self._least is None else min(own, self._least)
