"""What a language model never moves without a yes: locks, alarms, covers, valves, and whatever opens a door.

A model may misread a joke, the television or a name as a wish. A wrong lamp is a nuisance, an open garage is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wyoming_superwhisper.config.settings import Device
from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.home import Home, domain_of

DOMAINS = frozenset({"lock", "alarm_control_panel", "cover", "valve", "siren"})
"""Kinds of device that are always asked about."""

HARMLESS = frozenset({
    "light", "climate", "media_player", "fan", "humidifier", "vacuum", "todo", "weather", "sensor", "binary_sensor",
    "person", "timer", "water_heater",
})  # fmt: skip
"""Kinds of device that open nothing, whatever they are called ("the garage's light")."""

WORDS = frozenset({
    "garage", "portail", "portillon", "porte", "serrure", "verrou", "alarme", "gate", "door", "lock", "alarm",
    "puerta", "portón", "cerradura", "alarma",
})  # fmt: skip
"""A switch, a scene, a script or a button with such a word in its name may be a door's."""

_OF_COVERS = frozenset({"HassOpenCover", "HassCloseCover", "HassSetPosition", "HassStopMoving"})
_SWITCHES = frozenset({"HassTurnOn", "HassTurnOff", "HassToggle"})


def guarded_target(calls: Sequence[IntentCall], home: Home) -> str:
    """What these calls would open, lock or disarm, by name; "": nothing of that kind."""
    for call in calls:
        if _is_guarded(call, home):
            slots = call.slots
            named = (slots.get(key) for key in ("name", "area", "floor", "device_class", "domain"))
            return next((str(value) for value in named if value), call.name)
    return ""


def _is_guarded(call: IntentCall, home: Home) -> bool:
    if call.name.startswith("HassGet"):
        return False
    name, domains = str(call.slots.get("name") or ""), _words(call.slots, "domain")
    if call.name in _OF_COVERS or domains & DOMAINS or "device_class" in call.slots:
        return True
    if name:
        devices = home.devices_named(name)
        # One that isn't known may be anything.
        return any(map(_opens, devices)) or (not devices and call.name in _SWITCHES)
    return call.name in _SWITCHES and not domains  # everything that there is in a place


def _opens(device: Device) -> bool:
    domain = domain_of(device.id)
    return domain in DOMAINS or (domain not in HARMLESS and bool(WORDS & _letters(device.name, device.id)))


def _words(slots: Mapping[str, Any], key: str) -> frozenset[str]:
    value = slots.get(key) or ()
    return frozenset((value,) if isinstance(value, str) else map(str, value))


def _letters(*names: str) -> frozenset[str]:
    return frozenset("".join(char if char.isalpha() else " " for char in " ".join(names).casefold()).split())
