"""Clients as plain as Home Assistant's: one connection for each request, times taken where the client waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.event import Event

from benchmarks.spoken import RATE, Spoken

CHUNK_BYTES = 320
"""10 ms, as Home Assistant sends the microphone's audio."""
FILE_CHUNK_BYTES = 2048
LIMIT_S = 120.0


@dataclass(frozen=True)
class Heard:
    """A transcript, and what was waited for it."""

    text: str
    stop_s: float
    """From `audio-stop` to the transcript; below zero: it came before."""
    end_s: float
    """From the end of speech to the transcript."""


@dataclass
class Sound:
    """A reply's sound."""

    first_s: float = 0.0
    """From the request (its last event) to the first audio."""
    total_s: float = 0.0
    audio: bytes = b""
    rate: int = 0
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    """When each chunk came, from the beginning, and its bytes."""


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[AsyncTcpClient]:
    client = AsyncTcpClient("127.0.0.1", port)
    await client.connect()
    try:
        yield client
    finally:
        await client.disconnect()


async def until(client: AsyncTcpClient, *kinds: str) -> Event:
    """The next event of these types. Raises RuntimeError for an `error`, or the end."""
    while True:
        event = await asyncio.wait_for(client.read_event(), LIMIT_S)
        if event is None:
            raise RuntimeError(f"the server closed the connection before {kinds}")
        if event.type in kinds:
            return event
        if event.type == "error":
            raise RuntimeError(event.data)


async def describe(port: int) -> float:
    """Seconds from connecting to `info`."""
    began = time.monotonic()
    async with connected(port) as client:
        await client.write_event(Event("describe"))
        await until(client, "info")
    return time.monotonic() - began


async def transcribe(port: int, spoken: Spoken, *, real_time: bool = True) -> Heard:
    """Stream a sentence as it is spoken, or as fast as it goes."""
    async with connected(port) as client:
        await client.write_event(Transcribe(language=spoken.language).event())
        await client.write_event(AudioStart(rate=RATE, width=2, channels=1).event())
        answer = asyncio.create_task(_answer(client))
        began = time.monotonic()
        await _stream(client, spoken.audio, began if real_time else None, answer)
        stopped = time.monotonic()
        if not answer.done():
            await client.write_event(AudioStop().event())
        text, came = await answer
        return Heard(text, came - stopped, came - began - spoken.end_s)


async def converse(port: int, text: str, language: str, conversation: str) -> tuple[str, float]:
    """The answer's text, and the time to it."""
    async with connected(port) as client:
        context = {"conversation_id": conversation}
        began = time.monotonic()
        await client.write_event(Event("transcript", {"text": text, "language": language, "context": context}))
        answer = await until(client, "handled", "intent", "not-handled", "not-recognized", "intents-stop")
        return str(answer.data.get("text") or ""), time.monotonic() - began


async def speak(port: int, text: str) -> Sound:
    """Have a text spoken, as Home Assistant asks for a whole one where streaming is offered."""
    async with connected(port) as client:
        sound, began = Sound(), time.monotonic()
        for event in (
            Event("synthesize-start"), Event("synthesize-chunk", {"text": text}), Event("synthesize", {"text": text}),
            Event("synthesize-stop"),
        ):  # fmt: skip
            await client.write_event(event)
        await hear(client, sound, began, "synthesize-stopped")
        return sound


async def speak_word_by_word(port: int, words: Sequence[str], pause_s: float) -> Sound:
    """Feed a text word by word; times count from the first word."""
    async with connected(port) as client:
        sound, began = Sound(), time.monotonic()
        await client.write_event(Event("synthesize-start"))
        hearing = asyncio.create_task(hear(client, sound, began, "synthesize-stopped"))
        for word in words:
            await client.write_event(Event("synthesize-chunk", {"text": word + " "}))
            await asyncio.sleep(pause_s)
        await client.write_event(Event("synthesize-stop"))
        await hearing
        return sound


async def turn(port: int, spoken: Spoken) -> tuple[float, str]:
    """A whole turn straight against the server: seconds from the end of speech to the first sound of the answer."""
    async with connected(port) as client:
        data = {"start_stage": "asr", "end_stage": "tts", "language": spoken.language, "name": "benchmark"}
        await client.write_event(Event("run-pipeline", data))
        await client.write_event(AudioStart(rate=RATE, width=2, channels=1).event())
        answer = asyncio.create_task(until(client, "audio-chunk"))
        began = time.monotonic()
        await _stream(client, spoken.audio, began, answer)
        await answer
        took = time.monotonic() - began - spoken.end_s
        await until(client, "audio-stop")
        return took, spoken.text


async def hear(client: AsyncTcpClient, sound: Sound, began: float, end: str) -> None:
    """Receive a sound up to its end."""
    while (event := await until(client, "audio-start", "audio-chunk", end)).type != end:
        if event.type == "audio-chunk":
            now = time.monotonic() - began
            sound.first_s = sound.first_s or now
            sound.arrivals.append((now, len(event.payload or b"")))
            sound.audio += event.payload or b""
            sound.rate = event.data["rate"]
    sound.total_s = time.monotonic() - began


async def _answer(client: AsyncTcpClient) -> tuple[str, float]:
    event = await until(client, "transcript")
    return event.data["text"], time.monotonic()


async def _stream(client: AsyncTcpClient, audio: bytes, began: float | None, answer: asyncio.Task[object]) -> None:
    """Send audio until it ends or the answer is there; `began`: at the pace it is spoken, from then."""
    size = FILE_CHUNK_BYTES if began is None else CHUNK_BYTES
    for at in range(0, len(audio), size):
        if answer.done():
            return
        chunk = AudioChunk(rate=RATE, width=2, channels=1, audio=audio[at : at + size])
        await client.write_event(chunk.event())
        if began is not None:
            await asyncio.sleep(max(0.0, began + (at + size) / (2 * RATE) - time.monotonic()))
