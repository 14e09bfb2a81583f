"""Playing on a stream of a sound library that blocks: a thread of its own, which can be left where it is stuck."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from wyoming_superwhisper.audio import AudioFormat

STEP_S = 0.02
"""What is written at once: what is cut off ends at such a step, in seconds."""
ANSWER_S = 5.0
"""A stream that has not answered after this time, beyond what the sound itself takes, is given up, in seconds."""
SILENCE_S = 1.0
"""One that is told to be silent, after this time."""


Wanted = Callable[[], bool]
"""Whether what is being played is still to be heard."""


class PlaybackStream(Protocol):
    """A way to a loudspeaker, used by one thread."""

    format: AudioFormat
    flushes_beside: bool
    """Whether `flush` may be called from another thread, while the one that uses it is writing."""
    ahead_s: float
    """Sound that it takes ahead of what is heard, in seconds."""

    def check(self) -> None:
        """Raises OSError where it is of no use any more, and has to be opened again."""

    def write(self, audio: bytes, wanted: Wanted) -> None:
        """Play a step; waits while enough is ahead, at least as long as it is wanted. Raises OSError: it is gone."""

    def drain(self, wanted: Wanted) -> None:
        """Return when all has been heard, at least as long as it is wanted. Raises OSError: the device is gone."""

    def flush(self) -> None:
        """Drop what has not been heard yet. Raises OSError where the device is gone."""

    def close(self) -> None:
        """Let it go."""


class StreamSink:
    """Plays on one stream, opened with the first reply and then kept. See `sink.Sink`.

    One that says nothing any more is waited for only so long.
    """

    def __init__(self, open_stream: Callable[[], PlaybackStream], format: AudioFormat) -> None:
        """`format`: what is played where there is no stream."""
        self.format = format
        self._open_stream = open_stream
        self._player = Player(open_stream)

    async def begin(self) -> None:
        """See `Sink`."""
        self._player.replies += 1
        await self._player.do(self._player.open, ANSWER_S)
        self.format = self._player.format or self.format

    async def write(self, audio: bytes) -> None:
        """See `Sink`."""
        write = partial(self._player.write, audio, self._player.replies)
        await self._player.do(write, self.format.seconds(len(audio)) + self._player.ahead_s + ANSWER_S)

    async def finish(self) -> None:
        """See `Sink`."""
        await self._player.do(partial(self._player.drain, self._player.replies), self._player.ahead_s + ANSWER_S)

    async def abort(self) -> None:
        """See `Sink`."""
        self._player.replies += 1
        try:
            async with asyncio.timeout(SILENCE_S):
                await self._player.flush()
        except TimeoutError:
            self._player.leave()
            self._player = Player(self._open_stream)
        except OSError:
            pass  # the device is gone, and what was to be heard with it

    async def close(self) -> None:
        """See `Sink`."""
        await self.abort()
        await self._player.end()


class Player:
    """A stream and the thread that uses it. One that is stuck can be left: it ends once the stream answers."""

    def __init__(self, open_stream: Callable[[], PlaybackStream]) -> None:
        self.replies = 0
        """Counts replies begun and cut off, so that the thread sees that its own is over."""
        self._open_stream = open_stream
        self._stream: PlaybackStream | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="playback", daemon=True)
        self._thread.start()

    @property
    def format(self) -> AudioFormat | None:
        """What is played, where there is a stream."""
        return self._stream.format if self._stream is not None else None

    @property
    def ahead_s(self) -> float:
        """Sound that it takes ahead of what is heard, in seconds."""
        return self._stream.ahead_s if self._stream is not None else 0.0

    async def do(self, call: Callable[[], None], limit_s: float) -> None:
        """Have the thread do it after all before it. Raises OSError where it fails, or takes longer."""
        done = asyncio.get_running_loop().create_future()
        self._jobs.put(partial(_settle, call, done))
        try:
            async with asyncio.timeout(limit_s):
                await done
        except TimeoutError:
            raise OSError("the sound device does not answer") from None

    async def flush(self) -> None:
        """Drop what was not heard yet: beside the thread that may be writing, or by it, at its next step.

        Raises OSError.
        """
        stream = self._stream
        if stream is None:
            return
        done = asyncio.get_running_loop().create_future()
        if stream.flushes_beside:
            threading.Thread(target=_settle, args=(stream.flush, done), name="flush", daemon=True).start()
        else:
            self._jobs.put(partial(_settle, stream.flush, done))
        await done

    def leave(self) -> None:
        """Let it end by itself, when what it does is done."""
        self._jobs.put(None)

    async def end(self) -> None:
        """Let it end, and see it do so, unless it is stuck."""
        self.leave()
        await asyncio.to_thread(self._thread.join, SILENCE_S)

    # --- below: the thread ---

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        if self._stream is not None:
            self._stream.close()

    def open(self) -> None:
        """Get a stream that works. Raises OSError."""
        if self._stream is not None:
            try:
                self._stream.check()
            except OSError:  # the device was away since
                self._stream.close()
                self._stream = None
        if self._stream is None:
            self._stream = self._open_stream()

    def write(self, audio: bytes, reply: int) -> None:
        """Play this of that reply, as far as it is not cut off."""
        stream = self._stream
        if stream is None:
            return
        wanted = partial(self._is_wanted, reply)
        step = stream.format.bytes_of(STEP_S)
        for at in range(0, len(audio), step):
            if wanted():
                stream.write(audio[at : at + step], wanted)
        if not wanted():
            stream.flush()  # cut off meanwhile: else what was written last would begin the next reply

    def drain(self, reply: int) -> None:
        """Return when all of that reply has been heard."""
        if self._stream is not None and self._is_wanted(reply):
            self._stream.drain(partial(self._is_wanted, reply))

    def _is_wanted(self, reply: int) -> bool:
        return reply == self.replies


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
