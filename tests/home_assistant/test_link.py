"""Our server with a token: names out of a real Home Assistant, commands of straight satellites into it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from wyoming.asr import Transcript
from wyoming.event import Event
from wyoming.info import Attribution, Info, Satellite
from wyoming.server import AsyncEventHandler, AsyncServer

from tests.conftest import RunningServer, free_port, start_server
from tests.home_assistant.core import HomeAssistantCore, changed
from tests.home_assistant.houses import House, demo_house
from tests.home_assistant.link import Link
from tests.home_assistant.voice import add_by_hand, remove
from tests.server.speech import ESPEAK_RATE, audio_events, said, sound_of
from tests.server.speech import client as wyoming_client
from tests.server.test_turn import run
from tests.waiting import WAIT_S
from wyoming_superwhisper import client, phrases
from wyoming_superwhisper.config.settings import Device, HomeSettings
from wyoming_superwhisper.home_assistant.client import Client
from wyoming_superwhisper.home_assistant.link import Link as NameLink

pytestmark = [pytest.mark.home_assistant, pytest.mark.timeout(600)]

NAMED_BY_PARTS = [
    {"id": "light.bleue", "name": None, "device": "Lampe Bleue", "area": "salon"},
    {"id": "light.rouge", "name": "Anneau", "device": "Lampe Rouge", "area": "salon"},
    {"id": "light.verte", "name": "Liseré", "device": "Lampe Verte", "area": "salon"},
]
"""Entities whose names are made of their own and their device's."""

Agent = Callable[[str], Awaitable[str]]


@pytest.fixture
async def linked(home_assistant: HomeAssistantCore, server_with_token: RunningServer) -> RunningServer:
    """The same, once it has learnt the home that was put into Home Assistant last."""
    async with home_assistant.connect() as link:
        name = "Témoin " + "".join("bafolemitu"[int(digit)] for digit in str(time.monotonic_ns()))
        area = await link.call("config/area_registry/create", name=name)
        await understood_after(server_with_token, f"Allume la lumière de {name}", lambda found: bool(found))
        await link.call("config/area_registry/delete", area_id=area["area_id"])
    return server_with_token


@pytest.fixture(scope="module")
def server_with_token(
    shared_core: HomeAssistantCore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Our server with a token for the shared core."""
    yield from serving(shared_core, tmp_path_factory.mktemp("linked"))


def serving(core: HomeAssistantCore, folder: Path, token: str = "") -> Iterator[RunningServer]:
    file = folder / "token"
    file.write_text(token or core.token)
    file.chmod(0o600)
    log = folder / "log.txt"
    running = start_server(
        log, "--set", f"home_assistant.url={core.url}", "--set", f"home_assistant.token_file={file}"
    )  # fmt: skip
    yield running
    running.stop()
    text = log.read_text()
    assert "Traceback" not in text
    assert file.read_text() not in text, "the token is in the log"


async def command(server: RunningServer, text: str, language: str = "fr") -> client.Answer:
    """What comes of a command of a satellite that talks straight to the server."""
    return await client.ask(server.uri, text, language, execute=True)


async def intents(server: RunningServer, text: str, language: str = "fr") -> list[tuple[str, dict[str, Any]]]:
    """What is understood, for the client to execute."""
    answer = await client.ask(server.uri, text, language)
    return [(one.name, {entity.name: entity.value for entity in one.entities}) for one in answer.intents]


async def understood_after(server: RunningServer, text: str, want: Callable[[Any], bool]) -> None:
    """Wait until a sentence is understood as wanted."""
    async with asyncio.timeout(WAIT_S):
        while not want(await intents(server, text)):  # noqa: ASYNC110  # nothing tells from outside
            await asyncio.sleep(0.05)


@asynccontextmanager
async def moving(core: HomeAssistantCore, *entities: str) -> AsyncIterator[Link]:
    """Exactly these entities change meanwhile."""
    async with core.connect() as link:
        before = await link.states()
        yield link
        after = await link.states()
    moved = {one for one in changed(before, after) if not one.startswith("conversation.")}
    assert moved == set(entities)


def switches(name: str) -> Callable[[Any], bool]:
    return lambda found: any(slots.get("name") == name for _, slots in found)


def nothing(found: Any) -> bool:
    return not found


async def test_a_renamed_entity_is_understood_by_its_new_name(
    home_assistant: HomeAssistantCore, linked: RunningServer
) -> None:
    async with home_assistant.connect() as link:
        await link.call("config/entity_registry/update", entity_id="light.lampe_salon", name="Phare breton")
        await understood_after(linked, "Allume le phare breton", switches("Phare breton"))
    async with moving(home_assistant, "light.lampe_salon"):
        answer = await command(linked, "Allume le phare breton")
    assert answer.outcome == "handled"


async def test_a_new_alias_and_a_renamed_room_are_understood(
    home_assistant: HomeAssistantCore, linked: RunningServer
) -> None:
    async with home_assistant.connect() as link:
        own: list[str | None] = [None] if home_assistant.is_new else []
        aliases = [*own, "gros néon"]
        await link.call("config/entity_registry/update", entity_id="light.plafonnier_cuisine", aliases=aliases)
        await understood_after(linked, "Allume le gros néon", lambda found: bool(found))
        await link.call("config/area_registry/update", area_id="cuisine", name="Popote")
        kitchen = ("HassTurnOn", {"area": "Popote", "domain": "light"})
        await understood_after(linked, "Allume la lumière de la popote", lambda found: kitchen in found)
    async with moving(home_assistant, "light.plafonnier_cuisine"):
        assert (await command(linked, "Allume le gros néon")).outcome == "handled"


async def test_the_language_model_chooses_among_the_names_of_now(
    home_assistant: HomeAssistantCore, linked: RunningServer
) -> None:
    text = "Il fait trop sombre au bureau."
    office = ("HassTurnOn", {"area": "Bureau", "domain": "light"})
    await understood_after(linked, text, lambda found: office in found)
    async with home_assistant.connect() as link:
        await link.call("config/area_registry/update", area_id="bureau", name="Atelier")
        await understood_after(linked, text, nothing)


async def test_an_added_entity_is_understood_and_a_removed_one_is_not_any_more(
    home_assistant: HomeAssistantCore, linked: RunningServer
) -> None:
    house = demo_house()
    await home_assistant.refurnish(with_light(house, "Boule à facettes"))
    await understood_after(linked, "Allume la boule à facettes", switches("Boule à facettes"))
    async with moving(home_assistant, "light.nouvelle"):
        assert (await command(linked, "Allume la boule à facettes")).outcome == "handled"
    await home_assistant.refurnish(house)
    await understood_after(linked, "Allume la boule à facettes", nothing)


def with_light(house: House, name: str) -> House:
    return {**house, "devices": [*house["devices"], {"id": "light.nouvelle", "name": name, "area": "salon"}]}


async def test_what_is_not_exposed_any_more_is_neither_understood_nor_moved(
    home_assistant: HomeAssistantCore, linked: RunningServer
) -> None:
    async with home_assistant.connect() as link:
        await link.call("config/entity_registry/update", entity_id="light.lampe_salon", name="Phare breton")
        await understood_after(linked, "Allume le phare breton", switches("Phare breton"))
        await link.call(
            "homeassistant/expose_entity", assistants=["conversation"], entity_ids=["light.lampe_salon"],
            should_expose=False,
        )  # fmt: skip
        await understood_after(linked, "Allume le phare breton", nothing)
    async with moving(home_assistant, "light.plafonnier_salon"):
        assert (await command(linked, "Allume la lumière du salon")).outcome == "handled"


async def test_a_spoken_command_moves_its_device_and_the_reply_is_spoken(
    home_assistant: HomeAssistantCore, linked: RunningServer
) -> None:
    async with moving(home_assistant, "light.plafonnier_cuisine") as link, wyoming_client(linked) as one:
        await one.send(
            run(language="fr"), *audio_events(said("Allume la lumière de la cuisine."), ESPEAK_RATE)
        )  # fmt: skip
        events = await one.until("audio-stop")
        assert (await link.states())["light.plafonnier_cuisine"]["state"] == "on"
        [handled] = [event for event in events if event.type == "handled"]
        assert handled.data["text"] == "Allumé"
        audio, rate = sound_of(events)
        assert "allum" in (await one.transcribe(audio, "fr", rate)).casefold()


@pytest.mark.parametrize(
    ("text", "language", "reply", "entities"),
    [
        ("Éteins la télé du salon.", "fr", "Éteint", ["media_player.television_salon"]),
        ("Turn on the ceiling light in the kitchen.", "en", "Turned on the light", ["light.plafonnier_cuisine"]),
        ("Mets le chauffage du bureau à 21 degrés.", "fr", "", ["climate.chauffage_bureau"]),
        ("Ajoute du pain à la liste de courses.", "fr", "", ["todo.liste_de_courses"]),
        (
            "Allume la cuisine et éteins la télé du salon.",
            "fr",
            "Allumé",
            ["light.plafonnier_cuisine", "media_player.television_salon"],
        ),
    ],
)
async def test_commands_move_what_they_name(
    home_assistant: HomeAssistantCore, linked: RunningServer, text: str, language: str, reply: str, entities: list[str]
) -> None:
    async with home_assistant.connect() as link:
        await link.service("media_player", "turn_on", "media_player.television_salon")
    async with moving(home_assistant, *entities):
        answer = await command(linked, text, language)
    assert answer.outcome == "handled"
    assert answer.text.startswith(reply)


async def test_a_satellite_that_names_no_room_means_its_own(
    home_assistant: HomeAssistantCore, linked: RunningServer
) -> None:
    async with moving(home_assistant, "light.plafonnier_cuisine"):
        answer = await client.ask(linked.uri, "Allume la lumière", "fr", area="Cuisine", execute=True)
    assert answer.outcome == "handled"
    async with moving(home_assistant, "light.plafonnier_bureau"):
        answer = await client.ask(linked.uri, "Allume le plafonnier", "fr", area="bureau", execute=True)
    assert answer.outcome == "handled"


async def test_a_question_about_a_state_is_answered_with_the_state(
    home_assistant: HomeAssistantCore, linked: RunningServer
) -> None:
    async with home_assistant.connect() as link:
        await link.service("light", "turn_on", "light.plafonnier_cuisine")
        await link.service("climate", "set_temperature", "climate.chauffage_bureau", temperature=21)
    async with moving(home_assistant):
        which = await command(linked, "Quelles lumières sont allumées dans la cuisine ?")
        any_off = await command(linked, "Y a-t-il des lumières éteintes dans la cuisine ?")
        warm = await command(linked, "Quelle est la température dans le bureau ?")
    assert (which.outcome, which.text) == ("handled", "Plafonnier")
    assert (any_off.outcome, any_off.text) == ("handled", "Non")
    assert warm.outcome == "handled"
    assert re.fullmatch(r"\d+([.,]\d+)? degrés", warm.text), warm.text


async def test_the_room_of_a_satellite_is_learnt_by_its_device(
    home_assistant: HomeAssistantCore, linked: RunningServer
) -> None:
    async with home_assistant.connect() as link:
        devices = {one["name"]: one["id"] for one in await link.call("config/device_registry/list")}
        await link.call("config/device_registry/update", device_id=devices["cuisine-demo"], area_id="bureau")
        try:
            room = {"device_id": devices["cuisine-demo"]}
            async with asyncio.timeout(WAIT_S), wyoming_client(linked) as one:
                while True:
                    await one.send(Transcript(text="Allume la lumière", language="fr", context=room))
                    intent = (await one.until("intent"))[-1].data
                    if {"name": "area", "value": "Bureau"} in intent["entities"]:
                        break
        finally:
            await link.call("config/device_registry/update", device_id=devices["cuisine-demo"], area_id="cuisine")


@pytest.fixture
async def as_agent(home_assistant: HomeAssistantCore, linked: RunningServer) -> AsyncIterator[Agent]:
    """The server with a token as Home Assistant's own conversation agent."""
    async with home_assistant.connect() as link:
        answer = await add_by_hand(link, linked.host, linked.port)
        try:
            entities = await link.call("config/entity_registry/list")
            [agent] = [
                one["entity_id"]
                for one in entities
                if one["config_entry_id"] == answer["result"]["entry_id"]
                and one["entity_id"].startswith("conversation.")
            ]
            yield lambda text: speech(link, agent, text)
        finally:
            await remove(link, answer["result"]["entry_id"])


async def speech(link: Link, agent: str, text: str) -> str:
    """What our agent says inside Home Assistant."""
    found = await link.call("conversation/process", text=text, language="fr", agent_id=agent)
    said: str = found["response"]["speech"].get("plain", {}).get("speech", "")
    return said


async def test_home_assistants_own_conversation_is_told_states_too(
    home_assistant: HomeAssistantCore, as_agent: Agent
) -> None:
    async with home_assistant.connect() as link:
        await link.service("light", "turn_on", "light.plafonnier_cuisine")
    assert await as_agent("Y a-t-il des lumières allumées dans la cuisine ?") == "Oui, Plafonnier"
    assert re.search(r"\d", await as_agent("Quelle heure est-il ?"))


async def test_of_two_commands_an_older_release_does_the_first_and_says_so(
    home_assistant: HomeAssistantCore, as_agent: Agent
) -> None:
    text = "Allume la cuisine et allume l'imprimante"
    if home_assistant.is_new:
        async with moving(home_assistant, "light.plafonnier_cuisine", "switch.imprimante"):
            assert "reste" not in await as_agent(text)
    else:
        async with moving(home_assistant, "light.plafonnier_cuisine"):
            assert "Je n'ai fait que cela" in await as_agent(text)


async def test_home_assistant_takes_an_entity_by_every_name_that_we_learn(home_assistant: HomeAssistantCore) -> None:
    house = demo_house()
    parts = [{**one, "attributes": {"has_entity_name": True}} for one in NAMED_BY_PARTS]
    await home_assistant.refurnish({**house, "devices": [*house["devices"], *parts]})
    there = Client(home_assistant.url, home_assistant.token)
    learning = NameLink(there, lambda _: None)
    task = asyncio.create_task(learning.run())
    try:
        async with home_assistant.connect() as link:
            await link.call("config/entity_registry/update", entity_id="light.verte", area_id="cuisine")
            async with asyncio.timeout(WAIT_S):
                while learning.home.devices.get("light.verte", Device("", "")).area != "cuisine":  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        names = {device.id: (device.name, *device.aliases) for device in learning.home.settings.devices}
        assert names["light.rouge"] == ("Lampe Rouge Anneau",)
        assert names["light.verte"] == (("Liseré",) if home_assistant.is_new else ("Lampe Verte Liseré",))
        for entity, called in names.items():
            for name in called:
                area = learning.home.devices[entity].area
                slots = {"name": name} | ({"area": area} if area else {})
                answer = await there.post("/api/intent/handle", {"name": "HassGetState", "data": slots})
                assert entity in [one["id"] for one in answer["data"].get("success", ())], (name, answer)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await there.close()


class OpenSatellite(AsyncEventHandler):
    """A satellite that says what it is and no more."""

    async def handle_event(self, event: Event) -> bool:
        if event.type == "describe":
            made_by = Attribution("tests", "")
            here = Satellite(
                name="Pi du salon", attribution=made_by, installed=True, description="", version="1", area="Salon"
            )
            await self.write_event(Info(satellite=here).event())
        elif event.type == "ping":
            await self.write_event(Event("pong", event.data))
        return True


async def test_the_room_of_a_satellite_of_home_assistant_is_learnt_by_all_that_it_is_called(
    home_assistant: HomeAssistantCore,
) -> None:
    port = free_port()
    satellite = AsyncServer.from_uri(f"tcp://127.0.0.1:{port}")
    await satellite.start(OpenSatellite)
    there = Client(home_assistant.url, home_assistant.token)
    homes: asyncio.Queue[HomeSettings] = asyncio.Queue()
    task = asyncio.create_task(NameLink(there, homes.put_nowait).run())
    try:
        async with home_assistant.connect() as link:
            entry = (await add_by_hand(link, "127.0.0.1", port))["result"]["entry_id"]
            entities = [
                one for one in await link.call("config/entity_registry/list") if one["config_entry_id"] == entry
            ]
            [device] = {one["device_id"] for one in entities}
            [entity] = [one["entity_id"] for one in entities if one["entity_id"].startswith("assist_satellite.")]
            async with asyncio.timeout(WAIT_S):
                while not {entity, device, "Pi du salon"} <= (home := await homes.get()).satellites.keys():
                    pass
            assert {home.satellites[one] for one in (entity, device, "Pi du salon")} == {"salon"}
            await remove(link, entry)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await there.close()
        await satellite.stop()
    home_assistant.mark()  # it may say that the satellite is gone


@pytest.fixture(scope="module")
def breakable(ha_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HomeAssistantCore]:
    """A Home Assistant that is killed, and whose tokens are revoked."""
    core = HomeAssistantCore.start(ha_python, tmp_path_factory.mktemp("breakable"))
    yield core
    core.stop()


async def test_home_assistant_killed_and_started_again(breakable: HomeAssistantCore, tmp_path: Path) -> None:
    servers = serving(breakable, tmp_path)
    server = await asyncio.to_thread(next, servers)
    try:
        assert (await command(server, "Allume la cuisine")).outcome == "handled"
        assert breakable.process is not None
        breakable.process.kill()
        breakable.process.wait()
        answer = await command(server, "Éteins la cuisine")
        assert (answer.outcome, answer.text) == ("not-handled", phrases.say("ha_unreachable", "fr"))
        assert (await command(server, "Quelle heure est-il ?")).outcome == "handled"
        await asyncio.to_thread(breakable.start_again)
        async with moving(breakable, "light.plafonnier_cuisine"):
            assert (await command(server, "Allume la cuisine")).outcome == "handled"
        async with breakable.connect() as link:
            await link.call("config/entity_registry/update", entity_id="light.lampe_salon", name="Vieux phare")
        await understood_after(server, "Allume le vieux phare", switches("Vieux phare"))
    finally:
        await asyncio.to_thread(next, servers, None)


async def test_a_revoked_token_ends_the_link_and_is_said(breakable: HomeAssistantCore, tmp_path: Path) -> None:
    async with breakable.connect() as link:
        token = await link.call("auth/long_lived_access_token", client_name="to be revoked", lifespan=1)
        servers = serving(breakable, tmp_path, token)
        server = await asyncio.to_thread(next, servers)
        try:
            await understood_after(server, "Allume la cuisine", lambda found: bool(found))
            assert (await command(server, "Allume la cuisine")).outcome == "handled"
            tokens = {one["client_name"]: one["id"] for one in await link.call("auth/refresh_tokens")}
            await link.call("auth/delete_refresh_token", refresh_token_id=tokens["to be revoked"])
            answer = await command(server, "Éteins la cuisine")
            assert (answer.outcome, answer.text) == ("not-handled", phrases.say("ha_refused", "fr"))
            assert (await link.states())["light.plafonnier_cuisine"]["state"] == "on"
            async with asyncio.timeout(WAIT_S):
                while "does not accept the token" not in server.log.read_text():  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        finally:
            await asyncio.to_thread(next, servers, None)


async def test_with_a_wrong_token_the_names_in_the_settings_are_used(
    breakable: HomeAssistantCore, tmp_path: Path
) -> None:
    servers = serving(breakable, tmp_path, "a-token-of-nobody")
    server = await asyncio.to_thread(next, servers)
    try:
        assert ("HassTurnOn", {"area": "Cuisine", "domain": "light"}) in await intents(server, "Allume la cuisine")
        answer = await command(server, "Allume la cuisine")
        assert (answer.outcome, answer.text) == ("not-handled", phrases.say("ha_refused", "fr"))
    finally:
        await asyncio.to_thread(next, servers, None)
    assert server.log.read_text().count("does not accept the token. The names in the settings are used.") == 1
