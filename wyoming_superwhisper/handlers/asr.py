"""Speech recognition: `transcribe` and audio in, `transcript` out."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from wyoming.asr import Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.event import Event

from wyoming_superwhisper.audio import AudioFormat
from wyoming_superwhisper.conversation.said import Said
from wyoming_superwhisper.engines.base import Transcription
from wyoming_superwhisper.errors import TooLong, UnknownModel
from wyoming_superwhisper.handlers import fields
from wyoming_superwhisper.handlers.base import EventMethod, Session
from wyoming_superwhisper.pipeline.listening import Listening, ListenOptions, choose_language
from wyoming_superwhisper.pipeline.rehearsal import Rehearsal

logger = logging.getLogger(__name__)


class AsrHandler:
    """Answers each utterance of a connection with its transcript."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._options: ListenOptions | None = None
        self._listening: Listening | None = None
        self._server_ends = session.services.settings.asr.endpointing == "server"

    @property
    def events(self) -> Mapping[str, EventMethod]:
        return {"transcribe": self._transcribe}

    @property
    def utterance_open(self) -> bool:
        return True

    async def close(self) -> None:
        await self.audio_dropped()

    async def audio_start(self, audio_format: AudioFormat, timestamp_ms: int) -> None:
        self._session.require("asr")
        await self._forget_utterance()
        options = self._options or self._default_options()
        services, ends = self._session.services, self._server_ends
        self._listening = await Listening.open(services, audio_format, options, self._follow, ends=ends)

    async def audio_chunk(self, audio: bytes, timestamp_ms: int | None) -> None:
        assert self._listening is not None  # AudioHandler begins before it feeds
        if not self._server_ends:
            await self._listening.feed(audio, more=self._session.more_waits())
            return
        try:
            await self._listening.feed(audio, more=self._session.more_waits())
            over = self._listening.over
        except TooLong:  # nobody else would ever end it
            over = True
        if over and not self._session.more_waits():
            self._session.end_of_speech()
            self._session.discard_audio = True
            await self.audio_stop()

    async def audio_stop(self) -> None:
        listening, options = self._listening, self._options or self._default_options()
        try:
            try:
                transcription = await listening.finish() if listening else _nothing(options)
            finally:
                await self.audio_dropped()
                self._session.consumer = None
            await self._answer(transcription)
        except BaseException:
            if listening is not None and listening.rehearsal is not None:
                await listening.rehearsal.drop()
            raise
        if listening is not None and listening.rehearsal is not None:
            listening.rehearsal.leave()

    async def audio_dropped(self) -> None:
        self._options = None
        await self._forget_utterance()

    async def _transcribe(self, event: Event) -> None:
        if self._session.turn is not None:
            await self._session.turn.transcribe(event)
            return
        self._session.require("asr")
        options = read_options(self._session, event)
        await self._session.listen(self)
        await self._forget_utterance()
        self._options = options

    def _follow(self, heard: Transcription) -> Rehearsal | None:
        """What this client will ask next, if it does as it did before; and whether what was said is a whole command."""
        services, peer = self._session.services, self._session.peer
        likely = services.habits.next_sentences(peer, heard.text, heard.language)
        if likely:
            return Rehearsal(services, likely[0], peer, otherwise=likely[1:], speech=services.habits.next_speech(peer))
        if self._server_ends:
            return Rehearsal(services, Said(heard.text, heard.language), peer, answers=False)
        return None

    async def _answer(self, transcription: Transcription) -> None:
        logger.debug("[%s] transcript has %d characters", self._session.peer, len(transcription.text))
        language = transcription.language or None
        self._session.services.habits.transcript(self._session.peer, transcription.text)
        await self._session.send(TranscriptStart(language=language))
        if transcription.text:
            await self._session.send(TranscriptChunk(text=transcription.text))
        await self._session.send(Transcript(text=transcription.text, language=language))
        await self._session.send(TranscriptStop())

    async def _forget_utterance(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.close()

    def _default_options(self) -> ListenOptions:
        return ListenOptions(language=choose_language(self._session.services, None))


def read_options(session: Session, event: Event) -> ListenOptions:
    """What a `transcribe` asks for. Raises `UnknownModel`, `UnknownLanguage`, `BadData`."""
    model = fields.name(event)
    if model is not None and model not in session.services.asr_models:
        raise UnknownModel(f"There is no recognition model '{model}' here; see 'info'.")
    fields.mapping(event, "context")
    return ListenOptions(
        language=choose_language(session.services, fields.name(event, "language")),
        names=fields.names(event, "transcript_names"),
        terms=fields.names(event, "transcript_terms"),
        vad_sensitivity=fields.name(event, "vad_sensitivity"),
    )


def _nothing(options: ListenOptions) -> Transcription:
    return Transcription(text="", language=options.language or "")
