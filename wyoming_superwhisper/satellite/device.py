"""What a microphone or loudspeaker setting means: a file, a command, a sound server or a device of PortAudio."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Literal

from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.satellite.port_audio import portaudio

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
    if head == "wav":
        return Device("wav", rest)
    if text.lower().endswith(".wav"):
        return Device("wav", text)
    if head == "pulse":
        return Device("pulse", rest)
    if head in ("arecord", "aplay", "alsa"):
        return Device("alsa", rest)
    if len(text.split()) > 1 and shutil.which(text.split()[0]):
        return Device("command", text)
    return _portaudio_or_other("" if text in ("", "default") else text)


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
