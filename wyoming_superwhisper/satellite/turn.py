"""One turn: what is said goes to the other side while it is said, and the answer is played as it comes.

The same for a server that we dial and for Home Assistant that dials us; what differs is in the link.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from wyoming.audio import AudioChunk, AudioStop
from wyoming.error import Error
from wyoming.event import Event

from wyoming_superwhisper import client
from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.config.satellite_settings import SatelliteSettings
from wyoming_superwhisper.errors import Internal, NoText, SuperwhisperError
from wyoming_superwhisper.satellite.link import Ask, Link, LinkLost
from wyoming_superwhisper.satellite.news import News
from wyoming_superwhisper.satellite.speaker import Speaker
from wyoming_superwhisper.satellite.voice_activity import SpeechGate, Utterance

logger = logging.getLogger(__name__)


DUPLICATE = "duplicate_wake_up_detected"
"""Error code of Home Assistant, and of our server: another satellite has heard the same wake word and answers."""


class TurnState(enum.Enum):
    """How far a turn is."""

    WAITING = "waiting"
    """The other side listens for the wake word."""
    LISTENING = "listening"
    """The microphone is open to the other side."""
    THINKING = "thinking"
    """The utterance is over, its answer is not here yet."""
    SPEAKING = "speaking"
    """The answer is being played."""
    OVER = "over"
    """Answered and played, failed, or cut off."""


@dataclass(frozen=True, slots=True)
class Start:
    """What began a turn."""

    wake_word: str = ""
    """The wake word that was heard; "": a button, or the turn before."""
    waits: bool = False
    """Whether the other side is to listen for the wake word first."""
    reason: str = "button"
    """wake-word, button, voice, follow-up, repeat, server or recording."""
    loudness_db: float = 0.0
    """How loud the wake word was over the noise of the room."""


@dataclass(slots=True)
class Result:
    """What came of a turn."""

    transcript: str = ""
    reply: str = ""
    answered_by: str = ""
    error: SuperwhisperError | None = None
    """What went wrong, if anything did; `NoText`: nobody said anything."""
    link_is_clean: bool = False
    """Whether the other side has told the turn's end, so that nothing of it can come any more."""
    spoken: bool = False
    """Whether an answer was played to its end."""
    cancelled: bool = False
    """Whether what was said was that nothing is wanted."""


class Hearing(Protocol):
    """Where a turn hears what is said: a microphone, or a recording of one."""

    finite: bool

    async def read(self) -> bytes:
        """What comes next, 16 kHz mono; b"": the sound has ended."""


class Events(Protocol):
    """Where a turn gets the events of the other side from."""

    async def receive(self, answer_s: float | None = None) -> Event:
        """The next event. Raises `LinkLost`, `Timeout`."""


class Turn:
    """Runs one turn over the link; cancelling `run` cuts it off, sound and all."""

    def __init__(
        self,
        settings: SatelliteSettings,
        link: Link,
        hearing: Hearing,
        speaker: Speaker,
        conversation: str = "",
        on_state: Callable[[TurnState], None] | None = None,
        events: Events | None = None,
        news: News | None = None,
    ) -> None:
        self.state = TurnState.LISTENING
        self.result = Result()
        self._settings = settings
        self._link = link
        self._hearing = hearing
        self._speaker = speaker
        self._conversation = conversation
        self._on_state = on_state
        self._events: Events = events or link
        self._news = news or News()
        self._end = link.turn_end()
        self._start = Start()
        self._utterance = Utterance(settings.turn.silence_s)
        self._sounding = False
        """Whether the answer has begun to be played."""
        self._heard = asyncio.Event()
        """Set when no more audio is wanted."""
        self._detected = asyncio.Event()
        """Set when the utterance begins."""

    async def run(self, start: Start) -> Result:
        """The whole turn. What goes wrong is in the result."""
        self._start = start
        self.state = TurnState.WAITING if start.waits else TurnState.LISTENING
        if not start.waits:
            self._detected.set()
        self._tell_state()
        try:
            await self._exchange()
        except SuperwhisperError as error:
            self.result.error = error
        except Exception:  # the boundary of a turn: whatever it was, the next one gets its chance
            logger.exception("The turn failed")
            self.result.error = Internal("The turn failed.")
        finally:
            await self._speaker.stop()
            self._set_state(TurnState.OVER)
        return self.result

    async def _exchange(self) -> None:
        for event in self._link.requests(self._ask()):
            await self._link.send(event)
        try:
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(self._listen(), name="turn: listen")
                await self._answer()
                if self._sounding:
                    await self._speaker.finish()
                    self.result.spoken = True
                listening.cancel()
        except* SuperwhisperError as errors:
            raise errors.exceptions[0] from errors
        if self.result.spoken:
            self._news.tell("played")

    def _ask(self) -> Ask:
        settings, start = self._settings, self._start
        return Ask(
            name=settings.name,
            area=settings.area,
            language=settings.wake.languages.get(start.wake_word, settings.language),
            voice=settings.wake.voices.get(start.wake_word, ""),
            pipeline=settings.wake.pipelines.get(start.wake_word, ""),
            conversation=self._conversation,
            wake_word=start.wake_word,
            listen_for=settings.wake.words if start.waits else None,
            loudness=start.loudness_db,
        )

    # --- what is said ---

    async def _listen(self) -> None:
        try:
            if self._start.waits:
                await self._stream_until_detected()
            await self._send_utterance()
        except LinkLost:
            return  # `_answer` sees it too, once what has come is taken
        self._set_state(TurnState.THINKING)

    async def _stream_until_detected(self) -> None:
        """Send what is heard while there is a voice in it, until the other side has heard the wake word."""
        gate = SpeechGate(self._settings.wake.voice_pre_roll_s)
        while not self._detected.is_set():
            chunk = await self._hearing.read()
            if not chunk:
                raise NoText("The sound has ended before the wake word.")
            for piece in gate.feed(chunk):
                await self._send(piece)

    async def _send_utterance(self) -> None:
        """Send what is heard until the utterance is over."""
        sent_s = 0.0
        while not self._heard.is_set():
            chunk = await self._hearing.read()
            if not chunk or self._heard.is_set():
                break
            await self._send(chunk)
            sent_s += SPEECH.seconds(len(chunk))
            self._utterance.feed(chunk)
            if self._is_over(sent_s):
                break
        await self._link.send(AudioStop())

    async def _send(self, audio: bytes) -> None:
        await self._link.send(
            AudioChunk(
                rate=SPEECH.rate,
                width=SPEECH.width,
                channels=SPEECH.channels,
                audio=audio,
                timestamp=time.monotonic_ns() // 1_000_000,
            )
        )

    def _is_over(self, sent_s: float) -> bool:
        settings = self._settings.turn
        if sent_s >= settings.longest_s:
            return True
        if settings.end == "server" or (settings.end == "auto" and self._hearing.finite):
            return False
        return self._utterance.over or (not self._utterance.begun and sent_s >= settings.no_speech_s)

    # --- what is answered ---

    async def _answer(self) -> None:
        """Take the other side's events up to the end of the turn. Raises `LinkLost`, `Timeout`, and its errors."""
        while not self._end.reached:
            event = await self._events.receive(self._patience_s())
            if Error.is_type(event.type):
                self.result.link_is_clean = True
                if event.data.get("code") == DUPLICATE:
                    logger.info("Another satellite answers.")
                    return
                raise client.error_of(event)
            self._end.watch(event)
            handle = _HANDLERS.get(event.type)
            if handle is not None:
                await handle(self, event)
            if self.result.cancelled:
                return
        self.result.link_is_clean = True

    def _patience_s(self) -> float | None:
        if self.state is TurnState.WAITING:
            return None
        answer_s = self._settings.server.answer_s
        return answer_s + (self._settings.turn.longest_s if self.state is TurnState.LISTENING else 0.0)

    async def _on_detection(self, event: Event) -> None:
        if self.state is TurnState.WAITING:
            name = str(event.data.get("name") or "")
            logger.info("Wake word: %s", name)
            self._news.tell("awake", name)
            self._set_state(TurnState.LISTENING)
            self._detected.set()

    async def _on_voice_started(self, event: Event) -> None:
        self._news.tell("voice-started")

    async def _on_voice_stopped(self, event: Event) -> None:
        self._news.tell("voice-stopped")
        self._heard.set()

    async def _on_transcript(self, event: Event) -> None:
        self._heard.set()
        text = str(event.data.get("text") or "")
        self.result.transcript = text
        self._set_state(TurnState.THINKING)
        logger.info("Heard: %s", text or "nothing")
        self._news.tell("transcript", text)
        self.result.cancelled = plain(text) in {plain(word) for word in self._settings.turn.cancel_words}
        if self.result.cancelled and self._start.wake_word and not self._utterance.begun:
            # The end of a wake word, or a noise: it is not for that to end a turn without an answer.
            raise NoText("Nobody said anything.")

    async def _on_synthesize(self, event: Event) -> None:
        """What is about to be spoken: all that Home Assistant tells of an answer."""
        if not self.result.reply:
            self._take_reply(str(event.data.get("text") or ""))

    async def _on_reply(self, event: Event) -> None:
        context = event.data.get("context")
        if isinstance(context, dict):
            self.result.answered_by = str(context.get("answered_by") or "")
        self._take_reply(str(event.data.get("text") or ""))

    def _take_reply(self, text: str) -> None:
        if text != self.result.reply:
            logger.info("Answer: %s", text)
            self._news.tell("reply", text)
        self.result.reply = text

    async def _on_audio_chunk(self, event: Event) -> None:
        if not self._sounding:
            self._sounding = True
            self._heard.set()
            await self._speaker.start(client.chunk_format(event))
            self._set_state(TurnState.SPEAKING)
        await self._speaker.write(event.payload or b"")

    def _set_state(self, state: TurnState) -> None:
        order = list(TurnState)
        if order.index(state) > order.index(self.state):
            self.state = state
            self._tell_state()

    def _tell_state(self) -> None:
        if self._on_state is not None:
            self._on_state(self.state)


_HANDLERS = {
    "detection": Turn._on_detection,
    "voice-started": Turn._on_voice_started,
    "voice-stopped": Turn._on_voice_stopped,
    "transcript": Turn._on_transcript,
    "synthesize": Turn._on_synthesize,
    "handled": Turn._on_reply,
    "not-handled": Turn._on_reply,
    "not-recognized": Turn._on_reply,
    "audio-chunk": Turn._on_audio_chunk,
}


def plain(text: str) -> str:
    """Words alone, to be compared: small letters, no marks."""
    return re.sub(r"[^\w\s]", "", text.casefold()).strip()
