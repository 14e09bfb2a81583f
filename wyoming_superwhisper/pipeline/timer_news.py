"""Who is told of a satellite's timers: the connection on which that satellite runs its turns."""

from __future__ import annotations

import logging
from collections.abc import Callable

from wyoming_superwhisper.timers import Change, Timer

logger = logging.getLogger(__name__)

Subscriber = Callable[[Change, Timer], None]


class TimerNews:
    """Passes every change of a timer on to its satellite's newest connection."""

    def __init__(self) -> None:
        self._subscribers: dict[str, Subscriber] = {}

    def subscribe(self, satellite: str, subscriber: Subscriber) -> None:
        """Tell this subscriber of the satellite's timers; it takes the place of an older one."""
        self._subscribers[satellite] = subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Tell it nothing any more."""
        self._subscribers = {name: one for name, one in self._subscribers.items() if one != subscriber}

    def tell(self, change: Change, timer: Timer) -> None:
        """A timer has changed."""
        subscriber = self._subscribers.get(timer.satellite)
        if subscriber is not None:
            subscriber(change, timer)
        elif change is Change.FINISHED:
            logger.warning("a timer of %s has finished, but that satellite is not connected", timer.satellite)
