"""Who does what this server can't: an `Executor`, or nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from wyoming_superwhisper import phrases
from wyoming_superwhisper.conversation.said import Said
from wyoming_superwhisper.engines.base import IntentCall


@dataclass(frozen=True, slots=True)
class Executed:
    """What became of an intent."""

    text: str
    """What to say of it."""
    done: bool


class Executor(Protocol):
    """Executes the intents of satellites that we drive and that we can't execute ourselves."""

    async def execute(self, call: IntentCall, said: Said, language: str, area: str | None) -> Executed:
        """Execute one intent. Says honestly what came of it; raises nothing but cancellation."""


class NobodyExecutes:
    """There is no Home Assistant: nothing is done, and that is said."""

    async def execute(self, call: IntentCall, said: Said, language: str, area: str | None) -> Executed:
        target = str(call.slots.get("name") or call.slots.get("area") or call.slots.get("floor") or "")
        if not target or "." in target:  # an id stands for a name that several devices have
            target = phrases.say("your_devices", language)
        return Executed(phrases.say("unreachable", language, target=target), False)
