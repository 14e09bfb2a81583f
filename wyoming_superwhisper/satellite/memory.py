"""Where the satellite keeps what outlives a restart."""

from __future__ import annotations

import re
from pathlib import Path

import platformdirs


def kept_file(name: str, what: str) -> Path:
    """The file in which the satellite of this name keeps something; it may not be there."""
    label = re.sub(r"[^\w-]+", "-", name).strip("-") or "satellite"
    return platformdirs.user_state_path("wyoming-superwhisper", appauthor=False) / f"{label}-{what}"
