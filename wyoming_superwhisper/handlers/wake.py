"""Wake words: `detect` and audio in, `detection` or `not-detected` out."""

from __future__ import annotations

from collections.abc import Mapping

from wyoming.event import Event
from wyoming.wake import Detection, NotDetected

from wyoming_superwhisper.audio import AudioConverter, AudioFormat
from wyoming_superwhisper.engines.base import SAMPLE_RATE, WakeWordStream
from wyoming_superwhisper.handlers import fields
from wyoming_superwhisper.handlers.base import EventMethod, Session


class WakeHandler:
    """Listens for wake words until the audio stops or the client leaves; Home Assistant never sends `audio-stop`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._names: tuple[str, ...] = ()
        self._opened: WakeWordStream | None = None
        self._stream: WakeWordStream | None = None
        self._converter: AudioConverter | None = None
        self._start_ms = 0
        self._detections = 0

    @property
    def events(self) -> Mapping[str, EventMethod]:
        return {"detect": self._detect}

    @property
    def utterance_open(self) -> bool:
        return False  # it may listen for days

    async def close(self) -> None:
        await self.audio_dropped()

    async def audio_start(self, audio_format: AudioFormat, timestamp_ms: int) -> None:
        opened, self._opened = self._opened, None
        await self.audio_dropped()
        self._converter = AudioConverter(audio_format)
        self._stream = opened or await self._session.services.wake_words.open(self._names)
        self._start_ms, self._detections = timestamp_ms, 0

    async def audio_chunk(self, audio: bytes, timestamp_ms: int | None) -> None:
        assert self._converter is not None  # AudioHandler begins before it feeds
        await self._listen(await self._converter.feed_aside(audio))

    async def audio_stop(self) -> None:
        if self._converter is not None:
            await self._listen(self._converter.finish())
        if not self._detections:
            await self._session.send(NotDetected())
        await self.audio_dropped()
        self._session.consumer = None

    async def audio_dropped(self) -> None:
        streams = (self._opened, self._stream)
        self._opened, self._stream, self._converter = None, None, None
        for stream in streams:
            if stream is not None:
                await stream.close()

    async def _detect(self, event: Event) -> None:
        self._session.require("wake")
        names = fields.names(event, "names")
        fields.mapping(event, "context")
        stream = await self._session.services.wake_words.open(names)  # a wrong name is said before any audio
        await self._session.listen(self)
        await self.audio_dropped()
        self._names, self._opened = names, stream

    async def _listen(self, audio: bytes) -> None:
        if self._stream is None or not audio:
            return
        for detection in await self._stream.feed(audio):
            self._detections += 1
            at_ms = self._start_ms + detection.sample * 1000 // SAMPLE_RATE
            await self._session.send(Detection(name=detection.name, timestamp=at_ms))
