"""What a connection can use: the engines behind their interfaces and the settings that requests need."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from wyoming_superwhisper.byte_budget import ByteBudget
from wyoming_superwhisper.config.settings import Settings
from wyoming_superwhisper.conversation.assistant import Assistant
from wyoming_superwhisper.engines.base import (
    SpeechRecognizer,
    SpeechSynthesizer,
    VoiceActivity,
    WakeWordDetector,
)
from wyoming_superwhisper.home import Home
from wyoming_superwhisper.observer import NOBODY, Observer
from wyoming_superwhisper.pipeline.habits import Habits
from wyoming_superwhisper.pipeline.prepared import Prepared
from wyoming_superwhisper.pipeline.timer_news import TimerNews
from wyoming_superwhisper.recording import Recorder

QUEUED_BYTES = 16 * 1_048_576


@dataclass
class Services:
    """Built once by `app`, shared by all connections; `app` alone changes it, when settings are reloaded."""

    settings: Settings
    info: bytes
    """The `info` event as it is sent."""
    programs: frozenset[str]
    """Names that `select-program` may choose: those in `info`."""
    asr_models: frozenset[str]
    """Names that `transcribe` may choose."""
    default_language: str
    """Base code of the language of the house ("fr")."""
    default_voice: str
    """Voice for a text that names neither voice nor a language of another voice."""
    recognizer: SpeechRecognizer
    voice_activity: VoiceActivity
    wake_words: WakeWordDetector
    assistant: Assistant
    synthesizer: SpeechSynthesizer
    timer_news: TimerNews
    prepared: Prepared
    """The engines for those who work ahead; what they make is found by those above."""
    habits: Habits
    observer: Observer = NOBODY
    recorder: Recorder | None = None
    """Keeps utterances and transcripts, where the settings ask for it."""

    budget: ByteBudget = field(default_factory=ByteBudget, compare=False)
    """Memory for what is large, shared by all connections."""
    queued: ByteBudget = field(default_factory=lambda: ByteBudget(QUEUED_BYTES), compare=False)
    """Memory for events that wait, shared likewise. Where it is used up nobody is refused: they are read later."""
    reading: asyncio.Lock = field(default_factory=asyncio.Lock, compare=False)
    """Held while a piece of a text is made ready to be spoken: one at a time."""

    @property
    def home(self) -> Home:
        """The rooms and devices as they are known now."""
        return self.assistant.home
