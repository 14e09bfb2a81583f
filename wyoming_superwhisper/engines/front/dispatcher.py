"""The calls of one worker: those that wait in the front, those that are in its process, and which goes next.

What waits, waits here; the process has at most `capacity` calls. So cancelling what waits, serving finals before
guesses and surviving a crash need nothing from the worker.

- A final that finds the worker full pre-empts guesses: each is cancelled in the worker and put back at the head of
  the waiting guesses. A guess of which parts were already delivered can't start again and gets `Busy` instead.
- A call that gives no sign of life for `job_s` costs the worker: `Timeout` for it, `EngineLost` for its neighbours.
- A call that finds no memory is tried once more, alone in the worker and smaller where it can be; then it fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from wyoming.event import Event

from wyoming_superwhisper import errors
from wyoming_superwhisper.engines import worker
from wyoming_superwhisper.engines.base import Priority
from wyoming_superwhisper.engines.front.availability import Availability
from wyoming_superwhisper.engines.front.instance import Instance
from wyoming_superwhisper.engines.front.job_record import record_of
from wyoming_superwhisper.engines.front.jobs import Job, JobQueue, JobState, Reply
from wyoming_superwhisper.errors import SuperwhisperError, Timeout
from wyoming_superwhisper.observer import JobRecord

logger = logging.getLogger(__name__)

NO_CREDIT_LIMIT = 2**31
"""Credit of a call whose parts nobody reads."""


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


class Dispatcher:
    """Gives calls to the process that serves, takes its answers, and ends each call once."""

    def __init__(
        self, name: str, limits: WorkLimits, availability: Availability, on_job: Callable[[JobRecord], None] | None
    ) -> None:
        """`on_job`: told of each call that has ended."""
        self.limits = limits
        self.capacity = 0
        """Calls that a process takes at a time."""
        self.generation = 0
        """Counts the processes that began to serve."""
        self.current: Instance | None = None
        """The process that gets new calls."""
        self.held = False
        """No new calls, though there is a process: until it is replaced."""
        self.running = 0
        """Calls in processes, also in one that has been replaced."""
        self.begun = 0
        """Calls that were given to a process, ever."""
        self.cancelled = 0
        self.preempted = 0
        self._name = name
        self._availability = availability
        self._on_job = on_job
        self._queue = JobQueue(limits.queue_final, limits.queue_guess)
        self._used_at = 0.0
        self._wanted = asyncio.Event()  # set when something waits and no process is there to take it

    @property
    def idle(self) -> bool:
        """Nothing is in a process or waits."""
        return not self.running and not len(self._queue)

    @property
    def idle_s(self) -> float:
        """Time since there was anything to do."""
        return self._now() - self._used_at if self.idle else 0.0

    def waiting(self, priority: Priority) -> int:
        """Calls in the queue."""
        return self._queue.length(priority)

    def use(self, limits: WorkLimits) -> None:
        """Other limits from now on."""
        self.limits = limits
        self._queue.limit(limits.queue_final, limits.queue_guess)

    # --- for those who ask

    def put(self, job: Job, *, unbounded: bool) -> None:
        """Queue a call. Raises `Busy`, unless it is `unbounded`; `EngineUnavailable`, `Stopping`."""
        self._availability.check()
        job.submitted_at = self._now()
        self._queue.put(job, unbounded=unbounded)
        self.pump()

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
            self.pump()
        elif job.state is JobState.RUNNING and job.priority is Priority.GUESS:
            self._instance_of(job).send("promote", {"id": job.id})
        job.priority = Priority.FINAL

    def give_credit(self, job: Job, parts: int) -> None:
        """Let the worker send more parts of a running job."""
        job.credit += parts
        job.last_sign_at = self._now()
        if job.state is JobState.RUNNING:
            self._instance_of(job).send("credit", {"id": job.id, "n": parts})

    # --- for those who look after the processes

    def begin(self, instance: Instance) -> None:
        """New calls go to this process from now on; the first ones with the next `pump`."""
        self.generation += 1
        instance.generation = self.generation
        self.current, self.held = instance, False

    def pump(self) -> None:
        """Give the process what it has room for."""
        self._used_at = self._now()
        current = self.current
        if current is None and len(self._queue):
            self._wanted.set()
        if current is None or self.held:
            return
        while len(current.running) < self.capacity and (job := self._queue.peek()) is not None:
            if current.running and (job.frugal or any(one.frugal for one in current.running.values())):
                break  # one that found no memory beside others is alone the second time
            self._queue.take()
            if job.generation is not None and job.generation != self.generation:
                self._end(job, self._availability.lost())
            else:
                self._run(job, current)
        self._preempt(current)

    async def something_waits(self) -> None:
        """Wait until there is something for a process to do, or it is closed."""
        while not len(self._queue) and not self._availability.closed.is_set():
            self._wanted.clear()
            await self._wanted.wait()

    def take(self, instance: Instance, event: Event) -> None:
        """A process says something of one of its calls. Raises KeyError, TypeError for what makes no sense."""
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
        self.pump()

    def fail_running(self, instance: Instance, error: Callable[[], SuperwhisperError]) -> None:
        """End the calls that are in a process."""
        for job in list(instance.running.values()):
            self._free(job)
            self._end(job, error())

    def fail_waiting(self, error: Callable[[], SuperwhisperError]) -> None:
        """End the calls that wait."""
        for job in self._queue.all():
            self._queue.remove(job)
            self._end(job, error())

    def close(self) -> None:
        """End the calls that wait, and the waiting for calls."""
        self.fail_waiting(self._availability.stopping)
        self._wanted.set()

    # --- into the process

    def _run(self, job: Job, instance: Instance) -> None:
        self.begun += 1
        job.id = self.begun
        data = job.smaller if job.frugal and job.smaller is not None else job.data
        call = {"id": job.id, "method": job.method, "priority": int(job.priority), "data": dict(data)}
        try:
            instance.send("call", {**call, "credit": job.credit, "turn": job.turn}, job.payload)
        except (TypeError, ValueError) as error:
            logger.error("%s: %s can't be asked, its data is not JSON: %s", self._name, job.method, error)
            self._end(job, errors.Internal("The server asked its engine for something that makes no sense."))
            return
        job.state = JobState.RUNNING
        job.instance = instance
        job.ran_in = instance.generation
        job.started_at = job.last_sign_at = self._now()
        instance.running[job.id] = job
        self.running += 1
        self._arm(job, self.limits.job_s)

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

    def _cancel_running(self, job: Job) -> None:
        job.state = JobState.CANCELLING
        self._instance_of(job).send("cancel", {"id": job.id})

    def _instance_of(self, job: Job) -> Instance:
        """The process that has a job which is running or being cancelled."""
        assert isinstance(job.instance, Instance)
        return job.instance

    # --- in the process

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
        logger.error("%s: %s took longer than %g s; the worker is restarted", self._name, job.method, self.limits.job_s)
        self._end(job, Timeout(f"The {self._name} engine took too long."))
        instance.kill()

    # --- out of the process

    def _take_part(self, job: Job, event: Event) -> None:
        job.last_sign_at = self._now()
        if job.state is JobState.RUNNING and job.credit < NO_CREDIT_LIMIT:
            job.deliver(Reply(event.data["data"], event.payload or b""))

    def _take_failure(self, job: Job, code: str, text: str) -> None:
        wanted = job.holders > 0 and not job.ended
        if code == errors.OutOfMemory.code and wanted and not (job.frugal or job.parts_received):
            logger.warning("%s: no memory for %s; it is tried once more, alone", self._name, job.method)
            job.frugal = True
            self._queue.put_back(job)
        elif code != worker.CANCELLED:
            self._end(job, errors.from_code(code, text))
        elif wanted:  # pre-empted
            self._queue.put_back(job)
        else:
            self._end(job, _Cancelled("cancelled"))

    def _free(self, job: Job) -> None:
        """Its place in the process is free."""
        instance = self._instance_of(job)
        del instance.running[job.id]
        self.running -= 1
        if job.timer is not None:
            job.timer.cancel()
        if not instance.running:
            instance.drained.set()

    def _end(self, job: Job, outcome: Reply | SuperwhisperError) -> None:
        """End a job, once, and record it. One that is still in the process keeps its place there."""
        if job.ended:
            return
        record = record_of(self._name, job, outcome, self._now())
        job.end(outcome)
        if self._on_job is not None:
            self._on_job(record)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class _Cancelled(SuperwhisperError):
    """Ends a job that nobody waits for; only seen in its record."""

    code = worker.CANCELLED
