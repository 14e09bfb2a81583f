"""Homes to put into Home Assistant, in the form of `home:` in our settings.

A device may say more than our settings know; Home Assistant's side of the tests reads it, `for_settings` drops it:

- `exposed: False`   not shown to voice assistants;
- `device: "Name"`   the entity belongs to a device of this name, and the area is the device's;
- `device_class`     as Home Assistant calls it;
- `attributes`       first values of an entity, such as `{"is_on": True}` (see `fake_home/entities.py`);
- `items`            what is on a to-do list at first;
- `action`           for a script: the steps it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

import wyoming_superwhisper.config

House = Mapping[str, Any]
_OURS = ("id", "name", "aliases", "area")


_COVERS = {
    "cover.volets_salon": "shutter",
    "cover.store_cuisine": "blind",
    "cover.rideaux_chambre": "curtain",
    "cover.volets_bureau": "shutter",
    "cover.porte_garage": "garage",
    "cover.portail_jardin": "gate",
}


def demo_house() -> House:
    """The home of the demo settings, with what Home Assistant knows besides of its shutters and blinds."""
    house = load(Path(wyoming_superwhisper.config.__file__).parent / "demo_home.yaml")
    kinds = [{"device_class": _COVERS[device["id"]]} if device["id"] in _COVERS else {} for device in house["devices"]]
    return {**house, "devices": [device | kind for device, kind in zip(house["devices"], kinds, strict=True)]}


def load(path: Path) -> House:
    """A home from a file."""
    house: House = yaml.safe_load(path.read_text())
    return house


def for_settings(house: House) -> dict[str, Any]:
    """What of a home goes into our settings (`home.file`)."""
    devices = [{key: device[key] for key in _OURS if key in device} for device in house["devices"]]
    satellites = dict(house.get("satellites", {}))
    return {"floors": house["floors"], "areas": house["areas"], "devices": devices, "satellites": satellites}
