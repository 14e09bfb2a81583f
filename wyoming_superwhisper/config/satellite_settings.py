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
    """The link to the server that it dials, or that dials it."""

    uri: str = field(default="", metadata=checks.DIAL_URI_OR_AUTO_OR_NOTHING)
    """Server to dial: tcp://HOST:PORT, unix://PATH, or auto: the first one found; empty: auto, unless it listens."""
    connect_s: float = field(default=5.0, metadata=at_least(0.1))
    """Time for one attempt to connect, in seconds."""
    ping_s: float = field(default=2.0, metadata=at_least(0.1))
    """Pause between two pings, in seconds."""
    lost_s: float = field(default=6.0, metadata=at_least(0.1))
    """A server that has sent nothing for this long is lost, in seconds."""
    answer_s: float = field(default=60.0, metadata=at_least(1))
    """Longest wait for an answer once the utterance has ended, in seconds."""


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """Where the satellite listens for Home Assistant, or for a server that drives it."""

    uri: str = field(default="", metadata=checks.DIAL_URI_OR_NOTHING)
    """Address to listen on, as tcp://0.0.0.0:10700; empty: it doesn't listen, it dials a server."""
    allow: tuple[str, ...] = field(
        default=("loopback", "private", "link-local", "own-prefixes", "100.64.0.0/10"), metadata=checks.NETWORKS
    )
    """Networks that may connect: CIDR, or loopback, private, link-local, own-prefixes."""
    zeroconf: bool = True
    """Whether it is advertised on the local network."""
    service_name: str = ""
    """Name it is advertised under; empty: one made once and kept."""
    remember: bool = False
    """Whether the address that drives it first stays the only one that may, also after a restart."""


@dataclass(frozen=True, slots=True)
class MicSettings:
    """The microphone."""

    device: str = "default"
    """default, part of a device's name or its index, pulse, arecord, wav:FILE, or command:LINE that writes s16le."""
    rate: int = field(default=0, metadata=_RATE)
    """Sample rate in Hz; 0: what the device prefers (a command: 16000)."""
    channels: int = field(default=1, metadata=between(1, 32))
    """Channels that are opened."""
    channel: int = field(default=0, metadata=at_least(0))
    """The channel that is listened to, counted from 0."""
    buffer_s: float = field(default=10.0, metadata=at_least(1))
    """Audio kept while nobody takes it; beyond that the oldest is dropped, in seconds."""
    gain: float = field(default=1.0, metadata=between(0.01, 100))
    """Factor on the loudness of what is heard."""
    noise_suppression: int = field(default=0, metadata=between(0, 4))
    """Noise suppression by webrtc-noise-gain, 0 (none) to 4 (most)."""
    auto_gain: int = field(default=0, metadata=between(0, 31))
    """Automatic gain by webrtc-noise-gain, towards this many dB below full scale; 0: none."""
    echo_cancellation: bool = True
    """Whether what the satellite plays is taken out of what it hears."""


@dataclass(frozen=True, slots=True)
class SndSettings:
    """The loudspeaker."""

    device: str = "default"
    """default, part of a device's name or its index, pulse, aplay, wav:FILE, command:LINE that reads s16le, off."""
    rate: int = field(default=0, metadata=_RATE)
    """Sample rate in Hz; 0: what the device prefers (a command or file: 22050)."""
    channels: int = field(default=1, metadata=between(1, 2))
    """Channels of the device; speech is played on all of them."""
    volume: float = field(default=1.0, metadata=between(0, 10))
    """Factor on the loudness; 1.0: as the voice was made."""
    lead_in_s: float = field(default=0.1, metadata=between(0, 5))
    """Silence played before a reply, so that a device waking up clips nothing, in seconds."""
    ducking: float = field(default=0.3, metadata=between(0, 1))
    """Factor on the loudness of what others play on the same loudspeaker during a turn (device pulse); 1.0: none."""


@dataclass(frozen=True, slots=True)
class SoundSettings:
    """The sounds it makes of its own: default, off, or a WAV file."""

    awake: str = "default"
    """When the wake word was heard."""
    done: str = "off"
    """When the utterance is over."""
    cancelled: str = "default"
    """When a cancel word has ended the turn."""
    error: str = "default"
    """When a turn failed."""
    timer: str = "default"
    """When a timer has finished, again and again."""
    volume: float = field(default=0.6, metadata=between(0, 10))
    """Factor on the loudness of these sounds."""


@dataclass(frozen=True, slots=True)
class WakeWordSettings:
    """What begins a turn."""

    mode: Literal["auto", "local", "server", "voice", "off"] = "auto"
    """A word heard here (local) or by the server, whoever speaks (voice), or off: push to talk; auto: local or off."""
    engine: Literal["micro", "open"] = "micro"
    """Library that hears local wake words: micro (pymicro-wakeword, light) or open (pyopen-wakeword)."""
    words: tuple[str, ...] = ()
    """Wake words (okay_nabu, hey_jarvis, alexa, hey_mycroft, or a model's file); empty: push to talk."""
    stop_words: tuple[str, ...] = ()
    """Such words that end what it says and rings, and begin nothing."""
    languages: dict[str, str] = field(default_factory=dict)
    """Language that is spoken after a wake word, where it is another than `language`."""
    pipelines: dict[str, str] = field(default_factory=dict)
    """Pipeline that is asked for after a wake word, by its name, where whoever drives the satellite has several."""
    voices: dict[str, str] = field(default_factory=dict)
    """Voice that answers after a wake word, where it is another than the server's."""
    threshold: float = field(default=0.0, metadata=between(0, 1))
    """Certainty from which on a word counts, 0 to 1; 0: what suits each model."""
    refractory_s: float = field(default=2.0, metadata=at_least(0))
    """After a detection the same word is not heard again for this long, in seconds."""
    pre_roll_s: float = field(default=0.0, metadata=between(0, 10))
    """Audio from before the end of the wake word that is sent too, in seconds."""
    voice_pre_roll_s: float = field(default=1.0, metadata=between(0.1, 5))
    """Audio from before a voice began that is sent to a server that listens for the wake word, in seconds."""
    own_sound_s: float = field(default=1.5, metadata=between(0, 5))
    """A wake word that it has itself said within this time is its own and begins nothing, in seconds."""


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
    follow_up: bool = True
    """Whether a reply that asks something opens the microphone again, without a wake word."""
    barge_in: bool = True
    """Whether the wake word is heard while it thinks and speaks, and begins the next turn."""
    stop_phrases: tuple[str, ...] = (
        "stop", "arrête", "arrête-toi", "ça suffit", "tais-toi", "silence", "be quiet", "enough", "para", "basta",
    )  # fmt: skip
    """What, said over a reply or a ringing timer, ends it: recognised by a server; empty: nothing is sent for that."""
    stop_server: str = field(default="", metadata=checks.DIAL_URI_OR_NOTHING)
    """Server that recognises it, as tcp://HOST:10300; empty: the one that is dialled, and none where this is driven."""
    cancel_words: tuple[str, ...] = ("annule", "laisse tomber", "cancel", "never mind", "cancela", "olvídalo")
    """A transcript that is nothing but one of these ends the turn, with no answer."""


@dataclass(frozen=True, slots=True)
class TimerSettings:
    """Timers are kept here too, so that they ring whatever has become of the server."""

    ring_s: float = field(default=120.0, metadata=at_least(1))
    """Longest ringing of a timer that nobody stops, in seconds."""
    late_s: float = field(default=2.0, metadata=at_least(0))
    """How late the server may say that a timer has finished, before it rings anyway, in seconds."""
    keep: bool = True
    """Whether timers outlive a restart of the satellite."""


@dataclass(frozen=True, slots=True)
class HookSettings:
    """Who is told what happens."""

    commands: dict[str, str] = field(default_factory=dict)
    """Shell commands by event (awake, transcript, played, …); the event's text comes on their standard input."""
    limit_s: float = field(default=10.0, metadata=at_least(0.1))
    """Time after which such a command is killed, in seconds."""
    event_uri: str = field(default="", metadata=checks.DIAL_URI_OR_NOTHING)
    """A Wyoming service that gets every event, as tcp://HOST:PORT."""
    web: str = field(default="off", metadata=checks.HOST_PORT_OR_OFF)
    """Where HTTP (POST /trigger, POST /stop, GET /state) and WebSocket (/events) are served, as HOST:PORT."""


@dataclass(frozen=True, slots=True)
class LedSettings:
    """Lights that show what it does, and a button on a pin."""

    driver: Literal["off", "apa102", "gpio"] = "off"
    """apa102: a strip on the SPI bus (ReSpeaker and other HATs); gpio: single lights on pins."""
    count: int = field(default=3, metadata=between(1, 144))
    """Lights of the strip."""
    brightness: int = field(default=8, metadata=between(0, 31))
    """Brightness of the strip."""
    spi: str = "/dev/spidev0.1"
    """The SPI device of the strip."""
    pins: dict[str, str] = field(default_factory=dict)
    """GPIO pins by state (idle, listening, thinking, speaking, ringing, muted, disconnected)."""
    button: int = field(default=-1, metadata=between(-1, 40))
    """GPIO pin of a push button that pulls it low; -1: none."""


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
    listen: ListenSettings = field(default_factory=ListenSettings)
    mic: MicSettings = field(default_factory=MicSettings)
    snd: SndSettings = field(default_factory=SndSettings)
    sounds: SoundSettings = field(default_factory=SoundSettings)
    wake: WakeWordSettings = field(default_factory=WakeWordSettings)
    turn: TurnSettings = field(default_factory=TurnSettings)
    timers: TimerSettings = field(default_factory=TimerSettings)
    hooks: HookSettings = field(default_factory=HookSettings)
    led: LedSettings = field(default_factory=LedSettings)
    log: LogSettings = field(default_factory=LogSettings)
