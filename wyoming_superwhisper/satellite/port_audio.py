"""PortAudio, by sounddevice, which is imported on first use: the devices that there are, by a list that can be renewed.

PortAudio lists the devices once, when it is started. One that was plugged in since is seen only after it was started
anew, for which nothing of it may be open.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Literal, Protocol, TypeVar

from wyoming_superwhisper.audio import RATES_HZ
from wyoming_superwhisper.errors import SettingsError

RENEWED_S = 2.0
"""A list of devices that is no older than this is new enough, in seconds."""

Opened = TypeVar("Opened")
Direction = Literal["input", "output"]


class OpenStream(Protocol):
    """A stream of PortAudio that is open."""

    def give_way(self) -> bool:
        """Close, for a moment: it may open again at once. False: not now. Called by any thread."""


class Library:
    """PortAudio in this process. Every stream is opened through it, by whatever thread."""

    def __init__(self) -> None:
        self._streams: set[OpenStream] = set()
        self._opening = threading.RLock()
        """Held while streams are opened, and while the list is made anew."""
        self._renewed_at = -RENEWED_S

    @contextlib.contextmanager
    def opening(self, stream: OpenStream) -> Iterator[None]:
        """Open it within this context: no list is made anew meanwhile, and from then on it is asked to give way."""
        with self._opening:
            yield
            self._streams.add(stream)

    def closed(self, stream: OpenStream) -> None:
        """It is closed, and need not give way."""
        self._streams.discard(stream)

    @property
    def stuck(self) -> bool:
        """Whether something is open still, or being opened; at the end of the process: for good."""
        free = self._opening.acquire(blocking=False)
        if free:
            self._opening.release()
        return bool(self._streams) or not free

    def find_and_open(self, open: Callable[[], Opened]) -> Opened:
        """Open something; where it isn't there, once more with a new list. Raises OSError."""
        try:
            return open()
        except OSError:
            if not self.renew():
                raise
            return open()

    def renew(self) -> bool:
        """Have the list of devices made anew, if it is old; False: something that is open can't give way now."""
        with self._opening:
            if time.monotonic() - self._renewed_at < RENEWED_S:
                return True
            if not all(stream.give_way() for stream in list(self._streams)):
                return False
            module = portaudio()
            module._terminate()
            module._initialize()
            self._renewed_at = time.monotonic()
            return True


library = Library()
"""There is one in a process."""


def portaudio() -> ModuleType:
    """The sounddevice module. Raises `SettingsError` where it or PortAudio is missing."""
    try:
        module = importlib.import_module("sounddevice")
    except ImportError as error:
        raise SettingsError(
            "Sound devices need the package sounddevice: pip install 'wyoming-superwhisper[satellite]'."
        ) from error
    except OSError as error:
        raise SettingsError(
            "Sound devices need the PortAudio library (Debian: apt install libportaudio2), or give a command, "
            "pulse, arecord or a WAV file as the device."
        ) from error
    atexit.unregister(_leave_what_is_stuck)  # there is one, and it is called before the module's own
    atexit.register(_leave_what_is_stuck)
    return module


def _leave_what_is_stuck() -> None:
    """Have the process end although a sound server says nothing any more: PortAudio would wait for it for ever."""
    if library.stuck:
        atexit.unregister(importlib.import_module("sounddevice")._exit_handler)


def find_device(name: str, direction: Direction) -> tuple[int | None, dict[str, object]]:
    """Index and description of a device by index or part of its name; index None: the default device.

    Raises OSError with the list of what there is.
    """
    module = portaudio()
    devices = [one for one in module.query_devices() if one[f"max_{direction}_channels"] > 0]
    if not name:
        try:
            return None, dict(module.query_devices(kind=direction))
        except (ValueError, module.PortAudioError) as error:
            raise OSError(f"there is no sound {direction} device.{_list(devices)}") from error
    for one in devices:
        if name == str(one["index"]) or name.lower() in str(one["name"]).lower():
            return int(one["index"]), dict(one)
    raise OSError(f"there is no sound {direction} device '{name}'.{_list(devices)}")


def accepted_rate(description: dict[str, object]) -> int:
    """A device's own rate where we can convert it, else one that every device knows, in Hz."""
    rate = int(float(str(description["default_samplerate"])))
    return rate if RATES_HZ[0] <= rate <= RATES_HZ[1] else RATES_HZ[1]


def _list(devices: list[dict[str, object]]) -> str:
    names = ", ".join(f"{one['index']} ({one['name']})" for one in devices)
    return f" There are: {names}" if names else " This machine shows none at all"
