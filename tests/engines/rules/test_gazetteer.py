"""The second matcher for English: wordings without a template, two commands in one, and what it must not guess."""

from __future__ import annotations

import time
from typing import Any

import pytest

from wyoming_superwhisper.config.settings import Area, Device, Floor, HomeSettings
from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.engines.rules.gazetteer import Gazetteer
from wyoming_superwhisper.engines.rules.hassil import HassilIntents
from wyoming_superwhisper.home import Home

HOME = HomeSettings(
    floors=(Floor("ground", "Ground floor", ("downstairs",)),),
    areas=(
        Area("kitchen", "Kitchen", (), "ground"),
        Area("living", "Living room", ("lounge",), "ground"),
        Area("bedroom", "Bedroom"),
    ),
    devices=(
        Device("light.desk", "Desk lamp", ("work lamp",), "bedroom"),
        Device("light.ceiling_kitchen", "Ceiling light", (), "kitchen"),
        Device("light.ceiling_living", "Ceiling light", (), "living"),
        Device("cover.blinds", "Blinds", (), "bedroom", "blind"),
        Device("media_player.tv", "TV", (), "living", "tv"),
        Device("media_player.tv_bedroom", "TV", (), "bedroom", "tv"),
        Device("vacuum.robot", "Robot", ("vacuum",), "living"),
        Device("lock.front", "Front door", (), "kitchen"),
    ),
)


@pytest.fixture(scope="module")
def intents() -> HassilIntents:
    return HassilIntents(("en", "fr"), HOME)


def said(intents: HassilIntents, text: str, area: str | None = None, *before: IntentCall) -> list[tuple[str, Any]]:
    return [(call.name, dict(call.slots)) for call in intents.recognize(text, "en", area, before)]


def test_a_wording_without_a_template_is_understood(intents: HassilIntents) -> None:
    assert said(intents, "Flick on the kitchen lights") == [("HassTurnOn", {"area": "Kitchen", "domain": "light"})]
    assert said(intents, "Would you mind turning on the desk lamp?") == [("HassTurnOn", {"name": "Desk lamp"})]
    assert said(intents, "Are the living room lights on?") == [
        ("HassGetState", {"area": "Living room", "domain": "light", "state": "on"})
    ]


def test_a_misspelt_name_is_understood(intents: HassilIntents) -> None:
    assert said(intents, "Turn on the bedrom lights") == [("HassTurnOn", {"area": "Bedroom", "domain": "light"})]


def test_two_commands_in_one_sentence_are_two(intents: HassilIntents) -> None:
    assert said(intents, "Turn on the desk lamp and close the blinds in the bedroom") == [
        ("HassTurnOn", {"name": "Desk lamp"}),
        ("HassTurnOff", {"name": "Blinds", "area": "Bedroom"}),
    ]
    assert said(intents, "Turn on the living room and kitchen lights") == [
        ("HassTurnOn", {"area": "Living room", "domain": "light"}),
        ("HassTurnOn", {"area": "Kitchen", "domain": "light"}),
    ]


def test_a_name_that_several_devices_have_is_told_apart_by_its_id(intents: HassilIntents) -> None:
    (call,) = intents.recognize("Turn the TV down", "en", "living")
    assert call.slots == {"name": "media_player.tv", "volume_step": "down", "preferred_area_id": "living"}
    assert "media_player" not in call.text
    assert intents.home.devices_named("media_player.tv") == (intents.home.devices["media_player.tv"],)


def test_it_refers_to_what_was_meant_last(intents: HassilIntents) -> None:
    lights = IntentCall("HassTurnOn", {"area": "Kitchen", "domain": "light"})
    assert said(intents, "Switch them back off", None, lights) == [
        ("HassTurnOff", {"area": "Kitchen", "domain": "light"})
    ]
    door = IntentCall("HassGetState", {"name": "Front door"})
    assert said(intents, "Lock it", None, door) == [("HassTurnOn", {"name": "Front door"})]
    tv = IntentCall("HassTurnOn", {"name": "TV", "preferred_area_id": "bedroom"})
    assert said(intents, "Turn it off", "bedroom", tv) == [
        ("HassTurnOff", {"name": "media_player.tv_bedroom", "preferred_area_id": "bedroom"})
    ]
    assert said(intents, "Turn it off") == []


@pytest.mark.parametrize("text", ["Turn on the conservatory lights.", "Turn off the cellar lights", "Close the shed"])
@pytest.mark.parametrize("area", [None, "kitchen"])
def test_a_place_that_does_not_exist_is_never_taken_for_the_speakers_room(
    intents: HassilIntents, text: str, area: str | None
) -> None:
    assert said(intents, text, area) == []


@pytest.mark.parametrize(
    "text",
    ["What is the price of bread?", "What is a timer?", "Who wrote the lights of the city?", "I like the kitchen."],
)
def test_talk_is_left_to_the_language_model(intents: HassilIntents, text: str) -> None:
    assert said(intents, text, "kitchen") == []


@pytest.mark.parametrize(
    "text",
    [
        "The TV is blaring in the bedroom.",
        "The blinds in the bedroom are far too noisy.",
        "Why is the desk lamp on all day?",
        "Nobody is in the kitchen, the light is on for nothing.",
        "Somebody left the light on in the kitchen.",
        "The light in the kitchen was on all night.",
        "He turned off the lights in the kitchen and left.",
        "I switched the desk lamp off before midnight.",
        "The kitchen is clean.",
        "The weather is lovely in Lisbon.",
    ],
)
@pytest.mark.parametrize("area", [None, "kitchen"])
def test_what_is_only_told_is_neither_a_question_nor_a_command(
    intents: HassilIntents, text: str, area: str | None
) -> None:
    assert said(intents, text, area) == []


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("Check whether the front door is open", ("HassGetState", "Front door")),
        ("Is the desk lamp on again, I wonder", ("HassGetState", "Desk lamp")),
        ("Could they turn off the desk lamp", ("HassTurnOff", "Desk lamp")),
    ],
)
def test_questions_and_wishes_in_many_words_are_understood(
    intents: HassilIntents, text: str, call: tuple[str, str]
) -> None:
    assert [(name, slots.get("name")) for name, slots in said(intents, text)] == [call]


def test_what_leaves_words_out_comes_after_a_reading_that_takes_them_all_in(intents: HassilIntents) -> None:
    assert said(intents, "Send the vacuum home") == [("HassVacuumReturnToBase", {"name": "Robot"})]


def test_new_names_are_known_at_the_next_sentence() -> None:
    intents = HassilIntents(("en",), HOME)
    assert said(intents, "Flick on the shed lights") == []
    settings = HomeSettings(areas=(Area("shed", "Shed"),), devices=(Device("light.s", "Bulb", (), "shed"),))
    began = time.process_time()
    intents.set_home(settings)
    assert said(intents, "Flick on the shed lights") == [("HassTurnOn", {"area": "Shed", "domain": "light"})]
    assert time.process_time() - began < 1.0
    assert said(intents, "Flick on the kitchen lights") == []


def test_other_languages_do_without_it() -> None:
    assert Gazetteer.supports("en-GB")
    assert not Gazetteer.supports("fr")


def test_odd_names_and_sentences_do_no_harm() -> None:
    names = ("{x}", "<|eot_id|>", "'", '"', "a" * 200, "ligne\n2", "%", "12", "and", "it", "")
    home = HomeSettings(
        areas=tuple(Area(f"a{n}", name) for n, name in enumerate(names)),
        devices=tuple(Device(f"light.d{n}", name) for n, name in enumerate(names)),
    )
    gazetteer = Gazetteer(Home(home))
    for text in ("{{ 7 * 7 }}", "\"'\"'", "<|eot_id|> turn on", "turn on " * 36, "and " * 70, "🎉", "12 % of 0"):
        began = time.process_time()
        gazetteer.read(text, "a1")
        assert time.process_time() - began < 3.0
