"""Lights that show what the satellite does: a strip of APA102 on the SPI bus, or single lights on pins."""

from __future__ import annotations

import fcntl
import importlib
import logging
import os
import struct
from collections.abc import Mapping
from typing import Any, Protocol

from wyoming_superwhisper.config.satellite_settings import LedSettings
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.satellite.news import Item

logger = logging.getLogger(__name__)

Colour = tuple[int, int, int]

COLOURS: Mapping[str, Colour] = {
    "idle": (0, 0, 0),
    "listening": (0, 60, 255),
    "thinking": (160, 90, 0),
    "speaking": (0, 180, 40),
    "ringing": (220, 30, 120),
    "muted": (120, 0, 0),
    "disconnected": (40, 0, 0),
    "shutdown": (0, 0, 0),
}
"""By event: red, green, blue."""
SPI_HZ = 4_000_000
_SPI_WRITE_MAX_HZ = 0x40046B04
"""The kernel's number for setting the speed of the bus."""


class Bus(Protocol):
    """Where the bytes of a strip go."""

    def write(self, data: bytes) -> None:
        """Send them. Raises OSError."""


class SpiBus:
    """A device such as /dev/spidev0.1."""

    def __init__(self, path: str) -> None:
        """Raises OSError where it isn't there."""
        self._file = os.open(path, os.O_WRONLY)
        fcntl.ioctl(self._file, _SPI_WRITE_MAX_HZ, struct.pack("=I", SPI_HZ))

    def write(self, data: bytes) -> None:
        """See `Bus`."""
        os.write(self._file, data)


class Strip:
    """A strip of APA102 lights in one colour; a `Reader` of the news."""

    def __init__(self, bus: Bus, count: int, brightness: int) -> None:
        self._bus = bus
        self._count = count
        self._brightness = brightness
        self._shown: Colour | None = None

    def __call__(self, item: Item) -> None:
        """It has happened."""
        colour = COLOURS.get(item.kind)
        if colour is not None and colour != self._shown:
            self._bus.write(frame(colour, self._count, self._brightness))
            self._shown = colour


def frame(colour: Colour, count: int, brightness: int) -> bytes:
    """What a strip of so many lights is sent: a start, each light, and enough clock for the last one to take it."""
    red, green, blue = colour
    return bytes(4) + bytes((0xE0 | brightness, blue, green, red)) * count + bytes(4 + count // 16 + 1)


class Pins:
    """One light a state, on GPIO pins; a `Reader` of the news."""

    def __init__(self, lights: Mapping[str, Any]) -> None:
        """`lights`: by state, something with `on` and `off`."""
        self._lights = lights

    def __call__(self, item: Item) -> None:
        """It has happened."""
        if item.kind not in COLOURS:
            return
        for state, light in self._lights.items():
            if state == item.kind:
                light.on()
            else:
                light.off()


def make_lights(settings: LedSettings) -> Strip | Pins | None:
    """The lights of the settings; None: there are none. Raises `SettingsError` where the hardware can't be reached."""
    if settings.driver == "apa102":
        try:
            return Strip(SpiBus(settings.spi), settings.count, settings.brightness)
        except OSError as error:
            raise SettingsError(f"led.spi: {settings.spi} can't be opened: {error.strerror or error}.") from error
    if settings.driver == "gpio":
        unknown = sorted(set(settings.pins) - set(COLOURS))
        if unknown:
            raise SettingsError(f"led.pins: there is no state '{unknown[0]}'; there are {', '.join(COLOURS)}.")
        library = _gpio()
        return Pins({state: library.LED(int(pin)) for state, pin in settings.pins.items()})
    return None


def watch_button(pin: int, press: Any) -> object:
    """Have a push button on this pin press ours, from another thread; it lives as long as what is returned.

    Raises `SettingsError` where the pins can't be reached.
    """
    button = _gpio().Button(pin, bounce_time=0.05)
    button.when_pressed = press
    return button


def _gpio() -> Any:
    try:
        return importlib.import_module("gpiozero")
    except ImportError as error:
        raise SettingsError(
            "Lights and buttons on pins need the package gpiozero (Debian: python3-gpiozero)."
        ) from error
