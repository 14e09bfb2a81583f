"""Audio events in: checks each one and hands it to the request that waits for audio."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from wyoming.event import Event

from wyoming_superwhisper.audio import SPEECH, AudioFormat
from wyoming_superwhisper.errors import BadEvent, BadFormat
from wyoming_superwhisper.handlers import fields
from wyoming_superwhisper.handlers.base import AudioConsumer, EventMethod, Session

PART_S = 2.0
"""Time for the rest of a frame that a chunk has ended in the middle of."""


class AudioHandler:
    """`audio-start`, `audio-chunk` and `audio-stop` of one connection.

    Audio that nobody asked for goes to `default` (speech recognition), as the stock servers do. After a request
    has failed or was answered early, what is left of its audio is read and thrown away.

    Audio comes in whole frames. But Home Assistant's HTTP API passes on what it gets in pieces of any length: of
    16 kHz mono after `transcribe`, as it sends it, a chunk may end within a frame whose rest comes soon. Of audio cut
    like that, bytes that are left over at its end are left out.
    """

    def __init__(self, session: Session, default: AudioConsumer) -> None:
        self._session = session
        self._default = default
        self._rest = b""
        self._cut_anywhere = False
        self._may_be_cut = False
        self._feeds = 0  # counted, so that it shows whether more has come
        self._expecting = False

    @property
    def events(self) -> Mapping[str, EventMethod]:
        return {"audio-start": self._start, "audio-chunk": self._chunk, "audio-stop": self._stop}

    async def close(self) -> None:
        if self._session.consumer is not None:
            await self._session.consumer.audio_dropped()
            self._session.consumer = None

    async def _give_up(self) -> None:
        """The current request has failed: let go of it, and ignore its audio up to the next `audio-start`."""
        self._session.discard_audio = True
        self._session.audio_format = None
        self._rest = b""
        consumer, self._session.consumer = self._session.consumer, None
        if consumer is not None:
            await consumer.audio_dropped()
        turn: object = self._session.turn
        if self._session.turn is not None and consumer is turn:
            await self._session.turn.end()

    def _is_unwanted(self) -> bool:
        """Whether audio comes while a pipeline run is answering: what a satellite sends on is thrown away."""
        return self._session.consumer is None and self._session.turn is not None

    async def _start(self, event: Event) -> None:
        if self._is_unwanted():
            return
        self._session.audio_format, self._session.discard_audio = None, False
        try:
            audio_format = fields.audio_format(event)
            await self._begin(audio_format, fields.integer(event, "timestamp") or 0)
        except Exception:
            await self._give_up()
            raise

    async def _chunk(self, event: Event) -> None:
        if self._session.discard_audio or self._is_unwanted():
            return
        try:
            await self._feed(event)
        except Exception:
            await self._give_up()
            raise

    async def _stop(self, event: Event) -> None:
        if self._is_unwanted():
            return
        if self._session.discard_audio:
            self._session.discard_audio = False
            self._session.audio_format = None
            return
        if self._session.consumer is None and self._session.audio_format is None:
            raise BadEvent("'audio-stop' came without a request or audio before it.")
        rest, audio_format, self._rest = self._rest, self._session.audio_format, b""
        self._feeds += 1
        if rest and audio_format is not None and not self._cut_anywhere:
            await self._give_up()
            self._session.discard_audio = False
            raise BadFormat(f"The audio ends {len(rest)} bytes into a frame of {audio_format.frame_bytes} bytes.")
        self._session.audio_format = None
        await self._consumer().audio_stop()

    async def _feed(self, event: Event) -> None:
        audio_format = fields.audio_format(event)
        timestamp = fields.integer(event, "timestamp")
        if self._session.audio_format is None:
            await self._begin(audio_format, timestamp or 0)
        elif audio_format != self._session.audio_format:
            raise BadFormat(
                f"The audio changed from {self._session.audio_format} to {audio_format} in the middle of a stream."
            )
        payload = event.payload or b""
        self._feeds += 1
        self._cut_anywhere = self._cut_anywhere or bool(self._rest and payload)
        audio = self._rest + payload
        whole = len(audio) - len(audio) % audio_format.frame_bytes
        if whole < len(audio) and not self._may_be_cut:
            raise BadFormat(f"{len(audio)} bytes of audio are not whole frames of {audio_format.frame_bytes} bytes.")
        self._rest = audio[whole:]
        if self._rest and not self._expecting:
            self._expecting = True
            self._session.spawn(self._expect_rest(), "half-frame")
        await self._consumer().audio_chunk(audio[:whole], timestamp)

    async def _expect_rest(self) -> None:
        """Wait until frames are whole. Raises `BadFormat` where nothing more comes."""
        try:
            while self._rest:
                feeds = self._feeds
                await asyncio.sleep(PART_S)
                if self._rest and feeds == self._feeds:
                    await self._give_up()
                    raise BadFormat("The audio stopped in the middle of a frame.")
        finally:
            self._expecting = False

    async def _begin(self, audio_format: AudioFormat, timestamp_ms: int) -> None:
        self._rest, self._cut_anywhere = b"", False
        self._may_be_cut = self._session.consumer is not None and audio_format == SPEECH
        await self._consumer().audio_start(audio_format, timestamp_ms)
        self._session.audio_format = audio_format

    def _consumer(self) -> AudioConsumer:
        if self._session.consumer is None:
            self._session.consumer = self._default
        return self._session.consumer
