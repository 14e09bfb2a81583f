"""The settings of the satellite, typed: frozen dataclasses, one per part, a line of documentation under each field.

Filled by the same loader as the server's (`config.loader`); every part of the satellite receives only its own section.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from wyoming_superwhisper.config import checks
from wyoming_superwhisper.config.checks import at_least, between
from wyoming_superwhisper.config.settings import LogSettings

_RATE = {checks.KEY: checks.Check("0, or 8000 to 48000", lambda value: value == 0 or 8_000 <= value <= 48_000)}


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """The link to the server."""

    uri: str = field(default="auto", metadata=checks.DIAL_URI_OR_AUTO)
    """Server to dial: tcp://HOST:PORT, unix://PATH, or auto: the first one found on the local network."""
    connect_s: float = field(default=5.0, metadata=at_least(0.1))
    """Time for one attempt to connect, in seconds."""
    ping_s: float = field(default=2.0, metadata=at_least(0.1))
    """Pause between two pings, in seconds."""
    lost_s: float = field(default=6.0, metadata=at_least(0.1))
    """A server that has sent nothing for this long is lost, in seconds."""
    answer_s: float = field(default=60.0, metadata=at_least(1))
    """Longest wait for an answer once the utterance has ended, in seconds."""


@dataclass(frozen=True, slots=True)
class MicSettings:
    """The microphone."""

    device: str = "default"
    """default, part of a device's name or its index, pulse, arecord, a WAV file, or command:LINE that writes s16le."""
    rate: int = field(default=0, metadata=_RATE)
    """Sample rate in Hz; 0: what the device prefers (a command: 16000)."""
    channels: int = field(default=1, metadata=between(1, 32))
    """Channels that are opened."""
    channel: int = field(default=0, metadata=at_least(0))
    """The channel that is listened to, counted from 0."""
    buffer_s: float = field(default=10.0, metadata=at_least(1))
    """Audio kept while nobody takes it; beyond that the oldest is dropped, in seconds."""


@dataclass(frozen=True, slots=True)
class SndSettings:
    """The loudspeaker."""

    device: str = "default"
    """default, part of a device's name or its index, pulse, aplay, a WAV file, command:LINE that reads s16le, off."""
    rate: int = field(default=0, metadata=_RATE)
    """Sample rate in Hz; 0: what the device prefers (a command or file: 22050)."""
    channels: int = field(default=1, metadata=between(1, 2))
    """Channels of the device; speech is played on all of them."""
    volume: float = field(default=1.0, metadata=between(0, 10))
    """Factor on the loudness; 1.0: as the voice was made."""
    lead_in_s: float = field(default=0.1, metadata=between(0, 5))
    """Silence played before a reply, so that a device waking up clips nothing, in seconds."""


@dataclass(frozen=True, slots=True)
class WakeWordSettings:
    """The wake word, heard on the satellite itself."""

    words: tuple[str, ...] = ()
    """Wake words to listen for (okay_nabu, hey_jarvis, alexa, hey_mycroft); empty: push to talk."""
    refractory_s: float = field(default=2.0, metadata=at_least(0))
    """After a detection the same word is not heard again for this long, in seconds."""
    pre_roll_s: float = field(default=0.1, metadata=between(0, 10))
    """Audio from before the moment of detection that is sent too, in seconds."""


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """One exchange: when an utterance ends and what limits it."""

    end: Literal["auto", "server", "local"] = "auto"
    """Who ends an utterance: the server, this satellite's voice activity, or auto: whichever is first."""
    silence_s: float = field(default=0.8, metadata=between(0.1, 10))
    """Silence after speech that ends the utterance here, in seconds."""
    no_speech_s: float = field(default=5.0, metadata=at_least(0.5))
    """A turn in which nobody speaks is given up after this long, in seconds."""
    longest_s: float = field(default=20.0, metadata=between(1, 600))
    """Longest utterance, in seconds."""
    repeat: bool = False
    """Start the next turn by itself when one is over (without a wake word)."""


@dataclass(frozen=True, slots=True)
class SatelliteSettings:
    """All settings of the satellite."""

    name: str = ""
    """Name of this satellite; empty: the host's name."""
    area: str = ""
    """Room it is in: the name or id of an area of the home."""
    language: str = ""
    """Language that is spoken to it; empty: the server's default."""
    server: LinkSettings = field(default_factory=LinkSettings)
    mic: MicSettings = field(default_factory=MicSettings)
    snd: SndSettings = field(default_factory=SndSettings)
    wake: WakeWordSettings = field(default_factory=WakeWordSettings)
    turn: TurnSettings = field(default_factory=TurnSettings)
    log: LogSettings = field(default_factory=LogSettings)
