"""What the language model may write: calls of names that exist, read back as they were written."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.engines.llm_calls import (
    aimed_at,
    call_text,
    is_call,
    lacks_target,
    parse_calls,
    placed_as_said,
)
from wyoming_superwhisper.engines.llm_grammar import FORMS, build_grammar
from wyoming_superwhisper.engines.llm_home import Home, home_from

pytest.importorskip("llama_cpp")

from wyoming_superwhisper.engines.llama_native import NativeGrammar, NativeModel

DEMO = Path(__file__).parents[2] / "wyoming_superwhisper" / "models" / "demo" / "weights" / "llama" / "demo.gguf"

HOME = {
    "areas": [
        {"id": "cuisine", "name": "Cuisine", "aliases": ["Kitchen"]},
        {"id": "salon", "name": "Salon"},
        {"id": "bebe", "name": "Chambre de Bébé \"Léo\" \\o/"},
    ],
    "devices": [
        {"id": "light.ceiling", "name": "Plafonnier", "area": "cuisine"},
        {"id": "light.ceiling_2", "name": "Plafonnier", "area": "salon"},
        {"id": "media_player.tv", "name": "Télévision", "aliases": ["TV"], "area": "salon"},
        {"id": "cover.shutter", "name": "Volets", "area": "salon"},
        {"id": "climate.heating", "name": "Chauffage", "area": "salon"},
        {"id": "scene.film", "name": "Soirée film"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Iterator[NativeModel]:
    loaded = NativeModel(DEMO, gpu_layers=0)
    yield loaded
    loaded.close()


def admits(model: NativeModel, grammar: str, text: str) -> bool:
    """Whether the grammar admits the whole text, and lets it end there."""
    walk = NativeGrammar(model, grammar)
    try:
        for token in model.tokens(text):
            if not walk.admits(token):
                return False
            walk.accept(token)
        return walk.admits(model.tokens("<|im_end|>", special=True)[0])
    finally:
        walk.close()


def written_at_random(model: NativeModel, grammar: str, rng: np.random.Generator, start: str) -> str:
    """A text that goes on from a start as the grammar allows, by tokens that a random model finds likely."""
    walk = NativeGrammar(model, grammar)
    text = b""
    try:
        for token in model.tokens(start):
            walk.accept(token)
        for _ in range(200):
            token = walk.best(rng.normal(size=model.size).astype(np.float32))
            if model.ends_turn(token):
                return start + text.decode("utf-8", "replace")
            walk.accept(token)
            text += model.piece(token)
    finally:
        walk.close()
    return start + text.decode("utf-8", "replace")


def home_of(names: list[str]) -> Home:
    """A home whose rooms and devices bear these names."""
    kinds = ("light", "cover", "fan", "climate", "media_player", "switch", "scene")
    areas = [{"id": f"a{index}", "name": name, "aliases": [name[::-1]]} for index, name in enumerate(names)]
    devices = [
        {"id": f"{kinds[index % len(kinds)]}.d{index}", "name": f"{name} {index}", "area": f"a{index}"}
        for index, name in enumerate(names)
    ]
    return home_from({"areas": areas, "devices": devices})


def canonical_names(home: Home) -> set[str]:
    return {one.name for one in (*home.areas, *home.devices)}


def words_in(calls: tuple[IntentCall, ...]) -> set[str]:
    return {str(call.slots[slot]) for call in calls for slot in ("name", "area") if slot in call.slots}


@pytest.mark.parametrize(
    "text",
    [
        '{"intent": "HassTurnOn", "domain": "light", "area": "cuisine"}',
        '{"intent": "HassTurnOn", "domain": "light"}',
        '{"intent": "HassTurnOff", "name": "télévision"}',
        '{"intent": "HassTurnOff", "name": "tv", "area": "salon"}',
        '{"intent": "HassTurnOff", "domain": "cover", "device_class": "shutter", "area": "salon"}',
        '{"intent": "HassTurnOn", "name": "soirée film"}',
        '{"intent": "HassLightSet", "domain": "light", "area": "kitchen", "brightness": 40}',
        '{"intent": "HassLightSet", "name": "plafonnier", "area": "salon", "color": "red"}',
        '{"intent": "HassClimateSetTemperature", "area": "salon", "temperature": 21.5}',
        '{"intent": "HassClimateSetTemperature", "temperature": 18}',
        '{"intent": "HassSetVolumeRelative", "volume_step": "down"}',
        '{"intent": "HassGetWeather"}',
        '[{"intent": "HassTurnOn", "domain": "light"}, {"intent": "HassMediaPause"}]',
    ],
)
def test_calls_are_admitted_and_read_back(model: NativeModel, text: str) -> None:
    home = home_from(HOME)
    assert admits(model, build_grammar(home), text)
    calls = parse_calls(text, home)
    entries = json.loads(text)
    assert [call.name for call in calls] == [
        one["intent"] for one in (entries if isinstance(entries, list) else [entries])
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"intent": "HassTurnOn", "domain": "light", "area": "grenier"}',
        '{"intent": "HassTurnOn", "name": "radio"}',
        '{"intent": "HassTurnOn", "name": "plafonnier", "area": "bébé"}',
        '{"intent": "HassTurnOn", "domain": "fan"}',
        '{"intent": "HassTurnOn"}',
        '{"intent": "HassUnlockEverything", "domain": "light"}',
        '{"intent": "HassLightSet", "domain": "light", "brightness": 400}',
        '{"intent": "HassLightSet", "domain": "light"}',
        '{"intent": "HassLightSet", "name": "télévision", "brightness": 40}',
        '{"intent": "HassClimateSetTemperature", "temperature": 90}',
        '{"intent": "HassTurnOn", "domain": "light", "area": "cuisine", "evil": true}',
        '{"intent": "HassTurnOn", "domain": "light", "area": "cuis',
        '[]',
    ],
)  # fmt: skip
def test_other_calls_are_neither_admitted_nor_read(model: NativeModel, text: str) -> None:
    home = home_from(HOME)
    assert not admits(model, build_grammar(home), text)
    assert parse_calls(text, home) == ()


def test_a_device_called_in_a_room_where_it_is_not_is_no_call() -> None:
    assert parse_calls('{"intent": "HassTurnOn", "name": "télévision", "area": "cuisine"}', home_from(HOME)) == ()


@pytest.mark.parametrize("text", ["Bonjour.", "Je ne sais pas.", "22 degrés, je crois.", "Oui : « voilà »."])
def test_free_text_is_admitted(model: NativeModel, text: str) -> None:
    assert admits(model, build_grammar(home_from(HOME)), text)
    assert not is_call(text)


@pytest.mark.parametrize("text", ["", " Bonjour", "<|im_start|>", '{"a": 1}', "[1]"])
def test_what_could_be_taken_for_a_call_is_no_free_text(model: NativeModel, text: str) -> None:
    assert not admits(model, build_grammar(home_from(HOME)), text)


def test_names_are_read_back_as_the_home_spells_them() -> None:
    (call,) = parse_calls('{"intent": "HassTurnOff", "name": "tv", "area": "salon"}', home_from(HOME))
    assert call.slots == {"name": "Télévision", "area": "Salon"}


def test_a_home_without_names_still_has_calls_without_names(model: NativeModel) -> None:
    grammar = build_grammar(Home())
    assert admits(model, grammar, '{"intent": "HassTurnOn", "domain": "light"}')
    assert not admits(model, grammar, '{"intent": "HassTurnOn", "domain": "light", "area": "salon"}')


def test_intents_for_which_the_home_has_nothing_are_left_out(model: NativeModel) -> None:
    home = home_from({"devices": [{"id": "light.a", "name": "A"}]})
    assert not admits(model, build_grammar(home), '{"intent": "HassMediaPause"}')
    assert parse_calls('{"intent": "HassMediaPause"}', home) == ()


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text(min_size=1, max_size=24), min_size=1, max_size=12), st.integers(0, 2**32))
def test_whatever_is_written_names_only_what_exists(model: NativeModel, names: list[str], seed: int) -> None:
    home = home_of(names)
    grammar = build_grammar(home)
    rng = np.random.default_rng(seed)
    for start in ('{"intent": "HassTurnOn", ', '{"intent": "HassTurnOff", "name": "', "{"):
        if '"name": "' in start and not any(device.domain != "scene" for device in home.devices):
            continue
        text = written_at_random(model, grammar, rng, start)
        calls = parse_calls(text, home)
        if text.endswith("}"):  # else it was cut short in the middle of a long list
            assert words_in(calls) <= canonical_names(home)
            # no call: a device called in a room where it isn't, or a letter in more bytes than UTF-8 gives it
            assert calls or '"name"' in text or "\ufffd" in text


@settings(deadline=None, max_examples=100)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda one: st.lists(one) | st.dictionaries(
    st.sampled_from(["intent", "name", "area", "domain", "brightness"]) | st.text(), one)))  # fmt: skip
def test_no_json_at_all_is_read_as_a_call_of_unknown_names(value: Any) -> None:
    home = home_from(HOME)
    for text in (json.dumps(value), json.dumps({"intent": "HassTurnOn", "area": value, "domain": "light"})):
        assert words_in(parse_calls(text, home)) <= canonical_names(home)


def test_a_call_that_says_no_place_is_aimed_at_the_speakers_room() -> None:
    home = home_from(HOME)
    (call,) = parse_calls('{"intent": "HassTurnOn", "domain": "light"}', home)
    assert lacks_target(call)
    assert aimed_at([call], home, "salon")[0].slots == {"domain": "light", "area": "Salon"}
    assert aimed_at([call], home, None)[0].slots == {"domain": "light"}
    assert aimed_at([call], home, "nowhere")[0].slots == {"domain": "light"}


def test_a_call_that_says_a_place_is_left_alone() -> None:
    home = home_from(HOME)
    calls = parse_calls('{"intent": "HassTurnOn", "domain": "light", "area": "cuisine"}', home)
    assert aimed_at(calls, home, "salon") == calls


@pytest.mark.parametrize(
    ("text", "areas"),
    [
        ("Il fait sombre dans la cuisine.", ["Cuisine"]),
        ("IT'S DARK IN THE KITCHEN!", ["Cuisine"]),
        ("Il fait sombre dans la chambre de bébé Léo \\o/", ['Chambre de Bébé "Léo" \\o/']),
        ("La chambre de bebe leo o est froide", ['Chambre de Bébé "Léo" \\o/']),
        ("Entre le salon et la cuisine", ["Cuisine", "Salon"]),
        ("Les salons et la cuisinière", []),
        ("", []),
    ],
)
def test_the_places_that_a_sentence_names(text: str, areas: list[str]) -> None:
    assert [area.name for area in home_from(HOME).areas_said(text)] == areas


def test_of_names_within_names_the_longest_is_meant() -> None:
    home = home_from({"areas": [{"id": "a", "name": "Chambre"}, {"id": "b", "name": "Chambre de Léo"}]})
    assert [area.id for area in home.areas_said("dans la chambre de Léo")] == ["b"]
    assert [area.id for area in home.areas_said("dans la chambre")] == ["a"]
    assert Home().areas_said("dans la chambre") == ()


def test_a_call_is_placed_where_the_sentence_says() -> None:
    home = home_from(HOME)

    def placed(call: str, text: str) -> list[dict[str, Any]]:
        return [dict(one.slots) for one in placed_as_said(parse_calls(call, home), home, text)]

    in_cuisine = '{"intent": "HassTurnOn", "domain": "light", "area": "cuisine"}'
    nowhere = '{"intent": "HassTurnOn", "domain": "light"}'
    assert placed(in_cuisine, "Il fait sombre là où je cuisine mes plats au fond") == [
        {"domain": "light", "area": "Cuisine"}
    ]
    assert placed(in_cuisine, "Il fait sombre au salon") == [{"domain": "light", "area": "Salon"}]
    assert placed(in_cuisine, "It is dark") == [{"domain": "light", "area": "Cuisine"}]
    assert placed(nowhere, "Il fait sombre au salon") == [{"domain": "light", "area": "Salon"}]
    assert [one["area"] for one in placed(nowhere, "Sombre au salon et dans la cuisine")] == ["Cuisine", "Salon"]
    shutter = '{"intent": "HassTurnOn", "name": "volets", "area": "salon"}'
    assert placed(shutter, "Ouvre les volets de la cuisine") == []
    assert placed('{"intent": "HassTurnOn", "name": "volets"}', "Ouvre les volets de la cuisine") == [
        {"name": "Volets"}
    ]


def test_an_area_called_with_its_article_is_written_without() -> None:
    home = home_from({"areas": [{"id": "a", "name": "L'atelier"}, {"id": "b", "name": "La cuisine d'été"}]})
    assert [area.names for area in home.areas] == [("atelier",), ("cuisine d'été",)]
    assert [area.id for area in home.areas_said("Il fait sombre dans l'atelier")] == ["a"]
    (call,) = parse_calls('{"intent": "HassTurnOn", "domain": "light", "area": "atelier"}', home)
    assert call.slots["area"] == "L'atelier"


@pytest.mark.parametrize(
    "text",
    ["On dirait une cave, ici.", "Une vraie cave !", "Noir comme dans une cave", "Plus sombre qu'une vieille cave",
     "It's like a cave in here.", "It's as dark as a cave", "This is a real cave."],
)  # fmt: skip
def test_a_place_that_something_is_only_like_is_not_meant(text: str) -> None:
    home = home_from({"areas": [{"id": "a", "name": "Cave"}, {"id": "b", "name": "Cuisine", "aliases": ["kitchen"]}]})
    light = {"domain": "light"}

    def placed(text: str) -> list[dict[str, Any]]:
        calls = parse_calls('{"intent": "HassTurnOn", "domain": "light", "area": "cave"}', home)
        return [dict(one.slots) for one in placed_as_said(calls, home, text)]

    assert placed(text) == [light]
    assert placed(f"{text} Dans la cuisine.") == [{**light, "area": "Cuisine"}]
    assert placed("I'd like a cave light on in there.") == [{**light, "area": "Cave"}]
    assert placed("It's dark in the cave, like in a kitchen.") == [{**light, "area": "Cave"}]


def test_a_room_in_the_name_of_a_device_is_no_place() -> None:
    home = home_from(
        {
            "areas": [{"id": "a", "name": "Chambre"}, {"id": "b", "name": "Bureau"}],
            "devices": [{"id": "light.a", "name": "Lampe de bureau", "aliases": ["Lampe du bureau"], "area": "a"}],
        }
    )
    calls = parse_calls('{"intent": "HassTurnOn", "name": "lampe de bureau", "area": "chambre"}', home)
    assert calls
    assert placed_as_said(calls, home, "Allume la lampe du bureau.") == calls
    assert placed_as_said(calls, home, "Allume la lampe de bureau dans la chambre.") == calls
    assert placed_as_said(calls, home, "Il fait sombre au bureau.") == ()


def test_every_form_can_be_written_in_a_home_that_names_no_device(model: NativeModel) -> None:
    rng = random.Random(1)
    home = home_from({"areas": HOME["areas"]})
    for form in (one for one in FORMS if one.domains or one.aimless):
        members: dict[str, Any] = {"intent": rng.choice(form.intents)}
        if form.domains:
            members["domain"] = form.domains[0]
        values = {"percent": 40, "degrees": 21, "step": "up", "color": "red"}
        for slot, rule in form.values[:1]:
            members[slot] = values[rule]
        assert admits(model, build_grammar(home), call_text(members)), members
        assert parse_calls(call_text(members), home)
