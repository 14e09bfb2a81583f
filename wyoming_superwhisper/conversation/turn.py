"""One sentence on its way to its answer."""

from __future__ import annotations

from dataclasses import dataclass

from wyoming_superwhisper.conversation.history import Conversation
from wyoming_superwhisper.conversation.said import Said


@dataclass(slots=True)
class Turn:
    """What is known while a sentence is answered."""

    said: Said
    language: str
    area: str | None
    """Id of the room that it was said in; None: it is not known."""
    area_name: str
    """The same by name; "": it is not known."""
    conversation: Conversation
    rehearsed: bool = False
    """It may never be said: nothing is done, nothing is remembered."""
