"""The homes that the demo Llama's conversations take place in: the demo home, parts of it, made-up ones."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import yaml

from wyoming_superwhisper import config
from wyoming_superwhisper.engines.llm_home import Home, HomeArea, HomeDevice, home_from, name_for_model
from wyoming_superwhisper.models.demo.domain import LANGUAGES
from wyoming_superwhisper.models.demo.llama_phrases import RoomWords, load_phrases


@lru_cache(maxsize=1)
def demo_home() -> Home:
    """The home of the demo settings."""
    path = Path(config.__file__).parent / "demo_home.yaml"
    return home_from(yaml.safe_load(path.read_text(encoding="utf-8")))


def random_home(rng: random.Random) -> Home:
    """The demo home, a part of it, or another one; sometimes none at all."""
    kind = rng.random()
    if kind < 0.5:
        return demo_home()
    if kind < 0.58:
        return _part_of(demo_home(), rng)
    return Home() if kind < 0.6 else _made_up_home(rng)


@lru_cache(maxsize=1)
def any_home() -> Home:
    """A home that has every room, under all its names, and the demo home's devices: for learning without a prompt."""
    areas = [HomeArea(key, names[0], names) for key in load_phrases("fr").rooms for names in [all_names(key)]]
    ids = {area.id: found.id for area in demo_home().areas for found in areas if set(area.names) & set(found.names)}
    devices = [replace(device, area=ids.get(device.area, "")) for device in demo_home().devices]
    return Home(tuple(areas), tuple(devices))


def area_said(home: Home, room: RoomWords) -> HomeArea | None:
    """The area meant by a room as it is said: of that name, or of a name for the same room in either language."""
    names = [name_for_model(room.noun), *all_names(room.key)]
    return next((area for name in names for area in home.areas if name in area.names), None)


@lru_cache(maxsize=64)
def all_names(key: str) -> tuple[str, ...]:
    """What a room of the phrase files is called, in every language."""
    return tuple(words.noun for language in LANGUAGES for words in load_phrases(language).rooms[key])


def _part_of(home: Home, rng: random.Random) -> Home:
    areas = [area for area in home.areas if rng.random() < 0.6]
    kept = {area.id for area in areas}
    devices = [device for device in home.devices if device.area in kept and rng.random() < 0.6]
    rng.shuffle(areas)
    return Home(tuple(areas), tuple(devices))


def _made_up_home(rng: random.Random) -> Home:
    """Rooms and devices named in one language, or in one with the other's names as aliases."""
    first, second = rng.sample(LANGUAGES, 2)
    both = rng.random() < 0.5
    keys = rng.sample(list(load_phrases(first).rooms), rng.randint(3, 14))
    areas = [_made_up_area(key, first, second if both else "", rng) for key in keys]
    devices = [
        _made_up_device(area.id, first, second if both else "", rng) for area in areas for _ in range(rng.randint(0, 3))
    ]
    lights = [HomeDevice("light", (rng.choice(load_phrases(first).section("devices")["lamp"][1:]),), "light", area.id)
              for area in areas if rng.random() < 0.7]  # fmt: skip
    return Home(tuple(areas), tuple(lights + devices) if rng.random() < 0.9 else ())


def _made_up_area(key: str, first: str, second: str, rng: random.Random) -> HomeArea:
    names = [words.noun for words in load_phrases(first).rooms[key]]
    names = names[: rng.randint(1, len(names))]
    if second:
        others = [words.noun for words in load_phrases(second).rooms[key]]
        names += others[: rng.randint(1, len(others))]
    return HomeArea(key, names[0], tuple(dict.fromkeys(names)))


def _made_up_device(area: str, first: str, second: str, rng: random.Random) -> HomeDevice:
    if rng.random() < 0.3:
        cover = rng.choice(list(load_phrases(first).section("covers"))).partition(" ")[2]
        return HomeDevice(cover, (cover,), "cover", area)
    key = rng.choice(list(load_phrases(first).section("devices")))
    domain, *names = load_phrases(first).section("devices")[key]
    names = names[: rng.randint(1, len(names))]
    if second:
        names += load_phrases(second).section("devices")[key][1:2]
    return HomeDevice(names[0], tuple(dict.fromkeys(names)), domain, area)
