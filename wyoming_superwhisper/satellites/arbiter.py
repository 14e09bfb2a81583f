"""Which of several satellites answers when they have heard the same wake word: the one that heard it best."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

WITHIN_S = 0.3
"""A wake word heard so soon after another may take over, in seconds: nothing has been said yet."""
SAME_S = 2.0
"""One heard so soon after another is the same, heard in another place, in seconds. Home Assistant's time; one on a busy
machine may be much later than the others."""
LOUDER_DB = 1.0
"""A later one takes over where it was heard so much better."""


@dataclass(slots=True)
class Claim:
    """A satellite has heard a wake word and wants to answer."""

    satellite: str
    word: str
    loudness_db: float
    at: float
    give_up: Callable[[], None]
    """Called when another one takes over."""


class Arbiter:
    """Lets the first go ahead at once, and a better one take over while nothing has been said yet."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._claims: dict[str, Claim] = {}

    def claim(self, satellite: str, word: str, loudness_db: float, give_up: Callable[[], None]) -> bool:
        """Whether this satellite may answer; one that answered until now may lose its turn by it."""
        now = self._clock()
        mine = Claim(satellite, word, loudness_db, now, give_up)
        other = self._claims.get(word)
        if other is None or other.satellite == satellite or now - other.at > SAME_S:
            self._claims[word] = mine
            return True
        if now - other.at > WITHIN_S or loudness_db < other.loudness_db + LOUDER_DB:
            return False
        mine.at = other.at  # the time runs from the first: nobody takes over twice as late
        self._claims[word] = mine
        other.give_up()
        return True
