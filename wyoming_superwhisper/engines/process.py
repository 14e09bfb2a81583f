"""The front's side of a worker process: spawns it, queues calls for it, notices its death and starts it again.

What waits, waits here; the worker has at most `capacity` calls. So cancelling what waits, serving finals before
guesses and surviving a crash need nothing from the worker.

- A final that finds the worker full pre-empts guesses: each is cancelled in the worker and put back at the head of
  the waiting guesses. A guess of which parts were already delivered can't start again and gets `Busy` instead.
- A call that was in a worker when it died gets `EngineLost` at once; those that wait stay for the reload,
  `reload_s` at most, then they and all that follow get `EngineUnavailable` until it is loaded.
- A worker that can't load gives `EngineUnavailable` with its reason at once, and is tried again, ever more rarely.
- A call that gives no sign of life for `job_s` costs the worker: `Timeout` for it, `EngineLost` for its neighbours.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from wyoming.event import Event

from wyoming_superwhisper import errors, wire
from wyoming_superwhisper.engines import worker
from wyoming_superwhisper.engines.base import Priority
from wyoming_superwhisper.engines.jobs import Job, JobQueue, JobState, Reply
from wyoming_superwhisper.errors import EngineLost, EngineUnavailable, ModelError, Stopping, SuperwhisperError, Timeout

logger = logging.getLogger(__name__)

RESTART_S = (0.0, 1.0, 2.0, 5.0, 15.0, 60.0)
"""Waits before a lost worker is started again; the first again once it has lived for `STABLE_S`."""
STABLE_S = 60.0
LOAD_RETRY_S = (5.0, 30.0, 60.0, 300.0)
"""Waits before a worker that could not load is tried again."""
CLOSE_S = 2.0
"""Time a worker has to end by itself when it is closed."""
CONNECT_S = 60.0
"""Time a worker has to connect back where it can't inherit a socket."""
NO_CREDIT_LIMIT = 2**31
"""Credit of a call whose parts nobody reads."""

BASE_ENVIRONMENT = {
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    "CUDA_VISIBLE_DEVICES": "",  # no card, unless the caller names one
    "OMP_WAIT_POLICY": "passive",  # threads that wait must not spin: the other engines need the cores
    "GOMP_SPINCOUNT": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "PYTHONUNBUFFERED": "1",
}


class WorkerState(enum.Enum):
    """What a worker is doing."""

    STOPPED = "stopped"
    """Not started yet, or closed."""
    LOADING = "loading"
    """The process runs and loads its model."""
    READY = "ready"
    """It serves calls."""
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
    ) -> None:
        """`configuration`: JSON for the engine. `environment`: added to ours (CUDA_VISIBLE_DEVICES, thread counts).

        `engine`: as the registry names it; the same as `name` by default. `log`: `level` and `format`.
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
        self.pid: int | None = None
        self.failure: SuperwhisperError | None = None
        """Why it could not load."""
        self.restarts = 0
        self.cancelled = 0
        self.preempted = 0
        self._engine = engine or name
        self._environment = environment or {}
        self._limits = limits or WorkLimits()
        self._log = log or {}
        self._nice = nice
        self._python = python
        self._loopback = loopback
        self._on_state = on_state
        self._on_job = on_job
        self._queue = JobQueue(self._limits.queue_final, self._limits.queue_guess)
        self._running: dict[int, Job] = {}
        self._last_id = 0
        self._writer: asyncio.StreamWriter | None = None
        self._process: asyncio.subprocess.Process | None = None
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
        while self.state is not WorkerState.READY:
            if self.failure is not None:
                raise self.failure
            if self.state is WorkerState.STOPPED:
                raise self._stopping()
            self._state_changed.clear()
            await self._state_changed.wait()

    async def close(self) -> None:
        """End the process and fail what is left with `Stopping`. May be called twice."""
        if self.state is WorkerState.LOADING:
            self.kill()  # nothing to lose, and while Python starts nobody there sees the end of the stream
        self._set_state(WorkerState.STOPPED)
        self._fail_running(self._stopping)
        self._fail_waiting(self._stopping)
        self._stop.set()
        if self._writer is not None:
            self._writer.close()  # the worker ends at the end of its stream
        if self._supervisor is not None:
            await self._supervisor

    def kill(self) -> None:
        """End the process now; it is lost and starts again."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    # --- calls ---

    @property
    def running(self) -> int:
        """Calls in the worker."""
        return len(self._running)

    def waiting(self, priority: Priority) -> int:
        """Calls in the queue."""
        return self._queue.length(priority)

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
    ) -> PartStream:
        """Ask the engine for an answer in parts. Raises as `call`, here or while it is read."""
        return PartStream(self, self.submit(method, data, payload, priority, credit=self._limits.parts))

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
    ) -> Job:
        """Queue a call. Whoever submits a job awaits its result and then releases it, or lets it run to its end.

        `unbounded`: take it however many wait (clearing up). Raises `Busy`, `EngineUnavailable`, `Stopping`.
        """
        self._check_available()
        job = Job(method, data or {}, payload, priority, credit=credit, generation=generation)
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
        job.priority = Priority.FINAL

    def give_credit(self, job: Job, parts: int) -> None:
        """Let the worker send more parts of a running job."""
        job.credit += parts
        job.last_sign_at = self._now()
        if job.state is JobState.RUNNING:
            self._send("credit", {"id": job.id, "n": parts})

    # --- the queue and what is in the worker ---

    def _check_available(self) -> None:
        if self.state is WorkerState.STOPPED:
            raise self._stopping()
        if self.failure is not None or self._reload_overdue:
            raise self._unavailable()

    def _pump(self) -> None:
        """Give the worker what it has room for."""
        if self.state is not WorkerState.READY:
            return
        while len(self._running) < self.capacity and (job := self._queue.take()) is not None:
            if job.generation is not None and job.generation != self.generation:
                self._end(job, self._lost())
            else:
                self._run(job)
        self._preempt()

    def _preempt(self) -> None:
        """Make room for the finals that wait: the newest guesses go first."""
        freeing = sum(job.state is not JobState.RUNNING for job in self._running.values())
        needed = self._queue.length(Priority.FINAL) - freeing
        for job in reversed(self._running.values()):
            if needed <= 0:
                return
            if job.priority is Priority.GUESS and job.state is JobState.RUNNING:
                self.preempted += 1
                needed -= 1
                self._cancel_running(job)
                if job.parts_received:
                    self._end(job, errors.Busy("A guess made room for a request."))

    def _run(self, job: Job) -> None:
        self._last_id += 1
        job.id = self._last_id
        call = {"id": job.id, "method": job.method, "priority": int(job.priority), "data": dict(job.data)}
        try:
            self._send("call", {**call, "credit": job.credit}, job.payload)
        except (TypeError, ValueError) as error:
            logger.error("%s: %s can't be asked, its data is not JSON: %s", self.name, job.method, error)
            self._end(job, errors.Internal("The server asked its engine for something that makes no sense."))
            return
        job.state = JobState.RUNNING
        job.ran_in = self.generation
        job.started_at = job.last_sign_at = self._now()
        self._running[job.id] = job
        self._arm(job, self._limits.job_s)

    def _cancel_running(self, job: Job) -> None:
        job.state = JobState.CANCELLING
        self._send("cancel", {"id": job.id})

    def _arm(self, job: Job, delay_s: float) -> None:
        job.timer = asyncio.get_running_loop().call_later(delay_s, self._check_deadline, job)

    def _check_deadline(self, job: Job) -> None:
        if self._running.get(job.id) is not job:
            return
        if job.parts_received >= job.credit:
            job.last_sign_at = self._now()  # it waits for its reader, not for the engine
        left_s = job.last_sign_at + self._limits.job_s - self._now()
        if left_s > 0:
            self._arm(job, left_s)
            return
        logger.error("%s: %s took longer than %g s; the worker is restarted", self.name, job.method, self._limits.job_s)
        self._end(job, Timeout(f"The {self.name} engine took too long."))
        self.kill()

    def _end(self, job: Job, outcome: Reply | SuperwhisperError) -> None:
        """End a job, once, and record it. One that is still in the worker keeps its place there."""
        if job.ended:
            return
        job.end(outcome)
        if self._on_job is None:
            return
        now = self._now()
        started = job.started_at or now
        code = outcome.code if isinstance(outcome, SuperwhisperError) else ""
        record = JobRecord(self.name, job.method, job.priority, code, started - job.submitted_at, now - started)
        self._on_job(record)

    def _free(self, job: Job) -> None:
        """Its place in the worker is free."""
        del self._running[job.id]
        if job.timer is not None:
            job.timer.cancel()

    def _fail_running(self, error: Callable[[], SuperwhisperError]) -> None:
        for job in list(self._running.values()):
            self._free(job)
            self._end(job, error())

    def _fail_waiting(self, error: Callable[[], SuperwhisperError]) -> None:
        for job in self._queue.all():
            self._queue.remove(job)
            self._end(job, error())

    # --- frames from the worker ---

    def _take(self, event: Event) -> None:
        job = self._running.get(event.data["id"])
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
        if code != worker.CANCELLED:
            self._end(job, errors.from_code(code, text))
        elif job.holders > 0 and not job.ended:  # pre-empted
            self._queue.put_back(job)
        else:
            self._end(job, _Cancelled("cancelled"))

    def _send(self, kind: str, data: Mapping[str, Any], payload: bytes = b"") -> None:
        """Without waiting: what is on its way is bounded by the worker's capacity. A loss is noticed by the reader."""
        if self._writer is None or self._writer.transport.is_closing():
            return
        self._writer.write(wire.encode(Event(kind, dict(data), payload)))
        if payload:
            self._writer.write(payload)

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
        """One process from spawn to end; returns when it was ready, None if it never was."""
        ready_at = None
        try:
            async with self._spawned() as reader:
                await self._load(reader)
                ready_at = self._now()
                await self._serve(reader)
        except _LoadFailed as failed:
            self._report_failure(failed.error)
        except Exception as error:  # a fault of ours must not leave calls waiting for ever
            logger.exception("%s: the worker could not be looked after", self.name)
            self._report_failure(EngineUnavailable(f"a fault of the server: {error}"))
        return ready_at

    async def _pause(self, delay_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stop.wait()
        if not self._stop.is_set():
            self.restarts += 1

    async def _load(self, reader: wire.EventReader) -> None:
        """Configure the worker and wait until it is ready. Raises `_LoadFailed`."""
        self._send("configure", {"engine": dict(self.configuration), "log": dict(self._log), "nice": self._nice})
        try:
            async with asyncio.timeout(self._limits.load_s):
                answer = await reader.read()
        except TimeoutError:
            raise _LoadFailed(EngineUnavailable(f"it took longer than {self._limits.load_s:g} s to load")) from None
        except (OSError, SuperwhisperError):
            answer = None
        if answer is None:
            raise _LoadFailed(EngineUnavailable(f"it died while it loaded ({await self._exit_status()})"))
        if answer.type != "hello":
            kind = ModelError if answer.data["code"] == worker.MODEL_ERROR else EngineUnavailable
            raise _LoadFailed(kind(answer.data["text"]))
        self.capacity = answer.data["capacity"]
        self.capabilities = answer.data["capabilities"]
        self.memory_bytes = answer.data["memory_bytes"]
        self.generation += 1
        self._set_state(WorkerState.READY)
        self._pump()

    async def _serve(self, reader: wire.EventReader) -> None:
        """Take what the worker sends until it is gone; then its calls fail at once."""
        try:
            while (event := await reader.read()) is not None:
                self._take(event)
        except wire.Disconnected:
            pass
        except (SuperwhisperError, KeyError, TypeError) as error:
            logger.error("%s: the worker sent a frame that makes no sense: %r", self.name, error)
        self._set_state(WorkerState.LOST)
        self._fail_running(self._lost)
        if not self._stop.is_set():
            self.kill()  # where it lives on, it can't be spoken to any more
            logger.warning("%s: the worker died (%s) and is started again", self.name, await self._exit_status())

    def _report_failure(self, error: SuperwhisperError) -> None:
        if self._stop.is_set():
            return
        logger.error("%s: the worker could not load: %s", self.name, error)
        self.failure = error
        self._set_state(WorkerState.FAILED)
        self._fail_waiting(self._unavailable)

    @contextlib.asynccontextmanager
    async def _spawned(self) -> AsyncIterator[wire.EventReader]:
        """A new process and its frames. Raises `_LoadFailed` if it can't even start."""
        try:
            reader, writer = await (self._spawn_on_loopback() if self._loopback else self._spawn_on_socket_pair())
        except OSError as error:
            await self._end_process()
            raise _LoadFailed(EngineUnavailable(f"its process could not be started: {error}")) from error
        self._writer = writer
        if self._stop.is_set():
            self.kill()  # it was closed while it was being started
        try:
            yield wire.EventReader(reader, worker.LIMITS)
        finally:
            self._writer = None
            writer.close()
            await self._end_process()

    async def _spawn_on_socket_pair(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        ours, theirs = socket.socketpair()
        try:
            await self._spawn(["--fd", str(theirs.fileno())], pass_fds=[theirs.fileno()])
            return await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()  # else the end of the process would not be the end of the stream

    async def _spawn_on_loopback(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Where sockets can't be inherited the worker connects back and proves who it is by a secret."""
        secret = secrets.token_hex(32)
        connected: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
        connected = asyncio.get_running_loop().create_future()

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, EOFError):
                async with asyncio.timeout(CONNECT_S):
                    said = await reader.readexactly(len(secret))
                if secrets.compare_digest(said, secret.encode("ascii")) and not connected.done():
                    connected.set_result((reader, writer))
                    return
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        try:
            port = server.sockets[0].getsockname()[1]
            await self._spawn(["--port", str(port)], environment={worker.SECRET_VARIABLE: secret})
            async with asyncio.timeout(CONNECT_S):
                return await connected
        finally:
            server.close()

    async def _spawn(
        self, end: Sequence[str], *, pass_fds: Sequence[int] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(self._python, "-m", worker.__name__, self._engine, *end, "--parent", str(os.getpid())),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sys.__stderr__.fileno() if sys.__stderr__ is not None else asyncio.subprocess.DEVNULL,
            pass_fds=pass_fds,
            env={**_inherited_environment(), **BASE_ENVIRONMENT, **self._environment, **(environment or {})},
            start_new_session=True,  # Ctrl-C in a terminal goes to the front alone, also while Python still starts
        )
        self.pid = self._process.pid

    async def _end_process(self) -> None:
        """Wait for the process, not for long, and leave none behind."""
        process, self._process, self.pid = self._process, None, None
        if process is None:
            return
        try:
            if self._stop.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CLOSE_S):
                        await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await process.wait()

    async def _exit_status(self) -> str:
        """How the process ended, in words."""
        assert self._process is not None
        try:
            async with asyncio.timeout(CLOSE_S):
                status = await self._process.wait()
        except TimeoutError:
            return "still running"
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"

    # --- state and sentences ---

    def _set_state(self, state: WorkerState) -> None:
        """The one place where the state changes. `STOPPED` is the last one."""
        if self._stop.is_set() or state is self.state:
            return
        self.state = state
        if state is WorkerState.READY:
            self.failure = None
        if state is WorkerState.LOST:
            self._reload_timer = asyncio.get_running_loop().call_later(self._limits.reload_s, self._give_up_waiting)
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
        self._job = job
        self._taken = 0
        self._closed = False

    @property
    def reply(self) -> Reply:
        """The result that came after the last part."""
        assert self._job.reply is not None
        return self._job.reply

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Reply:
        part = await self._job.next_part()
        if part is None:
            self.close()
            raise StopAsyncIteration
        self._taken += 1
        if self._taken >= self._job.first_credit // 2:
            self._process.give_credit(self._job, self._taken)
            self._taken = 0
        return part

    def close(self) -> None:
        """Want no more; cancels what has not ended. May be called twice."""
        if not self._closed:
            self._closed = True
            self._process.release(self._job)

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


def _inherited_environment() -> dict[str, str]:
    """The front's environment without its own settings: a token has no business in a worker."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WYOMING_SUPERWHISPER_")}
