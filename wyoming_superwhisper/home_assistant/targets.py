"""Which exposed entities an intent means, for a Home Assistant that can't be told to look at those only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wyoming_superwhisper.config.settings import Device
from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.home import Home, domain_of
from wyoming_superwhisper.home_assistant.link import Link

PLACES = frozenset({"area", "floor", "preferred_area_id", "preferred_floor_id", "domain", "device_class"})
"""Slots that choose among entities: where each is named they have done their part."""

CHOOSING = frozenset({"area", "floor", "domain", "device_class"})
"""Those that name entities; a preference alone names none."""

QUESTIONS = ("HassGet", "HassClimateGet")
"""What the names of intents that change nothing begin with."""

MOST_TARGETS = 50
"""Entities that one sentence moves at most."""


_SWITCHING = frozenset({"HassTurnOn", "HassTurnOff", "HassToggle"})
_DOMAINS: Mapping[str, tuple[str, ...]] = {
    "HassClimateSetTemperature": ("climate",),
    "HassFanSetSpeed": ("fan",),
    "HassHumidifierMode": ("humidifier",),
    "HassHumidifierSetpoint": ("humidifier",),
    "HassLightSet": ("light",),
    "HassSetPosition": ("cover", "valve"),
    "HassStopMoving": ("cover", "valve"),
    "HassMediaNext": ("media_player",),
    "HassMediaPause": ("media_player",),
    "HassMediaPlayerMute": ("media_player",),
    "HassMediaPlayerUnmute": ("media_player",),
    "HassMediaPrevious": ("media_player",),
    "HassMediaUnpause": ("media_player",),
    "HassSetVolume": ("media_player",),
    "HassSetVolumeRelative": ("media_player",),
    "HassVacuumCleanArea": ("vacuum",),
    "HassVacuumReturnToBase": ("vacuum",),
    "HassVacuumStart": ("vacuum",),
}
"""What an intent moves where its slots don't say it."""
_BY_NAME_ONLY = frozenset({"scene", "script", "todo", "lock", "alarm_control_panel"})
"""Never moved by naming a room."""


class Targets:
    """The exposed entities, by what an intent's slots say."""

    def __init__(self, link: Link) -> None:
        self._home = link.home
        self._states = link.states
        self._thermometers = link.thermometers

    def is_question(self, call: IntentCall) -> bool:
        """Whether the intent changes nothing."""
        return call.name.startswith(QUESTIONS)

    def exposes(self, entity_id: str) -> bool:
        """Whether this entity is exposed."""
        return entity_id in self._home.devices

    def name(self, entity_id: str) -> str:
        """What the entity is called."""
        return self._home.devices[entity_id].name

    def of(self, call: IntentCall) -> Sequence[str] | None:
        """The ids that are meant, none where it isn't clear; None where the intent names nothing of the home."""
        slots = call.slots
        if isinstance(name := slots.get("name"), str):
            named = self._nearest(self._chosen(self._called(name), slots, ()), slots)
            return [named[0].id] if len(named) == 1 else []
        domains = _DOMAINS.get(call.name, ())
        if not slots.keys() & CHOOSING or not (domains or call.name in _SWITCHING):
            return None
        chosen = [device.id for device in self._chosen(self._home.devices.values(), slots, domains)]
        return [one for one in chosen if domain_of(one) not in _BY_NAME_ONLY][:MOST_TARGETS]

    def thermometer(self, call: IntentCall) -> Sequence[str]:
        """What a question for the temperature means: Home Assistant answers it without saying of what.

        As its handler does: the thermometer of the room, else the one climate device that fits.
        """
        slots = call.slots
        if call.name != "HassClimateGetTemperature":
            return ()
        rooms = _areas(self._home, slots) if "area" in slots else {str(slots.get("preferred_area_id"))}
        known = [one for room in rooms or () if (one := self._thermometers.get(room)) and self.exposes(one)]
        if "name" not in slots and len(known) == 1:
            return known
        name = slots.get("name")
        devices = self._called(name) if isinstance(name, str) else self._home.devices.values()
        fitting = self._nearest(self._chosen(devices, slots, ("climate",)), slots)
        return [fitting[0].id] if len(fitting) == 1 else ()

    def _called(self, name: str) -> Sequence[Device]:
        """The devices of a name, or of an id: that stands for a name that several have."""
        device = self._home.devices.get(name)
        return [device] if device else self._home.devices_named(name)

    def _chosen(self, devices: Iterable[Device], slots: Mapping[str, Any], usual: Iterable[str]) -> list[Device]:
        areas = _areas(self._home, slots)
        domains, classes = _several(slots.get("domain")) or set(usual), _several(slots.get("device_class"))
        return [
            device
            for device in devices
            if (areas is None or device.area in areas)
            and (not domains or domain_of(device.id) in domains)
            and (not classes or self._class(device.id) in classes)
        ]

    def _nearest(self, devices: Sequence[Device], slots: Mapping[str, Any]) -> Sequence[Device]:
        """Of several of one name the one in the speaker's room, if there is one."""
        near = [device for device in devices if device.area and device.area == slots.get("preferred_area_id", "")]
        return near or devices

    def _class(self, entity_id: str) -> str:
        state = self._states.get(entity_id)
        return str(state.attributes.get("device_class", "")) if state else ""


def _areas(home: Home, slots: Mapping[str, Any]) -> set[str] | None:
    """The ids of the areas that the slots name; None: they name none."""
    if isinstance(area := slots.get("area"), str):
        return {one.id for one in home.areas_named(area)} | ({area} & home.areas.keys())
    if isinstance(floor := slots.get("floor"), str):
        floors = {one.id for one in home.floors_named(floor)} | ({floor} & home.floors.keys())
        return {area.id for area in home.areas.values() if area.floor in floors}
    return None


def _several(value: Any) -> set[str]:
    return {value} if isinstance(value, str) else set(value or ())
