"""What a worker is doing, and whether it can be asked for something."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable

from wyoming_superwhisper.errors import EngineLost, EngineUnavailable, Stopping, SuperwhisperError


class WorkerState(enum.Enum):
    """What a worker is doing."""

    STOPPED = "stopped"
    """Not started yet, or closed."""
    LOADING = "loading"
    """The process runs and loads its model."""
    READY = "ready"
    """It serves calls."""
    RELOADING = "reloading"
    """It is loaded again on purpose, to be fresh or because it is wanted again; calls wait for it."""
    UNLOADED = "unloaded"
    """It was unloaded for want of work; the next call loads it again."""
    LOST = "lost"
    """It died and will be started again in a moment."""
    FAILED = "failed"
    """It could not load; it is tried again now and then."""


class Availability:
    """The state of one worker, what follows from it for its callers, and the sentences that tell them."""

    def __init__(self, name: str, on_change: Callable[[], None], on_overdue: Callable[[], None]) -> None:
        """`on_overdue`: told when a lost worker has been away for so long that nobody shall wait for it any more."""
        self.state = WorkerState.STOPPED
        self.failure: SuperwhisperError | None = None
        """Why it could not load."""
        self.closed = asyncio.Event()
        """Set for ever once it is closed."""
        self._name = name
        self._on_change = on_change
        self._on_overdue = on_overdue
        self._changed = asyncio.Event()
        self._overdue = False
        self._overdue_timer: asyncio.TimerHandle | None = None

    # --- for those who ask

    async def ready(self) -> None:
        """Wait until it is loaded. Raises `ModelError` or `EngineUnavailable` when it could not load, `Stopping`."""
        while self.state not in (WorkerState.READY, WorkerState.UNLOADED):
            if self.failure is not None:
                raise self.failure
            if self.state is WorkerState.STOPPED:
                raise self.stopping()
            self._changed.clear()
            await self._changed.wait()

    def check(self) -> None:
        """Raises `Stopping` or `EngineUnavailable` where there is nothing to wait for."""
        if self.state is WorkerState.STOPPED:
            raise self.stopping()
        if self.failure is not None or self._overdue:
            raise self.unavailable()

    def lost(self) -> EngineLost:
        """For calls that were in a process when it died."""
        return EngineLost(f"The {self._name} engine died while it worked on this; it is being restarted.")

    def unavailable(self) -> EngineUnavailable:
        """For calls that can't wait for it."""
        why = self.failure or "it is being restarted"
        return EngineUnavailable(f"The {self._name} engine is not available: {why}.")

    def stopping(self) -> Stopping:
        """For calls that are left when it is closed."""
        return Stopping("The server is stopping.")

    # --- for those who look after it

    def set(self, state: WorkerState) -> None:
        """The one place where the state changes."""
        if self.closed.is_set() or state is self.state:
            return
        self.state = state
        if state is WorkerState.READY:
            self.failure = None
        if state not in (WorkerState.LOST, WorkerState.LOADING):
            self._stop_waiting_for_reload()
        self._changed.set()
        self._on_change()

    def lose(self, wait_s: float) -> None:
        """It has died. After `wait_s` of not being loaded again it is overdue."""
        if self.closed.is_set() or self.state is WorkerState.LOST:
            return
        self._overdue_timer = asyncio.get_running_loop().call_later(wait_s, self._be_overdue)
        self.set(WorkerState.LOST)

    def fail(self, error: SuperwhisperError) -> None:
        """It could not load."""
        self.failure = error
        self.set(WorkerState.FAILED)

    def close(self) -> None:
        """`STOPPED` is the last state."""
        self.set(WorkerState.STOPPED)
        self.closed.set()

    def _stop_waiting_for_reload(self) -> None:
        self._overdue = False
        if self._overdue_timer is not None:
            self._overdue_timer.cancel()

    def _be_overdue(self) -> None:
        self._overdue = True
        self._on_overdue()
