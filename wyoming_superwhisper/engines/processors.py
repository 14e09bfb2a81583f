"""How many processors there are to compute on."""

from __future__ import annotations

import os
from pathlib import Path

_CORES = "sys/devices/system/cpu/cpu[0-9]*/topology/core_cpus_list"


def usable_cpus() -> int:
    """How many this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def physical_cores(root: Path = Path("/")) -> int:
    """How many cores the machine has, each counted once however many threads it runs."""
    cores = {path.read_text() for path in root.glob(_CORES)}
    return len(cores) or os.cpu_count() or 1
