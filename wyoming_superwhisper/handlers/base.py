"""What handlers share: the session of a connection, and who gets its audio.

A handler turns the events of one service into calls of the pipeline, and the results into events. One set of
handlers exists per connection; `events` is its dispatch table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from wyoming.event import Event, Eventable

from wyoming_superwhisper.audio import AudioFormat
from wyoming_superwhisper.errors import NotAllowed
from wyoming_superwhisper.pipeline.services import Services

EventMethod = Callable[[Event], Awaitable[None]]


class AudioConsumer(Protocol):
    """A request that is waiting for audio."""

    @property
    def utterance_open(self) -> bool:
        """Whether somebody is being listened to: then a server that stops waits for the end of the utterance."""

    async def audio_start(self, audio_format: AudioFormat, timestamp_ms: int) -> None:
        """Audio of this format begins. Raises `BadFormat`."""

    async def audio_chunk(self, audio: bytes, timestamp_ms: int | None) -> None:
        """Whole frames of the format that began. Raises `TooLong`, `BadFormat`."""

    async def audio_stop(self) -> None:
        """The audio has ended; the request answers now."""

    async def audio_dropped(self) -> None:
        """The request is over (another took its place, it failed, or the client left): free what it holds."""


class PipelineTurn(Protocol):
    """A pipeline run: while it lasts, these events are part of it and no requests of their own."""

    async def transcribe(self, event: Event) -> None:
        """Says the language of the speech that follows."""

    async def transcript(self, event: Event) -> None:
        """A sentence in text, for a run that begins after recognition."""

    async def finished(self) -> None:
        """Wait until what was asked is answered; returns at once while the run waits for input."""

    async def end(self) -> None:
        """Cancel what is at work and let go of the connection."""


class Handler(Protocol):
    """One service on one connection."""

    @property
    def events(self) -> Mapping[str, EventMethod]:
        """Which event types this handler takes, and by which method."""

    async def close(self) -> None:
        """The connection is over: free what is held. Must not raise."""


@dataclass
class Session:
    """One connection, as its handlers see it."""

    peer: str
    """Address of the client, for log lines and fair turns."""
    services: Services
    write: Callable[[Event], Awaitable[None]]
    write_encoded: Callable[[bytes], Awaitable[None]]
    spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]
    """Runs a coroutine as a task of the connection; the connection awaits it, and cancels it at its end."""
    end_of_speech: Callable[[], None] = lambda: None
    """Called when the server, not the client, finds that the speaker has ended; for the figures."""
    more_waits: Callable[[], bool] = lambda: False
    """Whether more events of this client have come than were handled yet."""
    consumer: AudioConsumer | None = None
    turn: PipelineTurn | None = None
    """The pipeline run of this connection, while it lasts."""
    sound: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a reply sounds, so that a timer's never mixes with a turn's."""
    audio_format: AudioFormat | None = None
    """Format of the audio that the consumer is getting; None: none has begun for it."""
    discard_audio: bool = False
    """What is left of a request's audio is thrown away, up to the next `audio-start`."""
    keep_open: bool = False
    """A failed request doesn't close this connection (a satellite that runs turn after turn)."""

    async def send(self, event: Event | Eventable) -> None:
        """Send to the client; waits while the client is slow. Raises `ConnectionError` when it has left."""
        await self.write(event if isinstance(event, Event) else event.event())

    def require(self, *services: str) -> None:
        """Raises `NotAllowed` where the settings offer none of these services."""
        offered = self.services.settings.server.services
        if not any(service in offered for service in services):
            raise NotAllowed(f"'{' or '.join(services)}' is switched off here (server.services).")

    async def listen(self, consumer: AudioConsumer) -> None:
        """Give the audio that follows to this consumer; a request that was waiting for audio is dropped."""
        previous, self.consumer = self.consumer, consumer
        self.audio_format, self.discard_audio = None, False
        if previous is not None and previous is not consumer:
            await previous.audio_dropped()
