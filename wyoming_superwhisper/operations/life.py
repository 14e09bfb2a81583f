"""How the server is: starting, ready, degraded, stopping. Derived from the states of its engines."""

from __future__ import annotations

import enum
import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from wyoming_superwhisper.engines.front.availability import WorkerState

logger = logging.getLogger(__name__)

DISPENSABLE = frozenset({"llama"})
"""Engines without which the server still does its work: the rules answer, and replies say what is missing."""


class State(enum.Enum):
    """How the server is. It listens and answers `describe` in all of them but the last."""

    STARTING = "starting"
    """Some engine has not been loaded yet; requests for it wait."""
    READY = "ready"
    """All engines serve, or are unloaded for want of work and come back when asked."""
    DEGRADED = "degraded"
    """An engine is lost and being restarted, or can't be loaded; requests for it get an error or a fall-back."""
    STOPPING = "stopping"
    """Nobody new is let in; what is under way is finished."""


class Engine(Protocol):
    """What is looked at of an engine (`engines.front.process.WorkerProcess`)."""

    name: str

    @property
    def state(self) -> WorkerState: ...

    @property
    def generation(self) -> int:
        """0: it has never been loaded."""

    @property
    def failure(self) -> Exception | None: ...


class Life:
    """The state of the server."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.state = State.STARTING
        self._engines: Mapping[str, Engine] = {}
        self._now = now
        self._began_s = now()
        self._listeners: list[Callable[[State], None]] = []

    def watch(self, engines: Mapping[str, Engine]) -> None:
        """Judge by these engines."""
        self._engines = engines
        self.look()

    def tell(self, listener: Callable[[State], None]) -> None:
        """Call this with every new state."""
        self._listeners.append(listener)

    def look(self) -> None:
        """An engine has changed its state, perhaps."""
        if self.state is not State.STOPPING:
            self._set(self._judge())

    def stopping(self) -> None:
        """The server has been told to stop. There is no way back."""
        self._set(State.STOPPING)

    @property
    def serves(self) -> bool:
        """Whether a client may be sent here: all that can't be done without is loaded."""
        if self.state in (State.STARTING, State.STOPPING):
            return False
        return all(_serves(engine) for name, engine in self._engines.items() if name not in DISPENSABLE)

    def engines(self) -> dict[str, str]:
        """The state of each engine in a word, with why where it failed."""
        return {
            name: f"{engine.state.value}: {engine.failure}" if engine.failure else engine.state.value
            for name, engine in self._engines.items()
        }

    def _judge(self) -> State:
        engines = self._engines.values()
        if any(engine.state in (WorkerState.LOST, WorkerState.FAILED) or engine.failure for engine in engines):
            return State.DEGRADED
        if not all(_serves(engine) for engine in engines):
            # One that is being loaded again was there before: clients wait for it.
            return State.STARTING if self.state is State.STARTING else State.DEGRADED
        return State.READY

    def _set(self, state: State) -> None:
        """The one place where the state changes."""
        if state is self.state:
            return
        before, self.state = self.state, state
        self._log(before)
        for listener in self._listeners:
            listener(state)

    def _log(self, before: State) -> None:
        if self.state is State.READY and before is State.STARTING:
            logger.info("ready after %.1f s", self._now() - self._began_s)
        elif self.state is State.DEGRADED:
            missing = [name for name, engine in self._engines.items() if not _serves(engine)]
            logger.warning("degraded: %s not available", ", ".join(missing) or "an engine is")
        else:
            logger.info("%s", self.state.value)


def _serves(engine: Engine) -> bool:
    return engine.state in (WorkerState.READY, WorkerState.RELOADING, WorkerState.UNLOADED)
