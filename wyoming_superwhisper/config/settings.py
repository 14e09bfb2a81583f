"""The settings of the server, typed: frozen dataclasses, one per part, a line of documentation under each field.

The loader (`config.loader`) fills them from defaults, a file, the environment and options; every part of the
program receives only its own section. `docs/configuration.md` is generated from here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from wyoming_superwhisper.config import checks
from wyoming_superwhisper.config.checks import at_least, between, zero_or_at_least


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Encryption between our own satellite and server, and for any client that can."""

    certificate: str = ""
    """PEM file with the server's certificate chain; empty: plain TCP."""
    key: str = ""
    """PEM file with the private key."""
    client_ca: str = ""
    """PEM file with the authority that signs client certificates; set: clients must present one."""
    plain: tuple[str, ...] = field(default=("loopback",), metadata=checks.NETWORKS)
    """Networks that go on speaking plain TCP beside it: those of clients that can't encrypt, as Home Assistant."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the server listens and how it is found."""

    uri: str = field(default="tcp://0.0.0.0:10300", metadata=checks.LISTEN_URI)
    """Where to listen: tcp://HOST:PORT, unix://PATH or stdio://."""
    zeroconf: bool = True
    """Advertise the server on the local network as _wyoming._tcp."""
    name: str = ""
    """Name in the advertisement; empty: made from the host's name, stable for this installation."""
    allow: tuple[str, ...] = field(
        default=("loopback", "private", "link-local", "own-prefixes", "100.64.0.0/10"), metadata=checks.NETWORKS
    )
    """Networks that may connect: CIDR, or loopback, private, link-local, own-prefixes."""
    services: tuple[str, ...] = field(default=checks.SERVICE_NAMES, metadata=checks.SERVICES)
    """What is offered: recognition (asr), speech (tts), understanding by rules (intent) and by the language model
    (handle), wake words, and whole turns (run-pipeline). What is left out is not loaded, and not-allowed."""
    tls: TlsSettings = field(default_factory=TlsSettings)


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What a peer can make the server hold or wait for, at most."""

    header_bytes: int = field(default=65_536, metadata=at_least(64))
    """Longest header line of an event, in bytes."""
    data_bytes: int = field(default=1_048_576, metadata=at_least(64))
    """Longest data part of an event, in bytes."""
    payload_bytes: int = field(default=1_048_576, metadata=at_least(64))
    """Longest payload of an event, in bytes."""
    utterance_s: float = field(default=120.0, metadata=between(0.1, 3600))
    """Longest utterance, in seconds of audio."""
    text_chars: int = field(default=10_000, metadata=at_least(1))
    """Longest text of a request, in characters."""
    connections: int = field(default=512, metadata=at_least(1))
    """Open connections in all."""
    connections_per_address: int = field(default=64, metadata=at_least(1))
    """Open connections of one address; loopback is exempt."""
    event_s: float = field(default=20.0, metadata=at_least(0.1))
    """Time for a whole event from its first byte, in seconds."""
    write_s: float = field(default=15.0, metadata=at_least(0.1))
    """Time without progress after which a write is given up, in seconds."""
    idle_s: float = field(default=600.0, metadata=at_least(0.1))
    """Time after which an idle connection may be closed, in seconds."""
    queue_final: int = field(default=64, metadata=at_least(1))
    """Waiting requests per engine."""
    queue_guess: int = field(default=16, metadata=at_least(0))
    """Waiting guesses per engine."""
    job_s: float = field(default=60.0, metadata=at_least(0.1))
    """Longest time one job may take in a worker before the worker is restarted, in seconds."""
    worker_memory_mb: int = field(default=0, metadata=zero_or_at_least(256))
    """Memory of a worker (without mapped files) above which it is replaced by a fresh one, in MiB; 0: twice what it
    takes when loaded, and at least 1024 MiB more."""
    stop_s: float = field(default=5.0, metadata=at_least(0))
    """Time that answers have to finish when the server is told to stop, in seconds."""


@dataclass(frozen=True, slots=True)
class AsrSettings:
    """Speech recognition (Whisper)."""

    model: str = "auto"
    """Model of the catalogue, or a folder; auto: the best that fits the card; demo: the small one that is packaged."""
    language: str = field(default="fr", metadata=checks.LANGUAGE_OR_AUTO)
    """Language when a request names none; auto: detect among `languages`."""
    languages: tuple[str, ...] = field(default=("fr", "en", "es"), metadata=checks.LANGUAGES)
    """Languages that are advertised and that detection chooses from."""
    endpointing: Literal["client", "server"] = "client"
    """Who ends an utterance: the client's audio-stop, or the server by voice activity."""
    no_speech_s: float = field(default=8.0, metadata=at_least(0.5))
    """Where the server ends utterances: time after which one is over in which nobody has spoken, in seconds."""
    longest_s: float = field(default=30.0, metadata=at_least(1))
    """Where the server ends utterances: time after which one is over in any case, in seconds."""
    guesses: bool = True
    """Transcribe ahead at the first short pause, and prepare the answer."""
    bias: bool = True
    """Bias recognition towards the names of rooms and devices."""
    window: Literal["auto", "full", "speech"] = "auto"
    """What is encoded: the model's whole window, or only what was spoken, and the whole where that leaves a doubt;
    auto: speech for a model that was made for it (the packaged one), full for all others."""
    gate: bool = True
    """Voice-activity gate before the model; off: the model's own checks decide alone."""
    engine: Literal["auto", "transformers", "ctranslate2"] = "auto"
    """What decodes; auto: on the CPU the quicker of those that are installed, measured once, on CUDA transformers."""
    compute: Literal["auto", "float32", "float16", "bfloat16", "int8"] = "auto"
    """Number format; auto: float16 on CUDA, float32 on the CPU; int8 is for ctranslate2."""
    threads: int = field(default=0, metadata=between(0, 256))
    """CPU threads; 0: by the machine."""
    batch: int = field(default=4, metadata=between(1, 64))
    """Utterances decoded together at most."""


@dataclass(frozen=True, slots=True)
class IntentSettings:
    """Understanding by rules (hassil with home-assistant-intents)."""

    languages: tuple[str, ...] = field(default=("fr", "en", "es"), metadata=checks.LANGUAGES)
    """Languages whose sentences are loaded; others are loaded when first asked for."""


@dataclass(frozen=True, slots=True)
class Floor:
    """A floor of the home."""

    id: str
    name: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Area:
    """A room or place of the home."""

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    floor: str = ""
    """Id of its floor; empty: none."""


@dataclass(frozen=True, slots=True)
class Device:
    """Something that can be controlled; its domain is the part of the id before the dot."""

    id: str = field(metadata=checks.ENTITY_ID)
    name: str
    aliases: tuple[str, ...] = ()
    area: str = ""
    """Id of its area; empty: none."""
    device_class: str = ""
    """What kind of its domain it is, as Home Assistant says it ("shutter", "garage", "tv"); empty: not known."""
    can_search: bool | None = None
    """Whether a media player can look for a title that is asked for; empty: not known."""


@dataclass(frozen=True, slots=True)
class HomeSettings:
    """The rooms and devices by name, where Home Assistant is not asked for them."""

    floors: tuple[Floor, ...] = ()
    """Floors: id, name, aliases."""
    areas: tuple[Area, ...] = ()
    """Areas: id, name, aliases, floor."""
    devices: tuple[Device, ...] = ()
    """Devices: id (its domain before the dot), name, aliases, area, device_class, can_search (of media players)."""
    satellites: dict[str, str] = field(default_factory=dict)
    """Satellite name, satellite id or device id → area id."""
    file: str = ""
    """A file that holds the home instead of the settings."""


@dataclass(frozen=True, slots=True)
class HomeAssistantSettings:
    """A Home Assistant to ask for names and to execute intents in."""

    url: str = field(default="", metadata=checks.HTTP_URL)
    """Address, as http://homeassistant.local:8123; empty: none. It needs a token."""
    token: str = field(default="", repr=False, metadata={checks.SECRET: True})
    """Long-lived access token of an administrator (others are not told what is exposed). Better: `token_file`."""
    token_file: str = ""
    """File that holds the token, readable by the server's user only."""


@dataclass(frozen=True, slots=True)
class LlmSettings:
    """The language model (llama.cpp)."""

    model: str = "auto"
    """Model of the catalogue, or a GGUF file; auto: the best that fits the card; demo; off: no language model."""
    context: int = field(default=8192, metadata=at_least(256))
    """Tokens of context for all sequences together."""
    history_tokens: int = field(default=1024, metadata=at_least(0))
    """Tokens of past turns kept in a prompt."""
    forget_s: float = field(default=300.0, metadata=at_least(0))
    """A conversation is forgotten after this time without a turn, in seconds."""
    sequences: int = field(default=4, metadata=between(1, 64))
    """Conversations answered side by side."""
    system_prompt: str = ""
    """Text that replaces the built-in instructions; empty: the built-in ones for the language."""
    max_tokens: int = field(default=256, metadata=at_least(1))
    """Longest answer, in tokens."""
    temperature: float = field(default=0.0, metadata=between(0, 2))
    """Sampling temperature; 0: greedy."""
    gpu_layers: int = field(default=-1, metadata=at_least(-1))
    """Layers on the card; -1: all."""
    threads: int = field(default=0, metadata=between(0, 256))
    """CPU threads; 0: by the machine."""


@dataclass(frozen=True, slots=True)
class TtsSettings:
    """Speech synthesis (Piper)."""

    voice: str = "auto"
    """Default voice; auto: the first of `voices` for the default language."""
    voices: tuple[str, ...] = ()
    """Voices that are offered; empty: all that are installed."""
    length_scale: float = field(default=1.0, metadata=between(0.1, 10))
    """Slowness of speech: 1.0 as trained, larger is slower."""
    noise_scale: float = field(default=0.667, metadata=between(0, 2))
    """Variation of the sound."""
    noise_w: float = field(default=0.8, metadata=between(0, 2))
    """Variation of the rhythm."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where voices run; Piper is often faster on the CPU."""
    threads: int = field(default=0, metadata=between(0, 256))
    """CPU threads; 0: by the machine."""


@dataclass(frozen=True, slots=True)
class WakeSettings:
    """Wake words."""

    words: tuple[str, ...] = ("okay_nabu", "hey_jarvis", "alexa", "hey_mycroft")
    """Wake words that are offered."""
    engine: Literal["micro", "open"] = "micro"
    """micro: pymicro-wakeword, light; open: pyopen-wakeword."""


@dataclass(frozen=True, slots=True)
class GpuSettings:
    """Which card to use."""

    device: str = "auto"
    """Part of the card's name ("RTX 3090"), its UUID or index; auto: the largest card, else the CPU; cpu."""
    memory_limit_mb: int = field(default=0, metadata=zero_or_at_least(256))
    """Video memory that the models may take together, in MiB; 0: no limit."""
    idle_unload_s: float = field(default=0.0, metadata=at_least(0))
    """Unload models after this idle time, in seconds; they come back when they are asked for. 0: never."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Where models are kept."""

    dir: str = ""
    """Folder of downloaded models; empty: the user's data folder."""


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Figures for Prometheus."""

    listen: str = field(default="off", metadata=checks.HOST_PORT_OR_OFF)
    """HOST:PORT for /metrics, /health/live and /health/ready, or off. Without encryption: better on loopback."""


@dataclass(frozen=True, slots=True)
class RecordSettings:
    """Recordings of utterances, for debugging."""

    dir: str = ""
    """Folder for recordings; empty: nothing is kept."""
    files: int = field(default=500, metadata=at_least(1))
    """Utterances kept at most; the oldest go first."""
    megabytes: int = field(default=500, metadata=at_least(1))
    """Size of all recordings at most, in MB."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe messages that are logged."""
    format: Literal["text", "json"] = "text"
    """Lines for people or for machines."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of the server."""

    server: ServerSettings = field(default_factory=ServerSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    asr: AsrSettings = field(default_factory=AsrSettings)
    intents: IntentSettings = field(default_factory=IntentSettings)
    home: HomeSettings = field(default_factory=HomeSettings)
    home_assistant: HomeAssistantSettings = field(default_factory=HomeAssistantSettings)
    llm: LlmSettings = field(default_factory=LlmSettings)
    tts: TtsSettings = field(default_factory=TtsSettings)
    wake: WakeSettings = field(default_factory=WakeSettings)
    gpu: GpuSettings = field(default_factory=GpuSettings)
    models: ModelSettings = field(default_factory=ModelSettings)
    satellites: tuple[str, ...] = field(default=(), metadata=checks.SATELLITES)
    """Satellites that this server drives, as tcp://HOST:10700, or discover: those of ours on the network."""
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    record: RecordSettings = field(default_factory=RecordSettings)
    log: LogSettings = field(default_factory=LogSettings)
