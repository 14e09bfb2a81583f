"""The link keeps names as Home Assistant has them, and nothing that the other side sends ends it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import free_port
from tests.link.scripted_home_assistant import TOKEN, Peer, listening, scripted
from tests.waiting import WAIT_S
from wyoming_superwhisper.config.settings import HomeSettings
from wyoming_superwhisper.home_assistant import client, link
from wyoming_superwhisper.home_assistant.client import Client
from wyoming_superwhisper.home_assistant.link import Link, LinkState

AIOHTTP_CLOSE_S = 10.0
"""How long aiohttp itself waits for a peer to close, in seconds."""


class Homes:
    """The homes that a link has told of."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[HomeSettings] = asyncio.Queue()

    async def next(self) -> list[str]:
        async with asyncio.timeout(WAIT_S):
            return [device.name for device in (await self.told.get()).devices]


@asynccontextmanager
async def linked(url: str, token: str = TOKEN) -> AsyncIterator[tuple[Link, Homes]]:
    homes = Homes()
    there = Client(url, token)
    one = Link(there, homes.told.put_nowait)
    task = asyncio.create_task(one.run())
    try:
        yield one, homes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await there.close()


@asynccontextmanager
async def losing(one: Link) -> AsyncIterator[None]:
    """The link is lost by what is done in here: waits for that, which may be over soon."""
    gone = asyncio.create_task(one.gone.wait())
    await asyncio.sleep(0)
    yield
    await asyncio.wait_for(gone, WAIT_S)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with scripted() as one:
        one.light("Plafonnier")
        yield one


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(link, "STRAYS_S", 0.1)
    monkeypatch.setattr(link, "STARTING_LOOK_S", 0.05)


async def test_a_change_is_read_a_moment_later_and_a_burst_of_them_once(peer: Peer) -> None:
    async with linked(peer.url) as (_, homes):
        assert await homes.next() == ["Plafonnier"]
        asked = -1
        while asked != len(peer.commands):  # until the states that came with the subscription are read
            asked = len(peer.commands)
            await asyncio.sleep(3 * link.QUIET_S)
        peer.commands.clear()
        peer.light("Lampe", "light.two")
        for _ in range(20):
            await peer.tell("entity_registry_updated", {"event_type": "entity_registry_updated"})
        assert await homes.next() == ["Plafonnier", "Lampe"]
        assert peer.commands.count("config/entity_registry/list") == 1


async def test_what_did_not_change_is_not_told_again(peer: Peer) -> None:
    async with linked(peer.url) as (one, homes):
        await homes.next()
        for _ in range(3):
            await peer.tell("area_registry_updated", {})
            async with losing(one):
                await peer.hang_up()
            await asyncio.wait_for(one.ready.wait(), WAIT_S)
        assert homes.told.empty()


async def test_the_names_are_kept_while_home_assistant_is_gone_and_read_anew_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    async with scripted(port) as first:
        first.light("Plafonnier")
        async with linked(first.url) as (one, homes):
            assert await homes.next() == ["Plafonnier"]
            async with losing(one):
                await first.hang_up()
            assert one.state is LinkState.LOST
            assert [device.name for device in one.home.settings.devices] == ["Plafonnier"]
            first.light("Lampe", "light.two")
            assert await homes.next() == ["Plafonnier", "Lampe"]
            assert one.state is LinkState.READY
    assert sum("The last names are kept" in line for line in caplog.messages) == 1


async def test_while_home_assistant_starts_the_names_learnt_before_are_kept(peer: Peer) -> None:
    async with linked(peer.url) as (one, homes):
        await homes.next()
        records = list(peer.answers["config/entity_registry/list"])
        peer.answers["config/entity_registry/list"].clear()
        peer.answers["get_config"] = {"state": "STARTING"}
        peer.commands.clear()
        await peer.hang_up()
        async with asyncio.timeout(WAIT_S):
            await peer.until_asked("get_config", 3)
        assert homes.told.empty()
        assert one.home.devices
        peer.answers["config/entity_registry/list"] += [*records, {**records[0], "entity_id": "light.new"}]
        peer.answers["get_config"] = {"state": "RUNNING"}
        assert await homes.next() == ["Plafonnier", "Plafonnier"]


async def test_a_refused_token_is_said_once_and_not_tried_again_and_again(
    peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    async with linked(peer.url, "a-wrong-token") as (one, homes):
        await asyncio.wait_for(one.tried.wait(), WAIT_S)
        await asyncio.sleep(0.5)
        assert one.state is LinkState.REFUSED
        assert peer.attempts == 1
        assert homes.told.empty()
    assert "does not accept the token" in caplog.text
    assert "a-wrong-token" not in caplog.text


async def test_a_token_without_the_right_to_read_what_is_exposed_is_not_tried_again_and_again(
    peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    peer.answers["homeassistant/expose_entity/list"] = RuntimeError("unauthorized")
    async with linked(peer.url) as (one, homes):
        await asyncio.wait_for(one.tried.wait(), WAIT_S)
        assert one.state is LinkState.RESTRICTED
        assert homes.told.empty()
    assert "administrator" in caplog.text


async def test_pauses_grow_to_a_limit_and_are_never_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    one = Link(Client("http://127.0.0.1:1", TOKEN), lambda _: None)
    pauses = [one._next_pause_s() for _ in range(20)]
    assert pauses[0] <= link.FIRST_PAUSE_S * (1 + link.JITTER)
    assert max(pauses) <= link.LONGEST_PAUSE_S * (1 + link.JITTER)
    assert min(pauses[10:]) >= link.LONGEST_PAUSE_S * (1 - link.JITTER)
    assert len(set(pauses)) == len(pauses)


async def test_exposure_that_no_event_tells_is_looked_at(peer: Peer) -> None:
    peer.states["light.stray"] = {"s": "on", "a": {"friendly_name": "Égarée"}}
    async with linked(peer.url) as (_, homes):
        assert await homes.next() == ["Plafonnier"]
        peer.answers["homeassistant/expose_entity/list"] = {"exposed_entities": {"light.stray": {"conversation": True}}}
        assert await homes.next() == ["Plafonnier", "Égarée"]


HOSTILE: list[Any] = [
    "not json", "[]", "{}", '{"id": "x", "type": "event"}', '{"id": 1, "type": "event", "event": []}',
    '{"id": 5, "type": "event", "event": {"a": 3, "c": {"light.one": []}, "r": {"light.one": 1}}}',
    '{"id": 5, "type": "event", "event": {"c": {"light.one": {"+": {"a": [1]}, "-": {"a": [[]]}}}}}',
    "[" * 100_000, '{"id": 3, "type": "result"}', '{"id": 3, "type": "result", "success": false, "error": "no"}',
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_what_makes_no_sense_ends_a_connection_at_most(peer: Peer, text: str) -> None:
    async with linked(peer.url) as (one, homes):
        await homes.next()
        await peer.say(text)
        peer.light("Lampe", "light.two")
        await peer.tell("entity_registry_updated", {})
        assert await homes.next() == ["Plafonnier", "Lampe"]
        assert one.state is LinkState.READY


ODD: list[tuple[str, Any]] = [
    ("config/entity_registry/list", {"no": "list"}),
    ("config/entity_registry/list", [1, None, {}, {"entity_id": None}, {"entity_id": [], "options": 3}]),
    ("config/device_registry/list", [{"id": 3}, {"id": {}, "area_id": []}]),
    ("config/area_registry/list", [{"area_id": 3, "name": {}}, {"area_id": "x", "name": "X", "aliases": 3}]),
    ("config/floor_registry/list", "floors"),
    ("homeassistant/expose_entity/list", {"exposed_entities": [1]}),
    ("homeassistant/expose_new_entities/get", None),
    ("config/entity_registry/get_entries", {"light.one": {"aliases": [3, None, {}]}}),
    ("config/entity_registry/get_entries", [1]),
]


@pytest.mark.parametrize(("command", "answer"), ODD, ids=range(len(ODD)))
async def test_an_odd_answer_spoils_nothing_else(peer: Peer, command: str, answer: Any) -> None:
    peer.answers[command] = answer
    async with linked(peer.url) as (one, _):
        await asyncio.wait_for(one.ready.wait(), WAIT_S)
        assert one.state is LinkState.READY


async def test_a_message_beyond_the_bound_is_not_taken_in(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MESSAGE_BYTES", 100_000)
    async with linked(peer.url) as (one, homes):
        await homes.next()
        async with losing(one):
            await peer.say(json.dumps({"id": 5, "type": "event", "event": {"a": {"light.x": {"s": "x" * 200_000}}}}))
        await asyncio.wait_for(one.ready.wait(), WAIT_S)
        assert one.states.get("light.x") is None


@pytest.mark.parametrize("greeting", [{"type": "hello"}, [1]])
async def test_a_stranger_is_not_given_the_token(peer: Peer, greeting: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    peer.greeting = greeting
    async with linked(peer.url) as (one, _):
        await asyncio.wait_for(one.tried.wait(), WAIT_S)
        assert one.state is LinkState.LOST
    assert TOKEN not in caplog.text


async def test_a_home_assistant_that_hangs_does_not_hold_up_the_end() -> None:
    hangs = asyncio.Event()

    async def hang(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "auth_required"})
        await socket.receive()
        await socket.send_json({"type": "auth_ok", "ha_version": "2026.11.0"})
        await hangs.wait()
        return socket

    async with listening(web.get("/api/websocket", hang)) as url:
        there = Client(url, TOKEN)
        async with asyncio.timeout(0.9 * AIOHTTP_CLOSE_S), there.connect():
            pass
        await there.close()
        hangs.set()
