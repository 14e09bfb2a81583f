"""Whole turns, from audio to audio, one after the other and side by side."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from wyoming.info import Describe

from tests.conftest import RunningServer, free_port, start_server
from tests.home_assistant.core import HomeAssistantCore
from tests.home_assistant.voice import Turn, Voice, add_by_hand, remove, said, words
from tests.server.speech import client

pytestmark = [pytest.mark.home_assistant, pytest.mark.timeout(600)]

TEN = [
    ("fr", "Allume la lumière du salon."),
    ("fr", "Ferme les volets du bureau."),
    ("en", "Turn on the kitchen light."),
    ("fr", "Quelle heure est-il ?"),
    ("fr", "Mets le chauffage de la chambre à 21 degrés."),
    ("en", "Add milk to the shopping list."),
    ("fr", "Éteins la lumière du salon."),
    ("fr", "Raconte-moi une blague."),
    ("en", "What time is it?"),
    ("fr", "Ouvre les volets du bureau."),
]
STAGES = ("stt-end", "intent-end", "tts-end", "run-end")


async def test_ten_commands_in_a_row_are_all_right(
    voice: Voice, home_assistant: HomeAssistantCore, record_property: Callable[[str, object], None]
) -> None:
    turns: list[Turn] = []
    async with voice.pipeline("fr") as french, voice.pipeline("en") as english:
        for language, text in TEN:
            turn = await voice.run(french if language == "fr" else english, said(language, text), pace=3.0)
            assert not turn.error
            assert words(turn.heard, language) == words(text, language)
            assert turn.response["response_type"] == "action_done"
            assert len(home_assistant.decoded(turn.sound)) > 10_000
            turns.append(turn)
    for stage in STAGES:
        times = [turn.after_s(stage) for turn in turns]
        record_property(stage, times)
        print(f"{stage}: median {statistics.median(times):.2f} s, longest {max(times):.2f} s after the end of speech")
    states = await voice.link.states()
    assert states["light.lampe_salon"]["state"] == "off"
    assert states["light.plafonnier_cuisine"]["state"] == "on"
    assert states["cover.volets_bureau"]["state"] == "open"
    assert states["climate.chauffage_chambre"]["attributes"]["temperature"] == 21
    assert states["todo.liste_de_courses"]["state"] == "1"
    assert max(turn.after_s("run-end") for turn in turns) < 10


async def test_two_pipelines_at_once_are_not_mixed(voice: Voice) -> None:
    async with voice.pipeline("fr") as french, voice.pipeline("en") as english:
        pairs = [(french, "fr", "Ferme les volets du bureau."), (english, "en", "Turn on the kitchen light.")] * 2
        turns = await asyncio.gather(
            *(voice.run(pipeline, said(language, text), pace=2.0) for pipeline, language, text in pairs)
        )
    for turn, (_, language, text) in zip(turns, pairs, strict=True):
        assert words(turn.heard, language) == words(text, language)
        assert turn.response["response_type"] == "action_done"
        assert turn.sound
    assert len({turn.conversation for turn in turns}) == 4


async def test_describe_waits_for_no_run_while_everything_is_busy(voice: Voice, server: RunningServer) -> None:
    over, runs, waited_for = asyncio.Event(), 0, 0

    async def keep_busy(pipeline: str) -> None:
        nonlocal runs
        while not over.is_set():
            await voice.run(pipeline, said("fr", "Raconte-moi une blague."), fetch=True)
            runs += 1

    async with voice.pipeline() as pipeline:
        busy = [asyncio.create_task(keep_busy(pipeline)) for _ in range(4)]
        for _ in range(20):
            async with client(server) as one:
                before = runs
                await one.send(Describe())
                await one.receive()
                waited_for += runs - before
            await asyncio.sleep(0.1)
        over.set()
        await asyncio.gather(*busy)
    assert waited_for < 20, "more than one run has ended while a describe was answered"


async def test_who_only_has_speech_recognised_costs_no_time_of_the_language_model(
    home_assistant: HomeAssistantCore, tmp_path: Path
) -> None:
    page = f"127.0.0.1:{free_port()}"
    server = start_server(tmp_path / "log.txt", "--metrics", page)
    async with home_assistant.connect() as link:
        entry = (await add_by_hand(link, server.host, server.port))["result"]["entry_id"]
        try:
            voice = await Voice.of_entry(link, entry)
            own = "conversation.home_assistant"
            async with voice.pipeline(conversation_engine=own, tts_engine=None, tts_language=None) as pipeline:
                for text in ("Allume la lumière du salon.", "Raconte-moi une blague.", "Éteins la lumière du salon."):
                    turn = await voice.run(pipeline, said("fr", text), end="intent", pace=1.0)
                    assert turn.heard == text
            assert await tokens(page) == 0
            async with voice.pipeline() as pipeline:
                await voice.run(pipeline, said("fr", "Raconte-moi une blague."), pace=1.0)
            assert await tokens(page) > 0
        finally:
            await remove(link, entry)
            server.stop()


async def tokens(page: str) -> float:
    """What the language model has read and written so far."""
    async with aiohttp.ClientSession() as http, http.get(f"http://{page}/metrics") as answer:
        figures = await answer.text()
    name = "wyoming_superwhisper_llm_tokens_total"
    return sum(float(line.split()[-1]) for line in figures.splitlines() if line.startswith(name))
