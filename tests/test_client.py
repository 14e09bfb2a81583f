"""The client calls, against servers that answer rightly, late, wrongly or not at all."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.handle import Handled, HandledChunk, HandledStart, HandledStop
from wyoming.info import AsrModel, AsrProgram, Attribution, Info
from wyoming.intent import Entity, Intent, IntentsStart, IntentsStop, NotRecognized
from wyoming.ping import Ping
from wyoming.pipeline import PipelineStage
from wyoming.wake import Detection, NotDetected

from tests.scripted_server import Peer, scripted_server
from tests.waiting import WAIT_S
from wyoming_superwhisper import client
from wyoming_superwhisper.audio import AudioFormat
from wyoming_superwhisper.errors import BadData, EngineLost, Internal, SettingsError, Timeout, UnknownVoice

ME = Attribution(name="", url="")
MODEL = AsrModel(name="m", attribution=ME, installed=True, description=None, version=None, languages=["fr"])
INFO = Info(asr=[AsrProgram(name="a", attribution=ME, installed=True, description=None, version=None, models=[MODEL])])
SPEECH = bytes(range(256)) * 125  # one second


async def test_describe_gives_what_the_server_offers() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until("describe")
        await peer.send(INFO)

    async with scripted_server(script) as server:
        info = await client.describe(server.uri)
    assert info.asr[0].models[0].languages == ["fr"]


async def test_a_unix_socket_works_too(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until("describe")
        await peer.send(INFO)

    async with scripted_server(script, path=str(tmp_path / "socket")) as server:
        assert (await client.describe(server.uri)).asr


async def test_transcribe_sends_every_byte_in_order_and_the_hints() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until("audio-stop")
        await peer.send(Transcript(text="Allume la cuisine."))

    async with scripted_server(script) as server:
        text = await client.transcribe(server.uri, SPEECH, language="fr", names=["cuisine"], terms=["lumière"])
        peer = server.peers[0]
    assert text == "Allume la cuisine."
    assert peer.audio() == SPEECH
    assert peer.types() == ["transcribe", "audio-start", "audio-chunk", "audio-stop"]
    assert peer.received[0].data == {
        "language": "fr", "transcript_names": ["cuisine"], "transcript_terms": ["lumière"],
    }  # fmt: skip


async def test_a_transcript_that_comes_before_the_end_of_the_audio_is_taken_at_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until("audio-chunk")
        await peer.send(Transcript(text="Stop."))
        await peer.read_until("never")

    async with scripted_server(script) as server:
        assert await client.transcribe(server.uri, SPEECH * 60, realtime=True) == "Stop."
        assert len(server.peers[0].audio()) < len(SPEECH) * 30


async def test_realtime_audio_takes_as_long_as_it_was_spoken() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until("audio-stop")
        await peer.send(Transcript(text=""))

    async with scripted_server(script) as server:
        began = time.monotonic()
        assert await client.transcribe(server.uri, SPEECH[:16000], realtime=True) == ""
    assert time.monotonic() - began > 0.45


async def test_synthesize_yields_the_audio_as_it_comes_with_its_format() -> None:
    shape = {"rate": 22050, "width": 2, "channels": 1}
    more = asyncio.Event()

    async def script(peer: Peer) -> None:
        request = await peer.read_until("synthesize")
        assert request.data == {"text": "Bonjour.", "voice": {"name": "siwis", "speaker": "2"}}
        await peer.send(AudioStart(**shape), AudioChunk(audio=b"ab", **shape))
        await more.wait()
        await peer.send(AudioChunk(audio=b"cd", **shape), AudioStop())

    async with scripted_server(script) as server:
        audio = []
        async for chunk in client.synthesize(server.uri, "Bonjour.", voice="siwis", speaker="2"):
            more.set()
            assert chunk.format == AudioFormat(22050, 2, 1)
            audio.append(chunk.audio)
    assert audio == [b"ab", b"cd"]


async def test_ask_streams_free_text_and_ends_with_the_whole() -> None:
    async def script(peer: Peer) -> None:
        request = await peer.read_until("transcript")
        assert request.data["context"] == {"conversation_id": "c1", "language": "fr"}
        await peer.send(HandledStart(), HandledChunk(text="Bon"), HandledChunk(text="jour."), HandledStop())
        await peer.send(Handled(text="Bonjour.", context={"answered_by": "llm:demo"}))

    pieces: list[str] = []
    async with scripted_server(script) as server:
        answer = await client.ask(server.uri, "Salut", "fr", conversation="c1", on_text=pieces.append)
    assert pieces == ["Bon", "jour."]
    assert (answer.outcome, answer.text, answer.answered_by) == ("handled", "Bonjour.", "llm:demo")


async def test_ask_gives_one_intent_several_intents_or_none() -> None:
    one = Intent(name="HassTurnOn", entities=[Entity("area", "Salon")], text="Allumé")
    two = Intent(name="HassTurnOff", text="Éteint")

    async def script(peer: Peer) -> None:
        text = (await peer.read_until("transcript")).data["text"]
        if text == "one":
            await peer.send(one)
        elif text == "two":
            await peer.send(IntentsStart(), one, two, IntentsStop())
        else:
            await peer.send(NotRecognized(text="Pardon ?"))

    async with scripted_server(script) as server:
        single = await client.ask(server.uri, "one")
        several = await client.ask(server.uri, "two")
        none = await client.ask(server.uri, "what")
    assert single.outcome == "intents"
    assert single.intents == (one,)
    assert several.intents == (one, two)
    assert several.text == "Allumé\nÉteint"
    assert (none.outcome, none.text) == ("not-recognized", "Pardon ?")


async def test_ask_with_execute_runs_the_end_of_a_pipeline() -> None:
    async def script(peer: Peer) -> None:
        run = await peer.read_until("run-pipeline")
        assert (run.data["start_stage"], run.data["end_stage"], run.data["area"]) == ("handle", "handle", "Salon")
        await peer.read_until("transcript")
        await peer.send(Handled(text="Il est midi."))

    async with scripted_server(script) as server:
        assert (await client.ask(server.uri, "heure", area="Salon", execute=True)).text == "Il est midi."


async def test_detect_gives_the_word_or_none() -> None:
    async def script(peer: Peer) -> None:
        names = (await peer.read_until("detect")).data["names"]
        await peer.read_until("audio-stop")
        await peer.send(Detection(name="alexa") if names == ["alexa"] else NotDetected())

    async with scripted_server(script) as server:
        assert await client.detect(server.uri, SPEECH, names=["alexa"]) == "alexa"
        assert await client.detect(server.uri, SPEECH) is None


async def test_a_turn_ends_with_the_audio_of_its_answer() -> None:
    shape = {"rate": 22050, "width": 2, "channels": 1}

    async def script(peer: Peer) -> None:
        run = await peer.read_until("run-pipeline")
        assert run.data["context"] == {"name": "salon-pi", "area": "salon", "conversation_id": "c"}
        await peer.read_until("audio-stop")
        await peer.send(Transcript(text="Blague"), HandledStart(), AudioStart(**shape), AudioStop())
        await peer.send(Handled(text="Ha."), AudioStart(**shape), AudioStop(), ("ping", {}))
        await peer.read_until("never")

    async with scripted_server(script) as server:
        events = client.run_pipeline(server.uri, SPEECH, name="salon-pi", area="salon", conversation="c")
        types = [event.type async for event in events]
    assert types == [
        "transcript", "handled-start", "audio-start", "audio-stop", "handled", "audio-start", "audio-stop",
    ]  # fmt: skip


async def test_an_error_event_becomes_the_exception_of_its_code() -> None:
    async def script(peer: Peer) -> None:
        text = (await peer.read_until("synthesize")).data["text"]
        await peer.send(Error(text="no such voice", code="unknown-voice") if text == "a" else Error(text="oh"))

    async with scripted_server(script) as server:
        with pytest.raises(UnknownVoice, match="no such voice"):
            _ = [chunk async for chunk in client.synthesize(server.uri, "a")]
        with pytest.raises(Internal, match="oh"):
            _ = [chunk async for chunk in client.synthesize(server.uri, "b")]


async def test_an_error_during_a_turn_is_raised() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until("audio-start")
        await peer.send(Error(text="the recogniser was lost", code="engine-lost"))

    async with scripted_server(script) as server:
        with pytest.raises(EngineLost):
            _ = [event async for event in client.run_pipeline(server.uri, SPEECH)]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("info", {"asr": 5}),
        ("info", {"asr": [{}]}),
        ("handled-chunk", {}),
        ("intent", {"entities": 3}),
    ],
)
async def test_an_answer_that_is_not_what_the_protocol_says_is_bad_data(kind: str, data: dict[str, object]) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until("describe", "transcript")
        await peer.send((kind, data))
        await peer.read_until("never")

    async with scripted_server(script) as server:
        asked = client.describe(server.uri) if kind == "info" else client.ask(server.uri, "Salut", on_text=print)
        with pytest.raises(BadData, match=kind):
            await asked


async def test_a_servers_ping_is_answered_in_passing() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until("describe")
        await peer.send(Ping(text="there?"))
        assert (await peer.read_until("pong")).data == {"text": "there?"}
        await peer.send(INFO)

    async with scripted_server(script) as server:
        assert (await client.describe(server.uri)).asr


async def test_nobody_listening_is_unreachable(unused_tcp_port: int) -> None:
    with pytest.raises(client.Unreachable, match=rf"{unused_tcp_port} \(Connection refused\): is a server running"):
        await client.describe(f"tcp://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(client.Unreachable):
        await client.describe("unix:///nowhere/at/all")


@pytest.mark.parametrize("uri", ["localhost:10300", "tcp://localhost", "tcp://h:99999", "http://h:1", "", "stdio://"])
async def test_what_is_no_uri_is_said_to_be_none(uri: str) -> None:
    with pytest.raises(SettingsError, match="tcp://HOST:PORT"):
        await client.describe(uri)


async def test_a_server_that_never_answers_is_a_timeout() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until("never")

    async with scripted_server(script) as server:
        with pytest.raises(Timeout):
            await client.describe(server.uri, answer_s=0.2)


async def test_a_server_that_closes_in_mid_answer_is_disconnected() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until("audio-chunk")

    async with scripted_server(script) as server:
        with pytest.raises(client.Disconnected):
            await client.transcribe(server.uri, SPEECH * 20)


async def test_waiting_goes_on_until_the_server_is_there(unused_tcp_port: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until("describe")
        await peer.send(INFO)

    waiting = asyncio.create_task(client.wait_listening(f"tcp://127.0.0.1:{unused_tcp_port}", WAIT_S))
    await asyncio.sleep(0.3)
    async with scripted_server(script, unused_tcp_port):
        assert (await waiting).asr


async def test_waiting_for_nobody_ends(unused_tcp_port: int) -> None:
    with pytest.raises(Timeout, match="not ready"):
        await client.wait_listening(f"tcp://127.0.0.1:{unused_tcp_port}", 0.3)


@pytest.mark.parametrize(
    ("start", "end", "types", "over_after"),
    [
        ("asr", "tts", ["transcript", "audio-start", "audio-stop", "handled", "audio-stop"], 5),
        ("asr", "tts", ["transcript", "handled", "audio-start", "audio-chunk", "audio-stop"], 5),
        ("asr", "handle", ["transcript", "handled-start", "handled"], 3),
        ("asr", "asr", ["voice-stopped", "transcript"], 2),
        ("intent", "intent", ["intent"], 1),
        ("intent", "intent", ["intents-start", "intent", "intent", "intents-stop"], 4),
        ("tts", "tts", ["synthesize", "audio-start", "audio-stop"], 3),
        ("wake", "tts", ["not-detected"], 1),
        ("wake", "wake", ["detection"], 1),
    ],
)
def test_a_turn_is_over_where_the_protocol_says(start: str, end: str, types: list[str], over_after: int) -> None:
    turn_end = client.TurnEnd(PipelineStage(end), PipelineStage(start))
    reached = []
    for kind in types:
        turn_end.watch(Event(kind))
        reached.append(turn_end.reached)
    assert reached.index(True) + 1 == over_after
