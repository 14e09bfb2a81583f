"""Sound through PulseAudio, or PipeWire in its place, by its own small library: one stream in, one out, kept open.

The library blocks, so each stream has a thread of its own. Nothing is imported or loaded before it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import ctypes.util
import queue
import threading
from collections.abc import Callable
from functools import partial

from wyoming_superwhisper.audio import AudioFormat
from wyoming_superwhisper.config.satellite_settings import MicSettings, SndSettings

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
STEP_S = 0.02
"""What is written at once: what is cut off ends at such a step, in seconds."""
ANSWER_S = 5.0
"""A server that has not answered after this time, beyond what the sound itself takes, is given up, in seconds."""
SILENCE_S = 1.0
"""One that is told to be silent, after this time."""

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
    """A stream of the sound server, to be used by one thread; `flush` may come from another."""

    def __init__(self, direction: int, device: str, format: AudioFormat, channels: int) -> None:
        """Raises OSError where the server or the device isn't there."""
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

    def write(self, audio: bytes) -> None:
        """Play; waits while enough is ahead. Raises OSError where the server is gone."""
        self._call("pa_simple_write", audio, ctypes.c_size_t(len(audio)))

    def drain(self) -> None:
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


class PulseSink:
    """A sink of the sound server. See `sink.Sink`. A server that says nothing any more is waited for only so long."""

    def __init__(self, device: str, settings: SndSettings) -> None:
        self.format = AudioFormat(settings.rate or PLAYBACK_RATE, 2, settings.channels)
        self._device = device
        self._player = Player(device, self.format)

    async def begin(self) -> None:
        """See `Sink`."""
        self._player.replies += 1
        await self._player.do(self._player.open, ANSWER_S)

    async def write(self, audio: bytes) -> None:
        """See `Sink`."""
        write = partial(self._player.write, audio, self._player.replies)
        await self._player.do(write, self.format.seconds(len(audio)) + AHEAD_S + ANSWER_S)

    async def finish(self) -> None:
        """See `Sink`."""
        await self._player.do(self._player.drain, AHEAD_S + ANSWER_S)

    async def abort(self) -> None:
        """See `Sink`."""
        self._player.replies += 1
        try:
            async with asyncio.timeout(SILENCE_S):
                await self._player.flush()
        except TimeoutError:
            self._player.leave()
            self._player = Player(self._device, self.format)
        except OSError:
            pass  # the server is gone, and what was to be heard with it

    async def close(self) -> None:
        """See `Sink`."""
        await self.abort()
        self._player.leave()


class Player:
    """A stream and the thread that uses it. One that is stuck can be left: it ends once the server answers."""

    def __init__(self, device: str, format: AudioFormat) -> None:
        self.replies = 0
        """Counts replies begun and cut off, so that the thread sees that its own is over."""
        self._device = device
        self._format = format
        self._stream: Stream | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="pulse playback", daemon=True).start()

    async def do(self, call: Callable[[], None], limit_s: float) -> None:
        """Have the thread do it after all before it. Raises OSError where it fails, or takes longer."""
        done = asyncio.get_running_loop().create_future()
        self._jobs.put(partial(_settle, call, done))
        try:
            async with asyncio.timeout(limit_s):
                await done
        except TimeoutError:
            raise OSError("sound server: it does not answer") from None

    async def flush(self) -> None:
        """Drop what was not heard yet, beside the thread that may be writing. Raises OSError."""
        stream = self._stream
        if stream is not None:
            done = asyncio.get_running_loop().create_future()
            threading.Thread(target=_settle, args=(stream.flush, done), name="pulse flush", daemon=True).start()
            await done

    def leave(self) -> None:
        """Let it end by itself, when what it does is done."""
        self._jobs.put(None)

    # --- below: the thread ---

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        if self._stream is not None:
            self._stream.close()

    def open(self) -> None:
        """Get a stream that works."""
        if self._stream is not None:
            try:
                self._stream.check()
            except OSError:  # the server was restarted since
                self._stream.close()
                self._stream = None
        if self._stream is None:
            self._stream = Stream(_PLAYBACK, self._device, self._format, self._format.channels)

    def write(self, audio: bytes, reply: int) -> None:
        """Play this of that reply, as far as it is not cut off."""
        step = self._format.bytes_of(STEP_S)
        for at in range(0, len(audio), step):
            if self._stream is None or reply != self.replies:
                break
            self._stream.write(audio[at : at + step])
        if self._stream is not None and reply != self.replies:
            self._stream.flush()  # cut off meanwhile: else what was written last would begin the next reply

    def drain(self) -> None:
        """Return when all has been heard."""
        if self._stream is not None:
            self._stream.drain()


def _settle(call: Callable[[], None], done: asyncio.Future[None]) -> None:
    """Do it, unless nobody waits for it any more, and say so to who does. For another thread than the loop's."""
    if done.cancelled():
        return
    error: OSError | None = None
    try:
        call()
    except OSError as failure:
        error = failure

    def tell() -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        done.get_loop().call_soon_threadsafe(tell)


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
