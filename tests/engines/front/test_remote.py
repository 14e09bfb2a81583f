"""The front's engines over a worker: what goes out, what comes back, and streams that outlive their worker."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.engines.front.fake_worker import ROOT
from tests.fakes import awaited
from tests.waiting import until
from wyoming_superwhisper.engines.base import (
    AnswerPart,
    AnswerRequest,
    Exchange,
    IntentCall,
    Priority,
    RecognizeRequest,
    SpeakRequest,
    Speech,
    TranscribeRequest,
    Transcription,
    VoiceState,
    WakeWordDetection,
    WakeWordInfo,
)
from wyoming_superwhisper.engines.front.process import WorkerProcess
from wyoming_superwhisper.engines.front.remote import (
    RemoteIntents,
    RemoteLanguageModel,
    RemoteRecognizer,
    RemoteSynthesizer,
    RemoteVoiceActivity,
    RemoteWakeWords,
)
from wyoming_superwhisper.errors import EngineLost, UnknownModel

LOUD = b"\x01\x00"
QUIET = b"\x00\x00"


@asynccontextmanager
async def running(engine: str, configuration: dict[str, Any] | None = None) -> AsyncIterator[WorkerProcess]:
    """A worker with one of the fake engines."""
    worker = WorkerProcess(
        "fake", configuration or {}, engine=f"tests.fakes:{engine}", environment={"PYTHONPATH": ROOT}, nice=0
    )
    await worker.start()
    try:
        await worker.ready()
        yield worker
    finally:
        await worker.close()


async def asked(worker: WorkerProcess) -> list[dict[str, Any]]:
    """What the engine was asked so far."""
    found: list[dict[str, Any]] = (await worker.call("asked")).data["asked"]
    return found


# --- calls ---


async def test_each_interface_says_what_its_worker_needs_and_reads_what_it_answers() -> None:
    async with running("FakeModels") as worker:
        recognizer = RemoteRecognizer(worker)
        request = TranscribeRequest(bytes(100), "fr", ("Salon",), ("plafonnier",))
        heard = Transcription("100 bytes", "fr", 0.1, -0.2, compression_ratio=1.5, tokens=(1, 2))
        assert await recognizer.transcribe(request) == heard
        assert (recognizer.languages, RemoteRecognizer(worker, ("en",)).languages) == (["fr"], ("en",))

        intents = RemoteIntents(worker)
        done = IntentCall("HassTurnOff", {"area": "Salon"})
        said = RecognizeRequest("allume le salon", "fr", "salon", (done,))
        assert await intents.recognize(said) == (IntentCall("HassTurnOn", {"area": "Salon"}, "Allumé."),)
        assert await intents.recognize(RecognizeRequest("?", "fr"), Priority.GUESS) == ()
        assert intents.languages == ["fr"]

        model = RemoteLanguageModel(worker)
        question = AnswerRequest("bonjour", "fr", "c1", (Exchange("a", "b"),), "salon", "midi")
        assert [part.text async for part in model.answer(question)] == ["Bonjour", " à", " vous."]
        chosen = (IntentCall("HassTurnOn", {"area": "Salon"}),)
        dark = AnswerRequest("il fait sombre", "fr")
        assert [part async for part in model.answer(dark)] == [AnswerPart(intents=chosen)]

        synthesizer = RemoteSynthesizer(worker, ())
        assert await synthesizer.speak(SpeakRequest("abc", "v")) == Speech(bytes(6), 22050, 0.5)

        calls = await asked(worker)
        previous = {"name": "HassTurnOff", "slots": {"area": "Salon"}, "text": "", "template": ""}
        assert [(call["method"], call["data"]) for call in calls[:2]] == [
            ("transcribe", {"language": "fr", "names": ["Salon"], "terms": ["plafonnier"], "look_back": []}),
            (
                "intents.recognize",
                {"text": "allume le salon", "language": "fr", "area": "salon", "previous": [previous]},
            ),
        ]
        assert calls[2]["priority"] == Priority.GUESS
        assert calls[3]["data"]["history"] == [{"user": "a", "assistant": "b"}]


async def test_a_home_is_told_to_the_worker_and_to_the_one_after_it() -> None:
    async with running("FakeModels", {"home": {"areas": []}}) as worker:
        home = {"areas": [{"id": "salon"}]}
        await RemoteIntents(worker).set_home(home)
        assert (await worker.call("asked")).data["home"] == home
        worker.kill()
        with pytest.raises(EngineLost):
            await worker.call("asked")
        assert (await worker.call("asked")).data["home"] == home


async def test_a_final_joins_the_guess_that_asks_the_same(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running("FakeModels", {"gate": str(gate)}) as worker:
        recognizer = RemoteRecognizer(worker)
        requests = [TranscribeRequest(bytes(size), "fr") for size in (10, 20)]
        guesses = [asyncio.create_task(recognizer.transcribe(request, Priority.GUESS)) for request in requests]
        await until(lambda: awaited(gate).exists() and worker.waiting(Priority.GUESS) == 1)
        final = asyncio.create_task(recognizer.transcribe(TranscribeRequest(bytes(20), "fr")))
        await asyncio.sleep(0)
        guesses[1].cancel()  # the final lives on without the guess
        await until(lambda: worker.preempted == 1 and worker.waiting(Priority.GUESS) == 1)
        gate.touch()
        assert (await final).text == "20 bytes"
        assert (await guesses[0]).text == "10 bytes"
        calls = await asked(worker)
        # The one that is a final now has pre-empted the one that is still a guess.
        assert [call["priority"] for call in calls] == [Priority.GUESS, Priority.FINAL, Priority.GUESS]
        assert not recognizer._on_their_way


async def test_a_guess_becomes_urgent_by_its_request(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running("FakeModels", {"gate": str(gate)}) as worker:
        intents, llm = RemoteIntents(worker), RemoteLanguageModel(worker)
        synthesizer = RemoteSynthesizer(worker, ())
        said = RecognizeRequest("allume le salon", "fr", None, (IntentCall("HassTurnOn", {"area": "Salon"}),))
        question, piece = AnswerRequest("bonjour", "fr"), SpeakRequest("Bonjour.", "fr_FR")
        guesses = [
            asyncio.ensure_future(intents.recognize(said, Priority.GUESS)),
            asyncio.ensure_future(anext(llm.answer(question, Priority.GUESS))),
            asyncio.ensure_future(synthesizer.speak(piece, Priority.GUESS)),
        ]
        await until(lambda: (worker.running, worker.waiting(Priority.GUESS)) == (1, 2))
        intents.promote(said)
        synthesizer.promote(piece)
        llm.promote(AnswerRequest("bonsoir", "fr"))  # nobody asked for that
        gate.touch()
        await asyncio.gather(*guesses)
        methods = [call["method"] for call in await asked(worker)]
    assert methods == ["intents.recognize", "speak", "answer"]


async def test_leaving_an_answer_cancels_it() -> None:
    async with running("FakeModels", {"gate": ""}) as worker:
        answer = RemoteLanguageModel(worker).answer(AnswerRequest("bonjour", "fr"))
        first = asyncio.ensure_future(anext(answer))
        await until(lambda: worker.running == 1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert worker.cancelled == 1


# --- streams ---


async def test_voice_activity_does_not_depend_on_how_the_audio_was_cut() -> None:
    generator = random.Random(2)
    audio = QUIET * 5000 + LOUD * 20_000 + QUIET * 40_123
    whole_frames = len(audio) // 2 // 512 * 512
    expected = VoiceState(whole_frames, 4608, 25_088, False, 20_480)
    async with running("FakeStreams") as worker:
        activity = RemoteVoiceActivity(worker)
        for sizes in ([320], [len(audio)], [1, 1023, 1024, 5000]):
            stream = await activity.open()
            at, calls = 0, worker._calls.begun
            while at < len(audio):
                size = generator.choice(sizes)
                state = await stream.feed(audio[at : at + size])
                at += size
            assert state == expected
            assert worker._calls.begun - calls <= whole_frames // 512 + 2, "more calls than frames"
            await stream.close()
            await stream.close()
        assert (await worker.call("count")).data == {"streams": 0}


async def test_a_backlog_is_sent_in_pieces_of_a_second() -> None:
    async with running("FakeStreams") as worker:
        stream = await RemoteVoiceActivity(worker).open()
        calls = worker._calls.begun
        await stream.feed(QUIET * 16_000 * 30)
        assert worker._calls.begun - calls == 1 + 31
        await stream.close()


async def test_voice_streams_outlive_their_worker() -> None:
    async with running("FakeStreams") as worker:
        streams = [await RemoteVoiceActivity(worker).open() for _ in range(3)]
        for number, stream in enumerate(streams):
            await stream.feed(QUIET * 512 * number + LOUD * 16_384)
        for _ in range(2):
            worker.kill()
            states = [await stream.feed(QUIET * 512) for stream in reversed(streams)]
        assert states == [VoiceState((34 + n) * 512, n * 512, (32 + n) * 512, False, 16_384) for n in (2, 1, 0)]
        for stream in streams:
            await stream.close()


async def test_a_long_utterance_goes_on_from_its_newest_seconds() -> None:
    async with running("FakeStreams") as worker:
        stream = await RemoteVoiceActivity(worker).open()
        second = 31 * 512
        await stream.feed(LOUD * second + QUIET * 20 * second + LOUD * second)
        worker.kill()
        state = await stream.feed(QUIET * 512)
        assert state == VoiceState(22 * second + 512, 0, 22 * second, False, 2 * second)


async def test_wake_words_are_heard_once_also_across_a_lost_worker() -> None:
    async with running("FakeStreams") as worker:
        words = RemoteWakeWords(worker)
        assert words.words == (WakeWordInfo("okay_nabu", "okay nabu", ("en",), "micro"),)
        stream = await words.open(["okay_nabu"])
        assert await stream.feed(QUIET * 512 + LOUD * 512) == [WakeWordDetection("okay_nabu", 1024)]
        worker.kill()
        assert await stream.feed(QUIET * 512) == []
        assert await stream.feed(LOUD * 512 + QUIET * 100) == [WakeWordDetection("okay_nabu", 2048)]
        await stream.close()
        with pytest.raises(UnknownModel, match="no wake word 'computer'"):
            await words.open(["computer"])


async def test_a_cancelled_feed_loses_no_audio_and_a_cancelled_opening_no_stream() -> None:
    async with running("FakeStreams") as worker:
        activity = RemoteVoiceActivity(worker)
        stream = await activity.open()
        await stream.feed(LOUD * 512)
        for _ in range(3):
            feeding = asyncio.create_task(stream.feed(LOUD * 512))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        assert await stream.feed(QUIET * 512) == VoiceState(5 * 512, 0, 4 * 512, False, 4 * 512)
        await stream.close()
        opening = asyncio.create_task((await activity.open()).feed(LOUD * 512))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        deadline = time.monotonic() + 5
        while (await worker.call("count")).data != {"streams": 0}:
            assert time.monotonic() < deadline


async def test_a_worker_that_dies_of_what_it_is_fed_is_not_fed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running("FakeStreams") as worker:
        stream = await RemoteVoiceActivity(worker).open()
        call = worker.submit

        def deadly(method: str, *rest: Any, **options: Any) -> Any:
            return call("crash" if method == "voice.feed" else method, *rest, **options)

        monkeypatch.setattr(worker, "submit", deadly)
        with pytest.raises(EngineLost):
            await stream.feed(LOUD * 512)
        assert worker.restarts <= 3
