"""What a language model never moves without a yes."""

from __future__ import annotations

from typing import Any

import pytest

from wyoming_superwhisper.config.settings import Device, HomeSettings
from wyoming_superwhisper.conversation.guarded import guarded_target
from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.home import Home

HOME = Home(
    HomeSettings(
        devices=(
            Device("light.garage", "Lumière du garage"),
            Device("cover.volets", "Volets du salon", ("salon shutters",)),
            Device("lock.entree", "Entrée"),
            Device("alarm_control_panel.maison", "Maison"),
            Device("switch.portail", "Relais du portail"),
            Device("script.alarme", "Couper l'alarme"),
            Device("switch.cafe", "Cafetière"),
            Device("valve.eau", "Arrivée d'eau"),
        )
    )
)


@pytest.mark.parametrize(
    ("intent", "slots", "target"),
    [
        ("HassTurnOn", {"name": "Volets du salon"}, "Volets du salon"),
        ("HassTurnOn", {"name": "salon shutters"}, "salon shutters"),
        ("HassSetPosition", {"name": "Volets du salon", "position": 100}, "Volets du salon"),
        ("HassTurnOff", {"name": "Entrée"}, "Entrée"),
        ("HassTurnOff", {"name": "Maison"}, "Maison"),
        ("HassTurnOn", {"name": "Relais du portail"}, "Relais du portail"),
        ("HassTurnOn", {"name": "Couper l'alarme"}, "Couper l'alarme"),
        ("HassTurnOn", {"name": "Arrivée d'eau"}, "Arrivée d'eau"),
        ("HassTurnOn", {"domain": "cover", "area": "Salon"}, "Salon"),
        ("HassTurnOn", {"domain": ["lock"]}, "['lock']"),
        ("HassTurnOn", {"device_class": "garage"}, "garage"),
        ("HassOpenCover", {"area": "Salon"}, "Salon"),
        ("HassTurnOn", {"area": "Garage"}, "Garage"),
        ("HassTurnOn", {"name": "Sésame"}, "Sésame"),
        ("HassTurnOn", {"name": "Lumière du garage"}, ""),
        ("HassTurnOn", {"name": "Cafetière"}, ""),
        ("HassTurnOn", {"domain": "light", "area": "Garage"}, ""),
        ("HassGetState", {"name": "Entrée"}, ""),
        ("HassClimateSetTemperature", {"temperature": 20}, ""),
        ("HassGetCurrentTime", {}, ""),
        ("HassSetVolume", {"volume_level": 20}, ""),
    ],
)
def test_what_opens_the_house_is_asked_about_and_nothing_else(intent: str, slots: dict[str, Any], target: str) -> None:
    assert guarded_target([IntentCall("HassGetWeather"), IntentCall(intent, slots)], HOME) == target
