"""One client's connection: reads its events, has them handled in order, and ends cleanly whatever happens.

Two tasks work side by side. One reads: `describe`, `ping` and `select-program` are answered at once, all else
waits in a bounded queue. The other handles the queue in order, so that requests on one connection are answered
one after the other. A request that fails is answered with an `error` event; where a client could wait for ever for
an answer that won't come (older Home Assistant ignores `error`), the connection is then closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any

from wyoming.event import Event

from wyoming_superwhisper.errors import BadEvent, Internal, NotSupported, Stopping, SuperwhisperError
from wyoming_superwhisper.handlers.asr import AsrHandler
from wyoming_superwhisper.handlers.audio import AudioHandler
from wyoming_superwhisper.handlers.base import EventMethod, Handler, Session
from wyoming_superwhisper.handlers.conversation import ConversationHandler
from wyoming_superwhisper.handlers.describe import DescribeHandler
from wyoming_superwhisper.handlers.run_pipeline import RunPipelineHandler
from wyoming_superwhisper.handlers.tts import TtsHandler
from wyoming_superwhisper.handlers.wake import WakeHandler
from wyoming_superwhisper.pipeline.services import Services
from wyoming_superwhisper.wire import EventReader, EventWriter, error_event, refuse

logger = logging.getLogger(__name__)

HALF_CLOSE_GRACE_S = 0.5
"""After a client has stopped sending, how long work for it goes on: a client that only closed its sending side
still gets its answer, and the work of one that left is soon cancelled."""

QUEUE_EVENTS = 256
QUEUE_BYTES = 2 * 1_048_576
"""What a client may send ahead of the handling, on one connection."""

_KEEPS_OPEN = frozenset({"bad-data", "bad-event", "bad-format", "bad-json", "not-supported"})
"""Errors after which the connection lives on: the event was understood to be wrong, nothing is awaited."""

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
        self, reader: EventReader, writer: EventWriter, services: Services, peer: str, *, patient: bool = False
    ) -> None:
        """`patient`: after the end of input, all that was asked is answered first (a pipe rather than a client)."""
        self.peer = peer
        self._reader = reader
        self._writer = writer
        self._patient = patient
        self._queue = EventQueue(QUEUE_EVENTS, QUEUE_BYTES)
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests: set[asyncio.Task[None]] = set()  # those of them that work on a request
        self._end: asyncio.Future[SuperwhisperError | None] = asyncio.get_running_loop().create_future()
        self._handling = False
        self._stopping = False
        self.last_event_s = asyncio.get_running_loop().time()
        self._session = Session(
            peer=peer,
            services=services,
            write=writer.write,
            write_encoded=writer.write_bytes,
            spawn=self._spawn_request,
        )
        self._immediate = DescribeHandler(self._session)
        self._handlers = self._make_handlers()
        self._table = self._make_table()

    @property
    def busy(self) -> bool:
        """Whether an utterance is open or a request is at work."""
        session = self._session
        waiting = session.consumer is not None or session.turn is not None
        return self._handling or waiting or bool(self._requests) or bool(self._queue)

    @property
    def must_finish(self) -> bool:
        """Whether a server that stops should wait: for a request at work or an open utterance, not for a wake word."""
        consumer = self._session.consumer
        listening = consumer is not None and consumer.utterance_open
        return self._handling or listening or bool(self._requests) or bool(self._queue)

    @property
    def ending(self) -> bool:
        """Whether its end has begun."""
        return self._end.done()

    async def run(self) -> None:
        """Serve until the client leaves, the framing is lost, or `stop`."""
        self._spawn(self._read(), "read")
        self._spawn(self._work(), "work")
        error: SuperwhisperError | None = None
        try:
            error = await self._end
        finally:
            await self._cancel_tasks()
            await self._close_handlers()
            await self._close_writer(error)

    def stop(self, *, now: bool) -> None:
        """End: an idle connection at once, a busy one after its request, or `now` with `error` "stopping"."""
        self._stopping = True
        if not self.must_finish:
            self._finish(None)
        elif now:
            self._finish(Stopping("The server is stopping."))

    async def _read(self) -> None:
        try:
            while (event := await self._read_event()) is not None:
                if event.type in self._immediate.events:
                    await self._handle(event, self._immediate.events[event.type])
                else:
                    await self._queue.put(event, self._reader.event_bytes)
        except ConnectionError as error:
            logger.debug("[%s] connection lost: %s", self.peer, error)
            self._finish(None)
            return
        await self._queue.close()
        if not self._patient:
            await asyncio.sleep(HALF_CLOSE_GRACE_S)
            self._finish(None)

    async def _read_event(self) -> Event | None:
        """The next event that is one; what is framed but wrong gets its `error` and is skipped."""
        while True:
            try:
                event = await self._reader.read()
                self.last_event_s = asyncio.get_running_loop().time()
                return event
            except SuperwhisperError as error:
                logger.info("[%s] %s: %s", self.peer, error.code, error)
                if error.framing_lost:
                    self._finish(error)
                    await asyncio.Event().wait()  # until cancelled by the end
                await self._tell(error)

    async def _work(self) -> None:
        while (event := await self._queue.get()) is not None:
            method = self._table.get(event.type)
            self._handling = True
            await self._handle(event, method or self._unknown)
            self._handling = False
            if self._stopping and not self.must_finish:
                break
        if self._session.turn is not None:
            await self._session.turn.finished()
        self._finish(None)

    async def _handle(self, event: Event, method: EventMethod) -> None:
        try:
            await method(event)
        except SuperwhisperError as error:
            await self._failed(error)
        except ConnectionError as error:
            logger.debug("[%s] left during '%s': %s", self.peer, event.type, error)
            self._finish(None)
        except Exception:  # the boundary of a request: whatever it was, the others must not notice
            logger.exception("[%s] '%s' failed", self.peer, event.type)
            await self._failed(Internal("The server failed at this request; its log says more."))

    async def _failed(self, error: SuperwhisperError) -> None:
        logger.info("[%s] %s: %s", self.peer, error.code, error)
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
            await self._failed(error)
        except ConnectionError:
            self._finish(None)
        except Exception:  # the boundary of a connection: one that breaks takes no other with it
            logger.exception("[%s] connection failed", self.peer)
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
            await refuse(self._reader.stream, self._writer, error)
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


class EventQueue:
    """Events that wait for their turn, bounded by count and bytes; at least one always fits."""

    def __init__(self, most_events: int, most_bytes: int) -> None:
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._events: deque[tuple[Event, int]] = deque()
        self._bytes = 0
        self._closed = False
        self._changed = asyncio.Condition()

    def __bool__(self) -> bool:
        return bool(self._events)

    async def put(self, event: Event, size: int) -> None:
        """Add an event that came in so many bytes; waits while the queue is full."""
        async with self._changed:
            await self._changed.wait_for(self._has_room)
            self._events.append((event, size))
            self._bytes += size
            self._changed.notify_all()

    async def get(self) -> Event | None:
        """The oldest event; None once the queue is closed and empty."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._events or self._closed)
            if not self._events:
                return None
            event, size = self._events.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return event

    async def close(self) -> None:
        """No more events come."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return not self._events or (len(self._events) < self._most_events and self._bytes < self._most_bytes)
