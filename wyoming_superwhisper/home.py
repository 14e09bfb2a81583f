"""The rooms and devices of the home: a read-only index by id, by name and by who speaks from where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Protocol, TypeVar

from wyoming_superwhisper.config.settings import Area, Device, Floor, HomeSettings

BIAS_NAMES = 80
"""How many names at most are handed to recognition: a prompt has little room, and the first names count most."""


class _Named(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def aliases(self) -> tuple[str, ...]: ...


_N = TypeVar("_N", bound=_Named)


class Home:
    """An index over `HomeSettings`. Never changes: a renamed device makes a new `Home`."""

    def __init__(self, settings: HomeSettings | None = None) -> None:
        self.settings = settings or HomeSettings()
        self.areas: dict[str, Area] = {area.id: area for area in self.settings.areas}
        self.floors: dict[str, Floor] = {floor.id: floor for floor in self.settings.floors}
        self.devices: dict[str, Device] = {device.id: device for device in self.settings.devices}
        self._area_names = _by_name(self.settings.areas)
        self._floor_names = _by_name(self.settings.floors)
        self._device_names = _by_name(self.settings.devices)
        self._satellites = {fold(key): area for key, area in self.settings.satellites.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Home:
        """Build from the form that travels to workers (`as_json`) and that settings files have."""
        return cls(
            HomeSettings(
                floors=tuple(Floor(**_with_tuples(item)) for item in data.get("floors") or ()),
                areas=tuple(Area(**_with_tuples(item)) for item in data.get("areas") or ()),
                devices=tuple(Device(**_with_tuples(item)) for item in data.get("devices") or ()),
                satellites=dict(data.get("satellites") or {}),
                file=str(data.get("file") or ""),
            )
        )

    def as_json(self) -> dict[str, Any]:
        """The form that travels to workers."""
        return asdict(self.settings)

    def area_of(self, *ids: str | None) -> str | None:
        """The id of the area that the first known of these ids (satellite, device, area) or area names stands for."""
        for key in ids:
            if key and (area := self._area_of(key)):
                return area
        return None

    def areas_named(self, name: str) -> tuple[Area, ...]:
        """The areas that answer to this name or alias."""
        return self._area_names.get(fold(name), ())

    def floors_named(self, name: str) -> tuple[Floor, ...]:
        """The floors that answer to this name or alias."""
        return self._floor_names.get(fold(name), ())

    def devices_named(self, name: str) -> tuple[Device, ...]:
        """The devices that answer to this name or alias; the one that has this id."""
        named = self._device_names.get(fold(name), ())
        return named or ((self.devices[name],) if name in self.devices else ())

    def may_search(self, area: str) -> bool:
        """Whether a media player of this area (its id) can look for a title, or isn't known not to."""
        return any(
            device.area == area and domain_of(device.id) == "media_player" and device.can_search is not False
            for device in self.settings.devices
        )

    def names(self, limit: int = BIAS_NAMES) -> tuple[str, ...]:
        """Names to bias recognition towards, the most useful first: rooms, devices, then what else they are called."""
        everything: tuple[_Named, ...] = (*self.settings.areas, *self.settings.devices, *self.settings.floors)
        first = [item.name for item in everything]
        others = [alias for item in everything for alias in item.aliases]
        return _unique((*first, *others))[:limit]

    def _area_of(self, key: str) -> str | None:
        folded = fold(key)
        if folded in self._satellites:
            return self._satellites[folded]
        if device := self.devices.get(key):
            return device.area or None
        if key in self.areas:
            return key
        named = self._area_names.get(folded, ())
        return named[0].id if len(named) == 1 else None


def domain_of(device_id: str) -> str:
    """The kind of a device: the part of its id before the dot ("light")."""
    return device_id.partition(".")[0]


def fold(name: str) -> str:
    """A name as it is compared: case and spaces don't count."""
    return " ".join(name.casefold().split())


def _by_name(items: Iterable[_N]) -> dict[str, tuple[_N, ...]]:
    index: dict[str, dict[str, _N]] = {}
    for item in items:
        for name in (item.name, *item.aliases):
            index.setdefault(fold(name), {})[item.id] = item
    return {name: tuple(found.values()) for name, found in index.items()}


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    seen: dict[str, str] = {}
    for name in names:
        if name.strip():
            seen.setdefault(fold(name), name)
    return tuple(seen.values())


def _with_tuples(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in item.items()}
