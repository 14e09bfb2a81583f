"""Audio that is far too much: bounded memory, a clear refusal, and nothing that is lost without a word."""

from __future__ import annotations

import asyncio

import psutil
import pytest
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event

from tests.conftest import RunningServer
from tests.server.speech import client, said
from tests.server.test_malformed import describe
from tests.waiting import WAIT_S

HALF_AN_HOUR_S = 1_800
LAYOUT = {"rate": 16_000, "width": 2, "channels": 1}
SECOND = bytes(range(256)) * 125  # noise that is loud


async def send_half_an_hour(server: RunningServer) -> list[str]:
    """As fast as it goes, and only then look what came: what a simple client does. The codes of the errors."""
    async with client(server) as one:
        await one.send(Event("transcribe", {"language": "fr"}), AudioStart(**LAYOUT))
        for _ in range(HALF_AN_HOUR_S):
            await one.send(AudioChunk(audio=SECOND, **LAYOUT))
        await one.send(AudioStop())
        found = []
        while (event := await asyncio.wait_for(one.wyoming.read_event(), WAIT_S)) is not None:
            found.append(str(event.data.get("code") or event.type))
        return found


async def test_three_utterances_of_half_an_hour_as_fast_as_they_go(server: RunningServer) -> None:
    front = psutil.Process(server.process.pid)
    before = front.memory_info().rss
    answers = asyncio.gather(*(send_half_an_hour(server) for _ in range(3)))
    highest = before
    while not answers.done():
        await asyncio.wait([answers], timeout=0.2)
        highest = max(highest, front.memory_info().rss)
        await describe(server)
    assert await answers == [["too-long"]] * 3
    assert highest - before < 64 * 2**20, f"{(highest - before) / 2**20:.0f} MB"


@pytest.mark.parametrize(
    "layout",
    [
        {"rate": 1, "width": 2, "channels": 1},
        {"rate": 64_000, "width": 2, "channels": 1},
        {"rate": 16_000, "width": 2, "channels": 9},
        {"rate": 16_000, "width": 0, "channels": 1},
        {"rate": 16_000, "width": 5, "channels": 1},
        {"rate": 0, "width": 2, "channels": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["transcribe", "detect"])
async def test_odd_formats_are_refused_and_cost_nothing(
    server: RunningServer, layout: dict[str, int], kind: str
) -> None:
    front = psutil.Process(server.process.pid)
    before = front.memory_info().rss
    async with client(server) as one:
        await one.send(Event(kind), Event("audio-start", layout), Event("audio-chunk", layout, bytes(40_000)))
        while (event := await one.receive()).type != "error":
            pass
    assert event.data["code"] == "bad-format"
    assert front.memory_info().rss - before < 8 * 2**20


async def test_parts_of_frames_are_refused_and_the_connection_goes_on(server: RunningServer) -> None:
    async with client(server) as one:
        layout = {"rate": 22_050, "width": 2, "channels": 2}
        await one.send(Event("transcribe"), Event("audio-start", layout), Event("audio-chunk", layout, bytes(4_001)))
        await one.send(Event("audio-stop"))
        error = await one.receive()
        assert (error.type, error.data["code"]) == ("error", "bad-format")
        assert await one.transcribe(said("Bonjour."), "fr")


@pytest.mark.parametrize(
    "events",
    [
        [],
        [Event("audio-start", LAYOUT)],
        [Event("transcribe"), Event("audio-start", LAYOUT)],
    ],
    ids=["unasked", "begun", "asked for"],
)
async def test_a_frame_that_never_becomes_whole_is_an_error_with_nothing_more_sent(
    server: RunningServer, events: list[Event]
) -> None:
    async with client(server) as one:
        await one.send(*events, Event("audio-chunk", LAYOUT, bytes(1_001)))
        error = await one.receive()
        assert (error.type, error.data["code"]) == ("error", "bad-format")
        assert await one.transcribe(said("Bonjour."), "fr")


async def test_pieces_of_any_length_are_put_together_where_speech_was_asked_for(server: RunningServer) -> None:
    audio = said("Bonjour.")
    async with client(server) as one:
        await one.send(Event("transcribe", {"language": "fr"}), AudioStart(**LAYOUT))
        await one.send(*(AudioChunk(audio=audio[at : at + 4_095], **LAYOUT) for at in range(0, len(audio), 4_095)))
        await one.send(AudioStop())
        assert (await one.until("transcript"))[-1].data["text"] == "Bonjour."


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (Event("synthesize", {"text": "Bonjour.", "voice": {"name": "../../../etc/passwd"}}), "unknown-voice"),
        (Event("synthesize", {"text": "Bonjour.", "voice": {"name": "/models/voice.onnx"}}), "unknown-voice"),
        (
            Event("synthesize", {"text": "a", "voice": {"name": "fr_FR-demo-medium", "speaker": "../x"}}),
            "unknown-voice",
        ),
        (Event("transcribe", {"name": "/etc/passwd"}), "unknown-model"),
        (Event("transcribe", {"name": "openai/whisper-large-v3"}), "unknown-model"),
        (Event("detect", {"names": ["../../okay_nabu"]}), "unknown-model"),
        (Event("select-program", {"name": "../superwhisper"}), "unknown-model"),
    ],
    ids=lambda value: value.type if isinstance(value, Event) else value,
)
async def test_a_path_is_no_name_of_anything(server: RunningServer, event: Event, code: str) -> None:
    async with client(server) as one:
        await one.send(event)
        error = await one.receive()
        assert (error.type, error.data["code"]) == ("error", code)
