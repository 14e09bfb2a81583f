"""One turn: what is said goes to the server while it is said, and the answer is played as it comes."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event

from wyoming_superwhisper import client
from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.config.satellite_settings import SatelliteSettings
from wyoming_superwhisper.errors import Internal, SuperwhisperError
from wyoming_superwhisper.satellite.connection import LinkLost, ServerLink
from wyoming_superwhisper.satellite.microphone import Microphone
from wyoming_superwhisper.satellite.speaker import Speaker
from wyoming_superwhisper.satellite.voice_activity import Utterance

logger = logging.getLogger(__name__)


class TurnState(enum.Enum):
    """How far a turn is."""

    LISTENING = "listening"
    """The microphone is open to the server."""
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
    pre_roll: bytes = b""
    """What was heard before the turn began and belongs to it, 16 kHz mono."""


@dataclass(slots=True)
class Result:
    """What came of a turn."""

    transcript: str = ""
    reply: str = ""
    answered_by: str = ""
    error: SuperwhisperError | None = None
    """What went wrong, if anything did; `NoText`: nobody said anything."""
    link_is_clean: bool = False
    """Whether the server has told the turn's end, so that nothing of it can come any more."""


class Turn:
    """Runs one turn over the link; cancelling `run` cuts it off, sound and all."""

    def __init__(
        self,
        settings: SatelliteSettings,
        link: ServerLink,
        microphone: Microphone,
        speaker: Speaker,
        conversation: str = "",
        on_state: Callable[[TurnState], None] | None = None,
    ) -> None:
        self.state = TurnState.LISTENING
        self._settings = settings
        self._link = link
        self._microphone = microphone
        self._speaker = speaker
        self._conversation = conversation
        self._on_state = on_state
        self._result = Result()
        self._heard = asyncio.Event()
        """Set when no more audio is wanted."""

    async def run(self, start: Start) -> Result:
        """The whole turn. What goes wrong is in the result."""
        self._tell_state()
        try:
            await self._exchange(start)
        except SuperwhisperError as error:
            self._result.error = error
        except Exception:  # the boundary of a turn: whatever it was, the next one gets its chance
            logger.exception("The turn failed")
            self._result.error = Internal("The turn failed.")
        finally:
            await self._speaker.stop()
            self._set_state(TurnState.OVER)
        return self._result

    async def _exchange(self, start: Start) -> None:
        await self._ask(start)
        try:
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(self._listen(start.pre_roll), name="turn: listen")
                await self._answer()
                await self._speaker.finish()
                listening.cancel()
        except* SuperwhisperError as errors:
            raise errors.exceptions[0] from errors

    # --- what is said ---

    async def _ask(self, start: Start) -> None:
        settings = self._settings
        request = client.pipeline_request(
            language=settings.language, conversation=self._conversation, name=settings.name, area=settings.area
        )
        if start.wake_word:
            request.data["wake_word_name"] = start.wake_word
        await self._link.send(request)
        await self._link.send(AudioStart(rate=SPEECH.rate, width=SPEECH.width, channels=SPEECH.channels))

    async def _listen(self, pre_roll: bytes) -> None:
        try:
            await self._send_utterance(pre_roll)
        except LinkLost:
            return  # `_answer` sees it too, once what has come is taken
        self._set_state(TurnState.THINKING)

    async def _send_utterance(self, pre_roll: bytes) -> None:
        """Send what the microphone hears until the utterance is over."""
        if pre_roll:
            await self._send(pre_roll)
        utterance = Utterance(self._settings.turn.silence_s)
        sent_s = 0.0
        while not self._heard.is_set():
            chunk = await self._microphone.read()
            if not chunk:
                break
            await self._send(chunk)
            sent_s += SPEECH.seconds(len(chunk))
            utterance.feed(chunk)
            if self._is_over(utterance, sent_s):
                break
        await self._link.send(AudioStop())

    async def _send(self, audio: bytes) -> None:
        await self._link.send(AudioChunk(rate=SPEECH.rate, width=SPEECH.width, channels=SPEECH.channels, audio=audio))

    def _is_over(self, utterance: Utterance, sent_s: float) -> bool:
        settings = self._settings.turn
        if sent_s >= settings.longest_s:
            return True
        if settings.end == "server" or (settings.end == "auto" and self._microphone.finite):
            return False
        return utterance.over or (not utterance.begun and sent_s >= settings.no_speech_s)

    # --- what is answered ---

    async def _answer(self) -> None:
        """Take the server's events up to the end of the turn. Raises `LinkLost`, `Timeout`, and its errors."""
        end = client.TurnEnd()
        while not end.reached:
            event = await self._link.receive(self._patience_s())
            if Error.is_type(event.type):
                self._result.link_is_clean = True
                raise client.error_of(event)
            end.watch(event)
            handle = _HANDLERS.get(event.type)
            if handle is not None:
                await handle(self, event)
        self._result.link_is_clean = True

    def _patience_s(self) -> float:
        answer_s = self._settings.server.answer_s
        return answer_s + (self._settings.turn.longest_s if self.state is TurnState.LISTENING else 0.0)

    async def _on_voice_stopped(self, event: Event) -> None:
        self._heard.set()

    async def _on_transcript(self, event: Event) -> None:
        self._heard.set()
        self._result.transcript = str(event.data.get("text") or "")
        self._set_state(TurnState.THINKING)
        logger.info("Heard: %s", self._result.transcript or "nothing")

    async def _on_reply(self, event: Event) -> None:
        context = event.data.get("context")
        self._result.reply = str(event.data.get("text") or "")
        self._result.answered_by = str(context.get("answered_by") or "") if isinstance(context, dict) else ""
        logger.info("Answer: %s", self._result.reply)

    async def _on_audio_chunk(self, event: Event) -> None:
        if not self._speaker.playing:
            self._set_state(TurnState.SPEAKING)
            await self._speaker.start(client.chunk_format(event))
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
    "voice-stopped": Turn._on_voice_stopped,
    "transcript": Turn._on_transcript,
    "handled": Turn._on_reply,
    "not-handled": Turn._on_reply,
    "not-recognized": Turn._on_reply,
    "audio-chunk": Turn._on_audio_chunk,
}
