"""A made-up home inside Home Assistant: floors, areas and devices that do what they are told. Runs inside its process.

What the home holds is read from `home.json` in the configuration folder, in the form of `home:` in our settings; a
device may say more (see `tests/home_assistant/houses.py`). Reloading the config entry furnishes it anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from custom_components.fake_home.entities import CLASSES
from homeassistant.components.homeassistant.exposed_entities import async_expose_entity
from homeassistant.components.intent import TimerEventType, TimerInfo, async_register_timer_handler
from homeassistant.config_entries import SOURCE_IMPORT, ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.helpers import area_registry, config_validation, device_registry, entity_registry, floor_registry
from homeassistant.helpers.typing import ConfigType

DOMAIN = "fake_home"
CONFIG_SCHEMA = config_validation.empty_config_schema(DOMAIN)


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    hass.async_create_task(hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_IMPORT}, data={}))
    return True


async def async_setup_entry(hass: HomeAssistant, entry: ConfigEntry) -> bool:
    text = await hass.async_add_executor_job(Path(hass.config.path("home.json")).read_text)
    home = json.loads(text)
    _clear(hass, entry)
    _build(hass, home)
    entry.runtime_data = home
    domains = {_domain(device) for device in home["devices"]} & set(CLASSES)
    await hass.config_entries.async_forward_entry_setups(entry, sorted(domains))
    for device in home["devices"]:
        _describe(hass, device)
    for name, area in home["satellites"].items():
        _add_satellite(hass, entry, name, area)
    return True


async def async_unload_entry(hass: HomeAssistant, entry: ConfigEntry) -> bool:
    domains = {_domain(device) for device in entry.runtime_data["devices"]} & set(CLASSES)
    return await hass.config_entries.async_unload_platforms(entry, sorted(domains))


def _clear(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Remove every floor, area, device and entity: also the rooms that come with a new Home Assistant."""
    entities, devices = entity_registry.async_get(hass), device_registry.async_get(hass)
    for one in entity_registry.async_entries_for_config_entry(entities, entry.entry_id):
        entities.async_remove(one.entity_id)
    for device in device_registry.async_entries_for_config_entry(devices, entry.entry_id):
        devices.async_remove_device(device.id)
    areas, floors = area_registry.async_get(hass), floor_registry.async_get(hass)
    for area in list(areas.async_list_areas()):
        areas.async_delete(area.id)
    for floor in list(floors.async_list_floors()):
        floors.async_delete(floor.floor_id)


def _build(hass: HomeAssistant, home: Mapping[str, Any]) -> None:
    """Floors and areas. Their ids are made from their first names, so they are called by their ids at first."""
    areas, floors = area_registry.async_get(hass), floor_registry.async_get(hass)
    for floor in home["floors"]:
        made = floors.async_create(floor["id"], aliases=set(floor.get("aliases", ())))
        assert made.floor_id == floor["id"], made
        floors.async_update(made.floor_id, name=floor["name"])
    for area in home["areas"]:
        room = areas.async_create(area["id"], aliases=set(area.get("aliases", ())), floor_id=area.get("floor"))
        assert room.id == area["id"], room
        areas.async_update(room.id, name=area["name"])


def _describe(hass: HomeAssistant, device: Mapping[str, Any]) -> None:
    """Area, aliases and exposure of one entity."""
    entities = entity_registry.async_get(hass)
    if (entity := entities.async_get(device["id"])) is None:
        return
    area = device.get("area") or None
    if "device" in device:
        devices = device_registry.async_get(hass)
        assert entity.device_id
        devices.async_update_device(entity.device_id, area_id=area)
        area = None
    aliases: Any = list(device.get("aliases", ()))
    # Newer releases keep aliases in order, with a stand-in for the entity's own name.
    own_name = getattr(entity_registry, "COMPUTED_NAME", None)
    aliases = set(aliases) if own_name is None else [own_name, *aliases]
    entities.async_update_entity(device["id"], name=None, area_id=area, aliases=aliases)
    async_expose_entity(hass, "conversation", device["id"], device.get("exposed", True))


def _add_satellite(hass: HomeAssistant, entry: ConfigEntry, name: str, area: str) -> None:
    """A device in a room that can be spoken to: its area counts, and it can have timers. Those become events."""
    devices = device_registry.async_get(hass)
    device = devices.async_get_or_create(config_entry_id=entry.entry_id, identifiers={(DOMAIN, name)}, name=name)
    devices.async_update_device(device.id, area_id=area)

    def told(change: TimerEventType, timer: TimerInfo) -> None:
        seconds, left = timer.created_seconds, timer.seconds_left
        news = {"change": change, "satellite": name, "name": timer.name, "seconds": seconds, "left": left}
        hass.bus.async_fire("fake_home_timer", news)

    entry.async_on_unload(async_register_timer_handler(hass, device.id, told))


def _domain(device: Mapping[str, Any]) -> str:
    return str(device["id"]).partition(".")[0]
