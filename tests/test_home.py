"""The index of rooms and devices."""

from __future__ import annotations

import json

from wyoming_superwhisper.config.settings import Area, Device, Floor, HomeSettings
from wyoming_superwhisper.home import Home, domain_of

SETTINGS = HomeSettings(
    floors=(Floor("rez", "Rez-de-chaussée", ("bas",)),),
    areas=(Area("salon", "Salon", ("living room",), "rez"), Area("cuisine", "Cuisine")),
    devices=(
        Device("light.salon", "Plafonnier", ("grande lampe",), "salon"),
        Device("light.cuisine", "Plafonnier", (), "cuisine"),
        Device("switch.cafe", "Cafetière"),
    ),
    satellites={"Pi-Salon": "salon", "assist_satellite.cuisine": "cuisine"},
)


def test_things_are_found_by_name_and_alias_whatever_the_case() -> None:
    home = Home(SETTINGS)
    assert [area.id for area in home.areas_named("LIVING  room")] == ["salon"]
    assert [device.id for device in home.devices_named("plafonnier")] == ["light.salon", "light.cuisine"]
    assert [floor.id for floor in home.floors_named("bas")] == ["rez"]
    assert home.devices_named("nothing") == ()


def test_the_area_of_a_satellite_a_device_or_a_name_is_known() -> None:
    home = Home(SETTINGS)
    assert home.area_of("pi-salon") == "salon"
    assert home.area_of(None, "", "unknown", "assist_satellite.cuisine") == "cuisine"
    assert home.area_of("light.salon") == "salon"
    assert home.area_of("Cuisine") == "cuisine"
    assert home.area_of("living room") == "salon"
    assert home.area_of("switch.cafe") is None
    assert home.area_of("nowhere") is None


def test_a_home_travels_as_json_unchanged() -> None:
    home = Home(SETTINGS)
    assert Home.from_json(json.loads(json.dumps(home.as_json()))).settings == SETTINGS


def test_a_home_may_be_empty() -> None:
    assert Home().names() == ()
    assert Home.from_json({}).area_of("salon") is None


def test_names_for_recognition_are_bounded_with_rooms_first_and_none_twice() -> None:
    home = Home(SETTINGS)
    assert home.names() == (
        "Salon", "Cuisine", "Plafonnier", "Cafetière", "Rez-de-chaussée", "living room", "grande lampe", "bas",
    )  # fmt: skip
    assert home.names(limit=2) == ("Salon", "Cuisine")


def test_the_domain_is_the_part_before_the_dot() -> None:
    assert domain_of("light.plafonnier.2") == "light"
