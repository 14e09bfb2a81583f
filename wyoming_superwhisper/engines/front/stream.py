"""Streams of audio in the light worker (voice activity, wake words), which die with it and are opened again.

Each keeps some seconds of the newest audio it was fed and opens itself again from that, so whoever feeds it notices
nothing but the time the reload takes. Audio is sent in whole frames of 512 samples (what is left over waits for the
next `feed`, without a round trip) and in pieces of a second at most, so that one client's backlog doesn't hold up the
others. A stream has one call on its way at a time; its calls are never `Busy`, since there are no more of them than
connections.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from wyoming_superwhisper.engines.base import FRAME_SAMPLES, SAMPLE_RATE, VoiceState, WakeWordDetection
from wyoming_superwhisper.engines.front.process import WorkerProcess
from wyoming_superwhisper.errors import EngineLost, SuperwhisperError

FRAME_BYTES = 2 * FRAME_SAMPLES
PIECE_BYTES = 31 * FRAME_BYTES
"""Most audio in one call of a stream: about a second."""
VOICE_KEEP_S = 10.0
"""Audio that a voice stream keeps: enough to bring the detector's memory back, and quick to go through again."""
WAKE_KEEP_S = 3.0
"""Audio that a wake-word stream keeps: longer than any wake word."""
REOPENINGS = 3
"""How often one feed opens its stream again before it gives up."""


class _Stream:
    """A stream in the light worker: opened, fed, opened again where it was lost."""

    kind: str

    def __init__(self, worker: WorkerProcess, opening: Mapping[str, Any], keep_s: float) -> None:
        self._worker = worker
        self._opening = opening
        self._keep_bytes = int(keep_s * SAMPLE_RATE) // FRAME_SAMPLES * FRAME_BYTES
        self._kept = bytearray()  # the newest audio that the worker has answered for
        self._done = 0  # samples that the worker has answered for
        self._pending = b""  # audio that is still to be sent; less than a frame between two feeds
        self._offset = 0  # sample at which the worker's stream began
        self._stream: int | None = None
        self._generation: int | None = None

    async def open(self) -> None:
        """Open it in the worker, and give that what was kept."""
        job = self._worker.submit(f"{self.kind}.open", self._opening, unbounded=True)
        try:
            reply = await job.result()
        except asyncio.CancelledError:
            job.on_reply = lambda late: self._close_in_worker(late.data["stream"], job.ran_in)
            raise
        self._stream, self._generation = reply.data["stream"], job.ran_in
        self._offset = self._done - len(self._kept) // 2
        self._begin()
        for at in range(0, len(self._kept), PIECE_BYTES):
            self._take_again(await self._call_feed(bytes(self._kept[at : at + PIECE_BYTES])))

    async def close(self) -> None:
        """Forget the stream. Idempotent; waits for nothing."""
        self._kept.clear()
        self._pending = b""
        self._drop()

    async def _feed(self, audio: bytes) -> None:
        """Send all whole frames there are; `_take` gets the answers. What was not answered for is sent next time."""
        self._pending += audio  # of bytes: nothing is copied where nothing was left, nor below where all is sent
        while len(self._pending) >= FRAME_BYTES:
            whole = len(self._pending) - len(self._pending) % FRAME_BYTES
            piece = self._pending[: min(whole, PIECE_BYTES)]
            self._take(await self._feed_piece(piece))
            self._pending = self._pending[len(piece) :]
            self._done += len(piece) // 2
            self._kept += piece
            del self._kept[: max(0, len(self._kept) - self._keep_bytes)]

    async def _feed_piece(self, piece: bytes) -> Mapping[str, Any]:
        lost = EngineLost("")
        for _ in range(REOPENINGS):
            try:
                if self._stream is None or self._generation != self._worker.generation:
                    await self.open()
                return await self._call_feed(piece)
            except EngineLost as error:
                self._stream = None
                lost = error
            except BaseException:  # a cancel or a fault: nobody knows whether the worker has had this piece
                self._drop()
                raise
        raise lost

    async def _call_feed(self, piece: bytes) -> Mapping[str, Any]:
        data = {"stream": self._stream}
        job = self._worker.submit(f"{self.kind}.feed", data, piece, generation=self._generation, unbounded=True)
        try:
            return (await job.result()).data
        finally:
            self._worker.release(job)

    def _begin(self) -> None:
        """The worker's stream is a new one."""

    def _take(self, answer: Mapping[str, Any]) -> None:
        """What the worker says of new audio."""
        raise NotImplementedError

    def _take_again(self, answer: Mapping[str, Any]) -> None:
        """What it says of audio that it, or the worker before it, has answered for already."""

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self._close_in_worker(stream, self._generation)

    def _close_in_worker(self, stream: int, generation: int | None) -> None:
        """Without waiting; where the worker is gone, so is the stream."""
        with contextlib.suppress(SuperwhisperError):
            self._worker.submit(f"{self.kind}.close", {"stream": stream}, generation=generation, unbounded=True)


class RemoteVoiceStream(_Stream):
    """Voice activity over one utterance."""

    kind = "voice"

    def __init__(self, worker: WorkerProcess) -> None:
        super().__init__(worker, {}, VOICE_KEEP_S)
        self._state = VoiceState(samples=0, voiced_start=None, voiced_end=0, speaking=False)
        self._counted = 0  # voiced samples of the worker's stream that are in the state

    async def feed(self, audio: bytes) -> VoiceState:
        """Feed audio of any length; returns the state after its last whole frame, whose `samples` count to there."""
        await self._feed(audio)
        return self._state

    def _begin(self) -> None:
        self._counted = 0

    def _take_again(self, answer: Mapping[str, Any]) -> None:
        self._counted = answer["voiced_samples"]

    def _take(self, answer: Mapping[str, Any]) -> None:
        old, start = self._state, answer["voiced_start"]
        if old.voiced_start is not None:
            start = old.voiced_start  # where the worker's stream began later it can't know the first one
        elif start is not None:
            start += self._offset
        self._state = VoiceState(
            samples=self._offset + answer["samples"],
            voiced_start=start,
            voiced_end=self._offset + answer["voiced_end"] if answer["voiced_end"] else old.voiced_end,
            speaking=answer["speaking"],
            voiced_samples=old.voiced_samples + answer["voiced_samples"] - self._counted,
        )
        self._counted = answer["voiced_samples"]


class RemoteWakeWordStream(_Stream):
    """Wake words over one stream."""

    kind = "wake"

    def __init__(self, worker: WorkerProcess, names: Sequence[str]) -> None:
        super().__init__(worker, {"names": list(names)}, WAKE_KEEP_S)
        self._heard: list[WakeWordDetection] = []

    async def feed(self, audio: bytes) -> Sequence[WakeWordDetection]:
        await self._feed(audio)
        heard, self._heard = self._heard, []
        return heard

    def _take(self, answer: Mapping[str, Any]) -> None:
        for detection in answer["detections"]:
            self._heard.append(WakeWordDetection(detection["name"], self._offset + detection["sample"]))
