"""What an engine promises: the values that travel, the worker-side `Engine`, and the front-side interfaces.

An *engine* is a loaded model behind an interface, living in a *worker* process of its own. The front process
talks to it through the protocols at the end of this module; `engines.front.remote` implements them over a worker.
Audio is signed 16-bit little-endian mono PCM everywhere here, at 16 kHz for recognition.
"""

from __future__ import annotations

import enum
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

SAMPLE_RATE = 16_000
"""Rate in Hz of all audio given to recognition, voice activity and wake words."""

FRAME_SAMPLES = 512
"""Samples of one voice-activity frame (32 ms at 16 kHz), counted from the first sample of a stream."""


class Priority(enum.IntEnum):
    """Order in which waiting calls are served: lower first."""

    FINAL = 0
    GUESS = 1


# --- worker side -----------------------------------------------------------------------------------------------


class Call(Protocol):
    """One request inside a worker. The reading thread sets `cancelled`; all else is the engine's thread."""

    id: int
    method: str
    data: Mapping[str, Any]
    payload: bytes
    priority: Priority

    @property
    def cancelled(self) -> bool:
        """True once the front wants no answer any more; `done` and `part` are then ignored."""

    def part(self, data: Mapping[str, Any], payload: bytes = b"") -> None:
        """Send a piece of the answer; blocks while the front has given no credit, returns when cancelled."""

    def done(self, data: Mapping[str, Any] | None = None, payload: bytes = b"") -> None:
        """End the call with its result."""

    def fail(self, error: Exception) -> None:
        """End the call with an error; one that is not a `SuperwhisperError` becomes `internal` and is logged."""


class Engine(Protocol):
    """A loaded model in a worker. All methods run on the worker's main thread, one at a time.

    The worker's loop: block for a call when `step` said idle; `admit` every call that has come (never more than
    `capacity` at once); `step` again. An exception out of `step` fails every admitted call and ends nothing else.
    """

    capacity: int
    """How many calls the front may have in this worker at once (its batch or its sequences)."""

    def load(self) -> Mapping[str, Any]:
        """Load and warm up; returns the capabilities, JSON, that the front gets in `hello`.

        Raises `ModelError` for missing or wrong files; anything else counts as failed to load.
        """

    def admit(self, call: Call) -> None:
        """Take a call. Must be quick; a call that is wrong is failed at once."""

    def step(self) -> bool:
        """Do one bounded piece of work (a batch, a token for each sequence, a piece of text).

        Returns False when nothing is left to do. Looks at `call.cancelled` and drops such calls.
        """


@runtime_checkable
class Promotes(Protocol):
    """An engine whose guesses can become urgent while they are on their way."""

    def promote(self, request: Any) -> None:
        """The guess asked for with this request is wanted now, as a final is. None on its way: nothing."""


# --- recognition -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TranscribeRequest:
    """Final audio of one utterance and how to decode it."""

    audio: bytes
    """s16le mono 16 kHz, already cut to its final audio."""
    language: str | None
    """Whisper language code ("fr"); None: detect among the configured languages."""
    names: tuple[str, ...] = ()
    """Names to bias towards (rooms, devices)."""
    terms: tuple[str, ...] = ()
    """Other words to bias towards."""
    look_back: tuple[str, ...] = ()
    """Which of `Transcription`'s `loss_without_end` and `loss_without_phrase` to tell: each is as much work again."""


@dataclass(frozen=True, slots=True)
class Transcription:
    """What was heard. `text` is "" for silence, noise and music."""

    text: str
    language: str
    no_speech_probability: float = 0.0
    average_logprob: float = 0.0
    end_logprob: float = 0.0
    """Mean in which the last tokens count most: what was only made up to complete a sentence shows there."""
    loss_without_end: float = math.inf
    """How much less certain the words before the last one are where the last 0.2 s of voice are missing, as the sum of
    what their log-probabilities lose. Little where only the last word was spoken in it; infinite where other words are
    heard then, and where nobody looked."""
    loss_without_phrase: float = math.inf
    """The same of the words before the last three, without 0.45 s of voice."""
    compression_ratio: float = 0.0
    tokens: tuple[int, ...] = ()


class SpeechRecognizer(Protocol):
    """Speech to text."""

    @property
    def languages(self) -> Sequence[str]: ...

    async def transcribe(self, request: TranscribeRequest, priority: Priority = Priority.FINAL) -> Transcription:
        """Transcribe. Raises `Busy`, `EngineLost`, `EngineUnavailable`, `UnknownLanguage`. Cancellable."""


# --- voice activity and wake words (streams of the light worker) -----------------------------------------------


@dataclass(frozen=True, slots=True)
class VoiceState:
    """Voice activity so far in a stream of audio."""

    samples: int
    """Samples fed so far."""
    voiced_start: int | None
    """First sample of the first voiced frame; None: no voice yet."""
    voiced_end: int
    """Sample after the last voiced frame (0: none)."""
    speaking: bool
    """Whether the newest whole frame counts as voiced (with hysteresis)."""
    voiced_samples: int = 0
    """How many samples were voiced in all."""


class VoiceStream(Protocol):
    """Voice activity over one utterance's audio."""

    async def feed(self, audio: bytes) -> VoiceState:
        """Feed s16le mono 16 kHz of any length; returns the state after its last whole frame."""

    async def close(self) -> None:
        """Forget the stream. Idempotent."""


class VoiceActivity(Protocol):
    """Opens voice-activity streams."""

    async def open(self) -> VoiceStream: ...


@dataclass(frozen=True, slots=True)
class WakeWordInfo:
    """A wake word that can be detected."""

    name: str
    """Id as a client asks for it ("okay_nabu")."""
    phrase: str
    languages: tuple[str, ...]
    engine: str
    """"micro" or "open"."""


@dataclass(frozen=True, slots=True)
class WakeWordDetection:
    """A wake word was heard; `sample` is the position in the stream at which it was known."""

    name: str
    sample: int


class WakeWordStream(Protocol):
    """Detection over one stream of audio."""

    async def feed(self, audio: bytes) -> Sequence[WakeWordDetection]:
        """Feed s16le mono 16 kHz of any length."""

    async def close(self) -> None: ...


class WakeWordDetector(Protocol):
    """Opens wake-word streams."""

    @property
    def words(self) -> Sequence[WakeWordInfo]: ...

    async def open(self, names: Sequence[str]) -> WakeWordStream:
        """Listen for these names (empty: all configured). Raises `UnknownModel`."""


# --- understanding ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IntentCall:
    """One intent with its slots, by Home Assistant's names ("HassTurnOn", {"area": "Salon"})."""

    name: str
    slots: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    """The reply in plain words from the sentence pack; "" where only Home Assistant can know it (a state)."""
    template: str = ""
    """The pack's own reply template (trusted, ours), for a Home Assistant that renders it; "" if `text` is whole."""


@dataclass(frozen=True, slots=True)
class RecognizeRequest:
    """A sentence to understand by rule."""

    text: str
    language: str
    area: str | None = None
    """Id of the area the speaker is in, if known."""
    previous: tuple[IntentCall, ...] = ()
    """What the same conversation did last ("et le salon aussi")."""


class IntentRecognizer(Protocol):
    """Sentences to intents by rules (hassil)."""

    @property
    def languages(self) -> Sequence[str]: ...

    async def recognize(self, request: RecognizeRequest, priority: Priority = Priority.FINAL) -> tuple[IntentCall, ...]:
        """The intents said, in order; empty: not understood."""

    async def complete(
        self, calls: Sequence[IntentCall], language: str, area: str | None = None
    ) -> tuple[IntentCall, ...]:
        """Calls that a language model chose, with the pack's replies and the speaker's area where they name none."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One past turn of a conversation, in plain text."""

    user: str
    assistant: str


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """A sentence for the language model."""

    text: str
    language: str
    conversation: str = ""
    """Conversation id; keys the cached sequence."""
    history: tuple[Exchange, ...] = ()
    area: str | None = None
    now: str = ""
    """Local date and time in words or ISO, for the changing part of the prompt."""


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """A piece of an answer: text as it is written, or (once, alone) the intents chosen.

    A guess may begin with a part that says nothing but how likely the sentence is a whole one.
    """

    text: str = ""
    intents: tuple[IntentCall, ...] = ()
    whole: float | None = None
    """Probability, as the model reads on, that the sentence which is answered ends where it ends."""


class LanguageModel(Protocol):
    """Answers what no rule understands."""

    def answer(self, request: AnswerRequest, priority: Priority = Priority.FINAL) -> AsyncIterator[AnswerPart]:
        """Stream the answer. Closing the iterator cancels the work. Raises as `SpeechRecognizer`."""


# --- speech ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VoiceInfo:
    """An installed voice, read from its small files."""

    name: str
    languages: tuple[str, ...]
    sample_rate: int
    speakers: tuple[str, ...] = ()
    description: str = ""
    version: str = ""
    attribution_name: str = ""
    attribution_url: str = ""


@dataclass(frozen=True, slots=True)
class SpeakRequest:
    """One piece of text, already speakable and cut by the splitter, for one voice."""

    text: str
    voice: str
    speaker: str | None = None
    length_scale: float | None = None
    noise_scale: float | None = None
    noise_w: float | None = None
    level: float | None = None
    """The reply's gain as its first piece reported it; None: this is the first piece."""
    client: str = ""
    """Who asked: pieces of different clients are served in turn."""


@dataclass(frozen=True, slots=True)
class Speech:
    """The sound of one piece: s16le mono PCM at the voice's `sample_rate`, and the reply's gain."""

    audio: bytes
    sample_rate: int
    level: float


class SpeechSynthesizer(Protocol):
    """Text to speech."""

    @property
    def voices(self) -> Sequence[VoiceInfo]: ...

    async def speak(self, request: SpeakRequest, priority: Priority = Priority.FINAL) -> Speech:
        """Synthesise one piece. Raises as `SpeechRecognizer`, and `UnknownVoice`."""
