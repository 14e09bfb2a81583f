"""The server goes and comes back, Home Assistant goes and comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.conftest import start_server
from tests.home_assistant.core import HomeAssistantCore
from tests.home_assistant.link import Link
from tests.home_assistant.voice import Voice, add_by_hand, remove, said

pytestmark = [pytest.mark.home_assistant, pytest.mark.timeout(600)]

SENTENCE = "Allume la lumière du salon."
BACK_S = 180.0


async def test_a_restarted_server_is_used_again_without_a_word(
    home_assistant: HomeAssistantCore, tmp_path: Path
) -> None:
    server = start_server(tmp_path / "first.txt")
    async with home_assistant.connect() as link:
        entry = (await add_by_hand(link, server.host, server.port))["result"]["entry_id"]
        try:
            voice = await Voice.of_entry(link, entry)
            assert (await voice.ask("Quelle heure est-il ?"))["response"]["response_type"] == "action_done"
            server.stop()
            home_assistant.expected.append("Connect")
            gone = (await voice.ask("Quelle heure est-il ?"))["response"]
            assert gone["response_type"] == "error"
            assert (await voice.transcribe(said("fr", SENTENCE)))["result"] == "error"
            server = start_server(tmp_path / "second.txt", port=server.port)
            assert (await voice.transcribe(said("fr", SENTENCE)))["text"] == SENTENCE
            assert (await voice.ask("Quelle heure est-il ?"))["response"]["response_type"] == "action_done"
        finally:
            await remove(link, entry)
            server.stop()


async def state_of(link: Link, entry: str) -> str:
    return str(next(one["state"] for one in await link.call("config_entries/get") if one["entry_id"] == entry))


def test_both_may_be_started_again_in_any_order(fresh_home_assistant: HomeAssistantCore, tmp_path: Path) -> None:
    core = fresh_home_assistant
    server = start_server(tmp_path / "first.txt")

    async def add() -> str:
        async with core.connect() as link:
            return str((await add_by_hand(link, server.host, server.port))["result"]["entry_id"])

    async def state(entry: str) -> str:
        async with core.connect() as link:
            return await state_of(link, entry)

    async def use(entry: str) -> None:
        async with core.connect() as link:
            news = await link.subscribe("config_entries/subscribe")
            async with asyncio.timeout(BACK_S):
                while await state_of(link, entry) != "loaded":
                    await news.next(BACK_S)
            voice = await Voice.of_entry(link, entry)
            assert (await voice.ask("Quelle heure est-il ?"))["response"]["response_type"] == "action_done"

    try:
        entry = asyncio.run(add())
        # Started while the server is away, Home Assistant tries again by itself.
        core.stop()
        server.stop()
        core.start_again()
        assert asyncio.run(state(entry)) in ("setup_retry", "setup_in_progress")
        server = start_server(tmp_path / "second.txt", port=server.port)
        asyncio.run(use(entry))
    finally:
        server.stop()
