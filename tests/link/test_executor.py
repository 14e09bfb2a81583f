"""What is executed in Home Assistant, what is said of it, and that nothing is claimed that was not done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import home_assistant_intents
import pytest
from aiohttp import web

from tests.conftest import free_port
from tests.link.scripted_home_assistant import TOKEN, Peer, done, listening, scripted
from tests.waiting import WAIT_S
from wyoming_superwhisper import phrases
from wyoming_superwhisper.conversation.executor import Executed
from wyoming_superwhisper.conversation.said import Said
from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.home_assistant import client
from wyoming_superwhisper.home_assistant.client import Client
from wyoming_superwhisper.home_assistant.executor import HomeAssistantExecutor
from wyoming_superwhisper.home_assistant.link import Link, LinkState


class Linked:
    """An executor over a link that is ready."""

    def __init__(self, executor: HomeAssistantExecutor, link: Link) -> None:
        self.executor = executor
        self.link = link

    async def do(
        self, name: str, reply: str = "", template: str = "", /, language: str = "fr", **slots: Any
    ) -> Executed:
        return await self.executor.execute(IntentCall(name, slots, reply, template), Said("…"), language, None)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with scripted() as one:
        one.answers["config/area_registry/list"] = [
            {"area_id": "salon", "name": "Salon", "floor_id": "rez"},
            {"area_id": "cuisine", "name": "Cuisine"},
        ]
        one.answers["config/floor_registry/list"] = [{"floor_id": "rez", "name": "Rez-de-chaussée"}]
        one.light("Plafonnier", "light.salon", "salon")
        one.light("Lampe", "light.lampe", "salon")
        one.light("Plafonnier", "light.cuisine", "cuisine")
        one.light("Secrète", "light.secret", "salon", options={"conversation": {"should_expose": False}})
        one.states["light.lampe"]["s"] = "on"
        yield one


@pytest.fixture
async def linked(peer: Peer) -> AsyncIterator[Linked]:
    async with executing(peer) as one:
        yield one


@asynccontextmanager
async def executing(peer: Peer) -> AsyncIterator[Linked]:
    there = Client(peer.url, TOKEN)
    link = Link(there, lambda _: None)
    task = asyncio.create_task(link.run())
    await asyncio.wait_for(link.ready.wait(), WAIT_S)
    yield Linked(HomeAssistantExecutor(there, link), link)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await there.close()


def plainly(answer: Any) -> Any:
    """An older Home Assistant: refuses what it doesn't know, and gives errors as speech."""

    def handle(body: dict[str, Any]) -> web.Response:
        if body.keys() - {"name", "data"}:
            return web.json_response({"message": "extra keys not allowed"}, status=400)
        return web.json_response(answer(body) if callable(answer) else answer)

    return handle


def moved(body: dict[str, Any]) -> dict[str, Any]:
    return done(body["data"]["name"])


async def test_an_intent_goes_out_with_language_and_assistant_and_the_packs_reply_is_spoken(
    peer: Peer, linked: Linked
) -> None:
    assert await linked.do("HassTurnOn", "Allumé", area="Salon") == Executed("Allumé", True)
    sent = {"name": "HassTurnOn", "data": {"area": "Salon"}, "language": "fr", "assistant": "conversation"}
    assert peer.intents == [sent]


async def test_the_handlers_own_speech_comes_first(peer: Peer, linked: Linked) -> None:
    peer.intent = lambda _: web.json_response(done(speech="C'est \n fait\x07."))
    assert (await linked.do("HassTurnOn", "Allumé")).text == "C'est fait ."


async def test_an_error_is_never_a_success_and_its_text_is_neither_spoken_nor_logged(
    peer: Peer, linked: Linked, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    peer.intent = lambda _: web.json_response({"response_type": "error", "speech": {"plain": {"speech": "<Match>"}}})
    said = await linked.do("HassTurnOn", "Allumé", name="Lampe")
    assert said == Executed("Home Assistant n'a pas pu le faire pour Lampe.", False)
    assert "did not do HassTurnOn" in caplog.text
    assert "<Match>" not in caplog.text
    assert "Lampe" not in caplog.text


async def test_what_worked_for_some_only_is_said_so(peer: Peer, linked: Linked) -> None:
    answer = done("light.salon")
    answer["data"]["failed"] = [{"type": "entity", "name": "Lampe", "id": "light.lampe"}]
    peer.intent = lambda _: web.json_response(answer)
    assert await linked.do("HassTurnOn", "Allumé.", area="Salon") == Executed("Allumé, mais pas Lampe.", False)


@pytest.mark.parametrize(
    ("response", "key"),
    [
        (lambda _: web.Response(status=500), "ha_failed"),
        (lambda _: web.Response(status=404), "ha_failed"),
        (lambda _: web.Response(status=401), "ha_refused"),
        (lambda _: web.Response(status=403), "ha_refused"),
        (lambda _: web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"}), "ha_failed"),
        (lambda _: web.Response(text="<html>"), "ha_unsure"),
        (lambda _: web.json_response([1]), "ha_unsure"),
        (lambda _: web.Response(text='"' + "x" * 2_000_000 + '"'), "ha_unsure"),
        (lambda _: web.json_response({"response_type": 3, "speech": [], "data": {"success": 3}}), ""),
    ],
)
async def test_every_bad_answer_has_its_sentence(peer: Peer, linked: Linked, response: Any, key: str) -> None:
    peer.intent = response
    said = await linked.do("HassTurnOn", "Allumé", language="en")
    assert said == (Executed(phrases.say(key, "en"), False) if key else Executed("Allumé", True))


async def test_nobody_there_is_said_and_no_answer_in_time_leaves_it_open(
    peer: Peer, linked: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Client(f"http://127.0.0.1:{free_port()}", TOKEN)
    gone = HomeAssistantExecutor(elsewhere, linked.link)
    assert await gone.execute(IntentCall("HassTurnOn"), Said(""), "fr", None) == Executed(
        "Je n'arrive pas à joindre Home Assistant. Rien n'a été fait.", False
    )
    await elsewhere.close()
    monkeypatch.setattr(client, "REQUEST_S", 0.1)
    stuck = asyncio.Event()

    async def never(request: web.Request) -> web.Response:
        await stuck.wait()
        return web.Response()

    async with listening(web.post("/api/intent/handle", never)) as url:
        slow = Client(url, TOKEN)
        said = await HomeAssistantExecutor(slow, linked.link).execute(IntentCall("HassTurnOn"), Said(""), "en", None)
        assert said == Executed("Home Assistant did not answer: I don't know whether that was done.", False)
        stuck.set()
        await slow.close()


async def test_with_a_refused_token_nothing_is_asked_any_more(peer: Peer, linked: Linked) -> None:
    linked.link.state = LinkState.REFUSED
    assert await linked.do("HassTurnOn", "Allumé") == Executed(phrases.say("ha_refused", "fr"), False)
    assert peer.intents == [], "who keeps trying a wrong token is banned"
    linked.link.state = LinkState.RESTRICTED
    assert (await linked.do("HassTurnOn", "Allumé")).done


# --- questions

PACK = home_assistant_intents.get_intents("fr")["responses"]["intents"]


async def test_a_question_is_answered_from_the_states_with_the_packs_own_reply(peer: Peer, linked: Linked) -> None:
    peer.intent = lambda _: web.json_response(done("light.salon", "light.lampe", response_type="query_answer"))
    which = PACK["HassGetState"]["which"]
    any_on = PACK["HassGetState"]["any"]
    assert await linked.do("HassGetState", "", which, domain="light", state="on") == Executed("Lampe", True)
    assert (await linked.do("HassGetState", "", any_on, domain="light", state="off")).text == "Oui, Plafonnier"
    assert (await linked.do("HassGetState", "", any_on, domain="light", state="unavailable")).text == "Non"


async def test_a_question_that_can_not_be_answered_is_not_said_to_be(peer: Peer, linked: Linked) -> None:
    unknown = Executed("Home Assistant ne me l'a pas dit.", False)
    assert await linked.do("HassGetState", "", "{{ state.state }}") == unknown
    assert await linked.do("HassGetState", "", "{{ ''.__class__.__mro__ }}") == unknown


async def test_a_name_that_looks_like_a_template_is_only_a_name(peer: Peer, linked: Linked) -> None:
    peer.intent = lambda _: web.json_response(done("light.salon"))
    name = "{{ 7 * 7 }}"
    said = await linked.do("HassGetState", "", PACK["HassGetState"]["one"], name=name)
    assert said.text == "{{ 7 * 7 }} est off"


# --- older releases


async def test_an_older_home_assistant_is_given_each_exposed_entity_of_a_room(peer: Peer, linked: Linked) -> None:
    peer.intent = plainly(moved)
    assert await linked.do("HassTurnOn", "Allumé", area="Salon", domain="light") == Executed("Allumé", True)
    assert "assistant" in peer.intents[0], "it says itself what it takes, where its version isn't known as old"
    sent = [body["data"] for body in peer.intents[1:]]
    assert sent == [{"name": "light.salon"}, {"name": "light.lampe"}]
    peer.intents.clear()
    await linked.do("HassLightSet", "Réglé", floor="Rez-de-chaussée", brightness=30)
    assert [body["data"] for body in peer.intents] == [
        {"brightness": 30, "name": "light.salon"},
        {"brightness": 30, "name": "light.lampe"},
    ]


async def test_there_a_name_means_one_exposed_entity_or_none(peer: Peer, linked: Linked) -> None:
    peer.intent = plainly(moved)
    await linked.do("HassNevermind")  # so that it is known
    peer.intents.clear()
    ambiguous = await linked.do("HassTurnOn", "Allumé", name="Plafonnier")
    secret = await linked.do("HassTurnOn", "Allumé", name="Secrète")
    assert not ambiguous.done
    assert not secret.done
    assert peer.intents == []
    assert (await linked.do("HassTurnOn", "Allumé", name="Plafonnier", preferred_area_id="cuisine")).done
    assert (await linked.do("HassTurnOn", "Allumé", name="Plafonnier", area="Salon")).done
    assert [body["data"]["name"] for body in peer.intents] == ["light.cuisine", "light.salon"]


async def test_there_an_id_may_stand_for_a_name_and_is_never_spoken(peer: Peer, linked: Linked) -> None:
    peer.intent = plainly(moved)
    await linked.do("HassNevermind")
    peer.intents.clear()
    assert (await linked.do("HassTurnOn", "Allumé", name="light.cuisine")).done
    assert not (await linked.do("HassTurnOn", "Allumé", name="light.secret")).done
    assert [body["data"] for body in peer.intents] == [{"name": "light.cuisine"}]
    peer.intent = plainly(done(speech="error"))
    assert (await linked.do("HassTurnOn", name="light.cuisine")).text == (
        "Home Assistant n'a pas pu le faire pour Plafonnier."
    )


async def test_there_an_error_in_the_shape_of_a_success_is_none(peer: Peer, linked: Linked) -> None:
    peer.intent = plainly(done(speech="<MatchFailedError …>"))
    assert not (await linked.do("HassTurnOn", "Allumé", name="Lampe")).done


async def test_there_a_question_is_answered_for_exposed_entities_only(peer: Peer, linked: Linked) -> None:
    peer.intent = plainly(done("light.salon", "light.secret", response_type="query_answer"))
    said = await linked.do("HassGetState", "", PACK["HassGetState"]["which"], area="Salon", state="off")
    assert said.text == "Plafonnier"


async def test_one_that_is_known_as_old_is_asked_nothing_that_it_would_log_as_an_error(
    peer: Peer, linked: Linked
) -> None:
    linked.link.version = "2026.2.3"
    assert (await linked.do("HassTurnOn", "Allumé", name="Lampe")).done
    assert peer.intents == [{"name": "HassTurnOn", "data": {"name": "light.lampe"}}]


# --- temperatures

DEGREES = PACK["HassClimateGetTemperature"]["default"]


@pytest.mark.parametrize(
    ("slots", "reply"),
    [
        ({"area": "Salon"}, "19.5 degrés"),
        ({"preferred_area_id": "salon"}, "19.5 degrés"),
        ({"area": "Cuisine"}, "21 degrés"),
        ({"name": "Chauffage", "area": "Cuisine"}, "21 degrés"),
        ({"preferred_area_id": "cuisine"}, "21 degrés"),
        ({"name": "Chauffage"}, "Home Assistant ne me l'a pas dit."),
        ({}, "Home Assistant ne me l'a pas dit."),
    ],
)
async def test_a_temperature_is_that_of_the_rooms_thermometer_or_of_the_one_climate_device_that_fits(
    slots: dict[str, Any], reply: str
) -> None:
    async with scripted() as peer:
        peer.answers["config/area_registry/list"] = [
            {"area_id": "salon", "name": "Salon", "temperature_entity_id": "sensor.salon"},
            {"area_id": "cuisine", "name": "Cuisine"},
        ]
        peer.light("Thermomètre", "sensor.salon", "salon")
        peer.states["sensor.salon"] = {"s": "19.5"}
        for room, degrees in (("salon", 18), ("cuisine", 21)):
            peer.light("Chauffage", f"climate.{room}", room)
            attributes = {"friendly_name": "Chauffage", "current_temperature": degrees}
            peer.states[f"climate.{room}"] = {"s": "heat", "a": attributes}
        peer.intent = lambda _: web.json_response(done(response_type="query_answer"))
        async with executing(peer) as linked:
            assert (await linked.do("HassClimateGetTemperature", "", DEGREES, **slots)).text == reply
