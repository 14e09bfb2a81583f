"""The life of a worker: a process that serves, started again when it dies, replaced and unloaded when that is asked.

- A worker that dies is started again, ever more slowly if it goes on dying. Calls that were in it get `EngineLost` at
  once; those that wait stay for the reload, `reload_s` at most, then they and all that follow get `EngineUnavailable`
  until it is loaded.
- A worker that can't load gives `EngineUnavailable` with its reason at once, and is tried again, ever more rarely.
- A process can be replaced by a fresh one with nobody noticing, and unloaded until something is asked of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from wyoming_superwhisper import wire
from wyoming_superwhisper.engines.front.availability import Availability, WorkerState
from wyoming_superwhisper.engines.front.dispatcher import Dispatcher
from wyoming_superwhisper.engines.front.instance import Hello, Instance, LoadFailed, Program
from wyoming_superwhisper.errors import EngineLost, EngineUnavailable, SuperwhisperError

logger = logging.getLogger(__name__)

RESTART_S = (0.0, 1.0, 2.0, 5.0, 15.0, 60.0)
"""Waits before a lost worker is started again; the first again once it has lived for `STABLE_S`."""
STABLE_S = 60.0
LOAD_RETRY_S = (5.0, 30.0, 60.0, 300.0)
"""Waits before a worker that could not load is tried again."""


class Order(enum.Enum):
    """What can be asked to be done with a process that serves."""

    RECYCLE = enum.auto()
    """Replace it by a fresh one between calls; what comes meanwhile waits."""
    RECYCLE_BESIDE = enum.auto()
    """Replace it by a fresh one that is loaded first."""
    UNLOAD = enum.auto()
    """End it until something is asked of it."""


class Supervisor:
    """Keeps a process for a dispatcher's calls, until it is closed."""

    def __init__(
        self,
        name: str,
        program: Program,
        calls: Dispatcher,
        availability: Availability,
        before_load: Callable[[], None] | None,
    ) -> None:
        """`before_load`: asked before each load, in a thread; it may raise why not, or change the program."""
        self.program = program
        """For the next start; changed by whoever changes something in the running process too."""
        self.hello = Hello()
        """What the process that was loaded last said of itself."""
        self.instances: set[Instance] = set()
        """All processes that have not ended."""
        self.restarts = 0
        self.recycled = 0
        self._name = name
        self._calls = calls
        self._availability = availability
        self._before_load = before_load
        self._retirees: set[Instance] = set()  # those that were replaced, and a task that ends each
        self._retiring: set[asyncio.Task[None]] = set()
        self._order: Order | None = None
        self._ordered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to spawn and load."""
        self._availability.set(WorkerState.LOADING)
        self._task = asyncio.create_task(self._supervise(), name=f"worker {self._name}")

    def order(self, order: Order) -> None:
        """Have it done, unless another order is being carried out or nothing serves."""
        if self._availability.state is WorkerState.READY and self._order is None:
            self._order = order
            self._ordered.set()

    def use_log(self, log: Mapping[str, str]) -> None:
        """Log otherwise from now on, in the processes that run too."""
        if log != self.program.log:
            self.program = replace(self.program, log=log)
            for instance in self.instances:
                instance.send("log", log)

    async def close(self) -> None:
        """End all processes and fail what is left with `Stopping`. May be called twice."""
        self._availability.close()
        for instance in list(self.instances):
            self._calls.fail_running(instance, self._availability.stopping)
            instance.leave()
        self._calls.close()
        if self._task is not None:
            await self._task
        if self._retiring:
            await asyncio.wait(list(self._retiring))

    # --- one process after the other

    async def _supervise(self) -> None:
        """Keep a worker alive until the end."""
        losses = failures = 0
        while not self._closed:
            self._availability.set(WorkerState.LOADING)
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
        except LoadFailed as failed:
            self._report_failure(failed.error)
            ready_at = None
        except Exception as error:  # a fault of ours must not leave calls waiting for ever
            logger.exception("%s: the worker could not be looked after", self._name)
            self._report_failure(EngineUnavailable(f"a fault of the server: {error}"))
        finally:
            self._calls.current, self._calls.held = None, False
            self._order = None
            await asyncio.gather(*(self._dismiss(one) for one in self.instances if one not in self._retirees))
        return ready_at

    async def _pause(self, delay_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._availability.closed.wait()
        if not self._closed:
            self.restarts += 1

    def _report_failure(self, error: SuperwhisperError) -> None:
        if self._closed:
            return
        logger.error("%s: the worker could not load: %s", self._name, error)
        self._availability.fail(error)
        self._calls.fail_waiting(self._availability.unavailable)

    # --- a process begins

    async def _bring_up(self) -> Instance:
        """Start a process and wait until its engine is loaded. Raises `LoadFailed`."""
        if self._before_load is not None:
            try:
                await asyncio.to_thread(self._before_load)  # it may ask the card's driver
            except SuperwhisperError as error:
                raise LoadFailed(error) from error
        program = self.program
        instance = await Instance.spawn(program)
        self.instances.add(instance)
        try:
            if self._closed:
                instance.kill()  # it was closed while it was being started
            self.hello = await instance.load(program, self._calls.limits.load_s)
            self._calls.capacity = self.hello.capacity
        except BaseException:
            instance.kill()
            await self._dismiss(instance)
            raise
        instance.serving = asyncio.create_task(self._serve(instance), name=f"serve {self._name}")
        return instance

    async def _bring_up_newest(self) -> Instance:
        """As `_bring_up`, and with the configuration as it is by then."""
        while True:
            configuration = self.program.configuration
            instance = await self._bring_up()
            if self.program.configuration is configuration:
                return instance
            await self._dismiss(instance)

    def _take_over(self, instance: Instance) -> None:
        """New calls go to this process from now on."""
        self._calls.begin(instance)
        self._availability.set(WorkerState.READY)
        self._calls.pump()

    # --- a process serves

    async def _serve(self, instance: Instance) -> None:
        """Take what a process sends until it is gone; then its calls fail at once."""
        try:
            while (event := await instance.reader.read()) is not None:
                if event.type == "leaving":
                    self._lose(instance, event.data["text"])
                else:
                    self._calls.take(instance, event)
        except wire.Disconnected:
            pass
        except (SuperwhisperError, KeyError, TypeError) as error:
            logger.error("%s: the worker sent a frame that makes no sense: %r", self._name, error)
        self._lose(instance)
        if not self._closed:
            instance.kill()  # where it lives on, it can't be spoken to any more
            logger.warning("%s: the worker died (%s) and is started again", self._name, await instance.exit_status())

    def _lose(self, instance: Instance, why: str = "") -> None:
        """A process is gone, or says that it is about to be: its calls fail at once. May be called twice."""
        if self._calls.current is instance:
            self._calls.current = None
            self._availability.lose(self._calls.limits.reload_s)
        self._calls.fail_running(instance, (lambda: EngineLost(why)) if why else self._availability.lost)

    async def _next(self, instance: Instance) -> Instance | None:
        """Wait for the end of a process or an order; the process that serves then, None: it is lost."""
        assert instance.serving is not None
        order = await self._wait_for_order(instance.serving)
        if order is None:
            return None
        try:
            if order is Order.UNLOAD:
                return await self._sleep(instance)
            if order is Order.RECYCLE_BESIDE:
                return await self._replace_beside(instance)
            return await self._replace(instance)
        finally:
            self._order = None
            self._calls.held = False

    async def _wait_for_order(self, serving: asyncio.Task[None]) -> Order | None:
        self._ordered.clear()
        while not serving.done():
            if self._order is not None:
                return self._order
            await _set_or_done(self._ordered, serving)
            self._ordered.clear()
        return None

    # --- a process is replaced, or ends

    async def _replace_beside(self, old: Instance) -> Instance | None:
        """Load a new process while the old one serves, then let the old one finish what is in it."""
        logger.info("%s: a fresh worker is loaded beside the old one", self._name)
        try:
            new = await self._bring_up_newest()
        except LoadFailed as failed:
            logger.warning(
                "%s: the fresh worker could not be loaded, the old one goes on: %s", self._name, failed.error
            )
            return None if old.serving is None or old.serving.done() else old
        self.recycled += 1
        self._take_over(new)
        self._retire(old)
        return new

    async def _replace(self, old: Instance) -> Instance | None:
        """Let the old process finish what is in it, end it, and load a new one; what comes meanwhile waits."""
        logger.info("%s: the worker is replaced by a fresh one", self._name)
        self._calls.held = True
        if not await self._drained(old):
            return None
        self._calls.current = None
        self._availability.set(WorkerState.RELOADING)
        await self._dismiss(old)
        self.recycled += 1
        new = await self._bring_up()
        self._take_over(new)
        return new

    async def _sleep(self, old: Instance) -> Instance | None:
        """End the process until something is asked of it."""
        if not self._calls.idle:
            return old  # somebody was quicker
        self._calls.current = None
        self._availability.set(WorkerState.UNLOADED)
        logger.info("%s: unloaded, nothing was asked of it for a while", self._name)
        await self._dismiss(old)
        await self._calls.something_waits()
        if self._closed:
            return None
        logger.info("%s: loaded again, as it is asked for", self._name)
        self._availability.set(WorkerState.RELOADING)
        new = await self._bring_up()
        self._take_over(new)
        return new

    async def _drained(self, instance: Instance) -> bool:
        """Wait until nothing is in a process; False: it is lost."""
        assert instance.serving is not None
        while instance.running and not instance.serving.done():
            instance.drained.clear()
            await _set_or_done(instance.drained, instance.serving)
        return not instance.serving.done()

    def _retire(self, old: Instance) -> None:
        async def finish() -> None:
            await self._drained(old)
            await self._dismiss(old)

        task = asyncio.create_task(finish(), name=f"retire {self._name}")
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
        self._calls.fail_running(instance, self._availability.stopping if self._closed else self._availability.lost)
        instance.leave()
        await instance.end(patient=True)
        self.instances.discard(instance)

    @property
    def _closed(self) -> bool:
        return self._availability.closed.is_set()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


async def _set_or_done(event: asyncio.Event, task: asyncio.Task[None]) -> None:
    """Wait until the event is set or the task has ended."""
    waiting = asyncio.create_task(event.wait(), name=f"{task.get_name()}: or")
    try:
        await asyncio.wait((waiting, task), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
