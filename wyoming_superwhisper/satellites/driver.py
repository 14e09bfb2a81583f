"""Drives one satellite: connects, takes its seat, runs its turns on this server, and comes back when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from wyoming.audio import AudioStart
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming.satellite import PauseSatellite, RunSatellite

from wyoming_superwhisper import client
from wyoming_superwhisper.errors import BadData, SuperwhisperError
from wyoming_superwhisper.handlers.run_pipeline import timer_event
from wyoming_superwhisper.pipeline.timer_news import TimerNews
from wyoming_superwhisper.satellite.reconnect import Backoff
from wyoming_superwhisper.satellites.arbiter import Arbiter
from wyoming_superwhisper.satellites.inside import Serve, inside
from wyoming_superwhisper.timers import Change, Timer
from wyoming_superwhisper.wire import EventReader, EventWriter

logger = logging.getLogger(__name__)

PING_S = 2.0
"""Pause between two pings, in seconds."""
LOST_S = 6.0
"""A satellite that has sent nothing for this long is lost, in seconds."""
CONNECT_S = 5.0
"""Time for one attempt to connect, in seconds."""
DUPLICATE = "duplicate_wake_up_detected"
"""Error code, Home Assistant's own, for a satellite whose wake word another one answers."""

_FOR_THE_SATELLITE = frozenset({
    "detection", "voice-started", "voice-stopped", "transcript", "synthesize", "audio-start", "audio-chunk",
    "audio-stop", "error", "timer-started", "timer-updated", "timer-cancelled", "timer-finished",
})  # fmt: skip
"""What of a turn's events Home Assistant would tell a satellite."""


class SatelliteDriver:
    """Drives the satellite at an address until it is cancelled."""

    def __init__(self, uri: str, serve: Serve, timer_news: TimerNews, arbiter: Arbiter) -> None:
        self.uri = uri
        self.name = uri
        """What the satellite calls itself, once it has said so."""
        self._area = ""
        self._serve = serve
        self._timer_news = timer_news
        self._arbiter = arbiter
        self._backoff = Backoff()
        self._trouble = ""
        self._connection: client.Connection | None = None
        self._turn: asyncio.Task[None] | None = None
        self._input: asyncio.Queue[Event] = asyncio.Queue()
        self._losing: asyncio.Future[None] | None = None
        self._word: Event | None = None
        self._repeated: RunPipeline | None = None
        self._news: asyncio.Queue[tuple[Change, Timer]] = asyncio.Queue()

    async def run(self) -> None:
        """Keep it driven. Ends only by being cancelled."""
        while True:
            try:
                await self._connect_and_drive()
            except SuperwhisperError as error:
                self._tell(str(error))
            except Exception as error:  # the boundary of a satellite: the others go on, and so does this one soon
                logger.exception("Driving %s failed", self.uri)
                self._tell(str(error))
            await self._backoff.pause()

    async def _connect_and_drive(self) -> None:
        """From connecting to losing it, which is raised."""
        began = time.monotonic()
        async with await client.Connection.open(self.uri, CONNECT_S, LOST_S) as connection:
            self._connection = connection
            try:
                await connection.send(RunSatellite())
                await connection.send(Describe())
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._ping(connection), name=f"ping {self.uri}")
                    group.create_task(self._tell_timers(), name=f"timers of {self.uri}")
                    await self._read(connection)
            except* SuperwhisperError as errors:
                raise errors.exceptions[0] from errors
            finally:
                self._connection = None
                self._timer_news.unsubscribe(self._timer_changed)
                await self._end_turn()
                with contextlib.suppress(SuperwhisperError, TimeoutError):
                    async with asyncio.timeout(1.0):
                        await connection.send(PauseSatellite())
                if time.monotonic() - began > LOST_S:
                    self._backoff.succeeded()

    async def _read(self, connection: client.Connection) -> None:
        while True:
            event = await connection.receive_any(LOST_S)  # answers pings in passing
            handle = _HANDLERS.get(event.type)
            if handle is not None:
                await handle(self, event)

    async def _ping(self, connection: client.Connection) -> None:
        while True:
            await connection.send(Ping())
            await asyncio.sleep(PING_S)

    def _tell(self, trouble: str) -> None:
        """One line for each new trouble, not one for each attempt."""
        if trouble != self._trouble:
            logger.warning("No connection to the satellite %s, trying again: %s", self.name, trouble)
        self._trouble = trouble

    # --- what the satellite says ---

    async def _on_info(self, event: Event) -> None:
        info = client.parsed(Info, event)
        if info.satellite is None:
            raise BadData(f"{self.uri} is no satellite")
        self.name, self._area = info.satellite.name or self.uri, info.satellite.area or ""
        self._trouble = ""
        self._timer_news.subscribe(self.name, self._timer_changed)
        logger.info("Driving the satellite %s at %s", self.name, self.uri)

    async def _on_detection(self, event: Event) -> None:
        self._word = event

    async def _on_run_pipeline(self, event: Event) -> None:
        request = client.parsed(RunPipeline, event)
        await self._end_turn()
        word, self._word = self._word, None
        if word is not None and not self._may_answer(word):
            await self._lose_turn()
            return
        self._repeated = request if request.restart_on_end else None
        self._begin_turn(request, event)

    async def _on_audio_chunk(self, event: Event) -> None:
        if self._turn is None and self._word is not None:  # a detection, then audio, and no request: as in HA
            self._word = None
            self._begin_turn(RunPipeline(PipelineStage.ASR, PipelineStage.TTS), Event("run-pipeline"))
        if self._turn is not None:
            self._input.put_nowait(event)

    async def _on_audio_stop(self, event: Event) -> None:
        """The microphone is closed: what was said has been said, whoever has noticed that first."""
        if self._turn is not None:
            self._input.put_nowait(event)

    async def _on_played(self, event: Event) -> None:
        """An answer was played. Said of one that is still being made: it is not wanted any more."""
        if self._turn is not None:
            logger.info("%s has cut its turn off", self.name)
            await self._end_turn()

    async def _on_pong(self, event: Event) -> None:
        pass

    async def _send(self, event: Event) -> None:
        connection = self._connection
        if connection is not None:
            await connection.send(event)

    # --- turns ---

    def _may_answer(self, word: Event) -> bool:
        loudness = word.data.get("loudness")
        heard_db = float(loudness) if isinstance(loudness, int | float) else 0.0
        return self._arbiter.claim(self.name, str(word.data.get("name") or ""), heard_db, self._give_up)

    def _give_up(self) -> None:
        """Another satellite has heard the wake word better."""
        if self._turn is not None:
            self._turn.cancel()
        self._losing = asyncio.ensure_future(self._lose_turn())

    async def _lose_turn(self) -> None:
        logger.info("Another satellite answers instead of %s", self.name)
        with contextlib.suppress(SuperwhisperError):
            await self._send(Error(text="Another satellite answers.", code=DUPLICATE).event())

    def _begin_turn(self, request: RunPipeline, event: Event) -> None:
        self._input = asyncio.Queue()
        turn = asyncio.create_task(self._run_turn(request, event, self._input), name=f"turn of {self.name}")
        turn.add_done_callback(lambda _: self._turn_over(turn, event))
        self._turn = turn

    def _turn_over(self, turn: asyncio.Task[None], event: Event) -> None:
        if not turn.cancelled() and turn.exception() is not None:
            logger.warning("A turn of %s failed: %s", self.name, turn.exception())
        if self._turn is not turn:
            return
        self._turn = None
        if self._connection is None:
            return
        self._timer_news.subscribe(self.name, self._timer_changed)
        if self._repeated is not None and not turn.cancelled():
            self._begin_turn(self._repeated, event)

    async def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.cancel()
            await asyncio.gather(turn, return_exceptions=True)

    async def _run_turn(self, request: RunPipeline, event: Event, said: asyncio.Queue[Event]) -> None:
        """Have this server run it on a connection of its own, which a turn that is cut off takes with it."""
        async with inside(self._serve, f"satellite {self.name}") as (incoming, outgoing):
            await outgoing.write(self._inner_request(request, event))
            over = asyncio.Event()
            sending = asyncio.create_task(self._send_said(said, outgoing, over), name=f"audio of {self.name}")
            reading = asyncio.create_task(self._send_answers(incoming, request, over), name=f"answer for {self.name}")
            try:
                await asyncio.wait({sending, reading}, return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    reading.result()
            finally:
                for task in (sending, reading):
                    task.cancel()
                await asyncio.gather(sending, reading, return_exceptions=True)

    def _inner_request(self, request: RunPipeline, event: Event) -> Event:
        words = request.wake_word_names
        inner: Event = RunPipeline(request.start_stage, PipelineStage.TTS, wake_word_names=words).event()
        language, voice = event.data.get("language"), event.data.get("voice")
        shared = {"name": self.name, "area": self._area, "language": language, "voice": voice}
        shared = {key: value for key, value in shared.items() if value}
        inner.data |= shared | {"context": {**shared, "conversation_id": f"satellite {self.name}"}}
        return inner

    async def _send_said(self, said: asyncio.Queue[Event], outgoing: EventWriter, over: asyncio.Event) -> None:
        """What is said, up to its end."""
        begun = False
        with contextlib.suppress(ConnectionError):
            while True:
                event = await said.get()
                if over.is_set():
                    continue
                if event.type == "audio-stop":
                    over.set()
                elif not begun:
                    format = client.chunk_format(event)
                    await outgoing.write(AudioStart(format.rate, format.width, format.channels).event())
                    begun = True
                if begun:
                    await outgoing.write(event)

    async def _send_answers(self, incoming: EventReader, request: RunPipeline, over: asyncio.Event) -> None:
        end = client.TurnEnd(PipelineStage.TTS, request.start_stage)
        while not end.reached:
            event = await incoming.read()
            if event is None:
                return
            if event.type in ("transcript", "voice-stopped"):
                over.set()
            if event.type in _FOR_THE_SATELLITE:
                await self._send(event)
            end.watch(event)
            if event.type == "error":
                return

    # --- timers ---

    def _timer_changed(self, change: Change, timer: Timer) -> None:
        self._news.put_nowait((change, timer))

    async def _tell_timers(self) -> None:
        while True:
            change, timer = await self._news.get()
            await self._send(timer_event(change, timer))


_HANDLERS: dict[str, Callable[[SatelliteDriver, Event], Awaitable[None]]] = {
    "info": SatelliteDriver._on_info,
    "detection": SatelliteDriver._on_detection,
    "run-pipeline": SatelliteDriver._on_run_pipeline,
    "audio-chunk": SatelliteDriver._on_audio_chunk,
    "audio-stop": SatelliteDriver._on_audio_stop,
    "played": SatelliteDriver._on_played,
    "pong": SatelliteDriver._on_pong,
}
