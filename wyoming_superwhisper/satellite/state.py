"""What the satellite is doing, as one word, changed in one place."""

from __future__ import annotations

import enum
import logging

from wyoming_superwhisper.satellite.news import News

logger = logging.getLogger(__name__)


class State(enum.Enum):
    """What the satellite is doing."""

    WAITING = "waiting"
    """There is no connection, so nothing can be asked."""
    MUTED = "muted"
    """Whoever drives it wants nothing to be heard."""
    IDLE = "idle"
    """Waits for a wake word or a button."""
    LISTENING = "listening"
    """The microphone is open to the other side."""
    THINKING = "thinking"
    """The utterance is over, its answer is not here yet."""
    SPEAKING = "speaking"
    """An answer or an announcement is being played."""
    RINGING = "ringing"
    """A timer has finished, and nobody has stopped it yet."""


_NEWS = {State.WAITING: "disconnected", State.RINGING: ""}
"""What is told of a state, where it isn't its name; "": who rings tells for which timer."""


class StateHolder:
    """Holds the state and tells of every change."""

    def __init__(self, news: News) -> None:
        self.now = State.WAITING
        self._news = news

    def become(self, state: State) -> None:
        """Change the state: the only place where it changes."""
        if state is self.now:
            return
        logger.debug("State: %s -> %s", self.now.value, state.value)
        before, self.now = self.now, state
        if before is State.WAITING:
            self._news.tell("connected")
        if kind := _NEWS.get(state, state.value):
            self._news.tell(kind)
