"""Calls on their way to a worker: one `Job` each, and the bounded queue in which they wait in the front process."""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wyoming_superwhisper import logs
from wyoming_superwhisper.engines.base import Priority
from wyoming_superwhisper.errors import Busy, SuperwhisperError


@dataclass(frozen=True, slots=True)
class Reply:
    """What a worker answered: the whole result of a call, or one part of it."""

    data: Mapping[str, Any] = field(default_factory=dict)
    payload: bytes = b""


class JobState(enum.Enum):
    """Where a job is."""

    WAITING = enum.auto()
    """In the queue; the worker knows nothing of it."""
    RUNNING = enum.auto()
    """In the worker."""
    CANCELLING = enum.auto()
    """In the worker, which was told to drop it and has not yet said that its place is free."""
    ENDED = enum.auto()
    """It has its result or its error, or nobody wants it any more."""


class Job:
    """One call: what is asked, where it is, and what has come back."""

    def __init__(
        self,
        method: str,
        data: Mapping[str, Any],
        payload: bytes,
        priority: Priority,
        *,
        credit: int,
        generation: int | None = None,
        smaller: Mapping[str, Any] | None = None,
    ) -> None:
        """`credit`: parts that the worker may send before any is taken. `generation`: the only one it may run in.

        `smaller`: what to ask instead where there was no memory for `data`.
        """
        self.method = method
        self.data = data
        self.payload = payload
        self.priority = priority
        self.first_credit = credit
        self.credit = credit
        self.generation = generation
        self.turn = logs.turn.get()
        """Id of the turn that asks."""
        self.smaller = smaller
        self.frugal = False
        """It found no memory: the second time it is alone in the worker, and smaller where it can be."""
        self.instance: object = None
        """The process that has it or had it last; known to the `dispatcher` alone."""
        self.ran_in: int | None = None
        """The generation of the worker that has it or had it last."""
        self.state = JobState.WAITING
        self.id = 0
        self.holders = 1
        self.parts_received = 0
        self.submitted_at = 0.0
        self.started_at = 0.0
        self.last_sign_at = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self.on_reply: Callable[[Reply], None] | None = None
        self.reply: Reply | None = None
        self.error: SuperwhisperError | None = None
        self._parts: deque[Reply] = deque()
        self._changed = asyncio.Event()

    @property
    def ended(self) -> bool:
        return self.state is JobState.ENDED

    async def result(self) -> Reply:
        """The whole result. Raises the job's error."""
        while not self.ended:
            await self._change()
        return self._outcome()

    async def next_part(self) -> Reply | None:
        """The next part; None: there are no more. Raises the job's error."""
        while not self._parts and not self.ended:
            await self._change()
        if self._parts:
            return self._parts.popleft()
        self._outcome()
        return None

    def deliver(self, part: Reply) -> None:
        """A part has come."""
        self.parts_received += 1
        self._parts.append(part)
        self._changed.set()

    def end(self, outcome: Reply | SuperwhisperError) -> None:
        """The result or the error has come. The first one counts."""
        if self.ended:
            return
        if isinstance(outcome, Reply):
            self.reply = outcome
        else:
            self.error = outcome
        self.state = JobState.ENDED
        self.payload = b""
        self._changed.set()
        if isinstance(outcome, Reply) and self.on_reply is not None:
            self.on_reply(outcome)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _outcome(self) -> Reply:
        if self.error is not None:
            raise self.error
        assert self.reply is not None
        return self.reply


class JobQueue:
    """Jobs that wait, finals before guesses, each kind in the order of arrival and bounded on its own."""

    def __init__(self, finals: int, guesses: int) -> None:
        self._limits = {Priority.FINAL: finals, Priority.GUESS: guesses}
        self._waiting: dict[Priority, deque[Job]] = {Priority.FINAL: deque(), Priority.GUESS: deque()}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def limit(self, finals: int, guesses: int) -> None:
        """Let so many wait from now on."""
        self._limits = {Priority.FINAL: finals, Priority.GUESS: guesses}

    def length(self, priority: Priority) -> int:
        """How many of one kind wait."""
        return len(self._waiting[priority])

    def put(self, job: Job, *, unbounded: bool = False) -> None:
        """Raises `Busy` if as many of its kind wait as may."""
        waiting = self._waiting[job.priority]
        if len(waiting) >= self._limits[job.priority] and not unbounded:
            raise Busy("Too many requests are waiting; try again in a moment.")
        waiting.append(job)

    def put_back(self, job: Job) -> None:
        """Put a job that was taken out before all others of its kind; for this one there is always room."""
        job.state = JobState.WAITING
        self._waiting[job.priority].appendleft(job)

    def peek(self) -> Job | None:
        """The job that `take` would give."""
        return next((waiting[0] for waiting in self._waiting.values() if waiting), None)

    def take(self) -> Job | None:
        """The next job; None: nothing waits."""
        for waiting in self._waiting.values():
            if waiting:
                return waiting.popleft()
        return None

    def remove(self, job: Job) -> None:
        """Take out this one."""
        self._waiting[job.priority].remove(job)

    def promote(self, job: Job) -> None:
        """Make a waiting guess the last of the finals."""
        self.remove(job)
        job.priority = Priority.FINAL
        self._waiting[Priority.FINAL].append(job)

    def all(self) -> list[Job]:
        """Every job that waits, in order."""
        return [job for waiting in self._waiting.values() for job in waiting]
