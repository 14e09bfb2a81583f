"""One connection over engines that are none: what must hold whatever the engines do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.tts import SynthesizeChunk, SynthesizeStart, SynthesizeStop

from tests.fakes import (
    FakeIntents,
    FakeLanguageModel,
    FakeRecognizer,
    FakeSynthesizer,
    FakeVoiceActivity,
    FakeWakeWords,
)
from tests.waiting import WAIT_S
from wyoming_superwhisper.byte_budget import ByteBudget
from wyoming_superwhisper.client import Connection as Client
from wyoming_superwhisper.client import Disconnected
from wyoming_superwhisper.config.settings import AsrSettings, LimitSettings, ServerSettings, Settings
from wyoming_superwhisper.conversation.assistant import Assistant
from wyoming_superwhisper.engines.base import LanguageModel
from wyoming_superwhisper.errors import EngineLost, SettingsError
from wyoming_superwhisper.home import Home
from wyoming_superwhisper.observer import NOBODY
from wyoming_superwhisper.pipeline.ahead import Shelf
from wyoming_superwhisper.pipeline.habits import Habits
from wyoming_superwhisper.pipeline.prepared import Prepared
from wyoming_superwhisper.pipeline.services import Services
from wyoming_superwhisper.pipeline.timer_news import TimerNews
from wyoming_superwhisper.server.event_queue import FREE_BYTES, EventQueue
from wyoming_superwhisper.server.server import Server
from wyoming_superwhisper.timers import Timers

LOUD = b"\x10\x10" * 1600
FORMAT = {"rate": 16_000, "width": 2, "channels": 1}


@dataclass
class Fakes:
    """The engines behind a server."""

    recognizer: FakeRecognizer
    synthesizer: FakeSynthesizer
    voice_activity: FakeVoiceActivity
    timers: Timers
    server: Server


@asynccontextmanager
async def serving(
    endpointing: Literal["client", "server"] = "client",
    limits: LimitSettings | None = None,
    reply: LanguageModel | None = None,
    **server_settings: Any,
) -> AsyncIterator[Fakes]:
    settings = Settings(
        asr=AsrSettings(endpointing=endpointing),
        limits=limits or LimitSettings(),
        server=ServerSettings(uri="tcp://127.0.0.1:0", **server_settings),
    )
    home, news = Home(settings.home), TimerNews()
    timers = Timers(news.tell)
    recognizer, synthesizer, voices = FakeRecognizer("bonjour"), FakeSynthesizer(), FakeVoiceActivity()
    prepared = Prepared.of(Shelf(NOBODY), FakeIntents(), reply or FakeLanguageModel("Oui."), synthesizer)
    services = Services(
        settings=settings,
        info=Event("info"),
        programs=frozenset(),
        asr_models=frozenset(),
        default_language="fr",
        default_voice="fr_FR-demo-low",
        recognizer=recognizer,
        voice_activity=voices,
        wake_words=FakeWakeWords("okay_nabu"),
        assistant=Assistant(prepared.intents, prepared.llm, home, timers=timers),
        synthesizer=prepared.synthesizer,
        timer_news=news,
        prepared=prepared,
        habits=Habits(),
    )
    server = Server(settings.server, settings.limits, services)
    await server.start()
    try:
        yield Fakes(recognizer, synthesizer, voices, timers, server)
    finally:
        hurry = asyncio.Event()
        hurry.set()
        await server.stop(0, hurry)


async def connect(fakes: Fakes) -> Client:
    return await Client.open(f"tcp://127.0.0.1:{fakes.server.port}", answer_s=WAIT_S)


async def types_until(client: Client, last: str) -> list[str]:
    types: list[str] = []
    while not types or types[-1] != last:
        types.append((await client.receive_any()).type)
    return types


def run_pipeline(start: str, end: str) -> Event:
    return Event("run-pipeline", {"start_stage": start, "end_stage": end, "name": "salon-pi"})


async def test_audio_after_a_run_that_ended_at_its_wake_word_is_nobodys() -> None:
    async with serving() as fakes, await connect(fakes) as client:
        await client.send(run_pipeline("wake", "wake"))
        await client.send(AudioStart(**FORMAT))
        for _ in range(3):
            await client.send(AudioChunk(audio=LOUD, **FORMAT))
        await client.send(AudioStop())
        await client.send(Event("transcript", {"text": "ça va ?"}))
        assert await types_until(client, "handled-stop") == [
            "detection", "handled-start", "handled-chunk", "handled", "handled-stop",
        ]  # fmt: skip


async def test_an_error_is_the_last_event_of_a_run() -> None:
    async with serving() as fakes, await connect(fakes) as client:
        fakes.recognizer.error = EngineLost("it died")
        await client.send(run_pipeline("asr", "tts"))
        await client.send(AudioStart(**FORMAT))
        await client.send(AudioChunk(audio=LOUD, **FORMAT))
        await client.send(AudioStop())
        assert (await types_until(client, "error"))[-1] == "error"
        await client.send(Event("transcript", {"text": "ça va ?"}))
        assert (await types_until(client, "handled-stop"))[-2:] == ["handled", "handled-stop"]


async def test_a_run_whose_audio_is_wrong_lets_go_of_everything() -> None:
    async with serving() as fakes, await connect(fakes) as client:
        await client.send(run_pipeline("asr", "tts"))
        await client.send(AudioStart(**FORMAT))
        await client.send(AudioChunk(audio=LOUD, **FORMAT))
        await client.send(AudioChunk(audio=b"odd", **FORMAT))
        await client.send(AudioStop())
        await types_until(client, "error")
        assert fakes.voice_activity.open_streams == 0


async def test_chunks_may_end_within_a_sample_but_not_the_audio() -> None:
    async with serving() as fakes, await connect(fakes) as client:
        await client.send(Transcribe())
        await client.send(AudioStart(**FORMAT))
        for start, end in ((0, 111), (111, 112), (112, 112), (112, len(LOUD))):
            await client.send(AudioChunk(audio=LOUD[start:end], **FORMAT))
        await client.send(AudioStop())
        await types_until(client, "transcript-stop")
        assert LOUD.startswith(fakes.recognizer.requests[0].audio[:3000])
        await client.send(Transcribe())
        await client.send(AudioStart(**FORMAT))
        for part in (LOUD[:111], LOUD[111:501]):
            await client.send(AudioChunk(audio=part, **FORMAT))
        await client.send(AudioStop())
        assert (await types_until(client, "transcript-stop"))[-2] == "transcript"
        await client.send(Transcribe())
        await client.send(AudioStart(**FORMAT))
        await client.send(AudioChunk(audio=LOUD[:111], **FORMAT))
        await client.send(AudioStop())
        assert (await types_until(client, "error"))[-1] == "error"
        await client.send(AudioStart(**FORMAT))
        await client.send(AudioChunk(audio=LOUD[:111], **FORMAT))
        assert await types_until(client, "error") == ["error"], "nobody asked for it: whole frames only"


async def test_a_stream_that_breaks_off_is_an_error_and_not_the_end_of_the_speech() -> None:
    async with serving() as fakes, await connect(fakes) as client:
        fakes.synthesizer.error = EngineLost("it died")
        await client.send(SynthesizeStart())
        await client.send(SynthesizeChunk(text="Bonjour tout le monde."))
        await client.send(SynthesizeStop())
        assert await types_until(client, "error") == ["error"]


async def test_a_stream_of_speech_is_finished_before_the_server_stops() -> None:
    async with serving() as fakes, await connect(fakes) as client:
        await client.send(SynthesizeStart())
        await client.send(SynthesizeChunk(text="Bonjour tout le monde, voici une phrase. Et en voici une autre."))
        await types_until(client, "audio-chunk")
        stopping = asyncio.create_task(fakes.server.stop(WAIT_S, asyncio.Event()))
        await asyncio.sleep(0.05)
        await client.send(SynthesizeStop())
        assert (await types_until(client, "synthesize-stopped"))[-2:] == ["audio-stop", "synthesize-stopped"]
        await stopping


async def test_a_server_that_stops_tells_those_who_wait_for_something_and_leaves_the_idle_alone() -> None:
    async with serving() as fakes, await connect(fakes) as listener, await connect(fakes) as satellite:
        await listener.send(Event("detect", {}))
        await listener.send(AudioStart(**FORMAT))
        await satellite.send(run_pipeline("wake", "tts"))
        await satellite.send(AudioStart(**FORMAT))
        for one in (listener, satellite):
            await one.send(Event("ping", {}))
            await types_until(one, "pong")
        half_reader, half = await asyncio.open_connection("127.0.0.1", fakes.server.port)
        half.write(b'{"type": "audio-chunk", "payload_le')
        idle_reader, idle = await asyncio.open_connection("127.0.0.1", fakes.server.port)
        idle.write(b'{"type": "ping"}\n')
        await idle_reader.readline()
        stopping = asyncio.create_task(fakes.server.stop(WAIT_S, asyncio.Event()))
        event = await listener.receive_any(WAIT_S)
        assert (event.type, event.data["code"]) == ("error", "stopping")
        assert b"stopping" in await half_reader.read()
        assert b"error" not in await idle_reader.read()
        with pytest.raises(Disconnected):
            await satellite.receive_any(WAIT_S)
        half.close()
        idle.close()
        await listener.close()
        await stopping


async def test_a_timer_is_said_while_a_satellite_waits_for_its_wake_word() -> None:
    async with serving() as fakes, await connect(fakes) as client:
        await client.send(run_pipeline("wake", "tts"))
        await client.send(AudioStart(**FORMAT))
        await client.send(AudioChunk(audio=bytes(3200), **FORMAT))
        await client.send(Event("ping", {"text": "?"}))
        await types_until(client, "pong")
        await asyncio.sleep(0.05)
        fakes.timers.start("salon-pi", {"seconds": 1}, "fr", "")
        assert (await types_until(client, "audio-stop"))[:2] == ["timer-started", "timer-finished"]


async def test_a_queue_is_bounded_by_all_the_bytes_that_came() -> None:
    queue = EventQueue(100, 1000)
    await queue.put(Event("transcript", {"text": "x" * 990}), 1010)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await queue.put(Event("ping"), 20)


async def test_what_waits_on_many_connections_shares_what_it_holds() -> None:
    budget = ByteBudget(50_000)
    crowd = [EventQueue(100, 1_000_000, budget) for _ in range(3)]
    first, second, third = crowd
    for queue in crowd:
        await queue.put(Event("audio-chunk"), 20_000)
        await queue.put(Event("audio-chunk"), 10_000)
    assert budget.free == 50_000, "so much may wait on every connection"
    await first.put(Event("audio-chunk"), 40_000)
    assert budget.free == 12_768
    assert not second.has_room_for(40_000)
    assert third.has_room_for(2_000)
    waiting = asyncio.create_task(second.put(Event("audio-chunk"), 40_000))
    for _ in range(3):
        await first.get()
    assert budget.free == 50_000
    await second.get()
    await waiting
    assert budget.free == 50_000 - (10_000 + 40_000 - FREE_BYTES)
    second.forget()
    assert budget.free == 50_000


async def test_a_unix_socket_in_use_is_left_to_its_server(tmp_path: Path) -> None:
    settings = Settings()
    uri = f"unix://{tmp_path / 'socket'}"
    async with serving() as fakes:
        services = fakes.server._services
        services = replace(services, settings=replace(settings, server=replace(settings.server, uri=uri)))
        first, second = (Server(services.settings.server, settings.limits, services) for _ in range(2))
        await first.start()
        with pytest.raises(SettingsError, match="in use"):
            await second.start()
        async with await Client.open(uri, answer_s=WAIT_S) as client:
            await client.send(Event("ping", {"text": "?"}))
            assert (await client.receive()).type == "pong"
        await first.stop(0, asyncio.Event())


async def test_the_server_ends_an_utterance_where_it_says_so() -> None:
    async with serving("server") as fakes, await connect(fakes) as client:
        for _ in range(2):  # the first one's audio goes on after its transcript
            await client.send(Event("transcribe"))
            await client.send(AudioStart(**FORMAT))
            for number in range(12):
                await client.send(AudioChunk(audio=LOUD if number < 2 else bytes(3200), **FORMAT))
                await asyncio.sleep(0.1)
            assert (await types_until(client, "transcript-stop"))[-2:] == ["transcript", "transcript-stop"]
            await client.send(AudioChunk(audio=LOUD, **FORMAT))
            await client.send(AudioStop())


async def test_a_file_is_heard_to_its_end() -> None:
    async with serving("server") as fakes, await connect(fakes) as client:
        await client.send(AudioStart(**FORMAT))
        for part in (LOUD, bytes(32_000), LOUD):
            await client.send(AudioChunk(audio=part, **FORMAT))
        await client.send(AudioStop())
        await types_until(client, "transcript-stop")
        assert len(fakes.recognizer.requests[0].audio) >= 38_000
