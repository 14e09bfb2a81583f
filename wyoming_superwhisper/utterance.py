"""The audio of one spoken command as it arrives: converted, measured, listened to for voice, cut to its final audio."""

from __future__ import annotations

import asyncio
import logging

from wyoming_superwhisper import errors
from wyoming_superwhisper.audio import LONGEST_PIECE_S, SPEECH, AudioConverter, AudioFormat
from wyoming_superwhisper.byte_budget import ByteBudget
from wyoming_superwhisper.endpointing import FinalAudio, final_audio_samples, has_voice
from wyoming_superwhisper.engines.base import FRAME_SAMPLES, VoiceState, VoiceStream

logger = logging.getLogger(__name__)

_FRAME_BYTES = FRAME_SAMPLES * SPEECH.frame_bytes
_LARGEST_FEED_BYTES = 31 * _FRAME_BYTES
"""A file sent at once is listened to in pieces of one second, so that nobody else waits long for the light worker."""

FREE_S = 2.0
"""So much of every utterance is kept in any case, whatever the others hold; many are no longer."""
COPIES = 2
"""The voice stream keeps the same audio, to begin again where its worker is lost."""

_NO_VOICE_YET = VoiceState(samples=0, voiced_start=None, voiced_end=0, speaking=False)


class Utterance:
    """Collects one utterance.

    Without a voice stream, or when it is lost on the way, everything said reaches the model, whose own checks decide.
    """

    def __init__(
        self,
        format: AudioFormat,
        voice_stream: VoiceStream | None,
        longest_s: float,
        gate: bool = True,
        budget: ByteBudget | None = None,
    ) -> None:
        """`longest_s` is `limits.utterance_s`, `gate` is `asr.gate`: whether no voice makes the utterance empty.

        `budget`: what is over `FREE_S` comes out of it, with its copies, until the utterance is closed.
        """
        self._converter = AudioConverter(format)
        self._format = format
        self._voice_stream = voice_stream
        self._longest_s = longest_s
        self._gate = gate
        self._audio = bytearray()
        self._listened = 0
        self._budget = budget
        self._reserved = 0
        self.voice = _NO_VOICE_YET
        """Voice activity so far."""

    @property
    def samples(self) -> int:
        """Samples so far, at 16 kHz."""
        return len(self._audio) // SPEECH.frame_bytes

    @property
    def seconds(self) -> float:
        """Length so far."""
        return SPEECH.seconds(len(self._audio))

    @property
    def audio(self) -> bytes:
        """All audio so far, s16le mono 16 kHz."""
        return bytes(self._audio)

    async def feed(self, payload: bytes, *, more: bool = False) -> VoiceState:
        """Take the next chunk, in the utterance's format.

        `more`: the next one is here already; then up to a second of them is listened to in one go. Raises `BadFormat`
        for parts of frames, `TooLong` over the limit, and `Busy` where all that is said at once is too long; what was
        over it is not kept.
        """
        step = self._format.bytes_of(LONGEST_PIECE_S)
        for at in range(0, len(payload), step):
            self._keep(await self._converter.feed_aside(payload[at : at + step]))
            if not more or len(self._audio) - self._listened >= _LARGEST_FEED_BYTES:
                await self._listen()
            if len(payload) > step:
                await asyncio.sleep(0)  # a file sent at once must not hold up everybody else
        return self.voice

    async def finish(self) -> FinalAudio:
        """End the utterance: its final audio. The voice stream is closed; close the utterance once it is answered."""
        self._keep(self._converter.finish())
        await self._listen()
        final = self.final_audio()
        await self._close_stream()
        return final

    def final_audio(self) -> FinalAudio:
        """The final audio if the utterance ended here. A guess made on it holds as long as nobody speaks on."""
        if self._voice_stream is None:
            return FinalAudio(self.audio, empty=not self._audio)
        if has_voice(self.voice):
            return FinalAudio(self._cut(final_audio_samples(self.voice, self.samples)), empty=False)
        if self._gate or not self._audio:
            return FinalAudio(b"", empty=True)
        return FinalAudio(self.audio, empty=False)

    async def close(self) -> None:
        """Forget the voice stream, and give back what was taken of the budget. Idempotent."""
        if self._budget is not None:
            self._budget.give_back(self._reserved)
            self._budget = None
        await self._close_stream()

    async def _close_stream(self) -> None:
        stream = self._voice_stream
        if stream is not None:
            await stream.close()

    def _cut(self, samples: int) -> bytes:
        return bytes(memoryview(self._audio)[: samples * SPEECH.frame_bytes])

    def _keep(self, audio: bytes) -> None:
        if SPEECH.seconds(len(self._audio) + len(audio)) > self._longest_s:
            raise errors.TooLong(f"the utterance is longer than {self._longest_s:g} seconds (limits.utterance_s)")
        self._reserve(COPIES * (len(self._audio) + len(audio) - SPEECH.bytes_of(FREE_S)))
        self._audio += audio

    def _reserve(self, wanted: int) -> None:
        if self._budget is None or wanted <= self._reserved:
            return
        more = wanted - self._reserved
        if not self._budget.take(more):
            raise errors.Busy("Too much is being said to the server at once; try again later.")
        self._reserved += more

    async def _listen(self) -> None:
        """Give the voice stream what it hasn't heard, as soon as that completes a frame."""
        while self._voice_stream is not None and len(self._audio) - self._listened >= _FRAME_BYTES:
            piece = bytes(memoryview(self._audio)[self._listened : self._listened + _LARGEST_FEED_BYTES])
            self._listened += len(piece)
            try:
                self.voice = await self._voice_stream.feed(piece)
            except (errors.EngineLost, errors.EngineUnavailable, errors.Timeout, errors.Busy) as error:
                logger.warning("Voice activity is not to be had (%s): the model decides by itself", error)
                self._voice_stream = None
