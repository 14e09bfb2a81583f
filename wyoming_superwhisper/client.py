"""The client side of Wyoming: one function for each thing to ask a server, over a connection that never hangs.

Every call takes a URI, has time limits for connecting and for each answer, and turns a server's `error` event into the
exception of that code. URIs: tcp://HOST:PORT, unix://PATH, or tls://HOST:PORT?ca=FILE&certificate=FILE&key=FILE, where
each of the three files (PEM) may be left out: without `ca` the server must be known to an authority that the system
trusts.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.handle import Handled, HandledChunk, NotHandled
from wyoming.info import Describe, Info
from wyoming.intent import Intent, IntentsStart, IntentsStop, NotRecognized
from wyoming.ping import Ping, Pong
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming.tts import Synthesize, SynthesizeVoice
from wyoming.wake import Detect, Detection, NotDetected

from wyoming_superwhisper.access import TlsFiles, client_tls
from wyoming_superwhisper.audio import SPEECH, AudioFormat
from wyoming_superwhisper.errors import BadData, SettingsError, SuperwhisperError, Timeout, from_code, system_reason
from wyoming_superwhisper.wire import EventReader, EventWriter, Limits

T = TypeVar("T")

CONNECT_S = 5.0
"""Time for a connection to be made, in seconds."""
ANSWER_S = 120.0
"""Longest silence of a server that owes an answer, in seconds; its models may still be loading."""
DESCRIBE_S = 5.0
"""Time for `describe` to be answered, in seconds."""
WRITE_S = 15.0
"""Time without progress after which sending is given up, in seconds."""
CHUNK_S = 0.1
"""Length of the audio chunks that are sent, in seconds."""
RETRY_S = 0.1
"""Pause between two looks whether a server is there yet, in seconds."""
ANSWERS = frozenset({"handled", "not-handled", "not-recognized"})
"""The events of which one carries the reply of a turn."""


class Unreachable(SuperwhisperError):
    """Nobody listens at the URI, or the connection was not made in time."""


class Disconnected(SuperwhisperError):
    """The server closed the connection before it had answered."""


# --- results ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SpokenChunk:
    """A piece of a synthesised reply, as it comes."""

    audio: bytes
    format: AudioFormat


Outcome = Literal["handled", "intents", "not-recognized", "not-handled"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server made of a sentence."""

    outcome: Outcome
    text: str
    """The reply in words; with several intents, one line each."""
    intents: tuple[Intent, ...] = ()
    """What the client is to execute, where `outcome` is "intents"."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """The server's own remarks: `conversation_id`, `answered_by`."""

    @property
    def answered_by(self) -> str:
        """The intent or model that answered, as `intent:NAME` or `llm:MODEL`; "" where the server doesn't say."""
        return str(self.context.get("answered_by") or "")


# --- connections -----------------------------------------------------------------------------------------------


class Connection:
    """An open connection to a Wyoming server: events out, events in, each within a time limit.

    Use as `async with await Connection.open(uri) as connection`. Pings of the server are answered in passing.
    """

    def __init__(self, uri: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer_s: float) -> None:
        self.uri = uri
        self._incoming = EventReader(reader, Limits())
        self._outgoing = EventWriter(writer, write_s=WRITE_S)
        self._answer_s = answer_s

    @classmethod
    async def open(cls, uri: str, connect_s: float = CONNECT_S, answer_s: float = ANSWER_S) -> Self:
        """Connect. Raises `Unreachable`, and `SettingsError` for a URI that is none or its files."""
        try:
            async with asyncio.timeout(connect_s):
                reader, writer = await _connect(uri)
        except TimeoutError as error:
            raise Unreachable(f"{uri} does not answer within {connect_s:g} s") from error
        except OSError as error:
            raise Unreachable(
                f"cannot connect to {uri} ({system_reason(error)}): is a server running there?"
            ) from error
        return cls(uri, reader, writer, answer_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def send(self, event: Eventable | Event) -> None:
        """Send one event. Raises `Disconnected`, also where the server takes nothing any more."""
        try:
            await self._outgoing.write(event if isinstance(event, Event) else event.event())
        except OSError as error:
            raise Disconnected(f"{self.uri} closed the connection") from error

    async def receive(self, answer_s: float | None = None) -> Event:
        """The next event. Raises `Disconnected`, `Timeout`, and what an `error` event stands for."""
        event = await self.receive_any(answer_s)
        if Error.is_type(event.type):
            raise error_of(event)
        return event

    async def receive_any(self, answer_s: float | None = None) -> Event:
        """The next event, an `error` too. Raises `Disconnected`, `Timeout`."""
        limit_s = self._answer_s if answer_s is None else answer_s
        try:
            async with asyncio.timeout(limit_s):
                event = await self._next()
        except TimeoutError as error:
            raise Timeout(f"{self.uri} has not answered within {limit_s:g} s") from error
        except OSError as error:
            raise Disconnected(f"{self.uri} closed the connection") from error
        return event

    async def close(self) -> None:
        """Close the connection; it may be closed already."""
        await self._outgoing.close()

    async def _next(self) -> Event:
        while True:
            event = await self._incoming.read()
            if event is None:
                raise Disconnected(f"{self.uri} closed the connection before it had answered")
            if not Ping.is_type(event.type):
                return event
            await self._outgoing.write(Pong(text=Ping.from_event(event).text).event())


def parsed(kind: type[T], event: Event) -> T:
    """The event as this class of the protocol. Raises `BadData` where its fields are not what the protocol says."""
    try:
        made: T = kind.from_event(event)  # type: ignore[attr-defined]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadData(f"the server's '{event.type}' is not what the protocol says ({error})") from error
    return made


def error_of(event: Event) -> SuperwhisperError:
    """The exception that a server's `error` event stands for."""
    data = event.data or {}
    return from_code(str(data.get("code") or ""), str(data.get("text") or "the server reports an error"))


async def _connect(uri: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(uri)
    if parts.scheme == "unix" and parts.netloc + parts.path:
        return await asyncio.open_unix_connection(parts.netloc + parts.path)
    if parts.scheme == "tcp" and parts.hostname and _port(uri):
        return await asyncio.open_connection(parts.hostname, _port(uri))
    if parts.scheme == "tls" and parts.hostname and _port(uri):
        return await asyncio.open_connection(parts.hostname, _port(uri), ssl=client_tls(_tls_files(uri)))
    raise SettingsError(f"{uri!r} is no address of a server: write tcp://HOST:PORT, tls://HOST:PORT or unix://PATH")


def _tls_files(uri: str) -> TlsFiles:
    named = {key: str(Path(value).expanduser()) for key, value in parse_qsl(urlsplit(uri).query)}
    try:
        return TlsFiles(**named)
    except TypeError:
        raise SettingsError(f"{uri!r} names an unknown file: ca, certificate and key are known") from None


def _port(uri: str) -> int | None:
    try:
        return urlsplit(uri).port
    except ValueError:
        return None


# --- what a server can be asked --------------------------------------------------------------------------------


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
        async for chunk in _spoken(connection):
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
    context = _without_empty({"conversation_id": conversation, "language": language, "area": area})
    async with await Connection.open(uri, answer_s=answer_s) as connection:
        if execute:
            stage = PipelineStage.HANDLE
            await connection.send(pipeline_request(stage, stage, language, conversation, area=area))
        await connection.send(Transcript(text=text, language=language, context=context or None))
        return await _answer(connection, on_text)


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


# --- waiting for a server --------------------------------------------------------------------------------------


async def wait_listening(uri: str, timeout_s: float = 30.0) -> Info:
    """Wait until the server answers `describe`. Raises `Timeout`."""
    ends = time.monotonic() + timeout_s
    while True:
        try:
            return await describe(uri)
        except SuperwhisperError as error:
            if time.monotonic() >= ends:
                raise Timeout(f"{uri} is not ready after {timeout_s:g} s: {error}") from error
        await asyncio.sleep(RETRY_S)


async def wait_ready(uri: str, timeout_s: float = 120.0) -> Info:
    """Wait until the server has spoken, heard and answered something, so that its models are loaded.

    Raises `Timeout`, and what the server reports.
    """
    info = await wait_listening(uri, timeout_s)
    try:
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
            group.create_task(_speak_and_hear(uri, info, timeout_s), name="try speech")
            group.create_task(_try_answer(uri, info, timeout_s), name="try answer")
    except TimeoutError as error:
        raise Timeout(f"{uri} is not ready after {timeout_s:g} s") from error
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return info


async def _speak_and_hear(uri: str, info: Info, timeout_s: float) -> None:
    language = _first_language(info)
    if not (info.tts and info.asr):
        return
    text = _GREETING.get(language, _GREETING["en"])
    chunks = [chunk async for chunk in synthesize(uri, text, language=language, answer_s=timeout_s)]
    if chunks:
        audio = b"".join(chunk.audio for chunk in chunks)
        await transcribe(uri, audio, chunks[0].format, language, answer_s=timeout_s)


async def _try_answer(uri: str, info: Info, timeout_s: float) -> None:
    if info.handle or info.intent:
        language = _first_language(info)
        await ask(uri, _GREETING.get(language, _GREETING["en"]), language, answer_s=timeout_s)


_GREETING = {"fr": "Bonjour.", "en": "Hello.", "es": "Hola."}


def _first_language(info: Info) -> str:
    return next((language for program in info.asr for model in program.models for language in model.languages), "en")


# --- the parts of requests and answers -------------------------------------------------------------------------


class TurnEnd:
    """Knows, from a server's events, when a turn by `run-pipeline` is over (`docs/protocol.md`)."""

    def __init__(
        self, end_stage: PipelineStage = PipelineStage.TTS, start_stage: PipelineStage = PipelineStage.ASR
    ) -> None:
        self.reached = False
        self._last = _ENDS[end_stage]
        self._answered = start_stage is PipelineStage.TTS
        self._several = False

    def watch(self, event: Event) -> None:
        """Take the next event of the server."""
        if event.type in ANSWERS:
            self._answered = True
        elif IntentsStart.is_type(event.type):
            self._several = True
        unanswered = AudioStop.is_type(event.type) and not self._answered
        one_of_several = Intent.is_type(event.type) and self._several
        self.reached = event.type in self._last and not (unanswered or one_of_several)


_ENDS: dict[PipelineStage, frozenset[str]] = {
    PipelineStage.WAKE: frozenset({"detection", "not-detected"}),
    PipelineStage.ASR: frozenset({"transcript", "not-detected"}),
    PipelineStage.INTENT: ANSWERS | {"intent", "intents-stop", "not-detected"},
    PipelineStage.HANDLE: ANSWERS | {"not-detected"},
    PipelineStage.TTS: frozenset({"audio-stop", "not-detected"}),
}


def pipeline_request(
    start_stage: PipelineStage = PipelineStage.ASR,
    end_stage: PipelineStage = PipelineStage.TTS,
    language: str | None = None,
    conversation: str | None = None,
    name: str | None = None,
    area: str | None = None,
) -> Event:
    """The `run-pipeline` event with our own optional fields."""
    event: Event = RunPipeline(start_stage=start_stage, end_stage=end_stage).event()
    shared = _without_empty({"language": language, "name": name, "area": area})
    context = shared | _without_empty({"conversation_id": conversation})
    event.data |= shared | _without_empty({"context": context})
    return event


def chunk_format(event: Event) -> AudioFormat:
    """The format that an `audio-start` or `audio-chunk` states. Raises `BadData`, `BadFormat`."""
    data = event.data or {}
    try:
        return AudioFormat(data["rate"], data["width"], data["channels"])
    except KeyError as error:
        raise BadData(f"{event.type} has no {error.args[0]}") from error


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


async def _spoken(connection: Connection) -> AsyncIterator[SpokenChunk]:
    while True:
        event = await connection.receive()
        if AudioStop.is_type(event.type):
            return
        if AudioChunk.is_type(event.type) and event.payload:
            yield SpokenChunk(event.payload, chunk_format(event))


async def _answer(connection: Connection, on_text: Callable[[str], None] | None) -> Answer:
    several = False
    intents: list[Intent] = []
    while True:
        event = await connection.receive()
        if HandledChunk.is_type(event.type) and on_text is not None:
            on_text(parsed(HandledChunk, event).text)
        elif IntentsStart.is_type(event.type):
            several = True
        elif Intent.is_type(event.type):
            intents.append(parsed(Intent, event))
        elif event.type in ANSWERS:
            return _worded_answer(event)
        if intents and (not several or IntentsStop.is_type(event.type)):
            texts = dict.fromkeys(intent.text for intent in intents if intent.text)
            return Answer("intents", "\n".join(texts), tuple(intents), intents[0].context or {})


def _worded_answer(event: Event) -> Answer:
    kind, outcome = _WORDED[event.type]
    answer = parsed(kind, event)
    return Answer(outcome, answer.text or "", context=answer.context or {})


_WORDED: dict[str, tuple[type[Any], Outcome]] = {
    "handled": (Handled, "handled"),
    "not-handled": (NotHandled, "not-handled"),
    "not-recognized": (NotRecognized, "not-recognized"),
}


async def _receive_one_of(connection: Connection, types: set[str]) -> Event:
    while True:
        event = await connection.receive()
        if event.type in types:
            return event


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}
