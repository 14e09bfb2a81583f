"""What a microphone or loudspeaker setting means: a file, a command, a sound server or a device of PortAudio."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from wyoming_superwhisper.audio import RATES_HZ
from wyoming_superwhisper.errors import SettingsError

END_S = 1.0
"""How long the end of a program that was killed is waited for, in seconds."""
DRAIN_BYTES = 1 << 16

DeviceKind = Literal["off", "wav", "command", "pulse", "alsa", "portaudio"]


@dataclass(frozen=True, slots=True)
class Device:
    """A setting understood."""

    kind: DeviceKind
    name: str = ""
    """The path, the command line, or the device's name, each as its kind needs it; "": the default device."""


def parse_device(setting: str) -> Device:
    """The device that a setting names: see the fields `mic.device` and `snd.device`."""
    text = setting.strip()
    head, _, rest = text.partition(":")
    if text == "off":
        return Device("off")
    if head == "command":
        return Device("command", rest)
    if text.lower().endswith(".wav"):
        return Device("wav", text)
    if head == "pulse":
        return Device("pulse", rest)
    if head in ("arecord", "aplay", "alsa"):
        return Device("alsa", rest)
    if len(text.split()) > 1 and shutil.which(text.split()[0]):
        return Device("command", text)
    return _portaudio_or_other("" if text in ("", "default") else text)


def command_line(text: str) -> list[str]:
    """The words of a command. Raises `SettingsError` where it is none or its program is not there."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SettingsError(f"'{text}' is no command: {error}.") from error
    if not words:
        raise SettingsError("The command for the sound device is empty.")
    if shutil.which(words[0]) is None:
        raise SettingsError(f"The program '{words[0]}' for the sound device is not installed.")
    return words


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


async def end_process(process: asyncio.subprocess.Process) -> None:
    """Kill a program that played or recorded, and see it end; it may have ended already.

    Nobody else may be reading its output any more.
    """
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    # To asyncio a process has ended when its pipes have too, and it sees no end of one that is full and not read. A
    # child of the program may hold them open: that is not waited for.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            for stream in (process.stdout, process.stderr):
                while stream is not None and await stream.read(DRAIN_BYTES):
                    pass
            await process.wait()


def _list(devices: list[dict[str, object]]) -> str:
    names = ", ".join(f"{one['index']} ({one['name']})" for one in devices)
    return f" There are: {names}." if names else " This machine shows none at all."


def _portaudio_or_other(name: str) -> Device:
    """PortAudio; where its library is missing and no device was named, the tools of the sound server or of ALSA."""
    if name:
        return Device("portaudio", name)
    try:
        portaudio()
    except SettingsError:
        if shutil.which("parec") and shutil.which("pacat"):
            return Device("pulse")
        if shutil.which("arecord") and shutil.which("aplay"):
            return Device("alsa")
    return Device("portaudio")


def writable(path: str) -> Path:
    """The path of a file to be written. Raises `SettingsError` where its folder is not there."""
    target = Path(path)
    if not target.resolve().parent.is_dir():
        raise SettingsError(f"The folder of {path} does not exist.")
    return target
