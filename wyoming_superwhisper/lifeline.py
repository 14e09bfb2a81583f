"""A process that ends with its parent, however that ends: the kernel sees to it (Linux; elsewhere nothing happens)."""

from __future__ import annotations

import os
import signal
import sys


def end_with(parent: int, by: signal.Signals) -> bool:
    """Have the kernel send this process the signal when its parent ends; False where the parent has ended already.

    `parent`: the parent's process id as it was before the call; 0: not known. Reaches a process in the middle of a
    native call too. (`prctl(2)`, PR_SET_PDEATHSIG: counts for the thread of the parent that started this process.)
    """
    if not sys.platform.startswith("linux"):
        return True
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, by, 0, 0, 0)
    return not parent or os.getppid() == parent
