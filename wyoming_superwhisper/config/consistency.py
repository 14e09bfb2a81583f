"""What only the whole of a server's settings shows: languages, rooms and ids that must fit each other."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from wyoming_superwhisper.config.environment import environment_name
from wyoming_superwhisper.config.settings import Area, Device, Floor, HomeSettings, Settings
from wyoming_superwhisper.config.source import Found
from wyoming_superwhisper.config.values import wrong
from wyoming_superwhisper.errors import SettingsError


def check_consistency(settings: Settings, found: Mapping[str, Found]) -> None:
    """Raises `SettingsError` for what doesn't fit together; `found` says where each key was set."""
    language, languages = settings.asr.language, settings.asr.languages
    if language != "auto" and language not in languages:
        place = found.get("asr.language") or found.get("asr.languages")
        allowed = f"auto or one of asr.languages ({', '.join(languages)})"
        raise wrong(place.where if place else "the settings", "asr.language", language, allowed)
    _check_ids(settings.home, found)
    _check_places(settings.home, found, learnt=bool(settings.home_assistant.url))
    if settings.home_assistant.url and not settings.home_assistant.token:
        place = found.get("home_assistant.url")
        raise SettingsError(
            f"{place.where if place else 'the settings'}: home_assistant.url needs a token: set home_assistant."
            f"token_file or {environment_name('home_assistant.token')}"
        )


def _check_ids(home: HomeSettings, found: Mapping[str, Found]) -> None:
    by_key: dict[str, tuple[Floor | Area | Device, ...]] = {
        "home.floors": home.floors,
        "home.areas": home.areas,
        "home.devices": home.devices,
    }
    for key, entries in by_key.items():
        seen: set[str] = set()
        for index, entry in enumerate(entries):
            if entry.id in seen:
                raise SettingsError(f"{found[key].item(index)}: {key} has two entries with the id {entry.id}")
            seen.add(entry.id)


def _check_places(home: HomeSettings, found: Mapping[str, Found], learnt: bool) -> None:
    """Every floor and area that is named must be there; a satellite's may be one to be `learnt` of Home Assistant."""
    floors, areas = {floor.id for floor in home.floors}, {area.id for area in home.areas}
    for index, area in enumerate(home.areas):
        if area.floor and area.floor not in floors:
            where = found["home.areas"].item(index)
            raise _no_such(where, f"area {area.id} is on floor", area.floor, "home.floors", floors)
    for index, device in enumerate(home.devices):
        if device.area and device.area not in areas:
            where = found["home.devices"].item(index)
            raise _no_such(where, f"device {device.id} is in area", device.area, "home.areas", areas)
    for satellite, area_id in home.satellites.items():
        if area_id not in areas and not learnt:
            where = found["home.satellites"].where
            raise _no_such(where, f"satellite {satellite} is in area", area_id, "home.areas", areas)


def _no_such(where: str, what: str, name: str, key: str, known: set[str]) -> SettingsError:
    near = difflib.get_close_matches(name, sorted(known), 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return SettingsError(f"{where}: {what} {name}, which is not in {key}{hint}")
