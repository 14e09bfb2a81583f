"""What the satellite does at the moment: a turn, an announcement, the ringing of a timer, or a sound of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from wyoming_superwhisper.satellite.routing import TurnEvents
from wyoming_superwhisper.satellite.state import State
from wyoming_superwhisper.satellite.turn import Start, Turn, TurnState


@dataclass(frozen=True, slots=True)
class Activity:
    """What is going on at the moment."""

    state: State
    task: asyncio.Task[None]
    turn: Turn | None = None
    start: Start = field(default_factory=Start)
    events: TurnEvents | None = None

    @property
    def waits(self) -> bool:
        """Whether it is a turn that has not begun yet: the other side listens for the wake word."""
        return self.turn is not None and self.turn.state is TurnState.WAITING

    @property
    def gives_way(self) -> bool:
        """Whether a turn may begin in its place: it waits itself, or is nothing but the sound of an error."""
        return self.waits or (self.turn is None and self.state in (State.IDLE, State.WAITING))
