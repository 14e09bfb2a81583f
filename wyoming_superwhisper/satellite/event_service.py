"""Tells a Wyoming event service what happens, in the protocol's own words, as the stock satellite does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Self

from wyoming.asr import Transcript
from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.satellite import SatelliteConnected, SatelliteDisconnected, StreamingStarted, StreamingStopped
from wyoming.snd import Played
from wyoming.timer import TimerCancelled, TimerFinished, TimerStarted, TimerUpdated
from wyoming.tts import Synthesize
from wyoming.vad import VoiceStarted, VoiceStopped
from wyoming.wake import Detect, Detection

from wyoming_superwhisper import client
from wyoming_superwhisper.errors import SuperwhisperError
from wyoming_superwhisper.satellite.news import Item
from wyoming_superwhisper.satellite.reconnect import Backoff

logger = logging.getLogger(__name__)

WAITING = 256
"""Events that wait while the service is away; beyond that the oldest is dropped."""


class EventService:
    """Tells one service while the context is open; a `Reader` of the news."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._events: asyncio.Queue[Event] = asyncio.Queue(WAITING)
        self._trouble = ""
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="event service")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def __call__(self, item: Item) -> None:
        """It has happened."""
        make = _EVENTS.get(item.kind)
        if make is None:
            return
        if self._events.full():
            self._events.get_nowait()
        made = make(item)
        self._events.put_nowait(made if isinstance(made, Event) else made.event())

    async def _run(self) -> None:
        backoff = Backoff()
        event: Event | None = None
        while True:
            try:
                async with await client.Connection.open(self._uri) as connection:
                    self._trouble = ""
                    while True:
                        event = event or await self._events.get()
                        await connection.send(event)
                        event = None
                        backoff.succeeded()
            except SuperwhisperError as error:
                if str(error) != self._trouble:
                    logger.warning("The event service can't be told, trying again: %s", error)
                self._trouble = str(error)
            await backoff.pause()


_EVENTS: dict[str, Callable[[Item], Event | Eventable]] = {
    "connected": lambda item: SatelliteConnected(),
    "disconnected": lambda item: SatelliteDisconnected(),
    "idle": lambda item: Detect(),
    "awake": lambda item: Detection(name=item.text),
    "listening": lambda item: StreamingStarted(),
    "thinking": lambda item: StreamingStopped(),
    "voice-started": lambda item: VoiceStarted(),
    "voice-stopped": lambda item: VoiceStopped(),
    "transcript": lambda item: Transcript(text=item.text),
    "reply": lambda item: Synthesize(text=item.text),
    "speaking": lambda item: Event("speaking"),
    "played": lambda item: Played(),
    "error": lambda item: Error(text=item.text, code=str(item.data.get("code") or "")),
    "timer-started": lambda item: TimerStarted(
        id=item.data["id"], total_seconds=round(item.data["seconds"]), name=item.text or None
    ),
    "timer-updated": lambda item: TimerUpdated(
        id=item.data["id"], is_active=item.data["active"], total_seconds=round(item.data["seconds"])
    ),
    "timer-cancelled": lambda item: TimerCancelled(id=item.data["id"]),
    "timer-finished": lambda item: TimerFinished(id=item.data["id"]),
}
