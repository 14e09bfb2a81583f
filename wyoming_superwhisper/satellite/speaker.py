"""The loudspeaker: replies in, sound out, whatever takes it, with the first and the last sample heard."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from wyoming_superwhisper.audio import AudioFormat, PcmConverter
from wyoming_superwhisper.config.satellite_settings import SndSettings
from wyoming_superwhisper.satellite import pulse
from wyoming_superwhisper.satellite.device import Device, parse_device
from wyoming_superwhisper.satellite.port_audio_sink import port_audio_sink
from wyoming_superwhisper.satellite.program import CommandSink, playing_command
from wyoming_superwhisper.satellite.sink import NoSink, Sink
from wyoming_superwhisper.satellite.wav_file import WavSink

logger = logging.getLogger(__name__)

DEFAULT_RATE = 22_050
"""Rate for commands and files, where the settings name none: that of most voices, in Hz."""
PIECE_S = 0.1
"""What is written at once, in seconds: what is about to be heard is told of shortly before it is."""


class Speaker:
    """Plays replies one after another, in the device's own format. A device that fails loses a reply, nothing else."""

    def __init__(self, sink: Sink, volume: float = 1.0, lead_in_s: float = 0.0) -> None:
        self._sink = sink
        self._volume = volume
        self._lead_in_s = lead_in_s
        self._converter: PcmConverter | None = None
        self._broken = False
        self.on_playing: Callable[[bytes, AudioFormat], None] | None = None
        """Called with everything that is about to be heard."""
        self.on_silent: Callable[[], None] | None = None
        """Called where nothing of that will be heard any more: something else begins, or it was cut off."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self._sink.close()

    @property
    def works(self) -> bool:
        """Whether the device took what it was given last."""
        return not self._broken

    @property
    def playing(self) -> bool:
        """Whether a reply has begun and not ended."""
        return self._converter is not None

    async def start(self, format: AudioFormat) -> None:
        """Begin a reply; one that is still going on is cut off."""
        await self.stop()
        self._tell_silent()
        expected = self._sink.format
        self._converter = PcmConverter(format, expected)
        works = await self._try(self._sink.begin())
        if self._sink.format != expected:  # only a device that was opened knows its own
            self._converter = PcmConverter(format, self._sink.format)
        if works:
            await self._write(self._sink.format.silence(self._lead_in_s))

    async def write(self, audio: bytes) -> None:
        """Play the next of the reply; waits while enough is ahead of what is heard."""
        converter = self._converter
        if converter is None:
            return
        step = converter.source.bytes_of(PIECE_S)
        for at in range(0, len(audio), step):
            if self._converter is not converter:  # cut off meanwhile
                return
            piece = audio[at : at + step]
            if self.on_playing is not None:
                self.on_playing(piece, converter.source)
            await self._write(self._louder(converter.feed(piece)))

    async def finish(self) -> None:
        """End the reply: returns when its last sample has been heard."""
        converter = self._converter
        if converter is None:
            return
        await self._write(self._louder(converter.finish()))
        if not self._broken:
            await self._try(self._sink.finish())
        if self._converter is converter:  # else somebody has begun something else meanwhile
            self._converter = None

    async def play(self, format: AudioFormat, audio: bytes) -> None:
        """Play something whole; returns when its last sample has been heard."""
        await self.start(format)
        await self.write(audio)
        await self.finish()

    async def stop(self) -> None:
        """Cut the reply off at once."""
        if self._converter is not None:
            self._converter = None
            self._tell_silent()
            await self._sink.abort()

    def _tell_silent(self) -> None:
        if self.on_silent is not None:
            self.on_silent()

    async def _write(self, audio: bytes) -> None:
        if audio and not self._broken:
            await self._try(self._sink.write(audio))

    async def _try(self, playing: Any) -> bool:
        """Await it; a device that fails is told of once, and tried again with the next reply."""
        try:
            await playing
        except OSError as error:
            logger.warning("The loudspeaker does not work: %s", error.strerror or error)
            self._broken = True
            await self._sink.abort()
            return False
        self._broken = False
        return True

    def _louder(self, audio: bytes) -> bytes:
        if self._volume == 1.0 or not audio:
            return audio
        samples = np.frombuffer(audio, "<i2").astype(np.float32) * self._volume
        return samples.clip(-32768, 32767).astype("<i2").tobytes()


def make_speaker(settings: SndSettings) -> Speaker:
    """The loudspeaker that the settings name. Raises `SettingsError` where there is no such thing."""
    return Speaker(_make_sink(settings, parse_device(settings.device)), settings.volume, settings.lead_in_s)


def _make_sink(settings: SndSettings, device: Device) -> Sink:
    if device.kind == "portaudio":
        return port_audio_sink(device.name, settings)
    if device.kind == "pulse" and pulse.is_there():
        return pulse.pulse_sink(device.name, settings)
    format = AudioFormat(settings.rate or DEFAULT_RATE, 2, settings.channels)
    if device.kind == "off":
        return NoSink(format)
    if device.kind == "wav":
        return WavSink(device.name, format)
    return CommandSink(playing_command(device, format), format)
