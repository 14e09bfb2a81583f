"""When a program has done all that it does by itself: it takes no processor time any more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import psutil

STILL_S = 1.0
"""For so long it has taken next to nothing, in seconds."""
STILL_SHARE = 0.05
"""Next to nothing: less than this share of a core."""
LONGEST_S = 60.0
"""One that never rests is measured as it is, after so many seconds."""


async def until_it_rests(roots: Iterable[psutil.Process]) -> None:
    """Wait until these processes and all their children rest."""
    used = -1.0
    for _ in range(round(LONGEST_S / STILL_S)):
        before, used = used, sum(map(cpu_s, family(roots)))
        if 0 <= used - before < STILL_SHARE * STILL_S:
            return
        await asyncio.sleep(STILL_S)


def family(roots: Iterable[psutil.Process]) -> list[psutil.Process]:
    """These processes and all their children."""
    return [process for root in roots for process in (root, *root.children(recursive=True))]


def cpu_s(process: psutil.Process) -> float:
    """Processor time that it has taken, in seconds; none for one that is gone."""
    try:
        return float(sum(process.cpu_times()[:2]))
    except psutil.NoSuchProcess:
        return 0.0
