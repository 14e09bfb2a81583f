"""WAV files as microphone and loudspeaker."""

from __future__ import annotations

import asyncio
import os
import time
import wave
from pathlib import Path
from typing import BinaryIO

from wyoming_superwhisper.audio import AudioFormat, read_wav
from wyoming_superwhisper.errors import BadFormat, SettingsError
from wyoming_superwhisper.satellite.capture import CHUNK_S, Deliver


class WavCapture:
    """A WAV file, at the pace at which it was spoken."""

    patient = False

    def __init__(self, path: str, endless: bool = False) -> None:
        """`endless`: it is silence that goes on for ever, in which the file is heard whenever it is rewound.

        Raises `SettingsError` for a file that is no WAV file.
        """
        self.finite = not endless
        try:
            self.format, self._audio = read_wav(path)
        except BadFormat as error:
            raise SettingsError(str(error)) from error
        self._at = len(self._audio) if endless else 0

    def rewind(self) -> None:
        """Where it is endless, be heard from the beginning, from now on."""
        if not self.finite:
            self._at = 0

    async def run(self, deliver: Deliver) -> None:
        """See `Capture`."""
        step = self.format.bytes_of(CHUNK_S)
        due = time.monotonic()
        while self._at < len(self._audio) or not self.finite:
            chunk = self._audio[self._at : self._at + step] or bytes(step)
            self._at = min(self._at + step, len(self._audio))
            due += self.format.seconds(len(chunk))
            await asyncio.sleep(due - time.monotonic())
            deliver(chunk)


class WavSink:
    """A WAV file that holds all replies, one after another; whole after each of them."""

    def __init__(self, path: str, format: AudioFormat) -> None:
        """Raises `SettingsError` where the file can't be written."""
        self.format = format
        self._path = _writable(path)
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


def _writable(path: str) -> Path:
    """The path of a file to be written. Raises `SettingsError` where it can't be, as far as that shows beforehand."""
    target = Path(path)
    folder = target.resolve().parent
    if not folder.is_dir():
        raise SettingsError(f"The folder of {path} does not exist.")
    if target.is_dir():
        raise SettingsError(f"{path} is a folder: name a file in it.")
    if not os.access(target if target.exists() else folder, os.W_OK):
        raise SettingsError(f"{path} can't be written: permission denied.")
    return target
