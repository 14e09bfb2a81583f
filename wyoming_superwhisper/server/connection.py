"""One client's connection: reads its events, has them handled in order, and ends cleanly whatever happens.

Two tasks work side by side. One reads: `describe`, `ping` and `select-program` are answered at once, all else
waits in a bounded queue. The other handles the queue in order, so that requests on one connection are answered
one after the other. A request that fails is answered with an `error` event; where a client could wait for ever for
an answer that won't come (older Home Assistant ignores `error`), the connection is then closed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any

from wyoming.event import Event

from wyoming_superwhisper.errors import BadEvent, Busy, Internal, NotSupported, Stopping, SuperwhisperError
from wyoming_superwhisper.handlers.asr import AsrHandler
from wyoming_superwhisper.handlers.audio import AudioHandler
from wyoming_superwhisper.handlers.base import EventMethod, Handler, Session
from wyoming_superwhisper.handlers.conversation import ConversationHandler
from wyoming_superwhisper.handlers.describe import DescribeHandler
from wyoming_superwhisper.handlers.run_pipeline import RunPipelineHandler
from wyoming_superwhisper.handlers.tts import TtsHandler
from wyoming_superwhisper.handlers.wake import WakeHandler
from wyoming_superwhisper.logs import Throttled
from wyoming_superwhisper.observer import NOBODY, Observer
from wyoming_superwhisper.pipeline.services import Services
from wyoming_superwhisper.server.event_queue import EventQueue
from wyoming_superwhisper.server.hang_ups import HangUps
from wyoming_superwhisper.server.traffic import Traffic
from wyoming_superwhisper.wire import (
    LINGER_MOST_S,
    LINGER_S,
    EventReader,
    EventWriter,
    TruncatedEvent,
    error_event,
    refuse,
)

logger = logging.getLogger(__name__)
_refusals = Throttled(logger)
"""A client that does nothing but wrong must not fill the disk."""

HALF_CLOSE_GRACE_S = 0.5
"""After a client has stopped sending, how long work for it goes on without an answer: a client that only closed its
sending side still gets all its answers, and the work of one that left is soon cancelled."""

QUEUE_EVENTS = 256
QUEUE_BYTES = 524_288
"""What a client may send ahead of the handling, on one connection. A large event is handled before the next is read."""

_KEEPS_OPEN = frozenset({"bad-data", "bad-event", "bad-format", "bad-json", "not-supported"})
"""Errors after which the connection lives on: the event was understood to be wrong, nothing is awaited."""

_INFO = Event("info")
"""Stands for the one that was encoded once, for all clients."""

_WYOMING_TYPES = frozenset((
    "info", "transcript-start", "transcript-chunk", "transcript-stop", "synthesize-stopped", "detection",
    "not-detected", "voice-started", "voice-stopped", "intents-start", "intents-stop", "not-recognized", "handled",
    "not-handled", "handled-start", "handled-chunk", "handled-stop", "played", "run-satellite", "pause-satellite",
    "satellite-connected", "satellite-disconnected", "streaming-started", "streaming-stopped", "timer-started",
    "timer-updated", "timer-cancelled", "timer-finished", "user-event", "error", "pong",
))  # fmt: skip
"""Events of the protocol that no server of these services takes."""


class Connection:
    """A client from its first byte to its last. `run` once; `stop` from outside."""

    def __init__(
        self,
        reader: EventReader,
        writer: EventWriter,
        services: Services,
        peer: str,
        *,
        patient: bool = False,
        hang_ups: HangUps | None = None,
        observer: Observer = NOBODY,
    ) -> None:
        """`patient`: after the end of input, all that was asked is answered first (a pipe rather than a client), and
        it may be idle for ever. `hang_ups`: notices a client that leaves while its queue is full."""
        self.peer = peer
        self._hang_ups = hang_ups
        self._traffic = Traffic(observer, peer)
        writer.on_sent = self._traffic.sent
        self._reader = reader
        self._writer = writer
        self._patient = patient
        self._queue = EventQueue(QUEUE_EVENTS, QUEUE_BYTES, services.queued)
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests: set[asyncio.Task[None]] = set()  # those of them that work on a request
        self._end: asyncio.Future[SuperwhisperError | None] = asyncio.get_running_loop().create_future()
        self._handling = False
        self._stopping = False
        self._limits = services.settings.limits
        self._idle_timer: asyncio.TimerHandle | None = None
        self.last_event_s = asyncio.get_running_loop().time()
        """When something last came from the client or was sent to it."""
        self._session = Session(
            peer=peer,
            services=services,
            write=self._write,
            write_encoded=self._write_encoded,
            spawn=self._spawn_request,
            end_of_speech=self._traffic.end_of_speech,
            more_waits=lambda: bool(self._queue),
        )
        self._immediate = DescribeHandler(self._session)
        self._handlers = self._make_handlers()
        self._table = self._make_table()

    @property
    def busy(self) -> bool:
        """Whether a request is at work, or audio is coming for one: then nothing may end this connection."""
        waiting = self._session.consumer is not None or self._session.turn is not None
        return self._working or (waiting and self._silent_s < self._limits.event_s)

    @property
    def _working(self) -> bool:
        """Whether a request is at work. One that only waits for its client (text that never comes) counts a while."""
        waits_s = 2 * self._limits.job_s
        return self._handling or bool(self._queue) or (bool(self._requests) and self._silent_s < waits_s)

    @property
    def _silent_s(self) -> float:
        return asyncio.get_running_loop().time() - self.last_event_s

    @property
    def must_finish(self) -> bool:
        """Whether a server that stops should wait: for a request at work or an open utterance, not for a wake word."""
        consumer = self._session.consumer
        listening = consumer is not None and consumer.utterance_open
        return self._handling or listening or bool(self._requests) or bool(self._queue)

    @property
    def _waits(self) -> bool:
        """Whether its client waits for something to come, and should be told why it won't."""
        listens = self._session.consumer is not None and self._session.turn is None
        return listens or self._reader.mid_event

    @property
    def ending(self) -> bool:
        """Whether its end has begun."""
        return self._end.done()

    async def run(self) -> None:
        """Serve until the client leaves, the framing is lost, or `stop`."""
        self._spawn(self._read(), "read")
        self._spawn(self._work(), "work")
        if not self._patient:
            self._watch_idleness()
        error: SuperwhisperError | None = None
        try:
            error = await self._end
        finally:
            if self._idle_timer is not None:
                self._idle_timer.cancel()
            await self._cancel_tasks()
            self._reader.end()
            self._queue.forget()
            await self._close_handlers()
            self._traffic.closed("" if error is None else error.code)
            await self._close_writer(error)

    def stop(self, *, now: bool) -> None:
        """End: an idle connection at once, a busy one after its request, or `now` with `error` "stopping".

        Who waits for a wake word or is in the middle of an event is told so at once. A satellite between its turns is
        not: to its owner that would sound like a turn that failed.
        """
        self._stopping = True
        if not self.must_finish:
            self._finish(Stopping("The server is stopping.") if self._waits else None)
        elif now:
            self._finish(Stopping("The server is stopping."))

    def evict(self) -> None:
        """Make room for another client. Only for a connection that is not `busy`."""
        waiting = self._session.consumer is not None or self._session.turn is not None or bool(self._requests)
        self._traffic.evicted()
        self._finish(Busy("The server has too many connections, and this one was silent.") if waiting else None)

    async def _read(self) -> None:
        try:
            while (event := await self._read_event()) is not None:
                self._traffic.read(event)
                if event.type in self._immediate.events:
                    await self._handle(event, self._immediate.events[event.type], time.monotonic())
                else:
                    await self._enqueue(event)
        except TruncatedEvent as error:  # it may only have closed its sending side, and still read
            logger.debug("[%s] %s", self.peer, error)
            self._traffic.invalid(BadEvent.code)
            self._finish(BadEvent(str(error)))
            return
        except ConnectionError as error:
            logger.debug("[%s] connection lost: %s", self.peer, error)
            self._finish(None)
            return
        await self._queue.close()
        if not self._patient:
            await self._wait_until_nothing_is_answered()
            self._finish(None)

    async def _wait_until_nothing_is_answered(self) -> None:
        """Each answer that gets out begins the grace anew: to a client that has left, the second one fails."""
        answered_s = None
        while answered_s != self.last_event_s:
            answered_s = self.last_event_s
            await asyncio.sleep(HALF_CLOSE_GRACE_S)

    async def _enqueue(self, event: Event) -> None:
        """Put an event into the queue. While there is no room for it, a client that leaves is noticed all the same."""
        size, large = self._reader.event_bytes, self._reader.holds_large
        if (self._queue.has_room_for(size) and not large) or self._hang_ups is None:
            await self._put(event, size, large)
            return
        grace: list[asyncio.TimerHandle] = []
        later = asyncio.get_running_loop().call_later
        with self._hang_ups.watching(
            self._writer.descriptor, lambda: grace.append(later(HALF_CLOSE_GRACE_S, self._finish, None))
        ):
            try:
                await self._put(event, size, large)
            finally:
                for timer in grace:  # answers still get out: it only closed its sending side
                    timer.cancel()

    async def _put(self, event: Event, size: int, large: bool) -> None:
        await self._queue.put(event, size)
        if large:
            await self._queue.settled()

    def _watch_idleness(self) -> None:
        """End the connection once it has been idle for `limits.idle_s`; look again when that may be."""
        idle_s = 0.0 if self._working else self._silent_s
        if idle_s >= self._limits.idle_s:
            logger.debug("[%s] idle for %g seconds: closed", self.peer, self._limits.idle_s)
            self._finish(None)
        else:
            again_s = self._limits.idle_s - idle_s
            self._idle_timer = asyncio.get_running_loop().call_later(again_s, self._watch_idleness)

    async def _write(self, event: Event) -> None:
        await self._writer.write(event)
        self.last_event_s = asyncio.get_running_loop().time()

    async def _write_encoded(self, *parts: bytes) -> None:
        await self._writer.write_bytes(*parts, event=_INFO)
        self.last_event_s = asyncio.get_running_loop().time()

    async def _read_event(self) -> Event | None:
        """The next event that is one; what is framed but wrong gets its `error` and is skipped."""
        while True:
            try:
                event = await self._reader.read()
                self.last_event_s = asyncio.get_running_loop().time()
                return event
            except SuperwhisperError as error:
                _refusals.log(logging.INFO, error.code, "[%s] %s: %s", self.peer, error.code, error)
                self._traffic.invalid(error.code)
                if error.framing_lost:
                    self._finish(error)
                    await asyncio.Event().wait()  # until cancelled by the end
                await self._tell(error)

    async def _work(self) -> None:
        while (event := await self._queue.get()) is not None:
            method = self._table.get(event.type)
            self._handling = True
            await self._handle(event, method or self._unknown, self._queue.read_at)
            self._handling = False
            self.last_event_s = asyncio.get_running_loop().time()
            if self._stopping and not self.must_finish:
                break
        if self._session.turn is not None:
            await self._session.turn.finished()
        self._finish(None)

    async def _handle(self, event: Event, method: EventMethod, read_at: float) -> None:
        wanted = event.type == "audio-start" or not self._session.discard_audio
        in_turn = self._session.turn is not None
        self._traffic.handling(event, read_at, in_turn=in_turn, audio_wanted=wanted)
        try:
            await method(event)
            self._traffic.handled(event)
        except SuperwhisperError as error:
            self._traffic.handled(event, error.code)
            await self._failed(error)
        except ConnectionError as error:
            logger.debug("[%s] left during '%s': %s", self.peer, event.type, error)
            self._finish(None)
        except Exception:  # the boundary of a request: whatever it was, the others must not notice
            logger.exception("[%s] '%s' failed", self.peer, event.type)
            self._traffic.handled(event, Internal.code)
            await self._failed(Internal("The server failed at this request; its log says more."))

    async def _failed(self, error: SuperwhisperError) -> None:
        _refusals.log(logging.INFO, error.code, "[%s] %s: %s", self.peer, error.code, error)
        if error.code in _KEEPS_OPEN or (self._session.keep_open and error.code != "stopping"):
            await self._tell(error)
        else:
            self._finish(error)

    async def _tell(self, error: SuperwhisperError) -> None:
        try:
            await self._writer.write(error_event(error))
        except ConnectionError:
            self._finish(None)

    async def _unknown(self, event: Event) -> None:
        if event.type in _WYOMING_TYPES:
            raise NotSupported(f"A server of speech and intents has no use for '{event.type}'.")
        raise BadEvent(f"There is no event type '{event.type[:80]}'.")

    def _finish(self, error: SuperwhisperError | None) -> None:
        if not self._end.done():
            self._end.set_result(error)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(self._guard(coroutine), name=f"{name} {self.peer}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: coroutine.close())  # one that was cancelled before it began
        return task

    def _spawn_request(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self._spawn(coroutine, name)
        self._requests.add(task)
        task.add_done_callback(self._request_ended)
        return task

    def _request_ended(self, task: asyncio.Task[None]) -> None:
        self._requests.discard(task)
        if self._stopping and not self.must_finish:
            self._finish(None)

    async def _guard(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a task of this connection; its failure is the connection's."""
        try:
            await coroutine
        except SuperwhisperError as error:
            self._traffic.failed(error.code)
            await self._failed(error)
        except ConnectionError:
            self._finish(None)
        except Exception:  # the boundary of a connection: one that breaks takes no other with it
            logger.exception("[%s] connection failed", self.peer)
            self._traffic.failed(Internal.code)
            self._finish(Internal("The server failed; its log says more."))

    async def _cancel_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _close_handlers(self) -> None:
        for handler in self._handlers:
            try:
                await handler.close()
            except SuperwhisperError as error:
                logger.debug("[%s] while closing: %s", self.peer, error)

    async def _close_writer(self, error: SuperwhisperError | None) -> None:
        if error is not None:
            most_s = LINGER_S if isinstance(error, Stopping) else LINGER_MOST_S
            await refuse(self._reader.stream, self._writer, error, most_s=most_s)
        else:
            await self._writer.close()

    def _make_handlers(self) -> tuple[Handler, ...]:
        asr = AsrHandler(self._session)
        audio = AudioHandler(self._session, default=asr)
        others = (
            WakeHandler(self._session),
            TtsHandler(self._session),
            ConversationHandler(self._session),
            RunPipelineHandler(self._session),
        )
        return (audio, asr, *others)

    def _make_table(self) -> dict[str, EventMethod]:
        return {kind: method for handler in self._handlers for kind, method in handler.events.items()}
