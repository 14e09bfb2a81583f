"""What is remembered of each conversation, and for how long. Conversations never see each other."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from wyoming_superwhisper.engines.base import Exchange, IntentCall

MOST_CONVERSATIONS = 256
"""Conversations remembered at once; the one idle longest goes first."""

MOST_EXCHANGES = 16
"""Past turns kept of one; the language model takes as many of the newest as fit its budget."""

MOST_CHARS = 2_000
"""Of a long text this much is remembered."""


@dataclass(slots=True)
class Conversation:
    """One conversation so far."""

    exchanges: list[Exchange] = field(default_factory=list)
    last_intents: tuple[IntentCall, ...] = ()
    """What was understood last, for "et le salon aussi"."""
    last_reply: str = ""
    """What was said last, for "répète"."""
    to_confirm: tuple[IntentCall, ...] = ()
    """What waits for a yes."""
    confirm_until: float = 0.0
    """How long a yes counts."""
    used: float = 0.0

    def ask(self, calls: tuple[IntentCall, ...], until: float) -> None:
        """Wait for a yes to these calls."""
        self.to_confirm, self.confirm_until = calls, until

    def take_asked(self, now: float) -> tuple[IntentCall, ...]:
        """What was asked about, if that was not too long ago. Whatever is said next, the question is over."""
        calls, self.to_confirm = self.to_confirm, ()
        return calls if now < self.confirm_until else ()

    def add(self, user: str, assistant: str, intents: tuple[IntentCall, ...] = ()) -> None:
        """Remember a turn."""
        self.exchanges.append(Exchange(user[:MOST_CHARS], assistant[:MOST_CHARS]))
        del self.exchanges[:-MOST_EXCHANGES]
        self.last_intents = intents
        self.last_reply = assistant


class Conversations:
    """All conversations, by id. Bounded, and each forgotten `forget_s` after its last turn."""

    def __init__(self, forget_s: float = 300.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.forget_s = forget_s
        self._clock = clock
        self._known: OrderedDict[str, Conversation] = OrderedDict()

    def now(self) -> float:
        """The time by which conversations are forgotten, in seconds."""
        return self._clock()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> Conversation:
        """The conversation of this id, new if it is unknown or forgotten; without an id one that nobody keeps."""
        self._forget_old()
        if not key:
            return Conversation()
        conversation = self._known.setdefault(key, Conversation())
        conversation.used = self._clock()
        self._known.move_to_end(key)
        while len(self._known) > MOST_CONVERSATIONS:
            self._known.popitem(last=False)
        return conversation

    def peek(self, key: str) -> Conversation:
        """The same without keeping or renewing anything, for guesses."""
        known = self._known.get(key)
        return known if known and self._clock() - known.used < self.forget_s else Conversation()

    def forget(self, key: str) -> None:
        """Forget one conversation."""
        self._known.pop(key, None)

    def _forget_old(self) -> None:
        oldest_kept = self._clock() - self.forget_s
        while self._known:
            key, conversation = next(iter(self._known.items()))
            if conversation.used > oldest_kept:
                return
            del self._known[key]
