"""The states of Home Assistant's entities, kept up to date by its compressed events (`subscribe_entities`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

MOST_ENTITIES = 20_000
"""Entities that are followed; the rest of a larger home is not."""
MOST_ATTRIBUTES = 100
"""Attributes kept of one entity."""
MOST_CHARS = 1_000
"""Longest text kept of a state or an attribute; lists and the like are not kept at all where they are larger."""

NAMING = frozenset({"friendly_name", "device_class"})
"""Attributes whose change may change what is listed under which name."""


@dataclass(frozen=True, slots=True)
class EntityState:
    """One entity as it stands."""

    entity_id: str
    state: str
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What Home Assistant calls it."""
        name = self.attributes.get("friendly_name")
        return name if isinstance(name, str) and name.strip() else self.entity_id.partition(".")[2].replace("_", " ")

    @property
    def domain(self) -> str:
        """Its kind: the part of the id before the dot."""
        return self.entity_id.partition(".")[0]


class States:
    """All entities of one connection."""

    def __init__(self) -> None:
        self._known: dict[str, EntityState] = {}

    def __iter__(self) -> Iterator[EntityState]:
        return iter(self._known.values())

    def __len__(self) -> int:
        return len(self._known)

    def get(self, entity_id: str) -> EntityState | None:
        """The entity of that id."""
        return self._known.get(entity_id)

    def apply(self, event: Mapping[str, Any]) -> bool:
        """Take an event in; whether an entity came, went or got another name. What makes no sense is ignored."""
        renamed = False
        for entity_id, fields in _items(event.get("a")):
            renamed |= self._add(entity_id, fields)
        for entity_id, changes in _items(event.get("c")):
            renamed |= self._change(entity_id, changes)
        removed = event.get("r")
        for entity_id in removed if isinstance(removed, list) else ():
            renamed |= isinstance(entity_id, str) and self._known.pop(entity_id, None) is not None
        return renamed

    def _add(self, entity_id: str, fields: Mapping[str, Any]) -> bool:
        if len(self._known) >= MOST_ENTITIES and entity_id not in self._known:
            return False
        attributes = _attributes(fields.get("a"))
        before = self._known.get(entity_id)
        self._known[entity_id] = EntityState(entity_id, str(fields.get("s", ""))[:MOST_CHARS], attributes)
        return before is None or any(before.attributes.get(key) != attributes.get(key) for key in NAMING)

    def _change(self, entity_id: str, changes: Mapping[str, Any]) -> bool:
        known = self._known.get(entity_id)
        if known is None:
            return False
        added, gone = _mapping(changes.get("+")), _mapping(changes.get("-")).get("a")
        new, removed = (
            _attributes(added.get("a")),
            {key for key in gone if isinstance(key, str)} if isinstance(gone, list) else set(),
        )
        if new or removed:
            kept = {key: value for key, value in known.attributes.items() if key not in removed}
            known = replace(known, attributes=_attributes({**kept, **new}))
        if "s" in added:
            known = replace(known, state=str(added["s"])[:MOST_CHARS])
        self._known[entity_id] = known
        return bool(NAMING & (new.keys() | removed))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, fields in _mapping(value).items():
        if isinstance(fields, dict):
            yield key, fields


def _attributes(value: Any) -> dict[str, Any]:
    items = list(_mapping(value).items())
    items.sort(key=lambda item: item[0] not in NAMING)  # of too many, these stay
    return {key: kept for key, one in items[:MOST_ATTRIBUTES] if (kept := _kept(one)) is not None}


def _kept(value: Any) -> Any:
    if isinstance(value, str):
        return value[:MOST_CHARS]
    if value is None or isinstance(value, bool | int | float):
        return value
    return value if len(str(value)) <= MOST_CHARS else None
