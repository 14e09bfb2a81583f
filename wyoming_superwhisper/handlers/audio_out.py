"""The sound of a reply as audio events, in chunks small enough to be played at once."""

from __future__ import annotations

from wyoming.audio import AudioChunk, AudioStart, AudioStop

from wyoming_superwhisper.engines.base import Speech
from wyoming_superwhisper.handlers.base import Session

WIDTH = 2
CHANNELS = 1
CHUNK_SAMPLES = 1024


class AudioOut:
    """One `audio-start`, the chunks of every sound given to it, and one `audio-stop`: s16le mono."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._rate = 0
        self._samples = 0

    async def send(self, speech: Speech) -> None:
        """Send a sound; all sounds of one reply have one rate. Waits while the client is slow."""
        if not self._rate:
            self._rate = speech.sample_rate
            await self._session.send(AudioStart(rate=self._rate, width=WIDTH, channels=CHANNELS, timestamp=0))
        size = CHUNK_SAMPLES * WIDTH
        for start in range(0, len(speech.audio), size):
            await self._send_chunk(speech.audio[start : start + size])

    async def stop(self) -> None:
        """End the audio, if it began."""
        if self._rate:
            await self._session.send(AudioStop(timestamp=self._timestamp_ms()))

    async def _send_chunk(self, audio: bytes) -> None:
        timestamp = self._timestamp_ms()
        self._samples += len(audio) // WIDTH
        chunk = AudioChunk(rate=self._rate, width=WIDTH, channels=CHANNELS, audio=audio, timestamp=timestamp)
        await self._session.send(chunk)

    def _timestamp_ms(self) -> int:
        return self._samples * 1000 // self._rate
