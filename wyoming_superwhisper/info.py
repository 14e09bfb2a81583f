"""What the server says of itself: the `info` event, from the settings and the models' small files.

It is there before anything is loaded. Home Assistant fails on programs, models and voices that lack a name, an
attribution or `installed`, and on models that lack `languages`; the tests check that none does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wyoming.info import (
    AsrModel,
    AsrProgram,
    Attribution,
    HandleModel,
    HandleProgram,
    Info,
    IntentModel,
    IntentProgram,
    TtsProgram,
    TtsVoice,
    TtsVoiceSpeaker,
    WakeModel,
    WakeProgram,
)

from wyoming_superwhisper import __version__
from wyoming_superwhisper.engines.base import VoiceInfo, WakeWordInfo

_WHISPER = Attribution("OpenAI, by Hugging Face transformers", "https://github.com/huggingface/transformers")
_PIPER = Attribution("Open Home Foundation Voice", "https://github.com/OHF-Voice/piper1-gpl")
_HASSIL = Attribution("Home Assistant intents", "https://github.com/OHF-Voice/intents")
_LLAMA = Attribution("llama.cpp, by llama-cpp-python", "https://github.com/abetlen/llama-cpp-python")
_MICRO = Attribution("microWakeWord", "https://github.com/OHF-Voice/pymicro-wakeword")
_OPEN = Attribution("openWakeWord", "https://github.com/rhasspy/pyopen-wakeword")


@dataclass(frozen=True, slots=True)
class Offer:
    """What runs here."""

    asr_model: str
    """Empty: no recognition."""
    asr_languages: Sequence[str]
    server_ends_turn: bool
    intent_languages: Sequence[str]
    understands: bool
    """Whether sentences are understood by rules."""
    llm_model: str
    """Empty: no language model."""
    voices: Sequence[VoiceInfo]
    wake_words: Sequence[WakeWordInfo]


def build_info(offer: Offer) -> Info:
    """The `info` of a server. It never holds a satellite: Home Assistant would then ignore all else."""
    return Info(
        asr=[_asr(offer)] if offer.asr_model else [],
        tts=[_tts(offer)] if offer.voices else [],
        intent=[_intent(offer)] if offer.understands else [],
        handle=[_handle(offer)] if offer.llm_model else [],
        wake=[_wake(offer)] if offer.wake_words else [],
    )


def program_names(info: Info) -> frozenset[str]:
    """What `select-program` may choose."""
    programs = [*info.asr, *info.tts, *info.intent, *info.handle, *info.wake]
    return frozenset(program.name for program in programs)


def _asr(offer: Offer) -> AsrProgram:
    model = AsrModel(
        name=offer.asr_model,
        attribution=_WHISPER,
        installed=True,
        description=f"Whisper {offer.asr_model}",
        version=None,
        languages=sorted(offer.asr_languages),
    )
    return AsrProgram(
        name="superwhisper",
        attribution=_WHISPER,
        installed=True,
        description="Speech recognition with Whisper",
        version=__version__,
        models=[model],
        supports_transcript_streaming=True,
        requires_external_vad=not offer.server_ends_turn,
        prefers_auto_gain_enabled=False,
        prefers_noise_reduction_enabled=False,
    )


def _tts(offer: Offer) -> TtsProgram:
    return TtsProgram(
        name="superwhisper-piper",
        attribution=_PIPER,
        installed=True,
        description="Speech synthesis with Piper",
        version=__version__,
        voices=[_voice(voice) for voice in offer.voices],
        supports_synthesize_streaming=True,
    )


def _voice(voice: VoiceInfo) -> TtsVoice:
    return TtsVoice(
        name=voice.name,
        attribution=Attribution(voice.attribution_name, voice.attribution_url),
        installed=True,
        description=voice.description or voice.name,
        version=voice.version or None,
        languages=list(voice.languages),
        speakers=[TtsVoiceSpeaker(speaker) for speaker in voice.speakers] or None,
    )


def _intent(offer: Offer) -> IntentProgram:
    model = IntentModel(
        name="superwhisper-intents",
        attribution=_HASSIL,
        installed=True,
        description="Home Assistant's sentences, then the language model",
        version=None,
        languages=sorted(offer.intent_languages),
    )
    return IntentProgram(
        name="superwhisper-intents",
        attribution=_HASSIL,
        installed=True,
        description="Commands for the home",
        version=__version__,
        models=[model],
    )


def _handle(offer: Offer) -> HandleProgram:
    model = HandleModel(
        name=offer.llm_model,
        attribution=_LLAMA,
        installed=True,
        description=f"Language model {offer.llm_model}",
        version=None,
        languages=sorted(offer.intent_languages),
    )
    return HandleProgram(
        name="superwhisper-llama",
        attribution=_LLAMA,
        installed=True,
        description="Answers from a language model",
        version=__version__,
        models=[model],
        supports_handled_streaming=True,
        supports_home_control=True,
    )


def _wake(offer: Offer) -> WakeProgram:
    attribution = _OPEN if offer.wake_words[0].engine == "open" else _MICRO
    return WakeProgram(
        name="superwhisper-wake",
        attribution=attribution,
        installed=True,
        description="Wake word detection",
        version=__version__,
        models=[_wake_model(word, attribution) for word in offer.wake_words],
    )


def _wake_model(word: WakeWordInfo, attribution: Attribution) -> WakeModel:
    return WakeModel(
        name=word.name,
        attribution=attribution,
        installed=True,
        description=word.phrase,
        version=None,
        languages=list(word.languages),
        phrase=word.phrase,
    )
