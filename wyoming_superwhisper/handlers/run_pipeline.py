"""A whole turn on one connection: `run-pipeline` and audio in; transcript, reply and its sound out.

This is how a satellite talks straight to the server. What the server can execute itself is executed. The order of
events, and who ends an utterance, is described in `docs/protocol.md`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from wyoming.asr import Transcript
from wyoming.event import Event
from wyoming.pipeline import PipelineStage
from wyoming.timer import TimerCancelled, TimerFinished, TimerStarted, TimerUpdated
from wyoming.tts import Synthesize, SynthesizeVoice
from wyoming.vad import VoiceStarted, VoiceStopped
from wyoming.wake import Detection, NotDetected

from wyoming_superwhisper import phrases
from wyoming_superwhisper.audio import AudioConverter, AudioFormat
from wyoming_superwhisper.conversation.said import Said
from wyoming_superwhisper.engines.base import SAMPLE_RATE, Transcription, VoiceState, WakeWordStream
from wyoming_superwhisper.errors import BadData, BadEvent, NoText
from wyoming_superwhisper.handlers import fields
from wyoming_superwhisper.handlers.asr import read_options
from wyoming_superwhisper.handlers.base import EventMethod, Session
from wyoming_superwhisper.handlers.turn_reply import TurnReply
from wyoming_superwhisper.pipeline.listening import Listening, ListenOptions, choose_language
from wyoming_superwhisper.pipeline.rehearsal import Rehearsal
from wyoming_superwhisper.pipeline.speaking import SpeakOptions
from wyoming_superwhisper.timers import Change, Timer

logger = logging.getLogger(__name__)

_ORDER = [PipelineStage.WAKE, PipelineStage.ASR, PipelineStage.INTENT, PipelineStage.HANDLE, PipelineStage.TTS]

_SERVICES: dict[PipelineStage, tuple[str, ...]] = {
    PipelineStage.WAKE: ("wake",),
    PipelineStage.ASR: ("asr",),
    PipelineStage.INTENT: ("intent", "handle"),
    PipelineStage.HANDLE: ("intent", "handle"),
    PipelineStage.TTS: ("tts",),
}


@dataclass(frozen=True, slots=True)
class PipelineRequest:
    """What one `run-pipeline` asks for."""

    start: PipelineStage
    end: PipelineStage
    restart: bool
    wake_words: tuple[str, ...]
    announce: str
    options: ListenOptions
    said: Said
    """Everything of the sentence but its text."""
    context: Mapping[str, Any]
    voice: str | None = None
    """Who speaks the answer; None: the house's voice for the language."""

    @property
    def spoken(self) -> bool:
        """Whether the run begins with audio."""
        return self.start in (PipelineStage.WAKE, PipelineStage.ASR)


class RunPipelineHandler:
    """Runs turns, one at a time; another `run-pipeline` takes the place of the one before."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._turn: Turn | None = None

    @property
    def events(self) -> Mapping[str, EventMethod]:
        return {"run-pipeline": self._run}

    async def close(self) -> None:
        self._session.services.timer_news.unsubscribe(self._timer_changed)
        if self._turn is not None:
            await self._turn.end()

    async def _run(self, event: Event) -> None:
        request = read_request(self._session, event)
        self._session.keep_open = True
        self._session.services.timer_news.subscribe(request.said.owner, self._timer_changed)
        if self._turn is not None:
            await self._turn.end()
        self._turn = Turn(self._session, request)
        await self._turn.begin()

    def _timer_changed(self, change: Change, timer: Timer) -> None:
        self._session.spawn(self._tell_timer(change, timer), "timer")

    async def _tell_timer(self, change: Change, timer: Timer) -> None:
        """Send the timer's event; one that has finished is said aloud too, once the turn at work is over."""
        await self._session.send(timer_event(change, timer))
        if change is not Change.FINISHED:
            return
        while self._turn is not None and not self._turn.over.is_set():
            await self._turn.over.wait()
        text = phrases.say("timer_finished", timer.language, name=f" {timer.name}" if timer.name else "")
        await TurnReply(self._session, {}, speaks=True).speak(text, timer.language or None)


class Turn:
    """One run, from its request to its last event: an `AudioConsumer` and a `PipelineTurn`."""

    def __init__(self, session: Session, request: PipelineRequest) -> None:
        self._session = session
        self._request = request
        self._task: asyncio.Task[None] | None = None
        self.over = asyncio.Event()
        """Set while the run takes no part in a conversation: it has sent its last event, or waits for a wake word."""
        self._format: AudioFormat | None = None
        self._converter: AudioConverter | None = None
        self._wake: WakeWordStream | None = None
        self._listening: Listening | None = None
        self._heard: Listening | None = None  # that has ended, and is being transcribed
        self._rehearsal: Rehearsal | None = None
        self._voice_began = False

    @property
    def utterance_open(self) -> bool:
        return self._listening is not None

    async def begin(self) -> None:
        """Take the connection's audio, or speak at once."""
        self._session.turn = self
        if self._request.start is PipelineStage.WAKE:
            self.over.set()
        else:
            self.over.clear()
        if self._request.spoken:
            await self._session.listen(self)
        elif self._request.start is PipelineStage.TTS:
            self._task = self._session.spawn(self._announce(), "announce")

    async def end(self) -> None:
        """Cancel what is at work and let go of the connection."""
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self.audio_dropped()
        if self._heard is not None:  # its task may have been cancelled before it began
            await self._heard.close()
        rehearsal, self._rehearsal = self._rehearsal, None
        if rehearsal is not None:
            await rehearsal.drop()
        if self._session.turn is self:
            self._session.turn = None
        if self._session.consumer is self:
            self._session.consumer = None
            # What is left of its audio is nobody's.
            self._session.discard_audio = self._session.audio_format is not None
        self.over.set()

    async def finished(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])

    # --- what belongs to a run

    async def transcribe(self, event: Event) -> None:
        self._request = replace(self._request, options=read_options(self._session, event))

    async def transcript(self, event: Event) -> None:
        if self._request.spoken or self._task is not None:
            raise BadEvent("'transcript' came in a run that begins with audio.")
        text = fields.text(event, self._session.services.settings.limits.text_chars)
        language = fields.name(event, "language") or self._request.said.language
        self._task = self._session.spawn(self._reply(text, language), "reply")

    # --- audio

    async def audio_start(self, audio_format: AudioFormat, timestamp_ms: int) -> None:
        await self.audio_dropped()
        self._format = audio_format
        if self._request.start is PipelineStage.WAKE:
            self._converter = AudioConverter(audio_format)
            self._wake = await self._session.services.wake_words.open(self._request.wake_words)
        else:
            await self._listen()

    async def audio_chunk(self, audio: bytes, timestamp_ms: int | None) -> None:
        if self._wake is not None and not await self._hear_wake_word(audio):
            return
        if self._listening is not None:
            await self._follow(await self._listening.feed(audio, more=self._session.more_waits()))

    async def audio_stop(self) -> None:
        if self._wake is not None:
            await self._session.send(NotDetected())
            await self._end_of_run()
        elif self._listening is not None:
            self._answer()

    async def audio_dropped(self) -> None:
        listening, wake = self._listening, self._wake
        self._format = self._converter = self._listening = self._wake = None
        self._voice_began = False
        if listening is not None:
            await listening.close()
        if wake is not None:
            await wake.close()

    async def _listen(self) -> None:
        assert self._format is not None
        options = self._request.options
        self._listening = await Listening.open(self._session.services, self._format, options, self._rehearse)

    def _rehearse(self, heard: Transcription) -> Rehearsal:
        """Answer a guess ahead, as the turn itself would."""
        services, request = self._session.services, self._request
        said = self._said(heard.text, heard.language)
        spoken = SpeakOptions(request.voice, services.assistant.language(said))
        speech = spoken if request.end is PipelineStage.TTS else None
        answers = request.end is not PipelineStage.ASR
        return Rehearsal(services, said, self._session.peer, answers=answers, speech=speech)

    def _said(self, text: str, language: str | None) -> Said:
        return replace(self._request.said, text=text, language=language)

    async def _hear_wake_word(self, audio: bytes) -> bool:
        """Whether the wake word has been said; what follows it is the utterance, this chunk included."""
        assert self._wake is not None
        assert self._converter is not None
        detections = await self._wake.feed(await self._converter.feed_aside(audio))
        if not detections:
            return False
        first = detections[0]
        await self._session.send(Detection(name=first.name, timestamp=first.sample * 1000 // SAMPLE_RATE))
        await self._wake.close()
        self._wake = None
        if self._request.end is PipelineStage.WAKE:
            await self._end_of_run()
            return False
        self.over.clear()
        await self._listen()
        return True

    async def _follow(self, voice: VoiceState) -> None:
        """Tell when voice begins, and end the utterance when its speaker has ended."""
        if voice.voiced_start is not None and not self._voice_began:
            self._voice_began = True
            await self._session.send(VoiceStarted(timestamp=_ms(voice.voiced_start)))
        if self._listening is not None and self._listening.over and not self._session.more_waits():
            if self._voice_began:
                await self._session.send(VoiceStopped(timestamp=_ms(voice.voiced_end)))
            self._session.discard_audio = True
            self._answer()

    # --- the answer

    def _answer(self) -> None:
        listening, self._listening = self._listening, None
        assert listening is not None
        self._heard, self._session.consumer = listening, None
        self._task = self._session.spawn(self._transcribe(listening), "turn")

    async def _transcribe(self, listening: Listening) -> None:
        try:
            heard = await listening.finish()
        except Exception:
            await self.end()  # the error is the run's last event
            raise
        finally:
            self._rehearsal = listening.rehearsal
            await listening.close()
        await self._session.send(Transcript(text=heard.text, language=heard.language or None))
        if self._request.end is PipelineStage.ASR:
            await self._end_of_run()
        elif heard.text:
            await self._reply(heard.text, heard.language)
        else:
            await self.end()
            raise NoText("Nothing was said.")

    async def _reply(self, text: str, language: str | None) -> None:
        said = self._said(text, language)
        reply = TurnReply(
            self._session,
            self._request.context,
            speaks=self._request.end is PipelineStage.TTS,
            voice=self._request.voice,
        )
        try:
            await reply.run(said)
        finally:
            await self._end_of_run()

    async def _announce(self) -> None:
        await self._session.send(Synthesize(text=self._request.announce, voice=SynthesizeVoice()))
        reply = TurnReply(self._session, self._request.context, speaks=True, voice=self._request.voice)
        try:
            await reply.speak(self._request.announce)
        finally:
            await self._end_of_run()

    async def _end_of_run(self) -> None:
        await self.end()
        if self._request.restart and self._request.spoken:
            await self.begin()


def read_request(session: Session, event: Event) -> PipelineRequest:
    """What a `run-pipeline` asks for. Raises `BadData`, `UnknownLanguage`."""
    context = fields.mapping(event, "context")
    start, end = _stage(event, "start_stage"), _stage(event, "end_stage")
    if _ORDER.index(start) > _ORDER.index(end):
        raise BadData(f"A run can't begin at '{start.value}' and end at '{end.value}'.")
    session.require("run-pipeline")
    for stage in _ORDER[_ORDER.index(start) : _ORDER.index(end) + 1]:
        session.require(*_SERVICES[stage])
    announce = fields.optional_text(event, session.services.settings.limits.text_chars, "announce_text")
    if start is PipelineStage.TTS and not announce.strip():
        raise BadData("A run that begins at 'tts' needs 'announce_text'.")
    language = fields.name(event, "language") or fields.name_in(event, context, "language")
    satellite = fields.name(event, "name") or fields.name_in(event, context, "name") or ""
    said = Said(
        text="",
        language=language,
        conversation=fields.name_in(event, context, "conversation_id") or f"{session.peer}",
        speakers=(satellite,) if satellite else (),
        area=fields.name(event, "area") or fields.name_in(event, context, "area"),
        execute=end in (PipelineStage.HANDLE, PipelineStage.TTS),
        satellite=satellite,
    )
    return PipelineRequest(
        start=start,
        end=end,
        restart=fields.flag(event, "restart_on_end"),
        wake_words=fields.names(event, "wake_word_names"),
        announce=announce,
        options=ListenOptions(language=choose_language(session.services, language)),
        said=said,
        context=context,
        voice=fields.name(event, "voice"),
    )


def timer_event(change: Change, timer: Timer) -> Event:
    """What Wyoming says of this change of a timer."""
    event: Event
    if change is Change.STARTED:
        event = TimerStarted(
            id=timer.id,
            total_seconds=timer.start_total_s,
            name=timer.name or None,
            start_hours=timer.start_hours,
            start_minutes=timer.start_minutes,
            start_seconds=timer.start_seconds,
        ).event()
    elif change is Change.UPDATED:
        event = TimerUpdated(id=timer.id, is_active=timer.is_active, total_seconds=_seconds_left(timer)).event()
    elif change is Change.CANCELLED:
        event = TimerCancelled(id=timer.id).event()
    else:
        event = TimerFinished(id=timer.id).event()
    return event


def _seconds_left(timer: Timer) -> int:
    if not timer.is_active:
        return round(timer.left_s)
    return round(timer.ends_at - asyncio.get_running_loop().time())


def _stage(event: Event, field: str) -> PipelineStage:
    name = fields.name(event, field)
    try:
        return PipelineStage(name)
    except ValueError:
        stages = ", ".join(stage.value for stage in _ORDER)
        raise BadData(f"'{field}' of 'run-pipeline' must be one of {stages}.") from None


def _ms(sample: int) -> int:
    return sample * 1000 // SAMPLE_RATE
