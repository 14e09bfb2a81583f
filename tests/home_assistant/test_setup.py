"""Adding the server to Home Assistant, by hand and by discovery, and what appears there then."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from zeroconf import ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

from tests.conftest import RunningServer, free_port, start_server
from tests.home_assistant.core import HomeAssistantCore
from tests.home_assistant.link import Link
from tests.home_assistant.voice import PLATFORMS, Voice, add_by_hand, remove
from tests.waiting import WAIT_S

pytestmark = [pytest.mark.home_assistant, pytest.mark.timeout(600)]

NAME = "Essai de la maison"
FOUND_S = 20.0
"""How long a server's name is waited for on the network before there is none, in seconds."""


async def test_it_is_added_by_hand_and_removed(home_assistant: HomeAssistantCore, server: RunningServer) -> None:
    async with home_assistant.connect() as link:
        answer = await add_by_hand(link, server.host, server.port)
        assert (answer["type"], answer["title"]) == ("create_entry", "superwhisper")
        entry = answer["result"]["entry_id"]
        assert set((await Voice.of_entry(link, entry)).entities) == set(PLATFORMS)
        await remove(link, entry)
        assert entry not in [one["config_entry_id"] for one in await link.call("config/entity_registry/list")]


async def test_a_wrong_port_is_told_and_the_right_one_taken_then(
    home_assistant: HomeAssistantCore, server: RunningServer
) -> None:
    async with home_assistant.connect() as link:
        answer = await add_by_hand(link, server.host, free_port())
        assert (answer["type"], answer["errors"]) == ("form", {"base": "cannot_connect"})
        path = f"/api/config/config_entries/flow/{answer['flow_id']}"
        again = await link.post(path, {"host": server.host, "port": server.port})
        assert again["type"] == "create_entry"
        await remove(link, again["result"]["entry_id"])


async def test_every_entity_and_its_languages(voice: Voice) -> None:
    link = voice.link
    assert set(await voice.languages("stt")) == {"fr", "en"}
    assert set(await voice.languages("tts")) == {"fr_FR", "en_US"}
    assert set(await voice.languages("conversation")) == {"fr", "en"}
    for language, name in (("fr_FR", "fr_FR-demo-medium"), ("en_US", "en_US-demo-medium")):
        voices = await link.call("tts/engine/voices", engine_id=voice.entities["tts"], language=language)
        assert [one["voice_id"] for one in voices["voices"]] == [name]
    words = await link.call("wake_word/info", entity_id=voice.entities["wake_word"])
    assert {"okay_nabu", "alexa"} <= {word["id"] for word in words["wake_words"]}
    assert all(word["phrase"] for word in words["wake_words"])
    states = await link.states()
    assert all(states[entity]["state"] != "unavailable" for entity in voice.entities.values())
    agents = (await link.call("conversation/agent/list", language="fr"))["agents"]
    assert [one["supported_languages"] for one in agents if one["id"] == voice.entities["conversation"]] == [["fr"]]
    assert set((await link.call("assist_pipeline/language/list"))["languages"]) == {"fr", "en"}


async def test_the_agent_may_control_the_home(voice: Voice) -> None:
    state = (await voice.link.states())[voice.entities["conversation"]]
    assert state["attributes"]["supported_features"] & 1, "Home Assistant would not offer it to control devices"


async def test_a_reload_keeps_every_entity(voice: Voice) -> None:
    await voice.link.post(f"/api/config/config_entries/entry/{voice.entry}/reload")
    assert (await Voice.of_entry(voice.link, voice.entry)).entities == voice.entities
    assert (await voice.ask("Quelle heure est-il ?"))["response"]["response_type"] == "action_done"


async def test_a_reload_brings_what_the_server_has_learnt(home_assistant: HomeAssistantCore, tmp_path: Path) -> None:
    server = start_server(tmp_path / "first.txt", "--set", "wake.words=[okay_nabu]")
    async with home_assistant.connect() as link:
        entry = (await add_by_hand(link, server.host, server.port))["result"]["entry_id"]
        try:
            voice = await Voice.of_entry(link, entry)
            assert await wake_words(voice) == {"okay_nabu"}
            server.stop()
            server = start_server(tmp_path / "second.txt", "--set", "wake.words=[alexa,okay_nabu]", port=server.port)
            await link.post(f"/api/config/config_entries/entry/{entry}/reload")
            assert await wake_words(voice) == {"alexa", "okay_nabu"}
        finally:
            await remove(link, entry)
            server.stop()


@pytest.mark.long
async def test_newer_releases_see_what_the_server_has_learnt_within_a_minute(
    home_assistant: HomeAssistantCore, tmp_path: Path
) -> None:
    if not home_assistant.is_new:
        pytest.skip("older releases look once, when the entry is loaded")
    server = start_server(tmp_path / "first.txt", "--set", "wake.words=[okay_nabu]")
    async with home_assistant.connect() as link:
        entry = (await add_by_hand(link, server.host, server.port))["result"]["entry_id"]
        try:
            voice = await Voice.of_entry(link, entry)
            server.stop()
            server = start_server(tmp_path / "second.txt", "--set", "wake.words=[alexa]", port=server.port)
            async with asyncio.timeout(2 * WAIT_S):
                while await wake_words(voice) != {"alexa"}:  # noqa: ASYNC110  # nothing tells of it
                    await asyncio.sleep(1)
        finally:
            await remove(link, entry)
            server.stop()


async def wake_words(voice: Voice) -> set[str]:
    info = await voice.link.call("wake_word/info", entity_id=voice.entities["wake_word"])
    return {word["id"] for word in info["wake_words"]}


# --- discovery


async def test_it_is_discovered_and_added_with_one_click(home_assistant: HomeAssistantCore, tmp_path: Path) -> None:
    port = free_port()
    options = ("--uri", f"tcp://0.0.0.0:{port}", "--zeroconf", "--set", f"server.name={NAME}")
    async with home_assistant.connect() as link:
        server = start_server(tmp_path / "first.txt", *options, port=port)
        entry = ""
        try:
            await until_advertised(NAME)
            flow = await discovered(link)
            assert flow["context"]["title_placeholders"] == {"name": "superwhisper"}
            answer = await link.post(f"/api/config/config_entries/flow/{flow['flow_id']}", {})
            assert answer["type"] == "create_entry", answer
            entry = answer["result"]["entry_id"]
            voice = await Voice.of_entry(link, entry)
            assert (await voice.ask("Quelle heure est-il ?"))["response"]["response_type"] == "action_done"
            # Started again it is the same one: nothing new to add.
            server.stop()
            server = start_server(tmp_path / "second.txt", *options, port=port)
            await until_advertised(NAME)
            assert (await voice.ask("Quelle heure est-il ?"))["response"]["response_type"] == "action_done"
            assert await flows(link) == []
        finally:
            server.stop()  # first, or it is discovered once more
            if entry:
                await remove(link, entry)


async def until_advertised(name: str) -> None:
    """Wait until the server's name is heard on the network; where nothing is, multicast doesn't work here."""
    heard = asyncio.Event()

    def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if wanted in name:
            heard.set()

    wanted = name
    zeroconf = AsyncZeroconf()
    browser = AsyncServiceBrowser(zeroconf.zeroconf, "_wyoming._tcp.local.", handlers=[changed])
    try:
        async with asyncio.timeout(FOUND_S):
            await heard.wait()
    except TimeoutError:
        pytest.skip("no multicast on this machine")
    finally:
        await browser.async_cancel()
        await zeroconf.async_close()


async def flows(link: Link) -> list[dict[str, object]]:
    found = await link.call("config_entries/flow/progress")
    zeroconf = [one for one in found if one["handler"] == "wyoming" and one["context"]["source"] == "zeroconf"]
    # Those of other tests that run beside these are none of ours.
    return [one for one in zeroconf if one["context"]["unique_id"].startswith(NAME)]


async def discovered(link: Link) -> dict[str, object]:
    """The flow that Home Assistant opens by itself."""
    news = await link.subscribe("config_entries/flow/subscribe")
    async with asyncio.timeout(WAIT_S):
        while not (found := await flows(link)):
            await news.next()
    [flow] = found
    return flow
