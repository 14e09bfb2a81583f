"""Listening: the audio of one utterance becomes its transcription."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from wyoming_superwhisper.audio import AudioFormat
from wyoming_superwhisper.endpointing import FinalAudio
from wyoming_superwhisper.engines.base import SAMPLE_RATE, TranscribeRequest, Transcription, VoiceState, VoiceStream
from wyoming_superwhisper.errors import Busy, EngineLost, EngineUnavailable, UnknownLanguage
from wyoming_superwhisper.pipeline.services import Services
from wyoming_superwhisper.utterance import Utterance

logger = logging.getLogger(__name__)

END_SILENCE_S = 0.8
"""After this long without voice an utterance is over, where its audio comes at the pace it is spoken."""
PACE_SLACK_S = 0.5
"""Audio that is further ahead of the clock than this is a file, and ends at its `audio-stop` only."""

AUTO = "auto"
"""The language setting that means: detect among the configured languages."""


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """How one utterance is to be understood."""

    language: str | None = None
    """Base code ("fr") of a configured language; None: detect."""
    names: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()


def choose_language(services: Services, requested: str | None) -> str | None:
    """The recognition language for a request that names `requested` ("fr", "fr_FR", "fr-FR" or nothing).

    None means: detect. Raises `UnknownLanguage` for a language that is not configured.
    """
    asr = services.settings.asr
    if requested is None or requested == AUTO:
        return None if requested == AUTO or asr.language == AUTO else asr.language
    base = requested.replace("_", "-").partition("-")[0].lower()
    if base not in services.recognizer.languages:
        known = ", ".join(services.recognizer.languages)
        raise UnknownLanguage(f"The language '{requested}' is not recognised here; configured are {known}.")
    return base


class Listening:
    """One utterance from its first chunk to its text. Open it, feed it, finish or close it."""

    def __init__(self, services: Services, utterance: Utterance, options: ListenOptions) -> None:
        self._services = services
        self._utterance = utterance
        self._options = options
        self._began_s = asyncio.get_running_loop().time()

    @property
    def over(self) -> bool:
        """Whether a speaker has been silent for long enough to have ended; never for a file sent as fast as it goes."""
        voice = self._utterance.voice
        if voice.voiced_start is None:
            return False
        elapsed_s = asyncio.get_running_loop().time() - self._began_s
        silence_s = (voice.samples - voice.voiced_end) / SAMPLE_RATE
        return silence_s >= END_SILENCE_S and self._utterance.seconds <= elapsed_s + PACE_SLACK_S

    @classmethod
    async def open(cls, services: Services, audio_format: AudioFormat, options: ListenOptions) -> Listening:
        """Begin an utterance in this format; without voice activity the model decides alone what was said."""
        voice = await _open_voice(services)
        settings = services.settings
        utterance = Utterance(audio_format, voice, settings.limits.utterance_s, gate=settings.asr.gate)
        return cls(services, utterance, options)

    async def feed(self, audio: bytes) -> VoiceState:
        """Add whole frames of the utterance's format. Raises `TooLong` past the configured length."""
        return await self._utterance.feed(audio)

    async def finish(self) -> Transcription:
        """The text of all that was fed; "" where nobody spoke. Raises as `SpeechRecognizer.transcribe`."""
        final = await self._utterance.finish()
        return await self._transcribe(final)

    async def close(self) -> None:
        """Forget the utterance. Idempotent."""
        await self._utterance.close()

    async def _transcribe(self, final: FinalAudio) -> Transcription:
        if final.empty:
            logger.debug("utterance is empty: no voice")
            return Transcription(text="", language=self._options.language or self._services.recognizer.languages[0])
        return await self._services.recognizer.transcribe(self._request(final.audio))

    def _request(self, audio: bytes) -> TranscribeRequest:
        options = self._options
        names = options.names
        if self._services.settings.asr.bias:
            names += tuple(name for name in self._services.home.names() if name not in names)
        return TranscribeRequest(audio=audio, language=options.language, names=names, terms=options.terms)


async def _open_voice(services: Services) -> VoiceStream | None:
    try:
        return await services.voice_activity.open()
    except (EngineLost, EngineUnavailable, Busy) as error:
        logger.warning("no voice activity, the whole utterance will be transcribed: %s", error)
        return None
