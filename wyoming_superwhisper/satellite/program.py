"""Programs as microphone and loudspeaker: arecord and aplay, parec and pacat, or any other for s16le."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil

from wyoming_superwhisper.audio import AudioFormat
from wyoming_superwhisper.config.satellite_settings import MicSettings
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.satellite.capture import CHUNK_S, Deliver, pick_channel
from wyoming_superwhisper.satellite.device import Device
from wyoming_superwhisper.satellite.sink import AHEAD_S

COMMAND_RATE = 16_000
"""Rate that a recording command is expected to write at, where the settings name none, in Hz."""
END_S = 1.0
"""How long the end of a program that was killed is waited for, in seconds."""
DRAIN_BYTES = 1 << 16


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
            await _end_process(process)
        raise OSError(f"{self._command[0]} has ended with status {status}" + (f": {text[-1]}" if text else ""))

    async def _read(self, stream: asyncio.StreamReader, deliver: Deliver) -> None:
        frame_bytes = 2 * self._channels
        rest = b""
        while data := await stream.read(int(self.format.rate * CHUNK_S) * frame_bytes):
            data = rest + data
            whole = len(data) - len(data) % frame_bytes
            rest = data[whole:]
            deliver(pick_channel(data[:whole], self._channels, self._channel))


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
            process.stdin.close()  # not to be waited for: a cancelled wait is an error to asyncio later on
            status = await process.wait()
        finally:
            await _end_process(process)
        if status != 0:
            raise OSError(f"{self._command[0]} has ended with status {status}")

    async def abort(self) -> None:
        """See `Sink`."""
        process, self._process = self._process, None
        if process is not None:
            await _end_process(process)

    async def close(self) -> None:
        """See `Sink`."""
        await self.abort()


def recording_command(device: Device, settings: MicSettings) -> list[str]:
    """The command that records from a device. Raises `SettingsError` where it is none or its program is not there."""
    rate, channels = str(settings.rate or COMMAND_RATE), str(settings.channels)
    if device.kind == "pulse":
        named = [f"--device={device.name}"] if device.name else []
        options = ["--raw", "--format=s16le", f"--rate={rate}", f"--channels={channels}", "--latency-msec=20"]
        return [*_command_line("parec"), *options, *named]
    if device.kind == "alsa":
        named = ["-D", device.name] if device.name else []
        return [*_command_line("arecord"), "-q", "-t", "raw", "-f", "S16_LE", "-r", rate, "-c", channels, *named]
    return _command_line(device.name)


def playing_command(device: Device, format: AudioFormat) -> list[str]:
    """The command that plays on a device. Raises `SettingsError` where it is none or its program is not there."""
    rate, channels = str(format.rate), str(format.channels)
    if device.kind == "pulse":
        named = [f"--device={device.name}"] if device.name else []
        options = ["--playback", "--raw", "--format=s16le", f"--rate={rate}", f"--channels={channels}"]
        return [*_command_line("pacat"), *options, "--latency-msec=100", *named]
    if device.kind == "alsa":
        named = ["-D", device.name] if device.name else []
        return [*_command_line("aplay"), "-q", "-t", "raw", "-f", "S16_LE", "-r", rate, "-c", channels, *named]
    return _command_line(device.name)


def _command_line(text: str) -> list[str]:
    """The words of a command. Raises `SettingsError` where it is none or its program is not there."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SettingsError(f"'{text}' is no command: {error}.") from error
    if not words:
        raise SettingsError("The command for the sound device is empty.")
    if shutil.which(words[0]) is None:
        raise SettingsError(f"The program '{words[0]}' for the sound device is not installed.")
    return words


async def _end_process(process: asyncio.subprocess.Process) -> None:
    """Kill a program that played or recorded, and see it end; it may have ended already.

    Nobody else may be reading its output any more.
    """
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    # To asyncio a process has ended when its pipes have too, and it sees no end of one that is full and not read. A
    # child of the program may hold them open: that is not waited for.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            for stream in (process.stdout, process.stderr):
                while stream is not None and await stream.read(DRAIN_BYTES):
                    pass
            await process.wait()
