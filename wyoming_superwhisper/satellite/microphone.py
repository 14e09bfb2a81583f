"""The microphone: one capture that is kept open, whatever it comes from, heard as 16 kHz mono.

What nobody reads is kept for a while, so that what was said just before a turn began is not lost; beyond that the
oldest is dropped. A device that fails is opened again until it works.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, Self

import numpy as np

from wyoming_superwhisper.audio import SPEECH, AudioConverter, AudioFormat, read_wav
from wyoming_superwhisper.config.satellite_settings import MicSettings
from wyoming_superwhisper.errors import BadFormat, SettingsError
from wyoming_superwhisper.satellite import pulse
from wyoming_superwhisper.satellite.cleaning import Cleaner, make_cleaner
from wyoming_superwhisper.satellite.device import (
    Device,
    accepted_rate,
    command_line,
    end_process,
    find_portaudio,
    parse_device,
    portaudio,
)
from wyoming_superwhisper.satellite.reconnect import Backoff

logger = logging.getLogger(__name__)

CHUNK_S = 0.03
"""Length of the pieces that a capture delivers, in seconds."""
COMMAND_RATE = 16_000
"""Rate that a recording command is expected to write at, where the settings name none, in Hz."""

Deliver = Callable[[bytes], None]


class Capture(Protocol):
    """Where sound comes from."""

    format: AudioFormat
    finite: bool
    """Whether the sound has an end of its own, as that of a file has."""
    patient: bool
    """Whether nobody is in a hurry: it may deliver more at once and less often, so as to cost less."""

    async def run(self, deliver: Deliver) -> None:
        """Deliver mono audio of `format` until cancelled; returns at the end of a file, or when the device is gone.

        Raises OSError where the device can't be opened now.
        """


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
            logger.log(level, "The microphone is gone: %s. Waiting for it.", reason)
            self._broken = True
            await self._backoff.pause()

    def _deliver(self, audio: bytes) -> None:
        if self._broken:
            logger.info("The microphone is back.")
            self._broken = False
            self._backoff.succeeded()
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


# --- where sound comes from ------------------------------------------------------------------------------------


def make_microphone(settings: MicSettings) -> Microphone:
    """The microphone that the settings name. Raises `SettingsError` where there is no such thing."""
    capture = _make_capture(settings, parse_device(settings.device))
    return Microphone(capture, settings.buffer_s, make_cleaner(settings))


def _make_capture(settings: MicSettings, device: Device) -> Capture:
    if not 0 <= settings.channel < settings.channels:
        raise SettingsError(f"mic.channel must be below mic.channels ({settings.channels}), not {settings.channel}.")
    if device.kind == "off":
        raise SettingsError("The microphone can't be off: name a device, a command or a WAV file.")
    if device.kind == "wav":
        return WavCapture(device.name)
    if device.kind == "portaudio":
        return PortAudioCapture(device.name, settings)
    if device.kind == "pulse" and pulse.is_there():
        return pulse.PulseCapture(device.name, settings, _pick_channel)
    return CommandCapture(_recording_command(device, settings), settings)


def _recording_command(device: Device, settings: MicSettings) -> list[str]:
    rate, channels = str(settings.rate or COMMAND_RATE), str(settings.channels)
    if device.kind == "pulse":
        named = [f"--device={device.name}"] if device.name else []
        options = ["--raw", "--format=s16le", f"--rate={rate}", f"--channels={channels}", "--latency-msec=20"]
        return [*command_line("parec"), *options, *named]
    if device.kind == "alsa":
        named = ["-D", device.name] if device.name else []
        return [*command_line("arecord"), "-q", "-t", "raw", "-f", "S16_LE", "-r", rate, "-c", channels, *named]
    return command_line(device.name)


class WavCapture:
    """A WAV file, at the pace at which it was spoken."""

    finite = True
    patient = False

    def __init__(self, path: str) -> None:
        """Raises `SettingsError` for a file that is no WAV file."""
        try:
            self.format, self._audio = read_wav(path)
        except BadFormat as error:
            raise SettingsError(str(error)) from error

    async def run(self, deliver: Deliver) -> None:
        """See `Capture`."""
        step = self.format.bytes_of(CHUNK_S)
        began = time.monotonic()
        for at in range(0, len(self._audio), step):
            chunk = self._audio[at : at + step]
            await asyncio.sleep(began + self.format.seconds(at + len(chunk)) - time.monotonic())
            deliver(chunk)


class CommandCapture:
    """A program that writes s16le to its standard output: arecord, parec or any other."""

    finite = False
    patient = False

    def __init__(self, command: list[str], settings: MicSettings) -> None:
        self.format = AudioFormat(settings.rate or COMMAND_RATE, 2, 1)
        self._command = command
        self._channels = settings.channels
        self._channel = settings.channel

    async def run(self, deliver: Deliver) -> None:
        """See `Capture`."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        complaints = asyncio.create_task(process.stderr.read(), name="what the recorder complains of")
        try:
            await self._read(process.stdout, deliver)
            status = await process.wait()
            text = (await complaints).decode(errors="replace").strip().splitlines()
        finally:
            complaints.cancel()
            await asyncio.wait([complaints])
            await end_process(process)
        raise OSError(f"{self._command[0]} has ended with status {status}" + (f": {text[-1]}" if text else ""))

    async def _read(self, stream: asyncio.StreamReader, deliver: Deliver) -> None:
        frame_bytes = 2 * self._channels
        rest = b""
        while data := await stream.read(int(self.format.rate * CHUNK_S) * frame_bytes):
            data = rest + data
            whole = len(data) - len(data) % frame_bytes
            rest = data[whole:]
            deliver(_pick_channel(data[:whole], self._channels, self._channel))


class PortAudioCapture:
    """A device of PortAudio, at the rate it prefers."""

    finite = False
    patient = False

    def __init__(self, name: str, settings: MicSettings) -> None:
        """Raises `SettingsError` where there is no such device."""
        self._name = name
        self._channels = settings.channels
        self._channel = settings.channel
        _, description = find_portaudio(name, "input")
        self.format = AudioFormat(settings.rate or accepted_rate(description), 2, 1)

    async def run(self, deliver: Deliver) -> None:
        """See `Capture`."""
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        module = portaudio()

        def captured(data: Any, frames: int, when: Any, status: Any) -> None:
            audio = _pick_channel(bytes(data), self._channels, self._channel)
            with contextlib.suppress(RuntimeError):  # the loop is closed: we are leaving
                loop.call_soon_threadsafe(deliver, audio)

        def finished() -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(gone.set)

        try:
            index, _ = find_portaudio(self._name, "input")
            stream = module.RawInputStream(
                device=index,
                samplerate=self.format.rate,
                channels=self._channels,
                dtype="int16",
                blocksize=int(self.format.rate * CHUNK_S),
                callback=captured,
                finished_callback=finished,
            )
            with stream:
                await gone.wait()
        except (SettingsError, module.PortAudioError) as error:
            raise OSError(str(error)) from error
        raise OSError("the device has stopped")


def _pick_channel(audio: bytes, channels: int, channel: int) -> bytes:
    if channels == 1:
        return audio
    picked: bytes = np.frombuffer(audio, "<i2").reshape(-1, channels)[:, channel].tobytes()
    return picked
