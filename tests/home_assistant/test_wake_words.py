"""Home Assistant's wake word entity: a run that begins with it."""

from __future__ import annotations

import asyncio

import pytest

from tests.home_assistant.voice import Voice, words
from tests.speech import sound, speech

pytestmark = [pytest.mark.home_assistant, pytest.mark.timeout(600)]

COMMAND = "Turn on the kitchen light."


def woken(word: str) -> bytes:
    """The wake word, a short pause, and a command."""
    return speech(word, "en-us", rate=140, before_s=1.5, after_s=0.4) + speech(
        COMMAND, "en-us", before_s=0.3, after_s=1.5
    )


@pytest.mark.parametrize(("word", "name"), [("Alexa", "alexa"), ("Okay Nabu", "okay_nabu")])
async def test_a_wake_word_begins_a_turn(voice: Voice, word: str, name: str) -> None:
    async with voice.pipeline("en", wake_word_id=name) as pipeline:
        turn = await voice.run(pipeline, woken(word), start="wake_word", pace=1.0, input={"timeout": 8})
    assert turn.of("wake_word-end")["wake_word_output"]["wake_word_id"] == name
    assert words(turn.heard, "en").endswith(words(COMMAND, "en"))
    assert turn.response["response_type"] == "action_done"


async def test_any_of_the_words_does_where_the_pipeline_names_none(voice: Voice) -> None:
    async with voice.pipeline("en") as pipeline:
        turn = await voice.run(pipeline, woken("Alexa"), start="wake_word", end="stt", pace=1.0, input={"timeout": 8})
    assert turn.of("wake_word-end")["wake_word_output"]["wake_word_id"] == "alexa"


async def test_another_word_and_noise_wake_nobody(voice: Voice) -> None:
    async with voice.pipeline("en", wake_word_id="okay_nabu") as pipeline:
        runs = [
            voice.run(pipeline, audio, start="wake_word", end="stt", pace=3.0, input={"timeout": 3})
            for audio in (woken("Alexa"), sound("pink", 4.0))
        ]
        turns = await asyncio.gather(*runs)
    assert [turn.error for turn in turns] == ["wake-word-timeout"] * 2 or all(
        "wake_word-end" not in turn.types or not turn.of("wake_word-end").get("wake_word_output") for turn in turns
    )


async def test_who_stops_listening_for_a_wake_word_leaves_nothing_behind(voice: Voice) -> None:
    async with voice.pipeline("en", wake_word_id="alexa") as pipeline:
        for _ in range(3):
            try:
                async with asyncio.timeout(0.5):
                    await voice.run(pipeline, sound("white", 5.0), start="wake_word", end="stt", pace=1.0)
            except TimeoutError:
                pass
        turn = await voice.run(pipeline, woken("Alexa"), start="wake_word", end="stt", pace=1.0, input={"timeout": 8})
    assert turn.of("wake_word-end")["wake_word_output"]["wake_word_id"] == "alexa"
