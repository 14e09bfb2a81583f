"""What is said to the server in tests: speech made on the spot, and requests as a plain Wyoming client sends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.event import Event, Eventable

from tests.conftest import RunningServer
from tests.waiting import WAIT_S
from wyoming_superwhisper.models.demo import espeak

ESPEAK_RATE = 22_050
PAUSE_S = 0.4


def said(text: str, voice: str = "fr", rate: int = 160) -> bytes:
    """Speech at 22.05 kHz, s16le mono, with a pause before and after it."""
    pause = np.zeros(int(PAUSE_S * ESPEAK_RATE), dtype=np.int16)
    return np.concatenate([pause, espeak.speak_apart(text, voice, rate=rate), pause]).tobytes()


@dataclass
class Client:
    """A stock Wyoming client with a time limit on each answer."""

    wyoming: AsyncTcpClient
    seen: list[Event] = field(default_factory=list)

    async def send(self, *events: Event | Eventable) -> None:
        for event in events:
            await self.wyoming.write_event(event if isinstance(event, Event) else event.event())

    async def receive(self) -> Event:
        event = await asyncio.wait_for(self.wyoming.read_event(), WAIT_S)
        assert event is not None, f"the server closed the connection after {[one.type for one in self.seen]}"
        self.seen.append(event)
        return event

    async def until(self, *kinds: str) -> list[Event]:
        """Everything up to the first event of one of these types; an `error` that isn't asked for fails."""
        events = []
        while True:
            event = await self.receive()
            events.append(event)
            if event.type in kinds:
                return events
            assert event.type != "error", event.data

    async def at_end(self) -> bool:
        """Whether the server has closed the connection."""
        return await asyncio.wait_for(self.wyoming.read_event(), WAIT_S) is None

    async def transcribe(self, audio: bytes, language: str | None, rate: int = ESPEAK_RATE, **request: Any) -> str:
        await self.send(Transcribe(language=language, **request), *audio_events(audio, rate))
        events = await self.until("transcript-stop")
        [transcript] = [event for event in events if event.type == "transcript"]
        text: str = transcript.data["text"]
        return text


@asynccontextmanager
async def client(server: RunningServer) -> AsyncIterator[Client]:
    wyoming = AsyncTcpClient(server.host, server.port)
    await wyoming.connect()
    try:
        yield Client(wyoming)
    finally:
        await wyoming.disconnect()


def audio_events(audio: bytes, rate: int, width: int = 2, channels: int = 1, chunk_ms: int = 64) -> Sequence[Event]:
    size = rate * chunk_ms // 1000 * width * channels
    layout = {"rate": rate, "width": width, "channels": channels}
    chunks = [AudioChunk(audio=audio[start : start + size], **layout).event() for start in range(0, len(audio), size)]
    return [AudioStart(**layout).event(), *chunks, AudioStop().event()]


def sound_of(events: Sequence[Event]) -> tuple[bytes, int]:
    """The audio in these events, and its rate."""
    [start] = [event for event in events if event.type == "audio-start"]
    return b"".join(event.payload or b"" for event in events if event.type == "audio-chunk"), start.data["rate"]
