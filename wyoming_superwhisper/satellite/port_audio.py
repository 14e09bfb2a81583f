"""Devices of PortAudio as microphone and loudspeaker, by sounddevice, which is imported on first use."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
from types import ModuleType
from typing import Any, Literal

from wyoming_superwhisper.audio import RATES_HZ, AudioFormat
from wyoming_superwhisper.config.satellite_settings import MicSettings, SndSettings
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.satellite.capture import CHUNK_S, Deliver, pick_channel
from wyoming_superwhisper.satellite.sink import AHEAD_S


class PortAudioCapture:
    """A device of PortAudio, at the rate it prefers."""

    finite = False
    patient = False

    def __init__(self, name: str, settings: MicSettings) -> None:
        """Raises `SettingsError` where there is no such device."""
        self._name = name
        self._channels = settings.channels
        self._channel = settings.channel
        _, description = find_portaudio(name, "input")
        self.format = AudioFormat(settings.rate or accepted_rate(description), 2, 1)

    async def run(self, deliver: Deliver) -> None:
        """See `Capture`."""
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        module = portaudio()

        def captured(data: Any, frames: int, when: Any, status: Any) -> None:
            audio = pick_channel(bytes(data), self._channels, self._channel)
            with contextlib.suppress(RuntimeError):  # the loop is closed: we are leaving
                loop.call_soon_threadsafe(deliver, audio)

        def finished() -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(gone.set)

        try:
            index, _ = find_portaudio(self._name, "input")
            stream = module.RawInputStream(
                device=index,
                samplerate=self.format.rate,
                channels=self._channels,
                dtype="int16",
                blocksize=int(self.format.rate * CHUNK_S),
                callback=captured,
                finished_callback=finished,
            )
            with stream:
                await gone.wait()
        except (SettingsError, module.PortAudioError) as error:
            raise OSError(str(error)) from error
        raise OSError("the device has stopped")


class PortAudioSink:
    """A device of PortAudio, opened with the first reply and then kept open, silent between replies."""

    def __init__(self, name: str, settings: SndSettings) -> None:
        """Raises `SettingsError` where there is no such device."""
        self._name = name
        _, description = find_portaudio(name, "output")
        self.format = AudioFormat(settings.rate or accepted_rate(description), 2, settings.channels)
        self._waiting = bytearray()
        self._lock = threading.Lock()
        self._stream: Any = None
        self._taken = asyncio.Event()
        """Set from PortAudio's thread whenever it has taken something."""
        self._gone = False

    async def begin(self) -> None:
        """See `Sink`."""
        if self._gone:
            await self.close()
        if self._stream is None:
            self._open()

    async def write(self, audio: bytes) -> None:
        """See `Sink`."""
        ahead_bytes = self.format.bytes_of(AHEAD_S)
        await self._until_waiting_at_most(ahead_bytes)
        with self._lock:
            self._waiting += audio

    async def finish(self) -> None:
        """See `Sink`."""
        await self._until_waiting_at_most(0)
        if self._stream is not None:
            await asyncio.sleep(self._stream.latency)

    async def abort(self) -> None:
        """See `Sink`."""
        with self._lock:
            self._waiting.clear()

    async def close(self) -> None:
        """See `Sink`."""
        stream, self._stream = self._stream, None
        self._gone = False
        if stream is not None:
            await asyncio.to_thread(stream.close)

    def _open(self) -> None:
        module = portaudio()
        loop = asyncio.get_running_loop()

        def tell(event_set: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: we are leaving
                loop.call_soon_threadsafe(event_set)

        def wanted(out: Any, frames: int, when: Any, status: Any) -> None:
            with self._lock:
                audio = bytes(self._waiting[: len(out)])
                del self._waiting[: len(out)]
            out[: len(audio)] = audio
            out[len(audio) :] = bytes(len(out) - len(audio))
            if audio:
                tell(self._taken.set)

        def finished() -> None:
            self._gone = True
            tell(self._taken.set)

        try:
            index, _ = find_portaudio(self._name, "output")
            self._stream = module.RawOutputStream(
                device=index,
                samplerate=self.format.rate,
                channels=self.format.channels,
                dtype="int16",
                callback=wanted,
                finished_callback=finished,
            )
            self._stream.start()
        except (SettingsError, module.PortAudioError) as error:
            self._stream = None
            raise OSError(str(error)) from error

    async def _until_waiting_at_most(self, limit_bytes: int) -> None:
        while True:
            self._taken.clear()  # before the look: what is taken after it wakes us
            if len(self._waiting) <= limit_bytes:
                return
            if self._gone or self._stream is None:
                raise OSError("the device has stopped")
            await self._taken.wait()


def portaudio() -> ModuleType:
    """The sounddevice module. Raises `SettingsError` where it or PortAudio is missing."""
    try:
        return importlib.import_module("sounddevice")
    except ImportError as error:
        raise SettingsError(
            "Sound devices need the package sounddevice: pip install 'wyoming-superwhisper[satellite]'."
        ) from error
    except OSError as error:
        raise SettingsError(
            "Sound devices need the PortAudio library (Debian: apt install libportaudio2), or give a command, "
            "pulse, arecord or a WAV file as the device."
        ) from error


def find_portaudio(name: str, direction: Literal["input", "output"]) -> tuple[int | None, dict[str, object]]:
    """Index and description of a device by index or part of its name; index None: the default device.

    Raises `SettingsError` with the list of what there is.
    """
    module = portaudio()
    devices = [one for one in module.query_devices() if one[f"max_{direction}_channels"] > 0]
    if not name:
        try:
            return None, dict(module.query_devices(kind=direction))
        except (ValueError, module.PortAudioError) as error:
            raise SettingsError(f"There is no sound {direction} device.{_list(devices)}") from error
    for one in devices:
        if name == str(one["index"]) or name.lower() in str(one["name"]).lower():
            return int(one["index"]), dict(one)
    raise SettingsError(f"There is no sound {direction} device '{name}'.{_list(devices)}")


def accepted_rate(description: dict[str, object]) -> int:
    """A device's own rate where we can convert it, else one that every device knows, in Hz."""
    rate = int(float(str(description["default_samplerate"])))
    return rate if RATES_HZ[0] <= rate <= RATES_HZ[1] else RATES_HZ[1]


def _list(devices: list[dict[str, object]]) -> str:
    names = ", ".join(f"{one['index']} ({one['name']})" for one in devices)
    return f" There are: {names}." if names else " This machine shows none at all."
