"""Home Assistant's registries as a home: floors, areas, exposed entities by every name, and who speaks from where.

All names are somebody else's data: control characters and chat tokens are taken out, lengths and counts bounded, so
that they can go into lists, prompts and grammars. Nothing here may fail on what a registry holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wyoming_superwhisper.config.settings import Area, Device, Floor, HomeSettings
from wyoming_superwhisper.engines.llm_home import plain_text
from wyoming_superwhisper.home_assistant.registries import Record, Registries
from wyoming_superwhisper.home_assistant.states import States

MOST_AREAS = 300
MOST_FLOORS = 50
MOST_ALIASES = 20
"""Names of one thing beside its first."""
MOST_SATELLITES = 4_000
"""Devices whose room is known."""
NAME_CHARS = 100
ID_CHARS = 255


def home_from(registries: Registries, states: States) -> HomeSettings:
    """The home that these registries describe."""
    floors = tuple(_floors(registries.floors))
    areas = tuple(_areas(registries.areas, {floor.id for floor in floors}))
    known = {area.id for area in areas}
    return HomeSettings(
        floors=floors,
        areas=areas,
        devices=tuple(_devices(registries, states, known)),
        satellites=_satellites(registries, known),
    )


def clean(name: Any) -> str:
    """A name fit for lists and prompts; "" where there is none."""
    return plain_text(name[: 4 * NAME_CHARS])[:NAME_CHARS].strip() if isinstance(name, str) else ""


def area_of(record: Record, registries: Registries) -> str:
    """The area of an entity: its own, else that of its device; "" where neither has one."""
    if area := _id(record.get("area_id")):
        return area
    device = registries.devices.get(str(record.get("device_id")), {})
    return _id(device.get("area_id")) or _id(_parent(device, registries).get("area_id"))


def _floors(records: Iterable[Record]) -> Iterable[Floor]:
    for record in list(records)[:MOST_FLOORS]:
        names = _names(record.get("name"), record.get("aliases"))
        if (floor_id := _id(record.get("floor_id"))) and names:
            yield Floor(floor_id, names[0], names[1:])


def _areas(records: Iterable[Record], floors: set[str]) -> Iterable[Area]:
    for record in list(records)[:MOST_AREAS]:
        names = _names(record.get("name"), record.get("aliases"))
        floor = _id(record.get("floor_id"))
        if (area_id := _id(record.get("area_id"))) and names:
            yield Area(area_id, names[0], names[1:], floor if floor in floors else "")


def _devices(registries: Registries, states: States, areas: set[str]) -> Iterable[Device]:
    for entity_id in registries.exposed:
        record = registries.entities.get(entity_id, {})
        names = _entity_names(entity_id, record, registries, states)
        if names and _id(entity_id):
            area = area_of(record, registries)
            place = area if area in areas else ""
            kind, can_search = _class(entity_id, states), _can_search(entity_id, states)
            yield Device(entity_id, names[0], names[1:], place, kind, can_search)


def _class(entity_id: str, states: States) -> str:
    state = states.get(entity_id)
    return _id(state.attributes.get("device_class")) if state else ""


def _can_search(entity_id: str, states: States) -> bool | None:
    """Whether Home Assistant can have a title looked for and played by this entity; None: it is no media player."""
    state = states.get(entity_id)
    if state is None or state.domain != "media_player":
        return None
    features = state.attributes.get("supported_features")
    return isinstance(features, int) and features & _SEARCH_AND_PLAY == _SEARCH_AND_PLAY


_SEARCH_AND_PLAY = 1 << 22 | 1 << 9
"""The features of Home Assistant's media players that its search asks for: SEARCH_MEDIA and PLAY_MEDIA."""


def _entity_names(entity_id: str, record: Record, registries: Registries, states: States) -> tuple[str, ...]:
    """Every name that Home Assistant's own handlers take the entity by, the one it goes by first.

    Newer releases (their records say which part of a name comes next) list it among the aliases, as None, and take
    the entity by none but those. Older ones take it by the name of its state, and by its aliases.
    """
    aliases = registries.aliases.get(entity_id)
    if "next_name_part" not in record or aliases is None:
        state = states.get(entity_id)
        return _names(state.name if state else _registered_name(record, registries), aliases)
    own = _computed_name(record, registries)
    names = _names(None, [own if alias is None else alias for alias in aliases])
    return _names(own, names) if own in names else names


def _computed_name(record: Record, registries: Registries) -> str:
    """What newer releases call an entity: its device's name comes first where both are in the same area."""
    device = registries.devices.get(str(record.get("device_id")), {})
    parts = [clean(record.get("name")) or clean(record.get("original_name"))]
    if record.get("next_name_part") == "device":
        parts.insert(0, _device_name(device))
        if device.get("next_name_part") == "parent_device":
            parts.insert(0, _device_name(_parent(device, registries)))
    return " ".join(part for part in parts if part)


def _registered_name(record: Record, registries: Registries) -> str:
    """What older releases call an entity whose state is not there yet."""
    name = clean(record.get("name")) or clean(record.get("original_name"))
    if record.get("has_entity_name") is True:
        device = registries.devices.get(str(record.get("device_id")), {})
        name = " ".join(filter(None, (_device_name(device), name)))
    return name


def _satellites(registries: Registries, areas: set[str]) -> dict[str, str]:
    """Satellite entities and devices by their ids, and satellites by their names, to the area they stand in."""
    found: dict[str, str] = {}
    for entity_id, record in registries.entities.items():
        if entity_id.startswith("assist_satellite.") and (area := area_of(record, registries)) in areas:
            device = registries.devices.get(str(record.get("device_id")), {})
            for key in (entity_id, _device_name(device)):
                if key:
                    found.setdefault(key, area)
    for device_id, device in registries.devices.items():
        area = _id(device.get("area_id")) or _id(_parent(device, registries).get("area_id"))
        if area in areas and len(found) < MOST_SATELLITES:
            found[device_id] = area
    return found


def _parent(device: Record, registries: Registries) -> Record:
    return registries.devices.get(str(device.get("parent_device_id")), {})


def _device_name(device: Record) -> str:
    return clean(device.get("name_by_user")) or clean(device.get("name"))


def _names(first: Any, others: Any) -> tuple[str, ...]:
    cleaned = (clean(name) for name in (first, *(others if isinstance(others, list | tuple) else ())))
    return tuple(dict.fromkeys(name for name in cleaned if name))[: MOST_ALIASES + 1]


def _id(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= ID_CHARS and value.isprintable() else ""


def merged(learnt: HomeSettings | None, settings: HomeSettings) -> HomeSettings:
    """The learnt home, with the rooms that the settings name for satellites on top; None: nothing was learnt."""
    if learnt is None:
        return settings
    areas = {area.id for area in learnt.areas}
    by_name: Mapping[str, str] = {area.name.casefold(): area.id for area in learnt.areas}
    called = {area.id: area.name for area in settings.areas}
    named = {
        key: area if area in areas else by_name.get(called.get(area, area).casefold(), "")
        for key, area in settings.satellites.items()
    }
    return HomeSettings(
        floors=learnt.floors,
        areas=learnt.areas,
        devices=learnt.devices,
        satellites={**learnt.satellites, **{key: area for key, area in named.items() if area}},
        file=settings.file,
    )
