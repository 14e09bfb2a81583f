"""Our satellite driven by a real Home Assistant, whose pipeline is our server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.home_assistant.voice import Voice, add_by_hand, remove
from tests.satellite.test_seat import Satellite, loud_s, satellite, say
from tests.speech import speech
from tests.waiting import WAIT_S

pytestmark = [pytest.mark.home_assistant, pytest.mark.timeout(600)]


async def test_a_turn_by_the_wake_word_mute_and_the_way_back(voice: Voice, tmp_path: Path) -> None:
    link = voice.link
    before = (await link.call("assist_pipeline/pipeline/list"))["preferred_pipeline"]
    async with voice.pipeline("fr") as pipeline, satellite(tmp_path, "--wake-word", "okay_nabu") as one:
        await link.call("assist_pipeline/pipeline/set_preferred", pipeline_id=pipeline)
        host, _, port = one.uri.removeprefix("tcp://").rpartition(":")
        added = await add_by_hand(link, host, int(port))
        assert added["type"] == "create_entry", added
        entry = added["result"]["entry_id"]
        try:
            await one.logged("Ready")
            entities = {
                registered["entity_id"].partition(".")[0]: registered["entity_id"]
                for registered in await link.call("config/entity_registry/list")
                if registered["config_entry_id"] == entry
            }
            await ask(tmp_path, one, 1)
            assert loud_s(one.played) > 0.5
            async with asyncio.timeout(WAIT_S):
                while (await link.states())[entities["assist_satellite"]]["state"] != "idle":  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            ready = one.times_logged("Ready")
            await link.service("switch", "turn_on", entities["switch"])
            await one.logged("has muted")
            await asyncio.sleep(5)  # it looks at the switch with every event, and must have seen it
            await link.service("switch", "turn_off", entities["switch"])
            await one.logged("Ready", times=ready + 1)
            await ask(tmp_path, one, 2)
        finally:
            await remove(link, entry)
            await link.call("assist_pipeline/pipeline/set_preferred", pipeline_id=before)


async def ask(folder: Path, one: Satellite, times: int) -> None:
    """Wake it and ask for the time; it must be heard and answered, so many times by now."""
    said = speech("okay nabu", "en-us", after_s=0.0) + speech("Quelle heure est-il ?", before_s=0.3, after_s=1.0)
    ready = one.times_logged("Ready")  # counted before it is spoken to: it may be ready again as soon as it answers
    say(folder, said)
    await one.logged("Answer: ", times=times)
    assert one.times_logged("Heard: Quelle heure est-il") == times, one.log.decode()
    await one.logged("Ready", times=ready + 1)
