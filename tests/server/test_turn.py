"""Whole turns by `run-pipeline`, as a satellite runs them."""

import asyncio
import time

import pytest
from wyoming.event import Event
from wyoming.pipeline import PipelineStage, RunPipeline

from tests.conftest import RunningServer
from tests.server.speech import ESPEAK_RATE, Client, audio_events, client, said, sound_of
from wyoming_superwhisper.models.demo.domain import load_replies


def run(start: str = "asr", end: str = "tts", **more: object) -> Event:
    event: Event = RunPipeline(start_stage=PipelineStage(start), end_stage=PipelineStage(end)).event()
    event.data |= more
    return event


async def turn(one: Client, text: str, voice: str = "fr", language: str = "fr") -> list[Event]:
    await one.send(run(language=language), *audio_events(said(text, voice), ESPEAK_RATE))
    return await one.until("audio-stop")


def only(events: list[Event], kind: str) -> Event:
    [event] = [event for event in events if event.type == kind]
    return event


async def test_a_spoken_question_gets_a_spoken_answer(server: RunningServer) -> None:
    async with client(server) as one:
        events = await turn(one, "Quelle heure est-il ?")
        handled = only(events, "handled")
        audio, rate = sound_of(events)
        heard = await one.transcribe(audio, "fr", rate)
    assert only(events, "transcript").data["text"] == "Quelle heure est-il ?"
    assert handled.data["context"]["answered_by"] == "intent:HassGetCurrentTime"
    assert time.strftime("%H") in handled.data["text"] or str(int(time.strftime("%H"))) in handled.data["text"]
    assert heard, handled.data["text"]


async def test_two_turns_on_one_connection_and_the_model_answers_the_second(server: RunningServer) -> None:
    async with client(server) as one:
        await turn(one, "Quelle heure est-il ?")
        events = await turn(one, "Tell me a joke.", "en-us", "en")
    handled = only(events, "handled")
    assert handled.data["text"] in load_replies()["en"]
    assert handled.data["context"]["answered_by"].startswith("llm:")
    kinds = [event.type for event in events]
    assert kinds.index("transcript") < kinds.index("handled-chunk") < kinds.index("handled")


async def test_a_device_is_not_claimed_to_be_switched(server: RunningServer) -> None:
    async with client(server) as one:
        events = await turn(one, "Allume la lumière du salon.")
    assert only(events, "not-handled").data["text"]
    assert len(sound_of(events)[0]) > 10_000


async def test_a_timer_is_set_and_asked_for_by_its_own_satellite(server: RunningServer) -> None:
    async with client(server) as one:
        await one.send(
            run(name="kitchen", language="fr"), *audio_events(said("Mets un minuteur de 10 minutes."), ESPEAK_RATE)
        )
        events = await one.until("audio-stop")
    assert only(events, "handled").data["context"]["answered_by"] == "intent:HassStartTimer"


async def test_a_timer_that_has_finished_is_said_at_its_satellite(server: RunningServer) -> None:
    async with client(server) as one:
        sentence = {"text": "Mets un minuteur de 1 seconde.", "language": "fr"}
        await one.send(run("handle", name="bathroom", language="fr"), Event("transcript", sentence))
        events = await one.until("audio-stop")
        assert "timer-started" in [event.type for event in events]
        rung = await one.until("audio-stop")
    assert "timer-finished" in [event.type for event in events + rung]
    assert len(sound_of(rung)[0]) > 10_000


async def test_silence_ends_the_turn_with_an_error_and_the_connection_lives(server: RunningServer) -> None:
    async with client(server) as one:
        await one.send(run(), *audio_events(bytes(2 * ESPEAK_RATE), ESPEAK_RATE))
        while (event := await one.receive()).type != "error":
            pass
        assert event.data["code"] == "no-text"
        assert only(await turn(one, "Quelle heure est-il ?"), "handled")


async def test_the_server_ends_an_utterance_that_comes_at_the_pace_it_is_spoken(server: RunningServer) -> None:
    audio = said("Quelle heure est-il ?") + bytes(4 * ESPEAK_RATE)
    async with client(server) as one:
        await one.send(run(language="fr"))

        async def stream() -> None:
            for event in audio_events(audio, ESPEAK_RATE)[:-1]:
                await one.send(event)
                await asyncio.sleep(0.064)

        speaking = asyncio.create_task(stream())
        events = await one.until("audio-stop")
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
    kinds = [event.type for event in events]
    assert kinds.index("voice-started") < kinds.index("voice-stopped") < kinds.index("transcript")


async def test_text_can_begin_a_turn_and_an_announcement_needs_no_question(server: RunningServer) -> None:
    async with client(server) as one:
        await one.send(run("handle"), Event("transcript", {"text": "Quel jour sommes-nous ?", "language": "fr"}))
        assert only(await one.until("audio-stop"), "handled").data["text"]
        await one.send(run("tts", announce_text="Le repas est prêt."))
        assert len(sound_of(await one.until("audio-stop"))[0]) > 10_000


async def test_another_run_takes_the_place_of_the_one_before(server: RunningServer) -> None:
    async with client(server) as one:
        await one.send(run("tts", announce_text="Bonjour. " * 200))
        await one.until("audio-chunk")
        await one.send(
            run("handle", "handle"), Event("transcript", {"text": "Quelle heure est-il ?", "language": "fr"})
        )
        assert (await one.until("handled", "not-handled"))[-1].type == "handled"


@pytest.mark.parametrize(
    "data",
    [
        {"start_stage": "tts", "end_stage": "asr"},
        {"start_stage": "lunch", "end_stage": "tts"},
        {"start_stage": "tts", "end_stage": "tts"},
        {"start_stage": 5, "end_stage": "tts"},
        {"end_stage": "tts"},
    ],
)
async def test_a_wrong_run_is_told_and_the_connection_lives(server: RunningServer, data: dict[str, object]) -> None:
    async with client(server) as one:
        await one.send(Event("run-pipeline", data))
        error = await one.receive()
        assert (error.type, error.data["code"]) == ("error", "bad-data")
        await one.send(Event("ping"))
        assert (await one.receive()).type == "pong"
