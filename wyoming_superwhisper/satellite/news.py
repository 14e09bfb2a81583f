"""What happens in the satellite, told to whoever wants to know: hooks, lights, the web, the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

logger = logging.getLogger(__name__)

KINDS = (
    "startup", "connected", "disconnected", "muted", "idle", "awake", "listening", "voice-started", "voice-stopped",
    "transcript", "thinking", "reply", "speaking", "played", "cut-off", "announcement", "error", "timer-started",
    "timer-updated", "timer-cancelled", "timer-finished", "ringing", "silenced", "shutdown",
)  # fmt: skip
"""Everything that is told."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that has happened."""

    kind: str
    text: str = ""
    """The wake word, the transcript, the reply, the error: whatever there is to say of it."""
    data: Mapping[str, Any] = field(default_factory=dict)


Reader = Callable[[Item], None]


class News:
    """Tells every reader, at once and in order. A reader that fails harms nobody."""

    def __init__(self) -> None:
        self._readers: list[Reader] = []

    def subscribe(self, reader: Reader) -> None:
        """Tell this one too, from now on."""
        self._readers.append(reader)

    def tell(self, kind: str, text: str = "", **data: Any) -> None:
        """It has happened."""
        item = Item(kind, text, data)
        for reader in self._readers:
            try:
                reader(item)
            except Exception:  # the boundary of a plug-in: what it meets is no reason to fall silent
                logger.exception("A reader of the news failed on %s", kind)
