"""A device of PortAudio as the loudspeaker: far ahead of what is heard, so that a busy machine plays without gaps."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

from wyoming_superwhisper.audio import AudioFormat
from wyoming_superwhisper.config.satellite_settings import SndSettings
from wyoming_superwhisper.satellite.playback import StreamSink, Wanted
from wyoming_superwhisper.satellite.port_audio import accepted_rate, find_device, library, portaudio

AHEAD_S = 0.5
"""Sound that is given to the device ahead of what is heard, in seconds."""
PAUSE_S = 0.01
"""Pause before it is looked again whether there is room for more, in seconds."""
AFTER_S = 0.2
"""Silence that follows a reply, so that a device that takes whole periods has taken the last of it, in seconds."""


class PortAudioStream:
    """A stream of PortAudio that plays. See `PlaybackStream`."""

    flushes_beside = False
    ahead_s = AHEAD_S

    def __init__(self, name: str, settings: SndSettings) -> None:
        """Raises OSError where the device isn't there."""
        self._module = portaudio()
        self._busy = threading.Lock()
        """Held while it is used, so that nobody closes it meanwhile."""
        self._stream: Any = None
        with library.opening(self):
            index, description = find_device(name, "output")
            self.format = AudioFormat(settings.rate or accepted_rate(description), 2, settings.channels)
            try:
                self._stream = self._module.RawOutputStream(
                    device=index,
                    samplerate=self.format.rate,
                    channels=self.format.channels,
                    dtype="int16",
                    latency=AHEAD_S,
                )
                self._stream.start()
                self._room = int(self._stream.write_available)
            except self._module.PortAudioError as error:
                raise OSError(str(error)) from error

    def check(self) -> None:
        """See `PlaybackStream`."""
        with self._busy:
            if self._stream is None:
                raise OSError("it was closed")
            self._waiting_frames()

    def write(self, audio: bytes, wanted: Wanted) -> None:
        """See `PlaybackStream`."""
        with self._busy:
            frames = len(audio) // self.format.frame_bytes
            while self._room - self._waiting_frames() < frames:
                if not wanted():
                    return
                time.sleep(PAUSE_S)
            self._write(audio)

    def drain(self, wanted: Wanted) -> None:
        """See `PlaybackStream`."""
        with self._busy:
            ends = time.monotonic() + self._waiting_frames() / self.format.rate
            self._write(self.format.silence(AFTER_S))
            while wanted() and (left_s := ends - time.monotonic()) > 0:
                time.sleep(min(left_s, PAUSE_S))

    def flush(self) -> None:
        """See `PlaybackStream`."""
        with self._busy:
            self._do("abort", ignore_errors=False)
            self._do("start")

    def close(self) -> None:
        """See `PlaybackStream`."""
        with self._busy:
            self._close()

    def give_way(self) -> bool:
        """See `OpenStream`."""
        if not self._busy.acquire(blocking=False):
            return False
        try:
            self._close()
        finally:
            self._busy.release()
        return True

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        library.closed(self)
        if stream is not None:
            stream.close()

    def _waiting_frames(self) -> int:
        """What was written and not heard yet."""
        if self._stream is None:
            raise OSError("it was closed")
        try:
            return self._room - int(self._stream.write_available)
        except self._module.PortAudioError as error:
            raise OSError(str(error)) from error

    def _write(self, audio: bytes) -> None:
        self._do("write", audio)

    def _do(self, method: str, *arguments: Any, **options: Any) -> None:
        if self._stream is None:
            raise OSError("it was closed")
        try:
            getattr(self._stream, method)(*arguments, **options)
        except self._module.PortAudioError as error:
            raise OSError(str(error)) from error


def port_audio_sink(name: str, settings: SndSettings) -> StreamSink:
    """A device of PortAudio. It may come later. Raises `SettingsError` without PortAudio."""
    portaudio()
    format = AudioFormat(settings.rate or 48_000, 2, settings.channels)
    return StreamSink(lambda: library.find_and_open(partial(PortAudioStream, name, settings)), format)
