"""A server's connections in memory, over engines that understand numbered words and note what they are asked.

Speech is made of words: word 3 is audio of the amplitude 3. Recognition reads the words back from exactly the audio it
is given, takes its time, and can be cancelled. So what anybody hears of a guess can be told from what was said.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

import numpy as np
from wyoming.event import Event

from tests.fakes import FakeVoiceActivity, FakeWakeWords
from wyoming_superwhisper.config.settings import AsrSettings, Settings
from wyoming_superwhisper.conversation.assistant import Assistant
from wyoming_superwhisper.conversation.executor import Executed
from wyoming_superwhisper.conversation.said import Said
from wyoming_superwhisper.engines.base import (
    AnswerPart,
    AnswerRequest,
    IntentCall,
    Priority,
    RecognizeRequest,
    SpeakRequest,
    Speech,
    TranscribeRequest,
    Transcription,
    VoiceInfo,
)
from wyoming_superwhisper.errors import Busy
from wyoming_superwhisper.home import Home
from wyoming_superwhisper.observer import Observer
from wyoming_superwhisper.pipeline.ahead import Shelf
from wyoming_superwhisper.pipeline.habits import Habits
from wyoming_superwhisper.pipeline.prepared import Prepared
from wyoming_superwhisper.pipeline.services import Services
from wyoming_superwhisper.pipeline.timer_news import TimerNews
from wyoming_superwhisper.server.connection import Connection
from wyoming_superwhisper.wire import EventParser, EventReader, EventWriter, Limits, encode

RATE = 16_000
AUDIO = {"rate": RATE, "width": 2, "channels": 1}
CHUNK_S = 0.02
WORDS = ("zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix")


@dataclass
class Engine:
    """What all the engines here share: they take time, and note what is at work."""

    longest_s: float = 0.0
    random: random.Random = field(default_factory=lambda: random.Random(1))
    requests: list[tuple[Any, Priority]] = field(default_factory=list)
    at_work: int = 0
    cancelled: int = 0
    fail_guesses: bool = False

    async def work(self, request: Any, priority: Priority) -> None:
        self.requests.append((request, priority))
        self.at_work += 1
        try:
            await asyncio.sleep(self.random.uniform(0, self.longest_s))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_work -= 1
        if self.fail_guesses and priority is Priority.GUESS:
            raise Busy("Not now.")

    def guesses(self) -> int:
        return sum(priority is Priority.GUESS for _, priority in self.requests)


class Recognizer(Engine):
    """Hears the words in the audio, as certain of their end as it is told to be."""

    languages = ("fr", "en")
    end_logprob: float = 0.0
    loss_without_end: float = 0.0

    async def transcribe(self, request: TranscribeRequest, priority: Priority = Priority.FINAL) -> Transcription:
        await self.work(request, priority)
        return Transcription(
            words_in(request.audio),
            request.language or "fr",
            end_logprob=self.end_logprob,
            loss_without_end=self.loss_without_end if request.look_back else math.inf,
        )


class Intents(Engine):
    """Understands the sentences that `is_command` says."""

    languages = ("fr", "en")
    is_command: Callable[[str], bool] = staticmethod(lambda text: False)
    place: Mapping[str, str] = MappingProxyType({})

    async def recognize(self, request: RecognizeRequest, priority: Priority = Priority.FINAL) -> tuple[IntentCall, ...]:
        await self.work(request, priority)
        if not self.is_command(request.text):
            return ()
        return (IntentCall("HassTurnOn", {"name": request.text, **self.place}, f"Fait : {request.text}."),)

    async def complete(
        self, calls: Sequence[IntentCall], language: str, area: str | None = None
    ) -> tuple[IntentCall, ...]:
        return tuple(calls)


class Model(Engine):
    """Answers with what it was asked, in several parts; says of guesses how likely they are whole, where it can."""

    whole: float | None = None

    async def answer(self, request: AnswerRequest, priority: Priority = Priority.FINAL) -> AsyncIterator[AnswerPart]:
        await self.work(request, priority)
        self.at_work += 1
        try:
            if self.whole is not None and priority is Priority.GUESS:
                yield AnswerPart(whole=self.whole)
            for part in ("Vous ", "dites : ", f"{request.text}. ", "C'est tout."):
                yield AnswerPart(text=part)
                await asyncio.sleep(self.random.uniform(0, self.longest_s / 4))
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        finally:
            self.at_work -= 1


class Synthesizer(Engine):
    """Says a text as its bytes."""

    voices = (VoiceInfo("fr_FR-demo-low", ("fr_FR",), RATE),)

    async def speak(self, request: SpeakRequest, priority: Priority = Priority.FINAL) -> Speech:
        await self.work(request, priority)
        return Speech(sound_of(request.text), RATE, 1.0)


class Executor:
    """Notes what was executed."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def execute(self, call: IntentCall, said: Said, language: str, area: str | None) -> Executed:
        self.done.append(str(call.slots["name"]))
        return Executed(call.text, True)


class Counts(Observer):
    """Counts what became of guesses."""

    def __init__(self) -> None:
        self.guesses: dict[tuple[str, str], int] = {}

    def guess(self, stage: str, kept: bool) -> None:
        key = stage, "kept" if kept else "dropped"
        self.guesses[key] = self.guesses.get(key, 0) + 1


class House:
    """One server without sockets. Engines take up to `takes_s`; settings of recognition by their names."""

    def __init__(self, seed: int = 1, takes_s: float = 0.1, **asr: Any) -> None:
        rng = random.Random(seed)
        self.recognizer, self.intents = Recognizer(takes_s, rng), Intents(takes_s / 10, rng)
        self.model, self.synthesizer = Model(takes_s, rng), Synthesizer(takes_s, rng)
        self.voices, self.executor, self.counts = FakeVoiceActivity(), Executor(), Counts()
        self.now = datetime(2026, 1, 5, 12)
        settings = Settings(asr=AsrSettings(**asr))
        home = Home(settings.home)
        prepared = Prepared.of(Shelf(self.counts), self.intents, self.model, self.synthesizer)
        self.services = Services(
            settings=settings,
            info=b"",
            programs=frozenset(),
            asr_models=frozenset(),
            default_language="fr",
            default_voice="fr_FR-demo-low",
            recognizer=self.recognizer,
            voice_activity=self.voices,
            wake_words=FakeWakeWords("okay_nabu"),
            assistant=Assistant(
                prepared.intents,
                prepared.llm,
                home,
                languages=("fr",),
                executor=self.executor,
                now=lambda: self.now,
            ),
            synthesizer=prepared.synthesizer,
            timer_news=TimerNews(),
            prepared=prepared,
            habits=Habits(lambda: asyncio.get_running_loop().time()),
            observer=self.counts,
        )
        self._ports = itertools.count(40_000)

    @property
    def engines(self) -> tuple[Engine, ...]:
        return self.recognizer, self.intents, self.model, self.synthesizer

    @property
    def at_work(self) -> int:
        return sum(engine.at_work for engine in self.engines)

    @asynccontextmanager
    async def client(self, address: str = "10.0.0.7") -> AsyncIterator[Client]:
        """A connection; leaving the block is leaving the server."""
        reader = asyncio.StreamReader()
        transport = MemoryTransport()
        stream = MemoryWriter(transport, reader)
        peer = f"{address}:{next(self._ports)}"
        connection = Connection(
            EventReader(reader, Limits()), EventWriter(stream), self.services, peer, observer=self.counts
        )
        task = asyncio.create_task(connection.run())
        try:
            yield Client(reader, transport)
        finally:
            reader.set_exception(ConnectionResetError())
            await task

    async def close(self) -> None:
        """The server stops."""
        await self.services.prepared.shelf.close()


class MemoryTransport(asyncio.Transport):
    """Keeps the events that were written."""

    def __init__(self) -> None:
        super().__init__()
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self._parser = EventParser(Limits())
        self._closing = False

    def write(self, data: Any) -> None:
        self._parser.feed(bytes(data))
        while (event := self._parser.next_event()) is not None:
            self.events.put_nowait(event)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0


class MemoryWriter(asyncio.StreamWriter):
    """A writer whose peer takes everything at once."""

    def __init__(self, transport: MemoryTransport, reader: asyncio.StreamReader) -> None:
        super().__init__(transport, asyncio.StreamReaderProtocol(reader), reader, asyncio.get_running_loop())

    async def drain(self) -> None:
        await asyncio.sleep(0)

    async def wait_closed(self) -> None:
        return

    def __del__(self, warnings: object = None) -> None:
        """There is nothing that could be left open."""


@dataclass
class Client:
    """The other end of a connection."""

    reader: asyncio.StreamReader
    transport: MemoryTransport
    seen: list[Event] = field(default_factory=list)
    sent_s: float = 0.0

    @property
    def waited_s(self) -> float:
        """Time since something was sent."""
        return asyncio.get_running_loop().time() - self.sent_s

    async def send(self, *events: Event) -> None:
        for event in events:
            self.reader.feed_data(encode(event) + (event.payload or b""))
        self.sent_s = asyncio.get_running_loop().time()
        await asyncio.sleep(0)

    async def speak(self, *segments: tuple[int, float]) -> None:
        """Send words and pauses (word 0) as they are spoken."""
        for event in chunks(speech(*segments)):
            await self.send(event)
            await asyncio.sleep(CHUNK_S)

    async def receive(self, limit_s: float = 60.0) -> Event:
        event = await asyncio.wait_for(self.transport.events.get(), limit_s)
        self.seen.append(event)
        return event

    async def until(self, *kinds: str) -> Event:
        while (event := await self.receive()).type not in kinds:
            pass
        return event

    def take(self) -> list[Event]:
        """What has come and was not received yet."""
        while not self.transport.events.empty():
            self.seen.append(self.transport.events.get_nowait())
        return self.seen


def speech(*segments: tuple[int, float]) -> bytes:
    """Words and pauses (word 0), each of so many seconds, as audio."""
    return b"".join(np.full(int(seconds * RATE), word, "<i2").tobytes() for word, seconds in segments)


def chunks(audio: bytes) -> list[Event]:
    size = 2 * int(CHUNK_S * RATE)
    return [Event("audio-chunk", dict(AUDIO), audio[at : at + size]) for at in range(0, len(audio), size)]


def words_in(audio: bytes) -> str:
    """The words of a piece of audio, in order."""
    samples = np.frombuffer(audio, "<i2")
    begins = np.flatnonzero(np.diff(samples, prepend=0))
    return " ".join(WORDS[word] for word in samples[begins] if word)


def text_of(segments: Sequence[tuple[int, float]]) -> str:
    """What is to be heard of words and pauses."""
    return words_in(speech(*segments))


def sound_of(text: str) -> bytes:
    """What `Synthesizer` makes of a text."""
    return text.encode("utf-16-le")


def text_in(events: Sequence[Event]) -> str:
    """What is said in the sound of these events."""
    return b"".join(event.payload or b"" for event in events if event.type == "audio-chunk").decode("utf-16-le")
