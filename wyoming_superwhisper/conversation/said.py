"""What comes in: a sentence, who said it, and what the rules make of it."""

from __future__ import annotations

from dataclasses import dataclass

from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.errors import SuperwhisperError


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence, and what is known of who said it."""

    text: str
    language: str | None = None
    """Language tag of the request; None: found from the text."""
    conversation: str = ""
    """Conversation id; "": nothing is remembered."""
    speakers: tuple[str, ...] = ()
    """Satellite id, device id, satellite name: what tells the room, the best first."""
    area: str | None = None
    """Id or name of the area, where the request says it."""
    execute: bool = False
    """True for satellites that this server drives, `run-pipeline` and `ask`; False for any other client."""
    older: bool = False
    """An older Home Assistant asks: it executes the first of several intents, and speaks an intent's text as it is."""
    satellite: str = ""
    """Whose timers these are; "": the first of `speakers`."""

    @property
    def owner(self) -> str:
        """The satellite that timers belong to."""
        return self.satellite or next((name for name in self.speakers if name), "") or self.conversation


@dataclass(frozen=True, slots=True)
class Understood:
    """What the rules make of a sentence. Nothing has happened yet: a guess may be thrown away."""

    language: str
    calls: tuple[IntentCall, ...] = ()
    failed: SuperwhisperError | None = None
    """Why the rules could not be asked."""
