"""The home's names as hassil takes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hassil.intents import SlotList, TextSlotList
from hassil.util import remove_punctuation

from wyoming_superwhisper.config.settings import Device
from wyoming_superwhisper.home import Home, domain_of
from wyoming_superwhisper.intents_text import plain


def slot_lists(home: Home) -> dict[str, SlotList]:
    """Names as Home Assistant's own agent lists them: what is said, what it stands for, what kind of device it is."""
    names = [
        (_sayable(name), name, _kind(device))
        for device in home.settings.devices
        for name in (device.name, *device.aliases)
    ]
    areas = [(_sayable(name), name) for area in home.settings.areas for name in (area.name, *area.aliases)]
    floors = [(_sayable(name), floor.name) for floor in home.settings.floors for name in (floor.name, *floor.aliases)]
    return {
        "name": TextSlotList.from_tuples(_filled(names), allow_template=False, name="name"),
        "area": TextSlotList.from_tuples(_filled(areas), allow_template=False, name="area"),
        "floor": TextSlotList.from_tuples(_filled(floors), allow_template=False, name="floor"),
    }


def _kind(device: Device) -> dict[str, str]:
    """What the packs' sentences may require of a device."""
    kind = {"domain": domain_of(device.id)}
    return {**kind, "device_class": device.device_class} if device.device_class else kind


def _filled(rows: Iterable[Any]) -> list[Any]:
    """The rows with something to say, each also in the spelling without ligatures that `plain` makes."""
    found: list[Any] = []
    for row in rows:
        if row[0]:
            found.append(row)
            if (other := plain(row[0])) != row[0] and other:
                found.append((other, *row[1:]))
    return found


def _sayable(name: str) -> str:
    return str(remove_punctuation(name)).strip()
