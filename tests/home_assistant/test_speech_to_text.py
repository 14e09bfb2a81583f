"""Home Assistant's speech-to-text entity: speech in two languages, no speech, many at once, and those who leave."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.home_assistant.voice import Voice, said, words
from tests.speech import sound

pytestmark = [pytest.mark.home_assistant, pytest.mark.timeout(600)]

SENTENCES = [
    ("fr", "Allume la lumière du salon."),
    ("fr", "Ferme les volets du bureau."),
    ("fr", "Quelle est la température dans la chambre ?"),
    ("fr", "Ajoute du pain à la liste de courses."),
    ("en", "Turn on the kitchen light."),
    ("en", "Set a timer for 10 minutes."),
    ("en", "What time is it?"),
    ("en", "Add milk to the shopping list."),
]


@pytest.mark.parametrize(("language", "text"), SENTENCES)
async def test_a_sentence_is_heard_word_by_word(voice: Voice, language: str, text: str) -> None:
    answer = await voice.transcribe(said(language, text), language)
    assert answer["result"] == "success"
    assert words(answer["text"], language) == words(text, language)


@pytest.mark.parametrize("kind", ["silence", "white", "hum50", "clicks"])
async def test_where_nobody_speaks_there_is_no_text(voice: Voice, kind: str) -> None:
    assert await voice.transcribe(sound(kind, 2.0)) == {"text": "", "result": "success"}


async def test_no_audio_at_all_is_no_text(voice: Voice) -> None:
    assert await voice.transcribe(b"") == {"text": "", "result": "success"}
    assert await voice.transcribe(bytes(320)) == {"text": "", "result": "success"}


async def test_everyone_gets_their_own_words(voice: Voice) -> None:
    answers = await asyncio.gather(*(voice.transcribe(said(*one), one[0]) for one in SENTENCES))
    assert [words(got["text"]) for got in answers] == [words(text) for _, text in SENTENCES]


async def test_who_leaves_in_the_middle_takes_nothing_with_him(voice: Voice) -> None:
    audio = said("fr", "Allume la lumière du salon.")
    async with voice.pipeline() as pipeline:
        for _ in range(5):
            # A run that is given up while it is spoken to, as by a satellite that loses its network.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    await voice.run(pipeline, audio, pace=1.0)
            # An upload that is broken off.
            task = asyncio.create_task(voice.transcribe(audio))
            await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert (await voice.transcribe(audio))["text"] == "Allume la lumière du salon."


async def test_a_pipeline_says_that_it_heard_nothing(voice: Voice) -> None:
    async with voice.pipeline() as pipeline:
        turn = await voice.run(pipeline, sound("silence", 1.0), input={"no_vad": True})
        assert turn.error == "stt-no-text-recognized"
