"""How many connections the system allows."""

from __future__ import annotations

import contextlib
import logging

logger = logging.getLogger(__name__)

SPARE_FILES = 64
"""Open files kept free for everything that is no client's connection."""


def most_connections(wanted: int) -> int:
    """As many connections as the limit of open files allows, once that is as high as we may set it."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS has a second limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    most = max(soft - SPARE_FILES, soft // 3)
    logger.warning("limits.connections is %d, but only %d files may be open: %d are served", wanted, soft, most)
    return most
