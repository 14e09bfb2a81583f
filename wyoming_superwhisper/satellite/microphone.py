"""The microphone: one capture that is kept open, whatever it comes from, heard as 16 kHz mono.

What nobody reads is kept for a while, so that what was said just before a turn began is not lost; beyond that the
oldest is dropped. A device that fails is opened again until it works.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Self

from wyoming_superwhisper.audio import SPEECH, AudioConverter
from wyoming_superwhisper.config.satellite_settings import MicSettings
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.satellite import pulse
from wyoming_superwhisper.satellite.capture import Capture, pick_channel
from wyoming_superwhisper.satellite.cleaning import Cleaner, make_cleaner
from wyoming_superwhisper.satellite.device import Device, parse_device
from wyoming_superwhisper.satellite.port_audio_capture import PortAudioCapture
from wyoming_superwhisper.satellite.program import CommandCapture, recording_command
from wyoming_superwhisper.satellite.reconnect import Backoff
from wyoming_superwhisper.satellite.wav_file import WavCapture

logger = logging.getLogger(__name__)


class Microphone:
    """Audio to read, 16 kHz mono, while the context is open."""

    def __init__(self, capture: Capture, buffer_s: float = 10.0, cleaner: Cleaner | None = None) -> None:
        self.finite = capture.finite
        """Whether there will be an end."""
        self._capture = capture
        self._buffer_bytes = SPEECH.bytes_of(buffer_s)
        self._chunks: deque[bytes] = deque()
        self._held_bytes = 0
        self._more = asyncio.Event()
        self._ended = False
        self._broken = False
        self._heard = False
        """Whether it ever gave a sound."""
        self._backoff = Backoff()
        self._converter = AudioConverter(capture.format)
        self._cleaner = cleaner
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="microphone")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    def rewind(self) -> None:
        """Hear a recording from its beginning; what is live goes on."""
        if isinstance(self._capture, WavCapture):
            self._capture.rewind()

    def be_patient(self, patient: bool) -> None:
        """Whether nobody is in a hurry: then it may deliver more at once and less often, so as to cost less."""
        self._capture.patient = patient

    async def read(self) -> bytes:
        """What comes next, a chunk of any length; b"": the sound has ended."""
        while not self._chunks:
            if self._ended:
                return b""
            self._more.clear()
            await self._more.wait()
        chunk = self._chunks.popleft()
        self._held_bytes -= len(chunk)
        return chunk

    def keep_last(self, seconds: float) -> None:
        """Drop what is waiting, except the newest `seconds`."""
        keep_bytes = SPEECH.bytes_of(seconds)
        while self._chunks and self._held_bytes - len(self._chunks[0]) >= keep_bytes:
            self._held_bytes -= len(self._chunks.popleft())

    async def _run(self) -> None:
        while True:
            try:
                await self._capture.run(self._deliver)
                reason = "it has ended"
            except OSError as error:
                reason = error.strerror or str(error)
            except Exception as error:  # the boundary of a device: a satellite that is deaf for good helps nobody
                reason = f"{type(error).__name__}: {error}"
            if self.finite:
                return self._end()
            # One line when it breaks; the attempts after that are nobody's concern.
            level = logging.DEBUG if self._broken else logging.WARNING
            gone = "gone" if self._heard else "not there"
            logger.log(level, "The microphone is %s: %s. Waiting for it.", gone, reason)
            self._broken = True
            await self._backoff.pause()

    def _deliver(self, audio: bytes) -> None:
        if self._broken:
            logger.info("The microphone is back.")
            self._broken = False
            self._backoff.succeeded()
        self._heard = True
        if self._converter.source != self._capture.format:  # only a device that was opened knows its own
            self._converter = AudioConverter(self._capture.format)
        self._append(self._converter.feed(audio))

    def _end(self) -> None:
        self._append(self._converter.finish())
        self._ended = True
        self._more.set()

    def _append(self, audio: bytes) -> None:
        if audio and self._cleaner is not None:
            audio = self._cleaner.feed(audio)
        if not audio:
            return
        self._chunks.append(audio)
        self._held_bytes += len(audio)
        if not self.finite:  # of a file, nothing is dropped
            while self._held_bytes > self._buffer_bytes:
                self._held_bytes -= len(self._chunks.popleft())
        self._more.set()


def make_microphone(settings: MicSettings, endless: bool = False) -> Microphone:
    """The microphone that the settings name. Raises `SettingsError` where there is no such thing.

    `endless`: a recording is followed by silence, not by the end, and first heard when it is rewound.
    """
    capture = _make_capture(settings, parse_device(settings.device), endless)
    return Microphone(capture, settings.buffer_s, make_cleaner(settings))


def _make_capture(settings: MicSettings, device: Device, endless: bool) -> Capture:
    if not 0 <= settings.channel < settings.channels:
        raise SettingsError(f"mic.channel must be below mic.channels ({settings.channels}), not {settings.channel}.")
    if device.kind == "off":
        raise SettingsError("The microphone can't be off: name a device, a command or a WAV file.")
    if device.kind == "wav":
        return WavCapture(device.name, endless)
    if device.kind == "portaudio":
        return PortAudioCapture(device.name, settings)
    if device.kind == "pulse" and pulse.is_there():
        return pulse.PulseCapture(device.name, settings, pick_channel)
    return CommandCapture(recording_command(device, settings), settings)
