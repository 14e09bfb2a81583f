"""Where the demonstration leaves the answers and the log."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import platformdirs


@cache
def folder() -> Path:
    """The folder for the answers and the log; the next demonstration takes the same one."""
    folder = platformdirs.user_cache_path("wyoming-superwhisper", appauthor=False) / "demonstration"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:  # not ours to write to
        folder = Path(tempfile.mkdtemp(prefix="wyoming-superwhisper-demonstration-"))
    return folder
