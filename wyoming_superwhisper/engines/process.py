"""The front's side of a worker process: spawns it, queues calls for it, notices its death and starts it again.

What waits, waits here; the worker has at most `capacity` calls. So cancelling what waits, serving finals before
guesses and surviving a crash need nothing from the worker.

- A final that finds the worker full pre-empts guesses: each is cancelled in the worker and put back at the head of
  the waiting guesses. A guess of which parts were already delivered can't start again and gets `Busy` instead.
- A call that was in a worker when it died gets `EngineLost` at once; those that wait stay for the reload,
  `reload_s` at most, then they and all that follow get `EngineUnavailable` until it is loaded.
- A worker that can't load gives `EngineUnavailable` with its reason at once, and is tried again, ever more rarely.
- A call that gives no sign of life for `job_s` costs the worker: `Timeout` for it, `EngineLost` for its neighbours.
- A call that finds no memory is tried once more, alone in the worker and smaller where it can be; then it fails.
- A process can be replaced by a fresh one with nobody noticing (`recycle`), and unloaded until it is asked (`unload`).
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from wyoming.event import Event

from wyoming_superwhisper import errors, wire
from wyoming_superwhisper.engines import worker
from wyoming_superwhisper.engines.base import SAMPLE_RATE, Priority
from wyoming_superwhisper.engines.instance import Instance, Program
from wyoming_superwhisper.engines.jobs import Job, JobQueue, JobState, Reply
from wyoming_superwhisper.errors import EngineLost, EngineUnavailable, ModelError, Stopping, SuperwhisperError, Timeout

logger = logging.getLogger(__name__)

RESTART_S = (0.0, 1.0, 2.0, 5.0, 15.0, 60.0)
"""Waits before a lost worker is started again; the first again once it has lived for `STABLE_S`."""
STABLE_S = 60.0
LOAD_RETRY_S = (5.0, 30.0, 60.0, 300.0)
"""Waits before a worker that could not load is tried again."""
NO_CREDIT_LIMIT = 2**31
"""Credit of a call whose parts nobody reads."""


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


@dataclass(frozen=True, slots=True)
class WorkLimits:
    """How much may wait and how long things may take."""

    queue_final: int = 64
    queue_guess: int = 16
    job_s: float = 60.0
    """Time a call may take in the worker without a sign of life."""
    reload_s: float = 30.0
    """Time calls wait for a lost worker."""
    load_s: float = 600.0
    """Time a worker has to load."""
    parts: int = 256
    """Parts of one answer that may be on their way or waiting to be taken."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What became of a call; for metrics."""

    worker: str
    method: str
    priority: Priority
    code: str
    """"" if it was answered, "cancelled", else the code of its error."""
    waited_s: float
    """In the queue."""
    ran_s: float
    """In the worker."""
    turn: str = ""
    """Id of the turn it belongs to."""
    batch: int = 0
    """Calls it was worked on with, itself included, where the engine says."""
    audio_s: float = 0.0
    """Audio that went in or came out."""
    tokens: int = 0
    """Tokens that a language model wrote."""


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
        self.configuration = configuration
        """For the next start; changed by whoever changes it in the running worker too."""
        self.state = WorkerState.STOPPED
        self.generation = 0
        """Counts the workers that became ready: what lives in a worker (its streams) is gone with its generation."""
        self.capabilities: Mapping[str, Any] = {}
        """What the engine said of itself; {} before it was loaded first."""
        self.capacity = 0
        self.memory_bytes = 0
        """Resident memory after loading."""
        self.failure: SuperwhisperError | None = None
        """Why it could not load."""
        self.restarts = 0
        self.recycled = 0
        self.cancelled = 0
        self.preempted = 0
        self.environment = environment or {}
        """For the next start, as `configuration`."""
        self.limits = limits or WorkLimits()
        self.log = log or {}
        self._engine = engine or name
        self._nice = nice
        self._python = python
        self._loopback = loopback
        self._on_state = on_state
        self._on_job = on_job
        self._before_load = before_load
        self._queue = JobQueue(self.limits.queue_final, self.limits.queue_guess)
        self._last_id = 0
        self._current: Instance | None = None  # the one that gets new calls
        self._instances: set[Instance] = set()  # all that have not ended
        self._retirees: set[Instance] = set()  # those of them that were replaced, and a task that ends each
        self._retiring: set[asyncio.Task[None]] = set()
        self._held = False  # no new calls, until the process is replaced
        self._order: _Order | None = None
        self._ordered = asyncio.Event()
        self._used_at = 0.0
        self._supervisor: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._state_changed = asyncio.Event()
        self._reload_timer: asyncio.TimerHandle | None = None
        self._reload_overdue = False

    # --- life ---

    async def start(self) -> None:
        """Begin to spawn and load; returns at once."""
        self._set_state(WorkerState.LOADING)
        self._supervisor = asyncio.create_task(self._supervise(), name=f"worker {self.name}")

    async def ready(self) -> None:
        """Wait until it is loaded. Raises `ModelError` or `EngineUnavailable` when it could not load, `Stopping`."""
        while self.state not in (WorkerState.READY, WorkerState.UNLOADED):
            if self.failure is not None:
                raise self.failure
            if self.state is WorkerState.STOPPED:
                raise self._stopping()
            self._state_changed.clear()
            await self._state_changed.wait()

    async def close(self) -> None:
        """End the process and fail what is left with `Stopping`. May be called twice."""
        self._set_state(WorkerState.STOPPED)
        self._stop.set()
        for instance in list(self._instances):
            self._fail_running(instance, self._stopping)
            instance.leave()
        self._fail_waiting(self._stopping)
        if self._supervisor is not None:
            await self._supervisor
        if self._retiring:
            await asyncio.wait(list(self._retiring))

    def kill(self) -> None:
        """End the process now; it is lost and starts again."""
        if self._current is not None:
            self._current.kill()

    def recycle(self, *, beside: bool) -> None:
        """Replace the process by a fresh one, between calls. `beside`: the new one is loaded first.

        Else calls wait while it loads. If the new one can't be loaded beside it, the old one goes on.
        """
        self._give_order(_Order.RECYCLE_BESIDE if beside else _Order.RECYCLE)

    def unload(self) -> None:
        """End the process if nothing is in it or waits; the next call starts it again."""
        if not self.running and not len(self._queue):
            self._give_order(_Order.UNLOAD)

    def use(self, limits: WorkLimits, log: Mapping[str, str]) -> None:
        """Other limits from now on, and another log, in the process that runs too."""
        self.limits = limits
        self._queue.limit(limits.queue_final, limits.queue_guess)
        if log != self.log:
            self.log = log
            for instance in self._instances:
                instance.send("log", log)

    def _give_order(self, order: _Order) -> None:
        if self.state is WorkerState.READY and self._order is None:
            self._order = order
            self._ordered.set()

    # --- calls ---

    @property
    def pid(self) -> int | None:
        """The process that gets new calls."""
        return None if self._current is None else self._current.pid

    @property
    def pids(self) -> tuple[int, ...]:
        """All processes of this worker: while it is replaced there are two."""
        return tuple(instance.pid for instance in self._instances)

    @property
    def running(self) -> int:
        """Calls in the worker."""
        return sum(len(instance.running) for instance in self._instances)

    @property
    def idle_s(self) -> float:
        """Time since it had anything to do."""
        return 0.0 if self.running or len(self._queue) else self._now() - self._used_at

    def waiting(self, priority: Priority) -> int:
        """Calls in the queue."""
        return self._queue.length(priority)

    def waiting_by_kind(self) -> dict[str, int]:
        """Calls in the queue: "final" and "guess"."""
        return {priority.name.lower(): self._queue.length(priority) for priority in Priority}

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
        credit = self.limits.parts
        return PartStream(self, self.submit(method, data, payload, priority, credit=credit, smaller=smaller))

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
        self._check_available()
        job = Job(method, data or {}, payload, priority, credit=credit, generation=generation, smaller=smaller)
        job.submitted_at = self._now()
        self._queue.put(job, unbounded=unbounded)
        self._pump()
        return job

    def release(self, job: Job) -> None:
        """Say that one holder of the job wants it no more; with the last one it is cancelled unless it has ended."""
        job.holders -= 1
        if job.holders > 0 or job.ended:
            return
        self.cancelled += 1
        if job.state is JobState.WAITING:
            self._queue.remove(job)
            self._end(job, _Cancelled("cancelled"))
        elif job.state is JobState.RUNNING:
            self._cancel_running(job)

    def promote(self, job: Job) -> None:
        """A guess has become a final."""
        if job.state is JobState.WAITING and job.priority is Priority.GUESS:
            self._queue.promote(job)
            self._pump()
        elif job.state is JobState.RUNNING and job.priority is Priority.GUESS:
            self._instance_of(job).send("promote", {"id": job.id})
        job.priority = Priority.FINAL

    def give_credit(self, job: Job, parts: int) -> None:
        """Let the worker send more parts of a running job."""
        job.credit += parts
        job.last_sign_at = self._now()
        if job.state is JobState.RUNNING:
            self._instance_of(job).send("credit", {"id": job.id, "n": parts})

    # --- the queue and what is in the worker ---

    def _check_available(self) -> None:
        if self.state is WorkerState.STOPPED:
            raise self._stopping()
        if self.failure is not None or self._reload_overdue:
            raise self._unavailable()

    def _pump(self) -> None:
        """Give the worker what it has room for."""
        self._used_at = self._now()
        if self.state is WorkerState.UNLOADED and len(self._queue):
            self._ordered.set()
        current = self._current
        if current is None or self._held:
            return
        while len(current.running) < self.capacity and (job := self._queue.peek()) is not None:
            if current.running and (job.frugal or any(one.frugal for one in current.running.values())):
                break  # one that found no memory beside others is alone the second time
            self._queue.take()
            if job.generation is not None and job.generation != self.generation:
                self._end(job, self._lost())
            else:
                self._run(job, current)
        self._preempt(current)

    def _preempt(self, current: Instance) -> None:
        """Make room for the finals that wait: the newest guesses go first."""
        freeing = sum(job.state is not JobState.RUNNING for job in current.running.values())
        needed = self._queue.length(Priority.FINAL) - freeing
        for job in reversed(current.running.values()):
            if needed <= 0:
                return
            if job.priority is Priority.GUESS and job.state is JobState.RUNNING:
                self.preempted += 1
                needed -= 1
                self._cancel_running(job)
                if job.parts_received:
                    self._end(job, errors.Busy("A guess made room for a request."))

    def _run(self, job: Job, instance: Instance) -> None:
        self._last_id += 1
        job.id = self._last_id
        data = job.smaller if job.frugal and job.smaller is not None else job.data
        call = {"id": job.id, "method": job.method, "priority": int(job.priority), "data": dict(data)}
        try:
            instance.send("call", {**call, "credit": job.credit, "turn": job.turn}, job.payload)
        except (TypeError, ValueError) as error:
            logger.error("%s: %s can't be asked, its data is not JSON: %s", self.name, job.method, error)
            self._end(job, errors.Internal("The server asked its engine for something that makes no sense."))
            return
        job.state = JobState.RUNNING
        job.instance = instance
        job.ran_in = instance.generation
        job.started_at = job.last_sign_at = self._now()
        instance.running[job.id] = job
        self._arm(job, self.limits.job_s)

    def _instance_of(self, job: Job) -> Instance:
        """The process that has a job which is running or being cancelled."""
        assert isinstance(job.instance, Instance)
        return job.instance

    def _cancel_running(self, job: Job) -> None:
        job.state = JobState.CANCELLING
        self._instance_of(job).send("cancel", {"id": job.id})

    def _arm(self, job: Job, delay_s: float) -> None:
        job.timer = asyncio.get_running_loop().call_later(delay_s, self._check_deadline, job)

    def _check_deadline(self, job: Job) -> None:
        instance = self._instance_of(job)
        if instance.running.get(job.id) is not job:
            return
        if job.parts_received >= job.credit:
            job.last_sign_at = self._now()  # it waits for its reader, not for the engine
        left_s = job.last_sign_at + self.limits.job_s - self._now()
        if left_s > 0:
            self._arm(job, left_s)
            return
        logger.error("%s: %s took longer than %g s; the worker is restarted", self.name, job.method, self.limits.job_s)
        self._end(job, Timeout(f"The {self.name} engine took too long."))
        instance.kill()

    def _end(self, job: Job, outcome: Reply | SuperwhisperError) -> None:
        """End a job, once, and record it. One that is still in the worker keeps its place there."""
        if job.ended:
            return
        record = self._record(job, outcome)
        job.end(outcome)
        if self._on_job is not None:
            self._on_job(record)

    def _record(self, job: Job, outcome: Reply | SuperwhisperError) -> JobRecord:
        now = self._now()
        started = job.started_at or now
        code = outcome.code if isinstance(outcome, SuperwhisperError) else ""
        figures = _figures(job, outcome) if isinstance(outcome, Reply) else {}
        waited_s, ran_s = started - job.submitted_at, now - started
        return JobRecord(self.name, job.method, job.priority, code, waited_s, ran_s, job.turn, **figures)

    def _free(self, job: Job) -> None:
        """Its place in the worker is free."""
        instance = self._instance_of(job)
        del instance.running[job.id]
        if job.timer is not None:
            job.timer.cancel()
        if not instance.running:
            instance.drained.set()

    def _fail_running(self, instance: Instance, error: Callable[[], SuperwhisperError]) -> None:
        for job in list(instance.running.values()):
            self._free(job)
            self._end(job, error())

    def _fail_waiting(self, error: Callable[[], SuperwhisperError]) -> None:
        for job in self._queue.all():
            self._queue.remove(job)
            self._end(job, error())

    # --- frames from the worker ---

    def _take(self, instance: Instance, event: Event) -> None:
        if event.type == "leaving":
            self._lose(instance, event.data["text"])
            return
        job = instance.running.get(event.data["id"])
        if job is None:
            return
        if event.type == "part":
            self._take_part(job, event)
            return
        self._free(job)
        if event.type == "done":
            self._end(job, Reply(event.data["data"], event.payload or b""))
        else:
            self._take_failure(job, event.data["code"], event.data["text"])
        self._pump()

    def _take_part(self, job: Job, event: Event) -> None:
        job.last_sign_at = self._now()
        if job.state is JobState.RUNNING and job.credit < NO_CREDIT_LIMIT:
            job.deliver(Reply(event.data["data"], event.payload or b""))

    def _take_failure(self, job: Job, code: str, text: str) -> None:
        wanted = job.holders > 0 and not job.ended
        if code == errors.OutOfMemory.code and wanted and not (job.frugal or job.parts_received):
            logger.warning("%s: no memory for %s; it is tried once more, alone", self.name, job.method)
            job.frugal = True
            self._queue.put_back(job)
        elif code != worker.CANCELLED:
            self._end(job, errors.from_code(code, text))
        elif wanted:  # pre-empted
            self._queue.put_back(job)
        else:
            self._end(job, _Cancelled("cancelled"))

    # --- the process ---

    async def _supervise(self) -> None:
        """Keep a worker alive until the end."""
        losses = failures = 0
        while not self._stop.is_set():
            self._set_state(WorkerState.LOADING)
            ready_at = await self._live()
            if ready_at is None:
                delay_s = LOAD_RETRY_S[min(failures, len(LOAD_RETRY_S) - 1)]
                failures += 1
            else:
                losses, failures = (0 if self._now() - ready_at >= STABLE_S else losses), 0
                delay_s = RESTART_S[min(losses, len(RESTART_S) - 1)]
                losses += 1
            await self._pause(delay_s)

    async def _live(self) -> float | None:
        """A process, and those that replace it, until one is lost; returns when it was ready, None: it never was."""
        ready_at = None
        try:
            instance = await self._bring_up()
            ready_at = self._now()
            self._take_over(instance)
            while (successor := await self._next(instance)) is not None:
                instance = successor
        except _LoadFailed as failed:
            self._report_failure(failed.error)
            ready_at = None
        except Exception as error:  # a fault of ours must not leave calls waiting for ever
            logger.exception("%s: the worker could not be looked after", self.name)
            self._report_failure(EngineUnavailable(f"a fault of the server: {error}"))
        finally:
            self._current = None
            self._order, self._held = None, False
            await asyncio.gather(*(self._dismiss(one) for one in self._instances if one not in self._retirees))
        return ready_at

    async def _next(self, instance: Instance) -> Instance | None:
        """Wait for the end of a process or an order; the process that serves then, None: it is lost."""
        assert instance.serving is not None
        order = await self._wait_for_order(instance.serving)
        if order is None:
            return None
        try:
            if order is _Order.UNLOAD:
                return await self._sleep(instance)
            if order is _Order.RECYCLE_BESIDE:
                return await self._replace_beside(instance)
            return await self._replace(instance)
        finally:
            self._order = None
            self._held = False

    async def _wait_for_order(self, serving: asyncio.Task[None]) -> _Order | None:
        self._ordered.clear()
        while not serving.done():
            if self._order is not None:
                return self._order
            waiting = asyncio.create_task(self._ordered.wait(), name=f"orders {self.name}")
            try:
                await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
            self._ordered.clear()
        return None

    async def _replace_beside(self, old: Instance) -> Instance | None:
        """Load a new process while the old one serves, then let the old one finish what is in it."""
        logger.info("%s: a fresh worker is loaded beside the old one", self.name)
        try:
            new = await self._bring_up_newest()
        except _LoadFailed as failed:
            logger.warning("%s: the fresh worker could not be loaded, the old one goes on: %s", self.name, failed.error)
            return None if old.serving is None or old.serving.done() else old
        self.recycled += 1
        self._take_over(new)
        self._retire(old)
        return new

    async def _replace(self, old: Instance) -> Instance | None:
        """Let the old process finish what is in it, end it, and load a new one; what comes meanwhile waits."""
        logger.info("%s: the worker is replaced by a fresh one", self.name)
        self._held = True
        if not await self._drained(old):
            return None
        self._current = None
        self._set_state(WorkerState.RELOADING)
        await self._dismiss(old)
        self.recycled += 1
        new = await self._bring_up()
        self._take_over(new)
        return new

    async def _sleep(self, old: Instance) -> Instance | None:
        """End the process until it is asked for something."""
        if old.running or len(self._queue):
            return old  # somebody was quicker
        self._current = None
        self._set_state(WorkerState.UNLOADED)
        logger.info("%s: unloaded, nothing was asked of it for a while", self.name)
        await self._dismiss(old)
        while not len(self._queue) and not self._stop.is_set():
            self._ordered.clear()
            await _first_of(self._ordered, self._stop)
        if self._stop.is_set():
            return None
        logger.info("%s: loaded again, as it is asked for", self.name)
        self._set_state(WorkerState.RELOADING)
        new = await self._bring_up()
        self._take_over(new)
        return new

    async def _drained(self, instance: Instance) -> bool:
        """Wait until nothing is in a process; False: it is lost."""
        assert instance.serving is not None
        while instance.running and not instance.serving.done():
            instance.drained.clear()
            empty = asyncio.create_task(instance.drained.wait(), name=f"drain {self.name}")
            await asyncio.wait((instance.serving, empty), return_when=asyncio.FIRST_COMPLETED)
            empty.cancel()
        return not instance.serving.done()

    def _retire(self, old: Instance) -> None:
        async def finish() -> None:
            await self._drained(old)
            await self._dismiss(old)

        task = asyncio.create_task(finish(), name=f"retire {self.name}")
        self._retirees.add(old)
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        task.add_done_callback(lambda _: self._retirees.discard(old))

    async def _dismiss(self, instance: Instance) -> None:
        """End a process that has nothing left to do."""
        serving, instance.serving = instance.serving, None
        if serving is not None:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        self._fail_running(instance, self._stopping if self._stop.is_set() else self._lost)
        instance.leave()
        await instance.end(patient=True)
        self._instances.discard(instance)

    async def _pause(self, delay_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stop.wait()
        if not self._stop.is_set():
            self.restarts += 1

    async def _bring_up_newest(self) -> Instance:
        """As `_bring_up`, and with the configuration as it is by then."""
        while True:
            configuration = self.configuration
            instance = await self._bring_up()
            if self.configuration is configuration:
                return instance
            await self._dismiss(instance)

    async def _bring_up(self) -> Instance:
        """Start a process and wait until its engine is loaded. Raises `_LoadFailed`."""
        if self._before_load is not None:
            try:
                await asyncio.to_thread(self._before_load, self)  # it may ask the card's driver
            except SuperwhisperError as error:
                raise _LoadFailed(error) from error
        program = Program(self._engine, self.environment, self._python, self._loopback)
        try:
            instance = await Instance.spawn(program)
        except OSError as error:
            raise _LoadFailed(EngineUnavailable(f"its process could not be started: {error}")) from error
        self._instances.add(instance)
        try:
            if self._stop.is_set():
                instance.kill()  # it was closed while it was being started
            await self._load(instance)
        except BaseException:
            instance.kill()
            await self._dismiss(instance)
            raise
        instance.serving = asyncio.create_task(self._serve(instance), name=f"serve {self.name}")
        return instance

    async def _load(self, instance: Instance) -> None:
        """Configure the worker and wait until it is ready. Raises `_LoadFailed`."""
        instance.send("configure", {"engine": dict(self.configuration), "log": dict(self.log), "nice": self._nice})
        try:
            async with asyncio.timeout(self.limits.load_s):
                answer = await instance.reader.read()
        except TimeoutError:
            raise _LoadFailed(EngineUnavailable(f"it took longer than {self.limits.load_s:g} s to load")) from None
        except (OSError, SuperwhisperError):
            answer = None
        if answer is None:
            raise _LoadFailed(EngineUnavailable(f"it died while it loaded ({await instance.exit_status()})"))
        if answer.type != "hello":
            kind = ModelError if answer.data["code"] == worker.MODEL_ERROR else EngineUnavailable
            raise _LoadFailed(kind(answer.data["text"]))
        instance.loaded = True
        self.capacity = answer.data["capacity"]
        self.capabilities = answer.data["capabilities"]
        self.memory_bytes = answer.data["memory_bytes"]

    def _take_over(self, instance: Instance) -> None:
        """New calls go to this process from now on."""
        self.generation += 1
        instance.generation = self.generation
        self._current, self._held = instance, False
        self._set_state(WorkerState.READY)
        self._pump()

    async def _serve(self, instance: Instance) -> None:
        """Take what a process sends until it is gone; then its calls fail at once."""
        try:
            while (event := await instance.reader.read()) is not None:
                self._take(instance, event)
        except wire.Disconnected:
            pass
        except (SuperwhisperError, KeyError, TypeError) as error:
            logger.error("%s: the worker sent a frame that makes no sense: %r", self.name, error)
        self._lose(instance)
        if not self._stop.is_set():
            instance.kill()  # where it lives on, it can't be spoken to any more
            logger.warning("%s: the worker died (%s) and is started again", self.name, await instance.exit_status())

    def _lose(self, instance: Instance, why: str = "") -> None:
        """A process is gone, or says that it is about to be: its calls fail at once. May be called twice."""
        if self._current is instance:
            self._current = None
            self._set_state(WorkerState.LOST)
        self._fail_running(instance, (lambda: EngineLost(why)) if why else self._lost)

    def _report_failure(self, error: SuperwhisperError) -> None:
        if self._stop.is_set():
            return
        logger.error("%s: the worker could not load: %s", self.name, error)
        self.failure = error
        self._set_state(WorkerState.FAILED)
        self._fail_waiting(self._unavailable)

    # --- state and sentences ---

    def _set_state(self, state: WorkerState) -> None:
        """The one place where the state changes. `STOPPED` is the last one."""
        if self._stop.is_set() or state is self.state:
            return
        self.state = state
        if state is WorkerState.READY:
            self.failure = None
        if state is WorkerState.LOST:
            self._reload_timer = asyncio.get_running_loop().call_later(self.limits.reload_s, self._give_up_waiting)
        elif state is not WorkerState.LOADING:
            self._reload_overdue = False
            if self._reload_timer is not None:
                self._reload_timer.cancel()
        self._state_changed.set()
        if self._on_state is not None:
            self._on_state(self)

    def _give_up_waiting(self) -> None:
        """The reload takes too long: nobody waits for it any more."""
        self._reload_overdue = True
        self._fail_waiting(self._unavailable)

    def _lost(self) -> EngineLost:
        return EngineLost(f"The {self.name} engine died while it worked on this; it is being restarted.")

    def _unavailable(self) -> EngineUnavailable:
        return EngineUnavailable(f"The {self.name} engine is not available: {self.failure or 'it is being restarted'}.")

    def _stopping(self) -> Stopping:
        return Stopping("The server is stopping.")

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class PartStream:
    """An answer in parts: iterate it, then `reply` is its end. Close it, or use it in `async with`."""

    def __init__(self, process: WorkerProcess, job: Job) -> None:
        self._process = process
        self.job = job
        self._taken = 0
        self._closed = False

    @property
    def reply(self) -> Reply:
        """The result that came after the last part."""
        assert self.job.reply is not None
        return self.job.reply

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Reply:
        part = await self.job.next_part()
        if part is None:
            self.close()
            raise StopAsyncIteration
        self._taken += 1
        if self._taken >= self.job.first_credit // 2:
            self._process.give_credit(self.job, self._taken)
            self._taken = 0
        return part

    def close(self) -> None:
        """Want no more; cancels what has not ended. May be called twice."""
        if not self._closed:
            self._closed = True
            self._process.release(self.job)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Cancelled(SuperwhisperError):
    """Ends a job that nobody waits for; only seen in its record."""

    code = worker.CANCELLED


class _LoadFailed(Exception):
    """Carries what went wrong to the supervisor."""

    def __init__(self, error: SuperwhisperError) -> None:
        self.error = error


class _Order(enum.Enum):
    """What the supervisor is asked to do with a process that serves."""

    RECYCLE = enum.auto()
    RECYCLE_BESIDE = enum.auto()
    UNLOAD = enum.auto()


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _figures(job: Job, reply: Reply) -> dict[str, Any]:
    """What a reply says of the work: fields of `JobRecord`."""
    data = reply.data
    audio_s = 0.0
    if job.method == "transcribe":
        audio_s = len(job.payload) / (2 * SAMPLE_RATE)
    elif job.method == "speak" and data.get("sample_rate"):
        audio_s = len(reply.payload) / (2 * data["sample_rate"])
    tokens = data.get("tokens", 0) if job.method == "answer" else 0
    return {"batch": data.get("batch", 0), "audio_s": audio_s, "tokens": tokens}
