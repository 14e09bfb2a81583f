"""Devices that are none: each keeps its state in memory, changes it when told to, and shows it. Runs inside
Home Assistant's process.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from homeassistant.components.binary_sensor import BinarySensorEntity
from homeassistant.components.button import ButtonEntity
from homeassistant.components.climate import ClimateEntity, ClimateEntityFeature, HVACMode
from homeassistant.components.cover import CoverEntity, CoverEntityFeature
from homeassistant.components.fan import FanEntity, FanEntityFeature
from homeassistant.components.humidifier import HumidifierEntity
from homeassistant.components.lawn_mower import LawnMowerActivity, LawnMowerEntity, LawnMowerEntityFeature
from homeassistant.components.light import ColorMode, LightEntity
from homeassistant.components.lock import LockEntity
from homeassistant.components.media_player import (
    BrowseMedia,
    MediaClass,
    MediaPlayerEntity,
    MediaPlayerEntityFeature,
    MediaPlayerState,
)
from homeassistant.components.media_player.browse_media import SearchMedia, SearchMediaQuery
from homeassistant.components.scene import Scene
from homeassistant.components.sensor import SensorEntity
from homeassistant.components.switch import SwitchEntity
from homeassistant.components.todo import TodoItem, TodoListEntity, TodoListEntityFeature
from homeassistant.components.vacuum import StateVacuumEntity, VacuumActivity, VacuumEntityFeature
from homeassistant.components.valve import ValveEntity, ValveEntityFeature
from homeassistant.components.weather import WeatherEntity
from homeassistant.const import UnitOfTemperature
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity import Entity


class FakeEntity(Entity):
    """Name, id and first state come from the home's file; `_set` changes attributes and shows them."""

    _attr_should_poll = False

    def __init__(self, device: Mapping[str, Any]) -> None:
        self.entity_id = device["id"]
        self._attr_unique_id = device["id"]
        self._attr_name = device["name"]
        if "device_class" in device:
            self._attr_device_class = device["device_class"]
        if "device" in device:
            self._attr_device_info = DeviceInfo(identifiers={("fake_home", device["device"])}, name=device["device"])
        for name, value in device.get("attributes", {}).items():
            setattr(self, f"_attr_{name}", value)

    def _set(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            setattr(self, f"_attr_{name}", value)
        self.async_write_ha_state()


class _OnOff(FakeEntity):
    async def async_turn_on(self, **options: Any) -> None:
        self._set(is_on=True)

    async def async_turn_off(self, **options: Any) -> None:
        self._set(is_on=False)


class FakeSwitch(_OnOff, SwitchEntity):
    _attr_is_on = False  # not in the class above: Home Assistant caches what its own classes declare


class FakeLight(_OnOff, LightEntity):
    _attr_is_on = False
    _attr_supported_color_modes = {ColorMode.HS, ColorMode.COLOR_TEMP}  # noqa: RUF012
    _attr_color_mode = ColorMode.COLOR_TEMP
    _attr_color_temp_kelvin = 3000
    _attr_min_color_temp_kelvin = 2000
    _attr_max_color_temp_kelvin = 6500
    _attr_brightness = 255

    async def async_turn_on(self, **options: Any) -> None:
        changed: dict[str, Any] = {"is_on": True}
        if "brightness" in options:
            changed["brightness"] = options["brightness"]
        if "hs_color" in options:
            changed |= {"hs_color": options["hs_color"], "color_mode": ColorMode.HS}
        if "color_temp_kelvin" in options:
            changed |= {"color_temp_kelvin": options["color_temp_kelvin"], "color_mode": ColorMode.COLOR_TEMP}
        self._set(**changed)


class FakeFan(_OnOff, FanEntity):
    _attr_supported_features = FanEntityFeature.SET_SPEED | FanEntityFeature.TURN_ON | FanEntityFeature.TURN_OFF
    _attr_percentage = 0

    @property
    def is_on(self) -> bool:
        return bool(self._attr_percentage)

    async def async_turn_on(self, percentage: int | None = None, preset_mode: Any = None, **options: Any) -> None:
        self._set(percentage=percentage or 100)

    async def async_turn_off(self, **options: Any) -> None:
        self._set(percentage=0)

    async def async_set_percentage(self, percentage: int) -> None:
        self._set(percentage=percentage)


class FakeHumidifier(_OnOff, HumidifierEntity):
    _attr_is_on = False
    _attr_target_humidity = 50

    async def async_set_humidity(self, humidity: int) -> None:
        self._set(target_humidity=humidity)


class FakeCover(FakeEntity, CoverEntity):
    _attr_supported_features = (
        CoverEntityFeature.OPEN | CoverEntityFeature.CLOSE | CoverEntityFeature.STOP | CoverEntityFeature.SET_POSITION
    )
    _attr_current_cover_position = 50

    @property
    def is_closed(self) -> bool:
        return self._attr_current_cover_position == 0

    async def async_open_cover(self, **options: Any) -> None:
        self._set(current_cover_position=100)

    async def async_close_cover(self, **options: Any) -> None:
        self._set(current_cover_position=0)

    async def async_stop_cover(self, **options: Any) -> None:
        self._set(current_cover_position=30)

    async def async_set_cover_position(self, position: int, **options: Any) -> None:
        self._set(current_cover_position=position)


class FakeValve(FakeEntity, ValveEntity):
    _attr_supported_features = ValveEntityFeature.OPEN | ValveEntityFeature.CLOSE | ValveEntityFeature.SET_POSITION
    _attr_reports_position = True
    _attr_current_valve_position = 50

    async def async_set_valve_position(self, position: int) -> None:
        self._set(current_valve_position=position)


_NATIVE = "native_" if hasattr(ClimateEntity, "native_target_temperature") else ""
"""What newer releases put before the names of a climate device's temperatures."""


class FakeClimate(FakeEntity, ClimateEntity):
    _attr_supported_features = (
        ClimateEntityFeature.TARGET_TEMPERATURE | ClimateEntityFeature.TURN_ON | ClimateEntityFeature.TURN_OFF
    )
    _attr_hvac_modes = [HVACMode.OFF, HVACMode.HEAT, HVACMode.COOL]  # noqa: RUF012
    _attr_hvac_mode = HVACMode.HEAT

    def __init__(self, device: Mapping[str, Any]) -> None:
        first = {"temperature_unit": UnitOfTemperature.CELSIUS, "current_temperature": 19.5, "target_temperature": 17.0}
        for name, value in first.items():
            setattr(self, f"_attr_{_NATIVE}{name}", value)
        super().__init__(device)

    async def async_set_temperature(self, temperature: float | None = None, **options: Any) -> None:
        self._set(**{f"{_NATIVE}target_temperature": temperature})

    async def async_set_hvac_mode(self, hvac_mode: HVACMode) -> None:
        self._set(hvac_mode=hvac_mode)

    async def async_turn_on(self) -> None:
        self._set(hvac_mode=HVACMode.HEAT)

    async def async_turn_off(self) -> None:
        self._set(hvac_mode=HVACMode.OFF)


class FakeMediaPlayer(FakeEntity, MediaPlayerEntity):
    _attr_supported_features = (
        MediaPlayerEntityFeature.TURN_ON
        | MediaPlayerEntityFeature.TURN_OFF
        | MediaPlayerEntityFeature.PLAY
        | MediaPlayerEntityFeature.PAUSE
        | MediaPlayerEntityFeature.STOP
        | MediaPlayerEntityFeature.NEXT_TRACK
        | MediaPlayerEntityFeature.PREVIOUS_TRACK
        | MediaPlayerEntityFeature.VOLUME_SET
        | MediaPlayerEntityFeature.VOLUME_STEP
        | MediaPlayerEntityFeature.VOLUME_MUTE
        | MediaPlayerEntityFeature.PLAY_MEDIA
        | MediaPlayerEntityFeature.SEARCH_MEDIA
    )
    _attr_state = MediaPlayerState.PLAYING
    _attr_volume_level = 0.5
    _attr_volume_step = 0.1
    _attr_is_volume_muted = False
    _attr_media_track = 1

    async def async_turn_on(self) -> None:
        self._set(state=MediaPlayerState.ON)

    async def async_turn_off(self) -> None:
        self._set(state=MediaPlayerState.OFF)

    async def async_media_play(self) -> None:
        self._set(state=MediaPlayerState.PLAYING)

    async def async_media_pause(self) -> None:
        self._set(state=MediaPlayerState.PAUSED)

    async def async_media_stop(self) -> None:
        self._set(state=MediaPlayerState.IDLE)

    async def async_media_next_track(self) -> None:
        self._set(media_track=self._attr_media_track + 1)

    async def async_media_previous_track(self) -> None:
        self._set(media_track=self._attr_media_track - 1)

    async def async_set_volume_level(self, volume: float) -> None:
        self._set(volume_level=round(volume, 3))

    async def async_mute_volume(self, mute: bool) -> None:
        self._set(is_volume_muted=mute)

    async def async_search_media(self, query: SearchMediaQuery) -> SearchMedia:
        found = BrowseMedia(
            media_class=MediaClass.MUSIC,
            media_content_id=f"library/{query.search_query}",
            media_content_type="music",
            title=query.search_query,
            can_play=True,
            can_expand=False,
        )
        return SearchMedia(result=[found])

    async def async_play_media(self, media_type: str, media_id: str, **options: Any) -> None:
        self._set(state=MediaPlayerState.PLAYING, media_title=media_id, media_content_id=media_id)


class FakeTodoList(FakeEntity, TodoListEntity):
    _attr_supported_features = (
        TodoListEntityFeature.CREATE_TODO_ITEM
        | TodoListEntityFeature.DELETE_TODO_ITEM
        | TodoListEntityFeature.UPDATE_TODO_ITEM
    )

    def __init__(self, device: Mapping[str, Any]) -> None:
        super().__init__(device)
        self._attr_todo_items = []
        for summary in device.get("items", ()):
            self._attr_todo_items.append(_todo_item(summary))

    @property
    def extra_state_attributes(self) -> dict[str, Any]:
        """What is on the list, for tests that compare states."""
        return {"items": [f"{item.summary}: {item.status}" for item in self._attr_todo_items or ()]}

    async def async_create_todo_item(self, item: TodoItem) -> None:
        item.uid = uuid.uuid4().hex
        self._set(todo_items=[*(self._attr_todo_items or ()), item])

    async def async_update_todo_item(self, item: TodoItem) -> None:
        self._set(todo_items=[item if one.uid == item.uid else one for one in self._attr_todo_items or ()])

    async def async_delete_todo_items(self, uids: list[str]) -> None:
        self._set(todo_items=[one for one in self._attr_todo_items or () if one.uid not in uids])


def _todo_item(summary: str) -> TodoItem:
    from homeassistant.components.todo import TodoItemStatus

    return TodoItem(summary=summary, uid=uuid.uuid4().hex, status=TodoItemStatus.NEEDS_ACTION)


class FakeScene(FakeEntity, Scene):
    async def async_activate(self, **options: Any) -> None:
        """Its state is the time of this call: Home Assistant sets it."""


class FakeButton(FakeEntity, ButtonEntity):
    async def async_press(self) -> None:
        """Its state is the time of this call: Home Assistant sets it."""


class FakeLock(FakeEntity, LockEntity):
    _attr_is_locked = True

    async def async_lock(self, **options: Any) -> None:
        self._set(is_locked=True)

    async def async_unlock(self, **options: Any) -> None:
        self._set(is_locked=False)


class FakeVacuum(FakeEntity, StateVacuumEntity):
    _attr_supported_features = (
        VacuumEntityFeature.START
        | VacuumEntityFeature.STOP
        | VacuumEntityFeature.PAUSE
        | VacuumEntityFeature.RETURN_HOME
        | VacuumEntityFeature.STATE
    )
    _attr_activity = VacuumActivity.DOCKED

    async def async_start(self) -> None:
        self._set(activity=VacuumActivity.CLEANING)

    async def async_stop(self, **options: Any) -> None:
        self._set(activity=VacuumActivity.IDLE)

    async def async_pause(self) -> None:
        self._set(activity=VacuumActivity.PAUSED)

    async def async_return_to_base(self, **options: Any) -> None:
        self._set(activity=VacuumActivity.RETURNING)


class FakeLawnMower(FakeEntity, LawnMowerEntity):
    _attr_supported_features = (
        LawnMowerEntityFeature.START_MOWING | LawnMowerEntityFeature.PAUSE | LawnMowerEntityFeature.DOCK
    )
    _attr_activity = LawnMowerActivity.DOCKED

    async def async_start_mowing(self) -> None:
        self._set(activity=LawnMowerActivity.MOWING)

    async def async_pause(self) -> None:
        self._set(activity=LawnMowerActivity.PAUSED)

    async def async_dock(self) -> None:
        self._set(activity=LawnMowerActivity.DOCKED)


class FakeSensor(FakeEntity, SensorEntity):
    _attr_native_value = 20


class FakeBinarySensor(FakeEntity, BinarySensorEntity):
    _attr_is_on = False


class FakeWeather(FakeEntity, WeatherEntity):
    _attr_condition = "sunny"
    _attr_native_temperature = 21
    _attr_native_temperature_unit = UnitOfTemperature.CELSIUS
    _attr_humidity = 45


CLASSES: dict[str, type[FakeEntity]] = {
    "binary_sensor": FakeBinarySensor,
    "button": FakeButton,
    "climate": FakeClimate,
    "cover": FakeCover,
    "fan": FakeFan,
    "humidifier": FakeHumidifier,
    "lawn_mower": FakeLawnMower,
    "light": FakeLight,
    "lock": FakeLock,
    "media_player": FakeMediaPlayer,
    "scene": FakeScene,
    "sensor": FakeSensor,
    "switch": FakeSwitch,
    "todo": FakeTodoList,
    "vacuum": FakeVacuum,
    "valve": FakeValve,
    "weather": FakeWeather,
}
"""Which domains there are. Scripts are not among them: Home Assistant's own are used."""


def entities_of(home: Mapping[str, Any], domain: str) -> list[FakeEntity]:
    """The home's entities of one domain."""
    return [CLASSES[domain](device) for device in home["devices"] if device["id"].startswith(domain + ".")]
