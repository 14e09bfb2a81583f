"""Sentences of every kind, over the demo home, to the intents and slots that Home Assistant's handlers take."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Any

import home_assistant_intents
import pytest
import yaml
from hassil.intents import Intents
from hassil.recognize import recognize_best

from tests.demo_home import demo_home
from tests.engines.rules.sentences import (
    ENGLISH,
    FRENCH,
    LOOSE,
    NO_COMMAND,
    SPANISH,
    UNRELATED_ENGLISH,
    UNRELATED_FRENCH,
    Expected,
)
from wyoming_superwhisper.config.settings import Area, Device, HomeSettings
from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.engines.rules.hassil import HassilIntents
from wyoming_superwhisper.engines.rules.slot_lists import slot_lists

CATCH_ALL = "HassMediaSearchAndPlay"
MODEL_SENTENCES = Path(__file__).parents[2] / "models" / "demo_llama_sentences.yaml"


@pytest.fixture(scope="module")
def intents() -> HassilIntents:
    return HassilIntents(("fr", "en"), demo_home())


@cache  # they are parsed as they are used, which takes seconds
def packs_sentences(language: str) -> Intents:
    pack = home_assistant_intents.get_intents(language)
    assert pack is not None
    return Intents.from_dict(pack)


def plain(calls: list[IntentCall]) -> Expected:
    return [(call.name, dict(call.slots)) for call in calls]


@pytest.mark.parametrize(("text", "area", "expected"), FRENCH, ids=[f"{row[0]}-{row[1]}" for row in FRENCH])
def test_french_sentences_are_understood(intents: HassilIntents, text: str, area: str, expected: Expected) -> None:
    assert plain(intents.recognize(text, "fr", area or None)) == expected


@pytest.mark.parametrize(("text", "area", "expected"), ENGLISH, ids=[f"{row[0]}-{row[1]}" for row in ENGLISH])
def test_english_sentences_are_understood(intents: HassilIntents, text: str, area: str, expected: Expected) -> None:
    assert plain(intents.recognize(text, "en-US", area or None)) == expected


@pytest.mark.parametrize(("text", "area", "expected"), SPANISH, ids=[row[0] for row in SPANISH])
def test_a_language_that_was_not_configured_is_loaded_when_asked(
    intents: HassilIntents, text: str, area: str, expected: Expected
) -> None:
    assert plain(intents.recognize(text, "es", area or None)) == expected


@pytest.mark.parametrize(("language", "text"), NO_COMMAND)
def test_what_is_no_command_is_not_understood(intents: HassilIntents, language: str, text: str) -> None:
    assert intents.recognize(text, language, "cuisine") == []


@pytest.mark.parametrize("area", [None, "salon"])
def test_talk_of_other_things_gives_no_intent(intents: HassilIntents, area: str | None) -> None:
    talk = [("fr", text) for text in UNRELATED_FRENCH] + [("en", text) for text in UNRELATED_ENGLISH] + LOOSE
    understood = [(text, calls) for language, text in talk if (calls := intents.recognize(text, language, area))]
    assert not understood


@pytest.mark.long
@pytest.mark.parametrize("area", [None, "bureau"])
@pytest.mark.parametrize("language", ["fr", "en"])
def test_no_sentence_that_a_model_must_leave_alone_is_understood(
    intents: HassilIntents, language: str, area: str | None
) -> None:
    sentences = yaml.safe_load(MODEL_SENTENCES.read_text(encoding="utf-8"))[language]["unrelated"]
    understood = [(text, calls) for text in sentences if (calls := intents.recognize(text, language, area))]
    assert not understood


@pytest.mark.parametrize(
    ("language", "text", "command"),
    [
        ("fr", "Éteins la lumière du salon dans dix minutes.", "Éteins la lumière du salon"),
        (
            "fr",
            "Dans dix minutes, tu pourrais éteindre la lumière du salon ?",
            "tu pourrais éteindre la lumière du salon",
        ),
        ("fr", "Lance la bétonneuse dans dix minutes.", "Lance la bétonneuse"),
        ("fr", "La lumière du salon éteinte dans dix minutes.", ""),
        ("en", "Living room lights off in ten minutes.", "Living room lights off"),
        ("en", "In ten minutes please start the concrete mixer.", "please start the concrete mixer"),
        ("en", "The concrete mixer starts in ten minutes.", ""),
    ],
)
def test_only_a_command_can_be_meant_for_later(intents: HassilIntents, language: str, text: str, command: str) -> None:
    calls = intents.recognize(text, language)
    assert [call.slots.get("conversation_command") for call in calls] == ([command] if command else [])


@pytest.mark.parametrize("area", ["", "cuisine"])
def test_a_sentence_that_the_pack_knows_means_what_home_assistant_takes_it_for(
    intents: HassilIntents, area: str
) -> None:
    """Same intent and same slots as `recognize_best` alone gives, but for main names in the place of aliases."""
    different = []
    for language, rows in (("fr", FRENCH), ("en", ENGLISH)):
        known = packs_sentences(language)
        context = {"area": {"value": "Cuisine", "text": "Cuisine"}} if area else None
        for text, _, _ in rows:
            theirs = recognize_best(
                text, known, slot_lists=slot_lists(intents.home), intent_context=context, language=language,
                best_slot_name="name",
            )  # fmt: skip
            ours = intents.recognize(text, language, area or None)
            if theirs is None or (theirs.intent.name == CATCH_ALL and ours[0].name != CATCH_ALL):
                continue  # a search for media is the pack's last resort: a sentence of ours that says more comes first
            values = {e.name: e.value for e in theirs.entities_list if e.name not in ("name", "area")}
            slots = {k: v for k, v in ours[0].slots.items() if k not in ("name", "area", "preferred_area_id")}
            if (len(ours), ours[0].name, slots) != (1, theirs.intent.name, values):
                different.append((text, theirs.intent.name, values, ours))
    assert not different


# --- follow-ups

FOLLOW_UPS = [
    ("fr", "Allume la cuisine.", "Et le salon aussi.", "HassTurnOn", {"area": "Salon", "domain": "light"}),
    ("fr", "Allume la cuisine.", "Éteins-la.", "HassTurnOff", {"area": "Cuisine", "domain": "light"}),
    ("fr", "Allume la cuisine.", "Tu peux l'éteindre ?", "HassTurnOff", {"area": "Cuisine", "domain": "light"}),
    ("fr", "Éteins la cuisine.", "Rallume-la, s'il te plaît.", "HassTurnOn", {"area": "Cuisine", "domain": "light"}),
    ("fr", "Allume la cuisine.", "Et les lumières de la chambre ?", "HassTurnOn",
     {"area": "Chambre", "domain": "light"}),
    ("fr", "Allume la lampe de chevet.", "Éteins-la.", "HassTurnOff", {"name": "Lampe de chevet"}),
    ("fr", "Allume la lampe de chevet.", "Et la cuisine aussi.", "HassTurnOn", {"area": "Cuisine", "domain": "light"}),
    ("fr", "Allume la cuisine.", "Et la lampe de chevet aussi.", "HassTurnOn", {"name": "Lampe de chevet"}),
    ("fr", "Mets la lumière du salon à 20 %.", "Pareil pour la chambre.", "HassLightSet",
     {"area": "Chambre", "brightness": 20, "domain": "light"}),
    ("fr", "Mets la lumière du salon à 20 %.", "Mets-la à 50 %.", "HassLightSet",
     {"area": "Salon", "brightness": 50, "domain": "light"}),
    ("fr", "Règle la température de la chambre à 19 degrés.", "Et dans le bureau aussi.", "HassClimateSetTemperature",
     {"area": "Bureau", "temperature": 19}),
    ("fr", "Ouvre la porte du garage.", "Ferme-la.", "HassTurnOff", {"name": "Porte du garage"}),
    ("en", "Turn on the kitchen lights.", "And the living room too.", "HassTurnOn",
     {"area": "Salon", "domain": "light"}),
    ("en", "Turn on the kitchen lights.", "Turn it off.", "HassTurnOff", {"area": "Cuisine", "domain": "light"}),
    ("en", "Turn off the kitchen lights.", "Turn them back on.", "HassTurnOn", {"area": "Cuisine", "domain": "light"}),
    ("en", "Turn on the desk lamp.", "Can you switch it off again?", "HassTurnOff", {"name": "Lampe de bureau"}),
    ("en", "Open the garage door.", "Close it.", "HassTurnOff", {"name": "Porte du garage"}),
    ("en", "Turn on the kitchen lights.", "The bedroom lights too.", "HassTurnOn",
     {"area": "Chambre", "domain": "light"}),
]  # fmt: skip


@pytest.mark.parametrize(("language", "first", "second", "name", "slots"), FOLLOW_UPS)
def test_a_follow_up_means_what_was_meant_last(
    intents: HassilIntents, language: str, first: str, second: str, name: str, slots: dict[str, Any]
) -> None:
    previous = intents.recognize(first, language)
    assert plain(intents.recognize(second, language, None, previous)) == [(name, slots)]


@pytest.mark.parametrize(
    ("language", "second"),
    [
        ("fr", "Et le lave-vaisselle aussi."),
        ("fr", "Et la véranda aussi."),
        ("fr", "Et les volets du bureau aussi."),
        ("fr", "Merci."),
    ],
)
def test_a_follow_up_never_reaches_what_the_last_command_could_not_mean(
    intents: HassilIntents, language: str, second: str
) -> None:
    previous = intents.recognize("Mets la lumière du salon en rouge.", language)
    assert intents.recognize(second, language, None, previous) == []


def test_the_reply_of_a_follow_up_is_that_of_the_command(intents: HassilIntents) -> None:
    previous = intents.recognize("Turn on the kitchen lights.", "en")
    assert intents.recognize("And the living room too.", "en", None, previous)[0].text == "Turned on the lights"


# --- replies


@pytest.mark.parametrize(
    ("language", "text", "reply"),
    [
        ("fr", "Allume la lumière du salon.", "Allumé"),
        ("fr", "Ouvre les volets du bureau.", "Ouverture en cours"),
        ("fr", "Mets la lumière du salon en rouge.", "Couleur réglée"),
        ("fr", "Règle la température de la chambre à 19 degrés.", "Température réglée sur 19 degrés"),
        ("fr", "Mets un minuteur de 5 minutes.", "Minuteur lancé"),
        ("fr", "Ajoute du lait à la liste de courses.", "lait ajouté"),
        ("en", "Turn on the kitchen lights.", "Turned on the lights"),
        ("en", "Turn on the desk lamp.", "Turned on the light"),
        ("en", "Open the shutters in the office.", "Opening the shutters"),
        ("en", "Set a timer for 5 minutes.", "Timer set for 5 minutes"),
        ("en", "Set a timer for 1 hour and 30 minutes.", "Timer set for 1 hour and 30 minutes"),
    ],
)
def test_a_reply_that_needs_no_state_is_the_packs_own_in_plain_words(
    intents: HassilIntents, language: str, text: str, reply: str
) -> None:
    (call,) = intents.recognize(text, language)
    assert (call.text, call.template) == (reply, "")


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("fr", "Quelle est la température dans la cuisine ?"),
        ("fr", "Quelle heure est-il ?"),
        ("en", "Is the garage door open?"),
    ],
)
def test_a_reply_that_only_home_assistant_can_fill_is_the_packs_own_template(
    intents: HassilIntents, language: str, text: str
) -> None:
    (call,) = intents.recognize(text, language)
    pack = home_assistant_intents.get_intents(language)
    assert pack is not None
    assert call.text == ""
    assert call.template in pack["responses"]["intents"][call.name].values()


def test_every_reply_is_either_words_or_the_packs_template(intents: HassilIntents) -> None:
    for language, rows in (("fr", FRENCH), ("en", ENGLISH)):
        pack = home_assistant_intents.get_intents(language)
        assert pack is not None
        for text, area, _ in rows:
            for call in intents.recognize(text, language, area or None):
                templates = set(pack["responses"]["intents"][call.name].values())
                assert "{" not in call.text
                assert not call.template or call.template in templates


def test_what_a_model_chose_gets_the_packs_reply_and_the_speakers_room(intents: HassilIntents) -> None:
    calls = [
        IntentCall("HassTurnOn", {"domain": "light", "area": "Salon"}),
        IntentCall("HassTurnOff", {"name": "Volets du salon"}),
        IntentCall("HassLightSet", {"area": "Salon", "brightness": 20}),
    ]
    done = intents.complete(calls, "en", "cuisine")
    assert [call.text for call in done] == ["Turned on the lights", "Closing", "Brightness set"]
    assert [call.slots.get("preferred_area_id") for call in done] == [None, "cuisine", None]


def test_words_of_the_speaker_never_become_a_template(intents: HassilIntents) -> None:
    for call in intents.recognize("Ajoute {{ 7 * 7 }} à la liste de courses.", "fr"):
        assert "49" not in call.text
        assert call.template == ""


# --- names


def test_a_misheard_name_is_never_taken_for_another_device() -> None:
    home = HomeSettings(
        devices=(
            Device("light.marie", "Lampe de Marie"), Device("light.mario", "Lampe de Mario"),
            Device("light.l1", "Spot 1"), Device("light.l2", "Spot 2"), Device("switch.pompe", "Pompe du bassin"),
        )
    )  # fmt: skip
    intents = HassilIntents(("fr",), home)
    assert intents.recognize("Allume la lampe de Marion", "fr") == []
    assert intents.recognize("Allume le spot 3", "fr") == []
    assert plain(intents.recognize("Allume la pompe du basin", "fr")) == [("HassTurnOn", {"name": "Pompe du bassin"})]


def test_words_of_a_command_are_no_misheard_names() -> None:
    """ "Le volume du salon" is nearly "le volet du salon", and "shut" nearly nothing beside "workshop floodlight"."""
    home = HomeSettings(
        areas=(Area("salon", "Salon"), Area("study", "Study")),
        devices=(
            Device("cover.volet", "Volet du salon", (), "salon", "shutter"), Device("light.path", "Path Lights"),
            Device("light.bench", "Workshop Floodlight"), Device("fan.desk", "Small Fan"),
            Device("light.chevet", "Lampe de chevet"),
        ),
    )  # fmt: skip
    intents = HassilIntents(("fr", "en"), home)
    assert plain(intents.recognize("Règle le volume du salon à 25 %", "fr")) == [
        ("HassSetVolume", {"area": "Salon", "volume_level": 25})
    ]
    assert intents.recognize("Ouvre le son du salon", "fr") == []
    assert intents.recognize("Mets la lampe de chevet du salon à 20 degrés", "fr") == []
    assert intents.recognize("Raise the small fan in the study to 20", "en") == []
    for said in ("Set the lights red", "Are the lights on?", "Shut workshop floodlight", "Enable all fan"):
        assert intents.recognize(said, "en") == [], said
    for said in ("Allume les lampes du chevet", "Allume la lampe de chevé"):
        assert plain(intents.recognize(said, "fr")) == [("HassTurnOn", {"name": "Lampe de chevet"})], said
    assert plain(intents.recognize("Turn on the bath lights", "en")) == [("HassTurnOn", {"name": "Path Lights"})]


@pytest.mark.parametrize(
    ("area", "meant"),
    [("salon", "HassMediaSearchAndPlay"), ("bureau", "HassMediaSearchAndPlay"), ("chambre", ""), ("cuisine", "")],
)
def test_a_player_that_can_search_is_asked_for_what_home_assistant_takes_for_a_title(area: str, meant: str) -> None:
    """Which is nonsense, but what its own agent does; where no player of the room can search, that only fails."""
    home = HomeSettings(
        areas=tuple(Area(name.lower(), name) for name in ("Salon", "Bureau", "Chambre", "Cuisine")),
        devices=(
            Device("media_player.a", "Enceinte", (), "salon", can_search=True),
            Device("media_player.b", "Sono", (), "bureau"),
            Device("media_player.c", "Télé", (), "chambre", can_search=False),
            Device("light.d", "Lampe", (), "cuisine"),
        ),
    )
    intents = HassilIntents(("fr",), home)
    for said, sensibly in (("Mets le volume à 30", "HassSetVolume"), ("Mets en pause.", "HassMediaPause")):
        assert [call.name for call in intents.recognize(said, "fr", area)] == [meant or sensibly]
    for said in ("Démarre un minuteur de 30 secondes", "Lance un minuteur pâtes de 8 minutes"):
        assert [call.name for call in intents.recognize(said, "fr", area)] == ["HassStartTimer"]
    assert [call.name for call in intents.recognize("Mets le volume du Sono à 30", "fr", area)] == ["HassSetVolume"]
    assert [call.name for call in intents.recognize("Mets de la lumière", "fr", area)] == ["HassTurnOn"]


def test_an_alias_stays_where_the_main_name_would_be_ambiguous() -> None:
    home = HomeSettings(
        areas=(Area("salon", "Salon"), Area("cuisine", "Cuisine")),
        devices=(
            Device("light.a", "Plafonnier", ("grande lampe",), "salon"),
            Device("light.b", "Plafonnier", (), "cuisine"),
        ),
    )
    intents = HassilIntents(("fr",), home)
    assert intents.recognize("Allume la grande lampe", "fr")[0].slots == {"name": "grande lampe"}


def test_names_can_be_replaced_while_running() -> None:
    intents = HassilIntents(("fr",), HomeSettings(areas=(Area("salon", "Salon"),)))
    assert intents.recognize("Allume la véranda", "fr") == []
    intents.set_home({"areas": [{"id": "veranda", "name": "Véranda"}]})
    assert plain(intents.recognize("Allume la véranda", "fr")) == [
        ("HassTurnOn", {"area": "Véranda", "domain": "light"})
    ]
    assert intents.recognize("Allume le salon", "fr") == []


def test_odd_names_do_no_harm() -> None:
    intents = HassilIntents(("fr",), None)
    for name in ("L'œil de bœuf", "Lampe (bureau)", "Spot [1]", "Prise n°2", "Cœur d'été", "{x}", "<y>", "|", "."):
        intents.set_home(HomeSettings(devices=(Device("light.x", name), Device("light.y", ""))))
        calls = intents.recognize(f"Allume {name}", "fr")
        assert [call.slots.get("name") for call in calls] in ([name], []), name
    intents.set_home(HomeSettings(devices=(Device("light.x", "L'œil de bœuf"),)))
    assert plain(intents.recognize("Allume l'oeil de boeuf.", "fr")) == [("HassTurnOn", {"name": "L'œil de bœuf"})]


def test_a_list_that_the_home_has_is_named(intents: HassilIntents) -> None:
    (call,) = intents.recognize("Put tomatoes to the shopping list.", "en")
    assert (call.name, call.slots) == ("HassListAddItem", {"item": "tomatoes", "name": "Liste de courses"})


def test_sound_without_a_place_means_the_speakers_room(intents: HassilIntents) -> None:
    for language, text in (
        ("fr", "Coupe le son."),
        ("fr", "Chanson suivante."),
        ("en", "Mute the sound."),
        ("en", "Next."),
    ):
        (call,) = intents.recognize(text, language, "salon")
        assert call.slots == {"area": "Salon"}, text


def test_a_name_that_devices_of_two_kinds_share_is_for_home_assistant_to_tell_apart() -> None:
    """Its handlers look for a name among all kinds of device: another name could move what it wouldn't."""
    home = HomeSettings(
        devices=(Device("cover.garage", "Garage", ("Porte",)), Device("lock.entree", "Serrure", ("Porte",)))
    )
    intents = HassilIntents(("fr",), home)
    assert plain(intents.recognize("Ouvre la porte", "fr")) == [("HassTurnOn", {"name": "Porte"})]
    assert plain(intents.recognize("Ouvre le garage", "fr")) == [("HassTurnOn", {"name": "Garage"})]


def test_the_speakers_room_is_preferred_on_a_floor_too(intents: HassilIntents) -> None:
    floor = intents.home.settings.floors[0].name
    (call,) = intents.recognize(f"Allume le plafonnier au {floor}", "fr", "cuisine")
    assert call.slots["preferred_area_id"] == "cuisine"
    (call,) = intents.recognize("Allume les lumières du salon", "fr", "cuisine")
    assert "preferred_area_id" not in call.slots


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("fr", "Allume la lumière du salon et éteins celle de la cuisine.",
         [("HassTurnOn", {"area": "Salon", "domain": "light"}),
          ("HassTurnOff", {"area": "Cuisine", "domain": "light"})]),
        ("en", "Turn on the kitchen lights and turn off the ones in the living room.",
         [("HassTurnOn", {"area": "Cuisine", "domain": "light"}),
          ("HassTurnOff", {"area": "Salon", "domain": "light"})]),
        ("fr", "Allume la cuisine. Ferme les volets du bureau ; quelle heure est-il ?",
         [("HassTurnOn", {"area": "Cuisine", "domain": "light"}), ("HassTurnOff", {"name": "Volets du bureau"}),
          ("HassGetCurrentTime", {})]),
    ],
)  # fmt: skip
def test_several_commands_are_several_calls(
    intents: HassilIntents, language: str, text: str, expected: Expected
) -> None:
    assert plain(intents.recognize(text, language)) == expected


def test_another_room_means_the_device_of_the_same_name_there() -> None:
    home = HomeSettings(
        areas=(Area("salon", "Salon"), Area("cuisine", "Cuisine"), Area("garage", "Garage")),
        devices=(
            Device("light.a", "Plafonnier", ("plafonnier du salon",), "salon"),
            Device("light.b", "Plafonnier", (), "cuisine"), Device("light.c", "Spots", (), "cuisine"),
            Device("cover.v", "Volets", (), "salon", "shutter"),
            Device("cover.g", "Grande porte", (), "garage", "garage"),
        ),
    )  # fmt: skip
    intents = HassilIntents(("fr",), home)
    before = intents.recognize("Allume le plafonnier du salon", "fr")
    assert plain(intents.recognize("Celui de la cuisine aussi", "fr", None, before)) == [
        ("HassTurnOn", {"name": "Plafonnier", "area": "Cuisine"})
    ]
    before = intents.recognize("Ouvre les volets", "fr", "salon")
    (call,) = intents.recognize("Et le garage aussi", "fr", "salon", before)
    assert call.slots["device_class"] == "shutter", "no garage is opened because shutters were"


def test_a_question_is_followed_by_a_command(intents: HassilIntents) -> None:
    before = intents.recognize("La lumière du salon est-elle allumée ?", "fr")
    assert plain(before) == [("HassGetState", {"area": "Salon", "domain": "light", "state": "on"})]
    assert plain(intents.recognize("Éteins-la.", "fr", None, before)) == [
        ("HassTurnOff", {"area": "Salon", "domain": "light"})
    ]


def test_all_of_a_kind_means_that_kind_alone(intents: HassilIntents) -> None:
    assert plain(intents.recognize("Ferme tous les volets.", "fr")) == [
        ("HassTurnOff", {"domain": "cover", "device_class": "shutter"})
    ]
    assert plain(intents.recognize("Close all the blinds.", "en")) == [
        ("HassTurnOff", {"domain": "cover", "device_class": ["blind", "shade"]})
    ]


# --- speed


@pytest.mark.parametrize("language", ["fr", "en"])
def test_a_sentence_made_to_be_slow_takes_a_bounded_time(intents: HassilIntents, language: str) -> None:
    texts = (
        "allume la lumière et ferme le volet et " * 8, "turn on the light and close the blind and " * 8,
        "et " * 99, "ajoute " * 40 + "à la liste", "add " * 40 + "to the list", "a, " * 99, "12 34 " * 49,
        "{{ x }} " * 36, "<|eot_id|>" * 30, "'\"" * 149, "é" * 5000, "et puis " * 1000,
    )  # fmt: skip
    for text in texts:
        began = time.process_time()
        intents.recognize(text, language, "salon")
        assert time.process_time() - began < 2.0, text
