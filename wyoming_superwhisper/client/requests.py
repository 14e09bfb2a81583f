"""What a server can be asked, one function for each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence

from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.pipeline import PipelineStage
from wyoming.tts import Synthesize, SynthesizeVoice
from wyoming.wake import Detect, Detection, NotDetected

from wyoming_superwhisper.audio import SPEECH, AudioFormat
from wyoming_superwhisper.client.answer import Answer, SpokenChunk, read_answer, read_speech
from wyoming_superwhisper.client.connection import ANSWER_S, Connection, parsed
from wyoming_superwhisper.client.pipeline import TurnEnd, pipeline_request, without_empty

DESCRIBE_S = 5.0
"""Time for `describe` to be answered, in seconds."""
CHUNK_S = 0.1
"""Length of the audio chunks that are sent, in seconds."""


async def describe(uri: str, answer_s: float = DESCRIBE_S) -> Info:
    """What the server offers."""
    async with await Connection.open(uri, answer_s, answer_s) as connection:
        await connection.send(Describe())
        return parsed(Info, await _receive_one_of(connection, {"info"}))


async def transcribe(
    uri: str,
    audio: bytes,
    format: AudioFormat = SPEECH,
    language: str | None = None,
    names: Sequence[str] = (),
    terms: Sequence[str] = (),
    realtime: bool = False,
    answer_s: float = ANSWER_S,
) -> str:
    """The words spoken in `audio`; "" for silence. `realtime`: send it at the pace at which it was spoken."""
    async with await Connection.open(uri, answer_s=answer_s) as connection:
        request = Transcribe(
            language=language, transcript_names=list(names) or None, transcript_terms=list(terms) or None
        )
        await connection.send(request)
        async with _sending(connection, audio, format, realtime):
            return parsed(Transcript, await _receive_one_of(connection, {"transcript"})).text


async def synthesize(
    uri: str,
    text: str,
    voice: str | None = None,
    language: str | None = None,
    speaker: str | None = None,
    answer_s: float = ANSWER_S,
) -> AsyncIterator[SpokenChunk]:
    """The text spoken, in pieces as they are made. Closing the iterator cancels the work on the server."""
    chosen = SynthesizeVoice(name=voice, language=language, speaker=speaker) if voice or language else None
    async with await Connection.open(uri, answer_s=answer_s) as connection:
        await connection.send(Synthesize(text=text, voice=chosen))
        async for chunk in read_speech(connection):
            yield chunk


async def ask(
    uri: str,
    text: str,
    language: str | None = None,
    conversation: str | None = None,
    area: str | None = None,
    execute: bool = False,
    on_text: Callable[[str], None] | None = None,
    answer_s: float = ANSWER_S,
) -> Answer:
    """The server's answer to a sentence; `on_text` is called with each piece of free text as it is written.

    An intent comes back to be executed by the caller; with `execute` the server executes what it can.
    """
    context = without_empty({"conversation_id": conversation, "language": language, "area": area})
    async with await Connection.open(uri, answer_s=answer_s) as connection:
        if execute:
            stage = PipelineStage.HANDLE
            await connection.send(pipeline_request(stage, stage, language, conversation, area=area))
        await connection.send(Transcript(text=text, language=language, context=context or None))
        return await read_answer(connection, on_text)


async def detect(
    uri: str, audio: bytes, format: AudioFormat = SPEECH, names: Sequence[str] = (), realtime: bool = False
) -> str | None:
    """Name of the wake word that is heard in `audio`, or None."""
    async with await Connection.open(uri) as connection:
        await connection.send(Detect(names=list(names) or None))
        async with _sending(connection, audio, format, realtime):
            event = await _receive_one_of(connection, {"detection", "not-detected"})
            return None if NotDetected.is_type(event.type) else parsed(Detection, event).name


async def run_pipeline(
    uri: str,
    audio: bytes,
    format: AudioFormat = SPEECH,
    language: str | None = None,
    conversation: str | None = None,
    name: str | None = None,
    area: str | None = None,
    start_stage: PipelineStage = PipelineStage.ASR,
    end_stage: PipelineStage = PipelineStage.TTS,
    realtime: bool = False,
) -> AsyncIterator[Event]:
    """A whole turn: the server's events as they come, up to the end of the turn.

    Raises what an `error` event stands for; closing the iterator cancels the turn.
    """
    async with await Connection.open(uri) as connection:
        await connection.send(pipeline_request(start_stage, end_stage, language, conversation, name, area))
        async with _sending(connection, audio, format, realtime):
            end = TurnEnd(end_stage, start_stage)
            while not end.reached:
                event = await connection.receive()
                end.watch(event)
                yield event


@contextlib.asynccontextmanager
async def _sending(connection: Connection, audio: bytes, format: AudioFormat, realtime: bool) -> AsyncIterator[None]:
    """Sends the audio while the context is open, so that an answer that comes early is not missed."""
    sender = asyncio.create_task(_send_audio(connection, audio, format, realtime), name="send audio")
    try:
        yield
    finally:
        sender.cancel()
        # Not its exception: a connection that is lost, and why, is told by whoever reads the answer.
        await asyncio.gather(sender, return_exceptions=True)


async def _send_audio(connection: Connection, audio: bytes, format: AudioFormat, realtime: bool) -> None:
    shape = {"rate": format.rate, "width": format.width, "channels": format.channels}
    await connection.send(AudioStart(**shape))
    step = format.bytes_of(CHUNK_S)
    began = time.monotonic()
    for at in range(0, len(audio), step):
        if realtime:  # a chunk can be sent once it has been spoken
            spoken_s = format.seconds(min(at + step, len(audio)))
            await asyncio.sleep(began + spoken_s - time.monotonic())
        await connection.send(AudioChunk(audio=audio[at : at + step], **shape))
    await connection.send(AudioStop())


async def _receive_one_of(connection: Connection, types: set[str]) -> Event:
    while True:
        event = await connection.receive()
        if event.type in types:
            return event
