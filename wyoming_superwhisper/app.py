"""Builds the server and closes it: the one place that knows every part.

In order: models found, engines described, the listener opened, workers started, the service advertised. Everything
is closed in reverse by one exit stack. Nothing heavy is imported here; models load in their workers, and requests
that come meanwhile wait for them.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import gc
import logging
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wyoming_superwhisper import info, replies, wire
from wyoming_superwhisper.config.settings import Settings
from wyoming_superwhisper.conversation.assistant import Assistant
from wyoming_superwhisper.conversation.without_rules import WithoutRules
from wyoming_superwhisper.engines.base import IntentRecognizer
from wyoming_superwhisper.engines.front.dispatcher import WorkLimits
from wyoming_superwhisper.engines.front.process import WorkerProcess
from wyoming_superwhisper.engines.front.remote import (
    RemoteIntents,
    RemoteLanguageModel,
    RemoteRecognizer,
    RemoteSynthesizer,
    RemoteVoiceActivity,
    RemoteWakeWords,
)
from wyoming_superwhisper.home import Home
from wyoming_superwhisper.home_assistant.client import Client
from wyoming_superwhisper.home_assistant.executor import HomeAssistantExecutor
from wyoming_superwhisper.home_assistant.link import Link
from wyoming_superwhisper.home_assistant.names import merged
from wyoming_superwhisper.language import guess_language
from wyoming_superwhisper.logs import Throttled
from wyoming_superwhisper.observer import Observer
from wyoming_superwhisper.operations.life import State
from wyoming_superwhisper.operations.operations import Operations
from wyoming_superwhisper.operations.reload import Reloader
from wyoming_superwhisper.pipeline.ahead import Shelf
from wyoming_superwhisper.pipeline.habits import Habits
from wyoming_superwhisper.pipeline.home_news import HomeNews
from wyoming_superwhisper.pipeline.prepared import Prepared
from wyoming_superwhisper.pipeline.services import Services
from wyoming_superwhisper.pipeline.timer_news import TimerNews
from wyoming_superwhisper.plan import ENGINES, Plan, needed_engines
from wyoming_superwhisper.recording import Recorder
from wyoming_superwhisper.server.address import DEFAULT_PORT
from wyoming_superwhisper.server.server import Server
from wyoming_superwhisper.service_manager import ServiceManager
from wyoming_superwhisper.timers import Timers

if TYPE_CHECKING:
    from wyoming_superwhisper.discovery import Advertisement

logger = logging.getLogger(__name__)
_faults = Throttled(logger)
_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES = -3, 65_536  # of mallopt(3)


def run(settings: Settings, read_again: Callable[[], Settings] | None = None) -> int:
    """Serve until told to stop; the exit status. Raises `SettingsError` for what is wrong before listening.

    `read_again`: gives the settings as they are by then, for SIGHUP.
    """
    _return_large_blocks()
    return asyncio.run(_serve(settings, read_again))


@asynccontextmanager
async def local_server(settings: Settings, engines: Collection[str] = ENGINES) -> AsyncIterator[str]:
    """A private server for one command, on a Unix socket, with these engines only; gives its URI.

    Raises `SettingsError`, and `ModelError` for missing models of these engines.
    """
    with tempfile.TemporaryDirectory(prefix="superwhisper-") as folder:
        uri = f"unix://{Path(folder) / 'socket'}"
        private = replace(settings, server=replace(settings.server, uri=uri, zeroconf=False))
        async with AsyncExitStack() as stack:
            await _start(private, stack, engines=engines, wait_for_names=True)
            yield uri


async def _serve(settings: Settings, read_again: Callable[[], Settings] | None) -> int:
    stop, hurry, again = asyncio.Event(), asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(_log_fault)
    _listen_to_signals(stop, hurry, again)
    manager = ServiceManager()
    async with AsyncExitStack() as stack:
        parts = await _start(settings, stack, hurry)
        parts.operations.life.tell(lambda state: manager.status(state.value))
        manager.ready(parts.operations.life.state.value)
        await stack.enter_async_context(_background(manager.keep_alive(), "watchdog"))
        reloader = Reloader(settings, read_again or (lambda: settings), parts.use)
        await stack.enter_async_context(_background(_reload(again, reloader, manager, parts), "reload"))
        await _first(stop, parts.server.ended)
        manager.stopping()
        parts.operations.life.stopping()
    return 0


async def _reload(again: asyncio.Event, reloader: Reloader, manager: ServiceManager, parts: _Parts) -> None:
    """Read the settings each time that is asked for."""
    while True:
        await again.wait()
        again.clear()
        manager.reloading()
        await reloader.reload()
        manager.ready(parts.operations.life.state.value)


def _log_fault(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """One line for what nobody took care of; asyncio itself would write a traceback each time, however often."""
    _faults.log(logging.ERROR, str(context["message"]), "%s: %r", context["message"], context.get("exception"))


def _listen_to_signals(stop: asyncio.Event, hurry: asyncio.Event, again: asyncio.Event) -> None:
    """SIGTERM lets answers finish for a while; SIGINT (Ctrl-C), or a second signal, ends at once; SIGHUP reloads."""

    def told(number: int) -> None:
        if number == signal.SIGINT or stop.is_set():
            hurry.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told, number)
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, again.set)


async def _first(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _start(
    settings: Settings,
    stack: AsyncExitStack,
    hurry: asyncio.Event | None = None,
    engines: Collection[str] = ENGINES,
    wait_for_names: bool = False,
) -> _Parts:
    """Build everything into the stack, which closes it in reverse. Engines that are left out are never started."""
    engines = needed_engines(settings.server.services).intersection(engines)
    plan = Plan.of(settings, engines)
    operations = Operations(settings, plan.card, plan.video_memory())
    operations.life.tell(_settle_memory)
    recorder = Recorder(settings.record) if settings.record.dir else None
    workers = _make_workers(plan, operations)
    for worker in workers.values():
        stack.push_async_callback(worker.close)
    news = HomeNews()
    link = _make_link(operations, news) if "light" in engines else None
    services = _make_services(plan, workers, link, news, recorder, operations.observer)
    stack.push_async_callback(services.prepared.shelf.close)
    server = Server(settings.server, settings.limits, services, operations.observer)
    parts = _Parts(plan, operations, server, services, workers, link, news)
    stack.callback(parts.close)
    await server.start()
    stack.push_async_callback(server.stop, settings.limits.stop_s, hurry or asyncio.Event())
    started = {name: worker for name, worker in workers.items() if name in engines}
    await stack.enter_async_context(operations.running(started))
    # Nothing is logged before what may still stop the start with its one sentence.
    for line in (f"listening on {server.uri}", plan.card.reason, *plan.card.notes):
        logger.info("%s", line)
    for worker in started.values():
        await worker.start()
    await stack.enter_async_context(_background(news.run(), "home news"))
    if link is not None:
        stack.push_async_callback(link.client.close)
        await stack.enter_async_context(_background(link.link.run(), "home assistant"))
        if wait_for_names:
            await link.link.tried.wait()
    if settings.server.zeroconf and server.address.scheme == "tcp":
        await stack.enter_async_context(_advertisement(settings, server))
    if settings.satellites:
        await stack.enter_async_context(_background(_drive_satellites(settings, server, services), "satellites"))
    await stack.enter_async_context(_background(asyncio.to_thread(_import_the_rest), "imports"))
    return parts


@dataclass(frozen=True)
class _Parts:
    """What was built, as far as it can be changed while it runs."""

    plan: Plan
    operations: Operations
    server: Server
    services: Services
    workers: Mapping[str, WorkerProcess]
    link: _HomeAssistant | None
    news: HomeNews

    def close(self) -> None:
        """Write what is still to be written."""
        if self.services.recorder is not None:
            self.services.recorder.close()

    async def use(self, settings: Settings, changed: Collection[str]) -> None:
        """Put changed settings into force. Raises `SettingsError`, and then nothing has changed."""
        voice = replace(self.plan, settings=settings).voice(self.services.default_language)
        recorder = self.services.recorder
        if any(key.startswith("record.") for key in changed):
            recorder = Recorder(settings.record) if settings.record.dir else None
            self.close()
        self.server.use(settings.server, settings.limits)
        self.services.settings, self.services.default_voice, self.services.recorder = settings, voice, recorder
        self.services.assistant.conversations.forget_s = settings.llm.forget_s
        self.services.prepared.shelf.clear()  # what was made ready by the old ones
        self.operations.use(settings, changed)
        for worker in self.workers.values():
            worker.use(_work_limits(settings), {"level": settings.log.level, "format": settings.log.format})
        if any(key.startswith("home.") for key in changed):
            learnt = self.link.link.learnt if self.link else None
            self.news.changed(Home(merged(learnt, settings.home)))


def _work_limits(settings: Settings) -> WorkLimits:
    limits = settings.limits
    return WorkLimits(queue_final=limits.queue_final, queue_guess=limits.queue_guess, job_s=limits.job_s)


def _make_workers(plan: Plan, operations: Operations) -> dict[str, WorkerProcess]:
    log = plan.settings.log
    return {
        name: WorkerProcess(
            name,
            configuration,
            environment=plan.card.environment(name),
            limits=_work_limits(plan.settings),
            log={"level": log.level, "format": log.format},
            nice=0 if name == "light" else 5,
            on_state=operations.worker_changed,
            on_job=operations.observer.job,
            before_load=operations.before_load,
        )
        for name, configuration in plan.configurations().items()
    }


@dataclass(frozen=True)
class _HomeAssistant:
    """The link to Home Assistant."""

    client: Client
    link: Link


def _make_link(operations: Operations, news: HomeNews) -> _HomeAssistant | None:
    """None where the settings name no Home Assistant. Nothing is connected yet."""
    named = operations.settings.home_assistant
    if not named.url:
        return None
    client = Client(named.url, named.token)
    link = Link(client, lambda learnt: news.changed(Home(merged(learnt, operations.settings.home))))
    return _HomeAssistant(client, link)


def _make_services(
    plan: Plan,
    workers: Mapping[str, WorkerProcess],
    link: _HomeAssistant | None,
    news: HomeNews,
    recorder: Recorder | None,
    observer: Observer,
) -> Services:
    settings = plan.settings
    words = plan.wake_words()
    offered = settings.server.services
    rules = RemoteIntents(workers["light"], settings.intents.languages)
    intents: IntentRecognizer = rules if "intent" in offered else WithoutRules(rules)
    llm = RemoteLanguageModel(workers["llama"]) if "llama" in workers else None
    prepared = Prepared.of(Shelf(observer), intents, llm, RemoteSynthesizer(workers["piper"], plan.voices))
    asr_model = plan.whisper.name if settings.asr.model != "demo" else "demo"
    offer = info.Offer(
        asr_model=asr_model if "asr" in offered else "",
        asr_languages=settings.asr.languages,
        server_ends_turn=settings.asr.endpointing == "server",
        intent_languages=settings.intents.languages,
        understands="intent" in offered,
        llm_model="" if plan.llama is None else plan.llama.stem,
        voices=plan.voices,
        wake_words=words if "wake" in offered else (),
    )
    described = info.build_info(offer)
    timer_news = TimerNews()
    default_language = settings.asr.languages[0] if settings.asr.language == "auto" else settings.asr.language
    assistant = Assistant(
        prepared.intents,
        prepared.llm,
        plan.home,
        languages=settings.intents.languages,
        default_language=default_language,
        guess_language=guess_language,
        forget_s=settings.llm.forget_s,
        llm_name=offer.llm_model,
        executor=HomeAssistantExecutor(link.client, link.link) if link else None,
        timers=Timers(timer_news.tell),
    )
    news.tell_front(assistant.use_home)
    news.tell_front(lambda _: prepared.shelf.clear())
    news.tell_engine("light", rules)
    if llm:
        news.tell_engine("llama", llm)
    return Services(
        settings=settings,
        info=wire.encode(described.event()),
        programs=info.program_names(described),
        asr_models=frozenset({asr_model}),
        default_language=default_language,
        default_voice=plan.voice(default_language),
        recognizer=RemoteRecognizer(workers["whisper"], settings.asr.languages),
        voice_activity=RemoteVoiceActivity(workers["light"]),
        wake_words=RemoteWakeWords(workers["light"], words),
        assistant=assistant,
        synthesizer=prepared.synthesizer,
        timer_news=timer_news,
        prepared=prepared,
        habits=Habits(),
        observer=observer,
        recorder=recorder,
    )


def _advertisement(settings: Settings, server: Server) -> Advertisement:
    from wyoming_superwhisper import discovery  # zeroconf takes a while to import: only after listening

    name = discovery.service_name("server", settings.server.name, server.port, DEFAULT_PORT)
    return discovery.Advertisement("server", name, server.port, server.address.host)


async def _drive_satellites(settings: Settings, server: Server, services: Services) -> None:
    from wyoming_superwhisper.satellites.fleet import Fleet  # with zeroconf: only after listening

    await Fleet(settings.satellites, server.serve_inside, services.timer_news).run()


def _settle_memory(state: State) -> None:
    """Once all is loaded, have the garbage collector leave alone what is here to stay, and look at the rest often.

    What ends with a connection hangs together in cycles, sound and all, and would wait for hundreds of others. Without
    the tens of thousands of objects of the start to go through, a look takes a millisecond.
    """
    if state is State.READY and not gc.get_freeze_count():
        gc.collect()
        gc.freeze()
        atexit.register(_free_all)
        gc.collect()  # Python's rule of when to look at old objects counts those of the last look
        gc.set_threshold(700, 5, 2)


def _return_large_blocks() -> None:
    """Have glibc give large blocks back as they are freed: by itself it keeps the more, the larger they have been."""
    try:
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
    except (AttributeError, OSError, TypeError):
        pass  # another C library


def _free_all() -> None:
    """At exit, free what was set aside while extension modules are still there: soxr's complains on stderr else."""
    gc.unfreeze()
    gc.collect()


def _import_the_rest() -> None:
    """What the first requests need and listening doesn't, imported beside the loop."""
    import numpy as np
    import soxr

    del np, soxr
    replies.environment()


@asynccontextmanager
async def _background(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Run beside, until the server closes."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
