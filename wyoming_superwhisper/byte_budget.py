"""Memory that all connections share for what is large: half a payload, a long utterance.

Each connection has its own limits, and what is small is covered by them. What is large is taken out of one budget, so
that hundreds of peers that each stay within their limits can't fill the machine together.
"""

from __future__ import annotations

import asyncio
from collections import deque


class ByteBudget:
    """Bytes that may be held together."""

    def __init__(self, most_bytes: int = 64 * 1_048_576) -> None:
        self._free = most_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def free(self) -> int:
        """Bytes that nobody holds."""
        return self._free

    def take(self, size: int) -> bool:
        """Take so many if they are there now; whether they were."""
        if size > self._free:
            return False
        self._free -= size
        return True

    async def wait_for(self, size: int) -> None:
        """Take so many, after those who asked before."""
        if not self._waiting and self.take(size):
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting.append((size, granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():  # given in the moment in which it was given up
                self.give_back(size)
            raise
        finally:
            self._waiting = deque(one for one in self._waiting if one[1] is not granted)
            self._serve_next()

    def give_back(self, size: int) -> None:
        """So many are not held any more."""
        self._free += size
        self._serve_next()

    def _serve_next(self) -> None:
        while self._waiting:
            size, granted = self._waiting[0]
            if granted.done() or self.take(size):
                self._waiting.popleft()
                if not granted.done():
                    granted.set_result(None)
            else:
                return
