"""Listening: the audio of one utterance becomes its transcription."""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass, replace

from wyoming_superwhisper.audio import AudioFormat
from wyoming_superwhisper.endpointing import FinalAudio
from wyoming_superwhisper.engines.base import TranscribeRequest, Transcription, VoiceState, VoiceStream
from wyoming_superwhisper.errors import Busy, EngineLost, EngineUnavailable, UnknownLanguage
from wyoming_superwhisper.pipeline.certainty import LIKELY_WHOLE, asked_of_command, asked_of_talk, looks_back
from wyoming_superwhisper.pipeline.end_of_turn import EndOfTurn, asks_for_more
from wyoming_superwhisper.pipeline.guessing import Follow, Guesser
from wyoming_superwhisper.pipeline.rehearsal import Rehearsal
from wyoming_superwhisper.pipeline.services import Services
from wyoming_superwhisper.utterance import Utterance

logger = logging.getLogger(__name__)

AUTO = "auto"
"""The language setting that means: detect among the configured languages."""


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """How one utterance is to be understood."""

    language: str | None = None
    """Base code ("fr") of a configured language; None: detect."""
    names: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    vad_sensitivity: str | None = None
    """How soon silence is the end, where the server ends an utterance: relaxed, default or aggressive."""


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


def follow_nothing(heard: Transcription) -> Rehearsal | None:
    """Make nothing of a guessed transcript."""
    return None


class Listening:
    """One utterance from its first chunk to its text. Open it, feed it, finish or close it."""

    def __init__(
        self,
        services: Services,
        utterance: Utterance,
        options: ListenOptions,
        follow: Follow = follow_nothing,
        *,
        ends: bool = True,
    ) -> None:
        """`follow`: what to make of a guessed transcript; see `Guesser`. `ends`: whether `over` will be asked for."""
        asr = services.settings.asr
        self._services = services
        self._utterance = utterance
        self._options = options
        self._end_of_turn = EndOfTurn(options.vad_sensitivity, asr.no_speech_s, asr.longest_s, _now_s())
        self._ends = ends
        guessed = self._guess_request
        self._guesser = Guesser(services.recognizer, services.observer, guessed, follow) if asr.guesses else None
        self.rehearsal: Rehearsal | None = None
        """What was made ahead of the answer to what was said, once that is finished: the caller's."""

    @property
    def over(self) -> bool:
        """Whether the speaker has ended, by what was said and the silence after it; never for a file sent at once."""
        guesser = self._guesser
        if guesser is None or guesser.heard is None:
            # What is being found out may be that the words ask for more.
            return self._end_of_turn.over(self._utterance.voice, unfinished=guesser is not None and guesser.pending)
        if not self._end_of_turn.over(self._utterance.voice, complete=True):
            return False  # whatever was said
        heard = guesser.heard
        complete = heard.end_logprob >= self._asked_of(heard, guesser)
        unfinished = asks_for_more(heard.text, heard.language)
        return self._end_of_turn.over(self._utterance.voice, complete=complete, unfinished=unfinished)

    @classmethod
    async def open(
        cls,
        services: Services,
        audio_format: AudioFormat,
        options: ListenOptions,
        follow: Follow = follow_nothing,
        *,
        ends: bool = True,
    ) -> Listening:
        """Begin an utterance in this format; without voice activity the model decides alone what was said."""
        voice = await _open_voice(services)
        settings = services.settings
        longest_s, gate = settings.limits.utterance_s, settings.asr.gate
        utterance = Utterance(audio_format, voice, longest_s, gate=gate, budget=services.budget)
        return cls(services, utterance, options, follow, ends=ends)

    async def feed(self, audio: bytes, *, more: bool = False) -> VoiceState:
        """Add whole frames of the utterance's format; `more`: as `Utterance.feed`. Raises `TooLong`."""
        voice = await self._utterance.feed(audio, more=more)
        self._end_of_turn.hear(self._utterance.samples, _now_s())
        if self._guesser is not None and not more:
            # Of a file no pause is guessed at: it ends before the guess would be ready.
            before = self._guesser.heard
            await self._guesser.hear(self._utterance, pausing=self._end_of_turn.pausing(voice))
            if before is not None and self._guesser.heard is None:
                self._services.habits.went_on(before.text)
        return voice

    async def finish(self) -> Transcription:
        """The text of all that was fed; "" where nobody spoke. Raises as `SpeechRecognizer.transcribe`."""
        final = await self._utterance.finish()
        heard = await self._guessed(final) or await self._transcribe(final)
        if self._services.recorder is not None:
            self._services.recorder.keep(final.audio, heard.text, heard.language)
        self._services.habits.ended(heard.text)
        return heard

    async def close(self) -> None:
        """Forget the utterance, and all guesses. Idempotent."""
        await self._utterance.close()
        if self._guesser is not None:
            await self._guesser.close()

    def _asked_of(self, heard: Transcription, guesser: Guesser) -> float:
        """How certain the end of a guess must be for it to be the turn's; infinite where it may be half a sentence."""
        names = self._services.home.names()
        if guesser.complete:
            return asked_of_command(heard, names, place_may_follow=guesser.place_may_follow)
        if guesser.whole >= LIKELY_WHOLE or self._services.habits.is_whole(heard.text):
            return asked_of_talk(heard, names, guesser.whole)
        return math.inf

    async def _guessed(self, final: FinalAudio) -> Transcription | None:
        if self._guesser is None:
            return None
        heard, self.rehearsal = await self._guesser.final(final)
        return heard

    async def _transcribe(self, final: FinalAudio) -> Transcription:
        if final.empty:
            logger.debug("utterance is empty: no voice")
            return Transcription(text="", language=self._options.language or self._services.recognizer.languages[0])
        return await self._services.recognizer.transcribe(self._request(final.audio))

    def _guess_request(self, audio: bytes) -> TranscribeRequest:
        return replace(self._request(audio), look_back=looks_back(self._options.language) if self._ends else ())

    def _request(self, audio: bytes) -> TranscribeRequest:
        options = self._options
        names = options.names
        if self._services.settings.asr.bias:
            names += tuple(name for name in self._services.home.names() if name not in names)
        return TranscribeRequest(audio=audio, language=options.language, names=names, terms=options.terms)


def _now_s() -> float:
    return asyncio.get_running_loop().time()


async def _open_voice(services: Services) -> VoiceStream | None:
    try:
        return await services.voice_activity.open()
    except (EngineLost, EngineUnavailable, Busy) as error:
        logger.warning("no voice activity, the whole utterance will be transcribed: %s", error)
        return None
