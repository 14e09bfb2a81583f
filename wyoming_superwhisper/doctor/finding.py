"""One line of the report: how a thing stands, and what to do about it."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.Enum):
    """How a thing stands."""

    OK = "ok"
    """As it should be."""
    NOTE = "note"
    """Worth knowing; the server works."""
    PROBLEM = "PROBLEM"
    """Something will not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    topic: str
    state: State
    text: str
    remedy: str = ""
    """What to do about it."""
