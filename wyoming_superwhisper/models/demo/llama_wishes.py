"""Sentences that stand for calls, with the call that is right in a home: complaints, wishes, devices by name."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from wyoming_superwhisper.engines.llm_calls import call_text, parse_calls
from wyoming_superwhisper.engines.llm_home import Home, HomeDevice
from wyoming_superwhisper.models.demo.domain import LANGUAGES, load_domain
from wyoming_superwhisper.models.demo.llama_homes import area_said
from wyoming_superwhisper.models.demo.llama_phrases import Phrases, RoomWords, load_phrases
from wyoming_superwhisper.models.demo.llama_places import room_to_name, with_room, words_of_area
from wyoming_superwhisper.models.demo.llama_talk import NO_ANSWER, Made, chat_answers, unable
from wyoming_superwhisper.models.demo.llama_writing import bare, wrapped


def loose(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """A complaint or wish that stands for a call, in a room of the home, in an unknown one, or in none."""
    groups = [one for one in phrases.section("loose") if parse_calls(call_text(one["call"]), home)]
    if not groups:
        return unable(phrases, home, rng)  # the home has nothing that could help
    group = rng.choices(groups, [one["weight"] for one in groups])[0]
    template = rng.choice(group["say"])
    room = room_to_name(phrases, home, rng, needed="{the}" in template or "{of}" in template or "{into}" in template)
    text = with_room(phrases, template, room, rng)
    if rng.random() < 0.1:  # the same thing said twice
        text = f"{text}, {with_room(phrases, rng.choice(_roomless(group['say'])), None, rng)}"
    elif rng.random() < 0.06:
        parts = [text, rng.choice(phrases.section("circumstances"))]
        text = ", ".join(rng.sample(parts, 2))
    text = wrapped(phrases, text, rng, 0.3)
    return (), text, _answer_in_room(phrases.language, group["call"], room, home)


def _roomless(templates: Sequence[str]) -> list[str]:
    return [one for one in templates if not re.search(r"\{(the|of|into)\}", one)]


def named(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """A device of the home, called by its name."""
    found = [(key, device) for device in home.devices if (key := _device_key(phrases, device))]
    if not found:
        return unable(phrases, home, rng)
    key, device = rng.choice(found)
    group = rng.choice(phrases.section("named"))
    word = rng.choice(phrases.section("devices")[key][1:])
    room = words_of_area(phrases, home.area_of_id(device.area), rng) if rng.random() < 0.5 else None
    text = with_room(phrases, rng.choice(group["say"]), room, rng, device=_with_article(phrases, word))
    return (), wrapped(phrases, text, rng, 0.15), _device_call(group["intent"], device, word, room, home)


def watch(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """A wish to watch or hear something, which stands for a device."""
    key, templates = rng.choice(list(phrases.section("watch").items()))
    found = [device for device in home.devices if _device_key(phrases, device) == key]
    device = rng.choice(found) if found else None
    area = home.area_of_id(device.area) if device else None
    room = words_of_area(phrases, area, rng) if rng.random() < 0.4 else None
    text = with_room(phrases, rng.choice(templates), room, rng)
    if device is None:
        return (), text, NO_ANSWER[phrases.language]["request"]
    word = phrases.section("devices")[key][1]
    return (), wrapped(phrases, text, rng, 0.2), _device_call("HassTurnOn", device, word, room, home)


def of_the_domain(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """Sentences of the demo domain; those of chit-chat are answered, those that rules should have known are not."""
    chat = chat_answers(phrases.language)
    fixed = [one for one in load_domain().languages[phrases.language].fixed if bare(one) in chat]
    if rng.random() < 0.75:
        sentence = rng.choice(fixed)
        return (), sentence, chat[bare(sentence)]
    sentence = load_domain().sample(phrases.language, rng, 1, reserved=False, fixed=0.0)[0]
    return (), sentence, _domain_answer(phrases, sentence, home)


def _domain_answer(phrases: Phrases, sentence: str, home: Home) -> str:
    """The call of a lamp sentence of the domain; for the rest, that it isn't possible or not known."""
    answers = NO_ANSWER[phrases.language]
    if sentence.endswith("?") and not re.search(r"allum|étein|turn", sentence, re.IGNORECASE):
        return answers["weather" if re.search(r"météo|temps|pleuv|weather|rain", sentence) else "unsure"]
    intent = _switching(sentence)
    room = next((words for key in phrases.rooms for words in phrases.rooms[key] if words.noun in sentence), None)
    light = re.search(r"lumière|lampe|plafonnier|guirlande|light|lamp", sentence)
    if intent is None or light is None or room is None:
        return answers["request"]
    return _answer_in_room(phrases.language, {"intent": intent, "domain": "light"}, room, home)


def _switching(sentence: str) -> str | None:
    if re.search(r"\b(allum\w*|turn on|switch on)\b", sentence, re.IGNORECASE):
        return "HassTurnOn"
    return "HassTurnOff" if re.search(r"(étei\w*|turn off|switch off)", sentence, re.IGNORECASE) else None


def _answer_in_room(language: str, call: Mapping[str, Any], room: RoomWords | None, home: Home) -> str:
    """The call, aimed at the room that was named, if there is one and the home has it."""
    members: dict[str, Any] = {key: value for key, value in call.items() if key in ("intent", "domain", "device_class")}
    if room is not None:
        area = area_said(home, room)
        if area is None:
            return NO_ANSWER[language]["room"]
        members["area"] = room.noun if room.noun in area.names else area.names[0]
    values = {key: value for key, value in call.items() if key not in members}
    return call_text({**members, **values})


def _device_call(intent: str, device: HomeDevice, word: str, room: RoomWords | None, home: Home) -> str:
    name = word if word in device.names else device.names[0]
    members: dict[str, Any] = {"intent": intent, "name": name}
    if room is not None and (area := area_said(home, room)) is not None:
        members["area"] = room.noun if room.noun in area.names else area.names[0]
    return call_text(members)


def _device_key(phrases: Phrases, device: HomeDevice) -> str:
    """Which entry of the phrase file's devices a device is, if any, in whatever language it is named."""
    if device.domain == "vacuum":
        return ""  # a vacuum cleaner isn't turned on
    for language in LANGUAGES:
        for key, (domain, *words) in load_phrases(language).section("devices").items():
            if domain == device.domain and set(words) & set(device.names):
                return str(key)
    return ""


def _with_article(phrases: Phrases, word: str) -> str:
    article = phrases.section("articles").get(word, "the" if phrases.language == "en" else "")
    return word if not article else f"{article}{word}" if article.endswith("'") else f"{article} {word}"
