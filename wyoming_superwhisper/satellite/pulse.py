"""Sound through PulseAudio, or PipeWire in its place, by its own small library: one stream in, one out, kept open.

The library blocks, so each stream has a thread of its own. Nothing is imported or loaded before it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import ctypes.util
import threading
from collections.abc import Callable
from functools import partial

from wyoming_superwhisper.audio import AudioFormat
from wyoming_superwhisper.config.satellite_settings import MicSettings, SndSettings
from wyoming_superwhisper.satellite.playback import StreamSink, Wanted

CAPTURE_RATE = 16_000
"""Rate that is asked for where the settings name none, in Hz: the sound server converts."""
PLAYBACK_RATE = 48_000
"""Rate that is played at where the settings name none, in Hz: what most devices have."""
FRAGMENT_S = 0.06
"""What a capture delivers at once, in seconds."""
PATIENT_S = 0.18
"""What it delivers at once while nobody is in a hurry, in seconds."""
NAP = 0.8
"""For this share of the time that it takes, its thread sleeps: packets come more often, and each would wake it."""
AHEAD_S = 0.6
"""Sound that the server holds ahead of what is heard, so that a busy machine plays without gaps, in seconds."""
REQUEST_S = 0.25
"""The server asks for more when this much of that is free, in seconds. Half of what remains (50 ms) becomes the delay
of its device: where a device can't take back what it was given, so much is still heard of what is cut off."""
FIRST_S = 0.08
"""Sound that the server wants before it begins, so that a beginning has no gaps on a busy machine, in seconds."""

_S16LE = 3
_PLAYBACK, _RECORD = 1, 2
_AS_THE_SERVER_LIKES = 0xFFFFFFFF


class _SampleSpec(ctypes.Structure):
    _fields_ = (("format", ctypes.c_int), ("rate", ctypes.c_uint32), ("channels", ctypes.c_uint8))


class _Buffer(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in ("maxlength", "tlength", "prebuf", "minreq", "fragsize"))


def is_there() -> bool:
    """Whether the library is installed."""
    return ctypes.util.find_library("pulse-simple") is not None


class Stream:
    """A stream of the sound server, to be used by one thread; `flush` may come from another. See `PlaybackStream`."""

    flushes_beside = True
    ahead_s = AHEAD_S

    def __init__(self, direction: int, device: str, format: AudioFormat, channels: int) -> None:
        """Raises OSError where the server or the device isn't there."""
        self.format = format
        self._library = _load()
        spec = _SampleSpec(_S16LE, format.rate, channels)
        frame = 2 * channels
        ahead, first, request, fragment = (
            round(seconds * format.rate) * frame for seconds in (AHEAD_S, FIRST_S, REQUEST_S, FRAGMENT_S)
        )
        buffer = _Buffer(_AS_THE_SERVER_LIKES, ahead, first, request, fragment)
        error = ctypes.c_int(0)
        self._stream = self._library.pa_simple_new(
            None,
            b"wyoming-superwhisper",
            direction,
            device.encode() or None,
            b"satellite",
            ctypes.byref(spec),
            None,
            ctypes.byref(buffer),
            ctypes.byref(error),
        )
        if not self._stream:
            raise OSError(self._message(error))

    def read(self, size: int) -> bytes:
        """The next of what is heard. Raises OSError where the server is gone."""
        data = ctypes.create_string_buffer(size)
        self._call("pa_simple_read", data, ctypes.c_size_t(size))
        return data.raw

    def write(self, audio: bytes, wanted: Wanted) -> None:
        """Play; waits while enough is ahead. Raises OSError where the server is gone."""
        self._call("pa_simple_write", audio, ctypes.c_size_t(len(audio)))

    def drain(self, wanted: Wanted) -> None:
        """Return when all has been heard. Raises OSError where the server is gone."""
        self._call("pa_simple_drain")

    def flush(self) -> None:
        """Drop what has not been heard yet. Raises OSError where the server is gone."""
        self._call("pa_simple_flush")

    def check(self) -> None:
        """Raises OSError where the server is gone."""
        error = ctypes.c_int(0)
        self._library.pa_simple_get_latency(self._stream, ctypes.byref(error))
        if error.value:
            raise OSError(self._message(error))

    def close(self) -> None:
        """Let it go."""
        stream, self._stream = self._stream, None
        if stream:
            self._library.pa_simple_free(stream)

    def _call(self, name: str, *arguments: object) -> None:
        error = ctypes.c_int(0)
        if getattr(self._library, name)(self._stream, *arguments, ctypes.byref(error)) < 0:
            raise OSError(self._message(error))

    def _message(self, error: ctypes.c_int) -> str:
        text: bytes = self._library.pa_strerror(error)
        return f"sound server: {text.decode(errors='replace')}"


class PulseCapture:
    """A source of the sound server. See `microphone.Capture`."""

    finite = False

    def __init__(self, device: str, settings: MicSettings, pick: Callable[[bytes, int, int], bytes]) -> None:
        self.format = AudioFormat(settings.rate or CAPTURE_RATE, 2, 1)
        self._device = device
        self._settings = settings
        self._pick = pick
        self.patient = False
        """See `Capture`."""

    async def run(self, deliver: Callable[[bytes], None]) -> None:
        """See `Capture`."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        stopping = threading.Event()

        def end(error: OSError) -> None:
            if not ended.done():
                ended.set_exception(error)

        def record() -> None:
            # The loop may be closed when something is told to it: then we are leaving.
            with contextlib.suppress(RuntimeError):
                try:
                    self._record(stopping, lambda audio: loop.call_soon_threadsafe(deliver, audio))
                except OSError as error:
                    loop.call_soon_threadsafe(end, error)

        threading.Thread(target=record, name="pulse capture", daemon=True).start()
        try:
            await ended
        finally:
            stopping.set()

    def _record(self, stopping: threading.Event, deliver: Callable[[bytes], object]) -> None:
        channels, channel = self._settings.channels, self._settings.channel
        stream = Stream(_RECORD, self._device, self.format, channels)
        try:
            while True:
                seconds = PATIENT_S if self.patient else FRAGMENT_S
                if stopping.wait(NAP * seconds):
                    return
                size = round(seconds * self.format.rate) * 2 * channels
                deliver(self._pick(stream.read(size), channels, channel))
        finally:
            stream.close()


def pulse_sink(device: str, settings: SndSettings) -> StreamSink:
    """A sink of the sound server."""
    format = AudioFormat(settings.rate or PLAYBACK_RATE, 2, settings.channels)
    return StreamSink(partial(Stream, _PLAYBACK, device, format, format.channels), format)


def _load() -> ctypes.CDLL:
    global _library
    if _library is None:
        library = ctypes.CDLL(ctypes.util.find_library("pulse-simple") or "libpulse-simple.so.0")
        library.pa_simple_new.restype = ctypes.c_void_p
        library.pa_simple_new.argtypes = [
            ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p,
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        for name in ("read", "write"):
            getattr(library, f"pa_simple_{name}").argtypes = [
                ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p,
            ]  # fmt: skip
        for name in ("drain", "flush", "get_latency"):
            getattr(library, f"pa_simple_{name}").argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        library.pa_simple_get_latency.restype = ctypes.c_uint64
        library.pa_simple_free.argtypes = [ctypes.c_void_p]
        library.pa_strerror.restype = ctypes.c_char_p
        _library = library
    return _library


_library: ctypes.CDLL | None = None
