"""When to try again what failed: pauses that grow, are never the same for two satellites, and can be cut short."""

from __future__ import annotations

import asyncio
import contextlib
import random

FIRST_PAUSE_S = 0.25
"""Pause before the second attempt, in seconds."""
LONGEST_PAUSE_S = 3.0
"""The pauses double up to this, in seconds."""
JITTER = 0.2
"""Share of a pause that is left to chance, so that the rooms of a house don't all come back at the same moment."""


class Backoff:
    """The pauses between attempts at one thing."""

    def __init__(self) -> None:
        self._next_s = FIRST_PAUSE_S
        self._nudge = asyncio.Event()

    def next_pause_s(self) -> float:
        """The length of the next pause; each call makes the one after it longer."""
        pause_s = self._next_s
        self._next_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return pause_s * random.uniform(1 - JITTER, 1 + JITTER)

    def succeeded(self) -> None:
        """Begin anew with the shortest pause."""
        self._next_s = FIRST_PAUSE_S

    def nudge(self) -> None:
        """End the pause that is going on, if any: there is reason to believe that the next attempt succeeds."""
        self._nudge.set()

    async def pause(self) -> None:
        """Wait until the next attempt is due."""
        self._nudge.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.next_pause_s()):
                await self._nudge.wait()
