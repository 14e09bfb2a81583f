"""What Home Assistant's registries hold: read over one connection, taken for what it is (somebody else's data)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wyoming_superwhisper.home_assistant.client import Connection
from wyoming_superwhisper.home_assistant.errors import RequestFailed
from wyoming_superwhisper.home_assistant.states import States

ASSISTANT = "conversation"
"""What Home Assistant calls the assistant that entities are exposed to."""

MOST_DEVICES = 2_000
"""Exposed entities that are listed by name."""

EXPOSED_DOMAINS = frozenset(
    {
        "climate", "cover", "fan", "humidifier", "light", "media_player", "scene", "switch", "todo", "vacuum",
        "water_heater",
    }
)  # fmt: skip
EXPOSED_CLASSES: Mapping[str, frozenset[str]] = {
    "binary_sensor": frozenset({"door", "garage_door", "lock", "motion", "opening", "presence", "window"}),
    "sensor": frozenset(
        {
            "aqi", "carbon_monoxide", "carbon_dioxide", "humidity", "pm10", "pm25", "temperature",
            "volatile_organic_compounds",
        }
    ),
}  # fmt: skip
"""What Home Assistant exposes of itself, if new entities are exposed at all and nobody has decided otherwise."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Registries:
    """What was read. Entity records are Home Assistant's own, by entity id."""

    entities: Mapping[str, Record] = field(default_factory=dict)
    devices: Mapping[str, Record] = field(default_factory=dict)
    areas: tuple[Record, ...] = ()
    floors: tuple[Record, ...] = ()
    exposed: tuple[str, ...] = ()
    """Ids of the exposed entities, in order, at most `MOST_DEVICES`."""
    aliases: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    """Aliases of exposed entities; None stands for the entity's own name."""
    unlisted: int = 0
    """Exposed entities beyond `MOST_DEVICES`."""
    listed: frozenset[str] = frozenset()
    """What Home Assistant itself lists as exposed."""


class RegistryReader:
    """Reads the registries of one connection, again and again."""

    def __init__(self, connection: Connection, states: States) -> None:
        self._connection = connection
        self._states = states
        self._asked: frozenset[str] = frozenset()

    async def read(self) -> Registries:
        """Everything as it is now. Raises `RightsMissing`, `RequestFailed`, `ConnectionEnded`."""
        command = self._connection.command
        entities, devices, areas, floors, listed, new = await asyncio.gather(
            command("config/entity_registry/list"),
            command("config/device_registry/list"),
            command("config/area_registry/list"),
            command("config/floor_registry/list"),
            command("homeassistant/expose_entity/list"),
            command("homeassistant/expose_new_entities/get", assistant=ASSISTANT),
        )
        by_id = {str(one["entity_id"]): one for one in _records(entities) if "entity_id" in one}
        known = _listed(listed)
        exposed = self._exposed(by_id, known, isinstance(new, dict) and new.get("expose_new") is True)
        strays = await self._without_record(by_id, known)
        exposed += strays
        aliases = await self._aliases([one for one in exposed[:MOST_DEVICES] if one in by_id])
        return Registries(
            entities=by_id,
            devices={str(one["id"]): one for one in _records(devices) if "id" in one},
            areas=tuple(_records(areas)),
            floors=tuple(_records(floors)),
            exposed=tuple(exposed[:MOST_DEVICES]),
            aliases=aliases,
            unlisted=max(0, len(exposed) - MOST_DEVICES),
            listed=known.union(strays),
        )

    async def listed(self) -> frozenset[str]:
        """What is listed as exposed right now: the one thing that no event tells of entities without a record."""
        return _listed(await self._connection.command("homeassistant/expose_entity/list"))

    def has_strays(self, entities: Mapping[str, Record]) -> bool:
        """Whether there are entities of a kind that is exposed, but without a record in the registry."""
        return any(state.entity_id not in entities and self._by_default(state.entity_id, {}) for state in self._states)

    def _exposed(self, entities: Mapping[str, Record], listed: frozenset[str], by_default: bool) -> list[str]:
        found = []
        for entity_id, record in entities.items():
            if record.get("disabled_by"):
                continue
            decided = _decided(record)
            if decided is None:
                decided = entity_id in listed or (by_default and self._by_default(entity_id, record))
            if decided:
                found.append(entity_id)
        return found

    def _by_default(self, entity_id: str, record: Record) -> bool:
        """What Home Assistant will decide of an entity as soon as an assistant asks for it."""
        if record.get("entity_category") or record.get("hidden_by"):
            return False
        domain = entity_id.partition(".")[0]
        state = self._states.get(entity_id)
        kind = state.attributes.get("device_class") if state else None
        return domain in EXPOSED_DOMAINS or kind in EXPOSED_CLASSES.get(domain, ())

    async def _without_record(self, entities: Mapping[str, Record], listed: frozenset[str]) -> list[str]:
        """Exposed entities without a record. Which of them are not is told of none: it must be asked for once.

        Home Assistant lists only what is exposed. Its own agent, given a sentence to recognise (nothing is done),
        decides of all entities, and after that the list is whole.
        """
        strays = {state.entity_id for state in self._states if state.entity_id not in entities}
        unknown = {one for one in strays - listed - self._asked if self._by_default(one, {})}
        if unknown:
            self._asked |= unknown
            try:
                await self._connection.command("conversation/agent/homeassistant/debug", sentences=["."])
                listed = await self.listed()
            except RequestFailed:
                pass  # a Home Assistant without its agent: then they are not exposed
        return sorted(strays & listed)

    async def _aliases(self, entity_ids: list[str]) -> dict[str, tuple[str | None, ...]]:
        if not entity_ids:
            return {}
        details = await self._connection.command("config/entity_registry/get_entries", entity_ids=entity_ids)
        found = {}
        for entity_id, record in details.items() if isinstance(details, dict) else ():
            aliases = record.get("aliases") if isinstance(record, dict) else None
            if isinstance(aliases, list):
                found[str(entity_id)] = tuple(one for one in aliases if one is None or isinstance(one, str))
        return found


def precision_of(registries: Registries) -> dict[str, int]:
    """Digits after the point that Home Assistant shows of each exposed sensor."""
    found = {}
    for entity_id in registries.exposed:
        options = registries.entities.get(entity_id, {}).get("options")
        sensor = options.get("sensor") if isinstance(options, dict) else None
        if isinstance(sensor, dict):
            digits = sensor.get("display_precision")
            digits = sensor.get("suggested_display_precision") if digits is None else digits
            if isinstance(digits, int) and 0 <= digits <= 10:
                found[entity_id] = digits
    return found


def thermometers_of(registries: Registries) -> dict[str, str]:
    """The sensor that stands for an area's temperature, by area id."""
    pairs = ((area.get("area_id"), area.get("temperature_entity_id")) for area in registries.areas)
    return {area: sensor for area, sensor in pairs if isinstance(area, str) and isinstance(sensor, str)}


def _records(value: Any) -> Iterable[Record]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else ()


def _listed(value: Any) -> frozenset[str]:
    listed = value.get("exposed_entities") if isinstance(value, dict) else None
    if not isinstance(listed, dict):
        return frozenset()
    return frozenset(
        entity_id for entity_id, to in listed.items() if isinstance(to, dict) and to.get(ASSISTANT) is True
    )


def _decided(record: Record) -> bool | None:
    """Whether somebody decided on this entity's exposure."""
    options = record.get("options")
    mine = options.get(ASSISTANT) if isinstance(options, dict) else None
    decided = mine.get("should_expose") if isinstance(mine, dict) else None
    return decided if isinstance(decided, bool) else None
