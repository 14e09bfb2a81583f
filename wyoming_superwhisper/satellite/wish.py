"""What can be asked of the satellite, by whoever and whatever there is: one after another, in a queue."""

from __future__ import annotations

import enum


class Wish(enum.Enum):
    """What can be asked of the satellite."""

    WORD = "word"
    VOICE = "voice"
    BUTTON = "button"
    STOP = "stop"
    LINK = "link"
    """The link has come or gone."""
    ANNOUNCE = "announce"
    RING = "ring"
    OVER = "over"
    """The activity is over."""
    END = "end"
    """The microphone has ended."""
