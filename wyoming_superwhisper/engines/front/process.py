"""The front's side of a worker process, as the rest of the server sees it: ask it, and have it looked after.

Its calls are the `dispatcher`'s business, its processes the `supervisor`'s, its state is in `availability`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from wyoming_superwhisper.engines.base import Priority
from wyoming_superwhisper.engines.front.availability import Availability, WorkerState
from wyoming_superwhisper.engines.front.dispatcher import NO_CREDIT_LIMIT, Dispatcher, WorkLimits
from wyoming_superwhisper.engines.front.instance import Program
from wyoming_superwhisper.engines.front.jobs import Job, Reply
from wyoming_superwhisper.engines.front.part_stream import PartStream
from wyoming_superwhisper.engines.front.supervisor import Order, Supervisor
from wyoming_superwhisper.errors import SuperwhisperError
from wyoming_superwhisper.observer import JobRecord


class WorkerProcess:
    """One worker process, for ever: `start` it, `call` it, `close` it."""

    def __init__(
        self,
        name: str,
        configuration: Mapping[str, Any],
        *,
        engine: str = "",
        environment: Mapping[str, str] | None = None,
        limits: WorkLimits | None = None,
        log: Mapping[str, str] | None = None,
        nice: int = 5,
        python: str = sys.executable,
        loopback: bool = os.name == "nt",
        on_state: Callable[[WorkerProcess], None] | None = None,
        on_job: Callable[[JobRecord], None] | None = None,
        before_load: Callable[[WorkerProcess], None] | None = None,
    ) -> None:
        """`configuration`: JSON for the engine. `environment`: added to ours (CUDA_VISIBLE_DEVICES, thread counts).

        `engine`: as the registry names it; the same as `name` by default. `log`: `level` and `format`.
        `before_load`: asked before each load; it may raise why not, or change the configuration and environment.
        """
        self.name = name
        program = Program(engine or name, configuration, environment or {}, log or {}, nice, python, loopback)
        self._availability = Availability(
            name,
            on_change=lambda: on_state(self) if on_state is not None else None,
            on_overdue=lambda: self._calls.fail_waiting(self._availability.unavailable),
        )
        self._calls = Dispatcher(name, limits or WorkLimits(), self._availability, on_job)
        ask = None if before_load is None else lambda: before_load(self)
        self._supervisor = Supervisor(name, program, self._calls, self._availability, ask)

    # --- life

    async def start(self) -> None:
        """Begin to spawn and load; returns at once."""
        self._supervisor.start()

    async def ready(self) -> None:
        """Wait until it is loaded. Raises `ModelError` or `EngineUnavailable` when it could not load, `Stopping`."""
        await self._availability.ready()

    async def close(self) -> None:
        """End the process and fail what is left with `Stopping`. May be called twice."""
        await self._supervisor.close()

    def kill(self) -> None:
        """End the process now; it is lost and starts again."""
        if self._calls.current is not None:
            self._calls.current.kill()

    def recycle(self, *, beside: bool) -> None:
        """Replace the process by a fresh one, between calls. `beside`: the new one is loaded first.

        Else calls wait while it loads. If the new one can't be loaded beside it, the old one goes on.
        """
        self._supervisor.order(Order.RECYCLE_BESIDE if beside else Order.RECYCLE)

    def unload(self) -> None:
        """End the process if nothing is in it or waits; the next call starts it again."""
        if self._calls.idle:
            self._supervisor.order(Order.UNLOAD)

    # --- what it is started with

    @property
    def configuration(self) -> Mapping[str, Any]:
        """For the next start; changed by whoever changes it in the running worker too."""
        return self._supervisor.program.configuration

    @configuration.setter
    def configuration(self, configuration: Mapping[str, Any]) -> None:
        self._supervisor.program = replace(self._supervisor.program, configuration=configuration)

    @property
    def environment(self) -> Mapping[str, str]:
        """For the next start."""
        return self._supervisor.program.environment

    @environment.setter
    def environment(self, environment: Mapping[str, str]) -> None:
        self._supervisor.program = replace(self._supervisor.program, environment=environment)

    def use(self, limits: WorkLimits, log: Mapping[str, str]) -> None:
        """Other limits from now on, and another log, in the process that runs too."""
        self._calls.use(limits)
        self._supervisor.use_log(log)

    # --- what it is

    @property
    def state(self) -> WorkerState:
        return self._availability.state

    @property
    def failure(self) -> SuperwhisperError | None:
        """Why it could not load."""
        return self._availability.failure

    @property
    def generation(self) -> int:
        """Counts the workers that became ready: what lives in a worker (its streams) is gone with its generation."""
        return self._calls.generation

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """What the engine said of itself; {} before it was loaded first."""
        return self._supervisor.hello.capabilities

    @property
    def memory_bytes(self) -> int:
        """Resident memory after loading."""
        return self._supervisor.hello.memory_bytes

    @property
    def pid(self) -> int | None:
        """The process that gets new calls."""
        return None if self._calls.current is None else self._calls.current.pid

    @property
    def pids(self) -> tuple[int, ...]:
        """All processes of this worker: while it is replaced there are two."""
        return tuple(instance.pid for instance in self._supervisor.instances)

    # --- what it has done and has to do

    @property
    def restarts(self) -> int:
        return self._supervisor.restarts

    @property
    def recycled(self) -> int:
        return self._supervisor.recycled

    @property
    def cancelled(self) -> int:
        return self._calls.cancelled

    @property
    def preempted(self) -> int:
        return self._calls.preempted

    @property
    def running(self) -> int:
        """Calls in the worker."""
        return self._calls.running

    @property
    def idle_s(self) -> float:
        """Time since it had anything to do."""
        return self._calls.idle_s

    def waiting(self, priority: Priority) -> int:
        """Calls in the queue."""
        return self._calls.waiting(priority)

    def waiting_by_kind(self) -> dict[str, int]:
        """Calls in the queue: "final" and "guess"."""
        return {priority.name.lower(): self.waiting(priority) for priority in Priority}

    # --- calls

    async def call(
        self,
        method: str,
        data: Mapping[str, Any] | None = None,
        payload: bytes = b"",
        priority: Priority = Priority.FINAL,
        *,
        generation: int | None = None,
    ) -> Reply:
        """Ask the engine; cancelling the awaiting task cancels the call. Parts are dropped.

        `generation`: fail with `EngineLost` rather than run in any other. Raises `Busy`, `EngineLost`,
        `EngineUnavailable`, `Timeout`, `Stopping` and whatever the engine fails with.
        """
        job = self.submit(method, data, payload, priority, generation=generation)
        try:
            return await job.result()
        finally:
            self.release(job)

    def stream(
        self,
        method: str,
        data: Mapping[str, Any] | None = None,
        payload: bytes = b"",
        priority: Priority = Priority.FINAL,
        *,
        smaller: Mapping[str, Any] | None = None,
    ) -> PartStream:
        """Ask the engine for an answer in parts. Raises as `call`, here or while it is read."""
        credit = self._calls.limits.parts
        return PartStream(self._calls, self.submit(method, data, payload, priority, credit=credit, smaller=smaller))

    def submit(
        self,
        method: str,
        data: Mapping[str, Any] | None = None,
        payload: bytes = b"",
        priority: Priority = Priority.FINAL,
        *,
        credit: int = NO_CREDIT_LIMIT,
        generation: int | None = None,
        unbounded: bool = False,
        smaller: Mapping[str, Any] | None = None,
    ) -> Job:
        """Queue a call. Whoever submits a job awaits its result and then releases it, or lets it run to its end.

        `unbounded`: take it however many wait (clearing up). `smaller`: what to ask the second time where there was
        no memory for `data`. Raises `Busy`, `EngineUnavailable`, `Stopping`.
        """
        job = Job(method, data or {}, payload, priority, credit=credit, generation=generation, smaller=smaller)
        self._calls.put(job, unbounded=unbounded)
        return job

    def release(self, job: Job) -> None:
        """Say that one holder of the job wants it no more; with the last one it is cancelled unless it has ended."""
        self._calls.release(job)

    def promote(self, job: Job) -> None:
        """A guess has become a final."""
        self._calls.promote(job)
