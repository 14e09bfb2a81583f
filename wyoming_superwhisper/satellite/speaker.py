"""The loudspeaker: replies in, sound out, whatever takes it, with the first and the last sample heard."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import wave
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, Self

import numpy as np

from wyoming_superwhisper.audio import AudioFormat, PcmConverter
from wyoming_superwhisper.config.satellite_settings import SndSettings
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.satellite import pulse
from wyoming_superwhisper.satellite.device import (
    Device,
    accepted_rate,
    command_line,
    end_process,
    find_portaudio,
    parse_device,
    portaudio,
    writable,
)

logger = logging.getLogger(__name__)

DEFAULT_RATE = 22_050
"""Rate for commands and files, where the settings name none: that of most voices, in Hz."""
AHEAD_S = 1.0
"""Sound that a device takes ahead of what is heard, in seconds; more waits."""


class Sink(Protocol):
    """Where sound goes. One reply after another: `begin`, `write`…, then `finish` or `abort`."""

    format: AudioFormat

    async def begin(self) -> None:
        """Get ready for a reply. Raises OSError where the device can't be opened now."""

    async def write(self, audio: bytes) -> None:
        """Take the next of the reply; waits while enough is ahead. Raises OSError where the device is gone."""

    async def finish(self) -> None:
        """Return when the last sample has left. Raises OSError where the device is gone."""

    async def abort(self) -> None:
        """Be silent at once; what was not heard yet is dropped."""

    async def close(self) -> None:
        """Let the device go."""


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
        self._converter = PcmConverter(format, self._sink.format)
        if await self._try(self._sink.begin()):
            await self._write(self._sink.format.silence(self._lead_in_s))

    async def write(self, audio: bytes) -> None:
        """Play the next of the reply; waits while enough is ahead of what is heard."""
        if self._converter is not None:
            if self.on_playing is not None:
                self.on_playing(audio, self._converter.source)
            await self._write(self._louder(self._converter.feed(audio)))

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
            await self._sink.abort()

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


# --- where sound goes ------------------------------------------------------------------------------------------


def make_speaker(settings: SndSettings) -> Speaker:
    """The loudspeaker that the settings name. Raises `SettingsError` where there is no such thing."""
    return Speaker(_make_sink(settings, parse_device(settings.device)), settings.volume, settings.lead_in_s)


def _make_sink(settings: SndSettings, device: Device) -> Sink:
    if device.kind == "portaudio":
        return PortAudioSink(device.name, settings)
    if device.kind == "pulse" and pulse.is_there():
        return pulse.PulseSink(device.name, settings)
    format = AudioFormat(settings.rate or DEFAULT_RATE, 2, settings.channels)
    if device.kind == "off":
        return NoSink(format)
    if device.kind == "wav":
        return WavSink(device.name, format)
    return CommandSink(_playing_command(device, format), format)


def _playing_command(device: Device, format: AudioFormat) -> list[str]:
    rate, channels = str(format.rate), str(format.channels)
    if device.kind == "pulse":
        named = [f"--device={device.name}"] if device.name else []
        options = ["--playback", "--raw", "--format=s16le", f"--rate={rate}", f"--channels={channels}"]
        return [*command_line("pacat"), *options, "--latency-msec=100", *named]
    if device.kind == "alsa":
        named = ["-D", device.name] if device.name else []
        return [*command_line("aplay"), "-q", "-t", "raw", "-f", "S16_LE", "-r", rate, "-c", channels, *named]
    return command_line(device.name)


class NoSink:
    """Nobody listens."""

    def __init__(self, format: AudioFormat) -> None:
        self.format = format

    async def begin(self) -> None:
        """See `Sink`."""

    async def write(self, audio: bytes) -> None:
        """See `Sink`."""

    async def finish(self) -> None:
        """See `Sink`."""

    async def abort(self) -> None:
        """See `Sink`."""

    async def close(self) -> None:
        """See `Sink`."""


class WavSink:
    """A WAV file that holds all replies, one after another; whole after each of them."""

    def __init__(self, path: str, format: AudioFormat) -> None:
        """Raises `SettingsError` where the file can't be written."""
        self.format = format
        self._path = writable(path)
        self._file: BinaryIO | None = None
        self._writer: wave.Wave_write | None = None

    async def begin(self) -> None:
        """See `Sink`."""
        if self._writer is not None:
            return
        self._file = self._path.open("wb")
        self._writer = wave.open(self._file, "wb")  # noqa: SIM115 - closed by close()
        self._writer.setframerate(self.format.rate)
        self._writer.setsampwidth(self.format.width)
        self._writer.setnchannels(self.format.channels)

    async def write(self, audio: bytes) -> None:
        """See `Sink`."""
        if self._writer is not None:
            self._writer.writeframesraw(audio)

    async def finish(self) -> None:
        """See `Sink`."""
        if self._writer is not None and self._file is not None:
            self._writer.writeframes(b"")  # sets the length in the header right
            self._file.flush()

    async def abort(self) -> None:
        """See `Sink`."""
        await self.finish()

    async def close(self) -> None:
        """See `Sink`."""
        if self._writer is not None and self._file is not None:
            self._writer.close()
            self._file.close()
            self._writer = self._file = None


class CommandSink:
    """A program that reads s16le from its standard input: aplay, pacat or any other. One run of it for each reply."""

    def __init__(self, command: list[str], format: AudioFormat) -> None:
        self.format = format
        self._command = command
        self._process: asyncio.subprocess.Process | None = None

    async def begin(self) -> None:
        """See `Sink`."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._process.stdin is not None
        self._process.stdin.transport.set_write_buffer_limits(high=self.format.bytes_of(AHEAD_S))

    async def write(self, audio: bytes) -> None:
        """See `Sink`."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(audio)
            await self._process.stdin.drain()

    async def finish(self) -> None:
        """See `Sink`."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        try:
            process.stdin.close()
            await process.stdin.wait_closed()
            status = await process.wait()
        finally:
            await end_process(process)
        if status != 0:
            raise OSError(f"{self._command[0]} has ended with status {status}")

    async def abort(self) -> None:
        """See `Sink`."""
        process, self._process = self._process, None
        if process is not None:
            await end_process(process)

    async def close(self) -> None:
        """See `Sink`."""
        await self.abort()


class PortAudioSink:
    """A device of PortAudio, opened with the first reply and then kept open, silent between replies."""

    def __init__(self, name: str, settings: SndSettings) -> None:
        """Raises `SettingsError` where there is no such device."""
        self._name = name
        _, description = find_portaudio(name, "output")
        self.format = AudioFormat(settings.rate or accepted_rate(description), 2, settings.channels)
        self._waiting = bytearray()
        self._lock = threading.Lock()
        self._stream: Any = None
        self._taken = asyncio.Event()
        """Set from PortAudio's thread whenever it has taken something."""
        self._gone = False

    async def begin(self) -> None:
        """See `Sink`."""
        if self._gone:
            await self.close()
        if self._stream is None:
            self._open()

    async def write(self, audio: bytes) -> None:
        """See `Sink`."""
        ahead_bytes = self.format.bytes_of(AHEAD_S)
        await self._until_waiting_at_most(ahead_bytes)
        with self._lock:
            self._waiting += audio

    async def finish(self) -> None:
        """See `Sink`."""
        await self._until_waiting_at_most(0)
        if self._stream is not None:
            await asyncio.sleep(self._stream.latency)

    async def abort(self) -> None:
        """See `Sink`."""
        with self._lock:
            self._waiting.clear()

    async def close(self) -> None:
        """See `Sink`."""
        stream, self._stream = self._stream, None
        self._gone = False
        if stream is not None:
            await asyncio.to_thread(stream.close)

    def _open(self) -> None:
        module = portaudio()
        loop = asyncio.get_running_loop()

        def tell(event_set: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: we are leaving
                loop.call_soon_threadsafe(event_set)

        def wanted(out: Any, frames: int, when: Any, status: Any) -> None:
            with self._lock:
                audio = bytes(self._waiting[: len(out)])
                del self._waiting[: len(out)]
            out[: len(audio)] = audio
            out[len(audio) :] = bytes(len(out) - len(audio))
            if audio:
                tell(self._taken.set)

        def finished() -> None:
            self._gone = True
            tell(self._taken.set)

        try:
            index, _ = find_portaudio(self._name, "output")
            self._stream = module.RawOutputStream(
                device=index,
                samplerate=self.format.rate,
                channels=self.format.channels,
                dtype="int16",
                callback=wanted,
                finished_callback=finished,
            )
            self._stream.start()
        except (SettingsError, module.PortAudioError) as error:
            self._stream = None
            raise OSError(str(error)) from error

    async def _until_waiting_at_most(self, limit_bytes: int) -> None:
        while True:
            self._taken.clear()  # before the look: what is taken after it wakes us
            if len(self._waiting) <= limit_bytes:
                return
            if self._gone or self._stream is None:
                raise OSError("the device has stopped")
            await self._taken.wait()
