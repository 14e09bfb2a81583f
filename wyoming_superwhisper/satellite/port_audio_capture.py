"""A device of PortAudio as the microphone: read by a thread of its own, which waits without holding anything up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

from wyoming_superwhisper.audio import AudioFormat
from wyoming_superwhisper.config.satellite_settings import MicSettings
from wyoming_superwhisper.satellite.capture import Deliver, pick_channel
from wyoming_superwhisper.satellite.port_audio import accepted_rate, find_device, library, portaudio

FRAGMENT_S = 0.06
"""What a capture delivers at once, in seconds."""
PATIENT_S = 0.18
"""What it delivers at once while nobody is in a hurry, in seconds."""
BUFFER_S = 0.4
"""What the device keeps until it is read, so that a busy machine loses nothing, in seconds."""
GIVE_WAY_S = 2.0
"""How long it may take to close, in seconds."""


class PortAudioCapture:
    """A device of PortAudio, at the rate it prefers. See `Capture`."""

    finite = False

    def __init__(self, name: str, settings: MicSettings) -> None:
        """The device may come later. Raises `SettingsError` without PortAudio."""
        portaudio()
        self.format = AudioFormat(settings.rate or 48_000, 2, 1)
        """That of the device, once it was opened."""
        self.patient = False
        """See `Capture`."""
        self._name = name
        self._settings = settings

    async def run(self, deliver: Deliver) -> None:
        """See `Capture`."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def pass_on(audio: bytes) -> None:
            loop.call_soon_threadsafe(deliver, audio)

        reading = Reading(self, pass_on)

        def end(error: OSError) -> None:
            if not ended.done():
                ended.set_exception(error)

        def record() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: we are leaving
                try:
                    reading.run()
                except OSError as error:
                    loop.call_soon_threadsafe(end, error)

        thread = threading.Thread(target=record, name="microphone", daemon=True)
        thread.start()
        try:
            await ended
        finally:
            reading.stop()
            # PortAudio ends with the process, and must not while somebody reads.
            await asyncio.to_thread(thread.join, GIVE_WAY_S)

    def open(self) -> Any:
        """A stream of the device that has begun. Raises OSError where it isn't there."""
        module = portaudio()
        index, description = find_device(self._name, "input")
        self.format = AudioFormat(self._settings.rate or accepted_rate(description), 2, 1)
        try:
            stream = module.RawInputStream(
                device=index,
                samplerate=self.format.rate,
                channels=self._settings.channels,
                dtype="int16",
                latency=BUFFER_S,
            )
            stream.start()
        except module.PortAudioError as error:
            raise OSError(str(error)) from error
        return stream

    def read(self, stream: Any) -> bytes:
        """What it hears next. Raises OSError where the device is gone."""
        frames = round((PATIENT_S if self.patient else FRAGMENT_S) * self.format.rate)
        try:
            data, _ = stream.read(frames)
        except portaudio().PortAudioError as error:
            raise OSError(str(error)) from error
        return pick_channel(bytes(data), self._settings.channels, self._settings.channel)


class Reading:
    """A thread's reading of a microphone, which can be told to close its stream for a moment."""

    def __init__(self, capture: PortAudioCapture, deliver: Deliver) -> None:
        self._capture = capture
        self._deliver = deliver
        self._stopping = threading.Event()
        self._wanted_closed = threading.Event()
        self._closed = threading.Event()

    def run(self) -> None:
        """Deliver what is heard until stopped. Raises OSError where the device is gone, or isn't there."""
        while not self._stopping.is_set():
            self._wanted_closed.clear()
            self._closed.clear()
            with library.opening(self):
                stream = library.find_and_open(self._capture.open)
            try:
                while not (self._stopping.is_set() or self._wanted_closed.is_set()):
                    self._deliver(self._capture.read(stream))
            finally:
                stream.close()
                library.closed(self)
                self._closed.set()

    def stop(self) -> None:
        """End soon."""
        self._stopping.set()

    def give_way(self) -> bool:
        """See `OpenStream`."""
        self._wanted_closed.set()
        return self._closed.wait(GIVE_WAY_S)
