"""The room that a sentence of the demo Llama names, or none, and the sentence with it."""

from __future__ import annotations

import random
from functools import lru_cache

from wyoming_superwhisper.engines.llm_home import Home, HomeArea
from wyoming_superwhisper.models.demo.llama_homes import all_names, demo_home
from wyoming_superwhisper.models.demo.llama_phrases import Phrases, Places, RoomWords


def with_room(phrases: Phrases, template: str, room: RoomWords | None, rng: random.Random, device: str = "") -> str:
    """The template with its room words filled in, the place now and then said first."""
    if room is None:
        here = rng.choice(phrases.section("here")) if rng.random() < 0.35 else ""
        return phrases.say(template, rng, {"in": here, "of": "", "device": device})
    inside = phrases.inside(room, rng)
    belonging = phrases.belonging(room)
    the = f"my {room.noun}" if room.said.startswith("the ") and rng.random() < 0.15 else room.said
    into = rng.choice(("to", "into", "down to", "up to")) + f" {room.said}"
    places: Places = {"in": inside, "of": belonging, "the": the, "into": into, "device": device}
    if "{in}" not in template or rng.random() < 0.85:
        if "{in}" in template and ("{the}" in template or "{of}" in template):
            places["in"] = ""
        text = phrases.say(template, rng, places)
        said = any(form in text for form in (inside, belonging, the, into))
        return text if said else f"{text} {inside}"
    rest = phrases.say(template, rng, {**places, "in": "", "of": ""})
    return f"{inside}{',' if rng.random() < 0.6 else ''} {rest}"


def room_to_name(phrases: Phrases, home: Home, rng: random.Random, needed: bool) -> RoomWords | None:
    """A room to be named, mostly one of the home; None: none, unless one is `needed`."""
    if not needed and rng.random() < 0.4:
        return None
    if rng.random() < 0.06 or not home.areas:
        return phrases.some_room(rng)
    known = [area for area in home.areas if set(area.names) & _demo_names()]
    area = rng.choice(known if known and rng.random() < 0.55 else home.areas)
    return words_of_area(phrases, area, rng) or phrases.some_room(rng)


def words_of_area(phrases: Phrases, area: HomeArea | None, rng: random.Random) -> RoomWords | None:
    """The area as one says it in this language."""
    if area is None:
        return None
    found = [words for key in phrases.rooms for words in phrases.rooms[key] if set(all_names(key)) & set(area.names)]
    exact = [words for words in found if words.noun in area.names]
    return rng.choice(exact or found) if found else None


@lru_cache(maxsize=1)
def _demo_names() -> frozenset[str]:
    return frozenset(name for area in demo_home().areas for name in area.names)
