"""The front's engines: each interface of `engines.base`, served by a worker process.

Streams (voice activity, wake words) live in the light worker and die with it. Each keeps some seconds of the newest
audio it was fed and opens itself again from that, so whoever feeds it notices nothing but the time the reload takes.
Audio is sent in whole frames of 512 samples (what is left over waits for the next `feed`, without a round trip) and in
pieces of a second at most, so that one client's backlog doesn't hold up the others. A stream has one call on its way
at a time; its calls are never `Busy`, since there are no more of them than connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from wyoming_superwhisper.engines.base import (
    FRAME_SAMPLES,
    SAMPLE_RATE,
    AnswerPart,
    AnswerRequest,
    IntentCall,
    Priority,
    RecognizeRequest,
    SpeakRequest,
    Speech,
    TranscribeRequest,
    Transcription,
    VoiceInfo,
    VoiceState,
    WakeWordDetection,
    WakeWordInfo,
)
from wyoming_superwhisper.engines.front.jobs import Job
from wyoming_superwhisper.engines.front.process import WorkerProcess
from wyoming_superwhisper.errors import EngineLost, SuperwhisperError, UnknownModel

FRAME_BYTES = 2 * FRAME_SAMPLES
PIECE_BYTES = 31 * FRAME_BYTES
"""Most audio in one call of a stream: about a second."""
VOICE_KEEP_S = 10.0
"""Audio that a voice stream keeps: enough to bring the detector's memory back, and quick to go through again."""
WAKE_KEEP_S = 3.0
"""Audio that a wake-word stream keeps: longer than any wake word."""
REOPENINGS = 3
"""How often one feed opens its stream again before it gives up."""


class RemoteRecognizer:
    """Speech to text by the Whisper worker.

    A final request that equals a guess on its way joins that guess and lends it its priority: nothing is decoded twice.
    """

    def __init__(self, worker: WorkerProcess, languages: Sequence[str] | None = None) -> None:
        """`languages`: what to say before the model is loaded."""
        self._worker = worker
        self._languages = languages
        self._on_their_way: dict[TranscribeRequest, Job] = {}

    def promote(self, request: TranscribeRequest) -> None:
        """See `engines.base.Promotes`."""
        if (job := self._on_their_way.get(request)) is not None:
            self._worker.promote(job)

    @property
    def languages(self) -> Sequence[str]:
        return self._languages if self._languages is not None else self._worker.capabilities.get("languages", ())

    async def transcribe(self, request: TranscribeRequest, priority: Priority = Priority.FINAL) -> Transcription:
        job = self._join(request, priority) or self._submit(request, priority)
        try:
            data = (await job.result()).data
        finally:
            if job.holders == 1 and self._on_their_way.get(request) is job:
                del self._on_their_way[request]
            self._worker.release(job)
        return Transcription(
            text=data["text"],
            language=data["language"],
            no_speech_probability=data["no_speech_probability"],
            average_logprob=data["average_logprob"],
            compression_ratio=data["compression_ratio"],
            end_logprob=data.get("end_logprob", 0.0),
            tokens=tuple(data["tokens"]),
        )

    def _join(self, request: TranscribeRequest, priority: Priority) -> Job | None:
        job = self._on_their_way.get(request)
        if job is None or job.ended:
            return None
        job.holders += 1
        if priority is Priority.FINAL:
            self._worker.promote(job)
        return job

    def _submit(self, request: TranscribeRequest, priority: Priority) -> Job:
        data = {"language": request.language, "names": list(request.names), "terms": list(request.terms)}
        job = self._worker.submit("transcribe", data, request.audio, priority)
        if priority is Priority.GUESS:
            self._on_their_way[request] = job
        return job


class RemoteIntents:
    """Intents by hassil in the light worker."""

    def __init__(self, worker: WorkerProcess, languages: Sequence[str] | None = None) -> None:
        self._worker = worker
        self._languages = languages
        self._guesses = _Guesses(worker)

    @property
    def languages(self) -> Sequence[str]:
        return self._languages if self._languages is not None else self._worker.capabilities.get("languages", ())

    def promote(self, request: RecognizeRequest) -> None:
        """See `engines.base.Promotes`."""
        self._guesses.promote(request)

    async def recognize(self, request: RecognizeRequest, priority: Priority = Priority.FINAL) -> tuple[IntentCall, ...]:
        data = {
            "text": request.text,
            "language": request.language,
            "area": request.area,
            "previous": [dataclasses.asdict(call) for call in request.previous],
        }
        job = self._worker.submit("intents.recognize", data, priority=priority)
        with self._guesses.known(request, job):
            try:
                reply = await job.result()
            finally:
                self._worker.release(job)
        return tuple(_intent(fields) for fields in reply.data["intents"])

    async def complete(
        self, calls: Sequence[IntentCall], language: str, area: str | None = None
    ) -> tuple[IntentCall, ...]:
        data = {"intents": [dataclasses.asdict(call) for call in calls], "language": language, "area": area}
        reply = await self._worker.call("intents.complete", data)
        return tuple(_intent(fields) for fields in reply.data["intents"])

    async def set_home(self, home: Mapping[str, Any]) -> None:
        """Use these rooms and devices from now on, also after a restart."""
        await _set_home(self._worker, home)


class RemoteLanguageModel:
    """Answers by the Llama worker."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker
        self._guesses = _Guesses(worker)

    def promote(self, request: AnswerRequest) -> None:
        """See `engines.base.Promotes`."""
        self._guesses.promote(request)

    async def answer(self, request: AnswerRequest, priority: Priority = Priority.FINAL) -> AsyncIterator[AnswerPart]:
        data = dataclasses.asdict(request)
        smaller = {**data, "history": ()}  # where there is no memory for all that was said before
        stream = self._worker.stream("answer", data, priority=priority, smaller=smaller)
        async with stream as parts:
            with self._guesses.known(request, stream.job):
                async for part in parts:
                    intents = tuple(_intent(fields) for fields in part.data.get("intents", ()))
                    yield AnswerPart(part.data.get("text", ""), intents, part.data.get("whole"))

    async def set_home(self, home: Mapping[str, Any]) -> None:
        """Use these rooms and devices from now on, also after a restart."""
        await _set_home(self._worker, home)


class RemoteSynthesizer:
    """Speech by the Piper worker."""

    def __init__(self, worker: WorkerProcess, voices: Sequence[VoiceInfo]) -> None:
        """`voices`: those that are offered, read from their small files."""
        self._worker = worker
        self.voices = voices
        self._guesses = _Guesses(worker)

    def promote(self, request: SpeakRequest) -> None:
        """See `engines.base.Promotes`."""
        self._guesses.promote(request)

    async def speak(self, request: SpeakRequest, priority: Priority = Priority.FINAL) -> Speech:
        job = self._worker.submit("speak", dataclasses.asdict(request), priority=priority)
        with self._guesses.known(request, job):
            try:
                reply = await job.result()
            finally:
                self._worker.release(job)
        return Speech(audio=reply.payload, sample_rate=reply.data["sample_rate"], level=reply.data["level"])


class RemoteVoiceActivity:
    """Voice activity by the light worker."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker

    async def open(self) -> RemoteVoiceStream:
        """The stream is opened in the worker when the first audio comes."""
        return RemoteVoiceStream(self._worker)


class RemoteWakeWords:
    """Wake words by the light worker."""

    def __init__(self, worker: WorkerProcess, words: Sequence[WakeWordInfo] | None = None) -> None:
        """`words`: what to say before the models are loaded."""
        self._worker = worker
        self._words = words

    @property
    def words(self) -> Sequence[WakeWordInfo]:
        if self._words is not None:
            return self._words
        listed = self._worker.capabilities.get("wake_words", ())
        return tuple(WakeWordInfo(**{**word, "languages": tuple(word["languages"])}) for word in listed)

    async def open(self, names: Sequence[str]) -> RemoteWakeWordStream:
        known = {word.name for word in self.words}
        for name in names:
            if known and name not in known:
                raise UnknownModel(f"There is no wake word {name!r}; there are {', '.join(sorted(known))}.")
        stream = RemoteWakeWordStream(self._worker, names)
        await stream.open()
        return stream


class _Stream:
    """A stream in the light worker: opened, fed, opened again where it was lost."""

    kind: str

    def __init__(self, worker: WorkerProcess, opening: Mapping[str, Any], keep_s: float) -> None:
        self._worker = worker
        self._opening = opening
        self._keep_bytes = int(keep_s * SAMPLE_RATE) // FRAME_SAMPLES * FRAME_BYTES
        self._kept = bytearray()  # the newest audio that the worker has answered for
        self._done = 0  # samples that the worker has answered for
        self._pending = bytearray()  # audio that is still to be sent; less than a frame between two feeds
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
        self._pending.clear()
        self._drop()

    async def _feed(self, audio: bytes) -> None:
        """Send all whole frames there are; `_take` gets the answers. What was not answered for is sent next time."""
        self._pending += audio
        while len(self._pending) >= FRAME_BYTES:
            whole = len(self._pending) - len(self._pending) % FRAME_BYTES
            piece = bytes(memoryview(self._pending)[: min(whole, PIECE_BYTES)])
            self._take(await self._feed_piece(piece))
            del self._pending[: len(piece)]
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


class _Guesses:
    """The guesses of one engine that are on their way, so that one can be made urgent."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker
        self._jobs: dict[str, Job] = {}

    @contextlib.contextmanager
    def known(self, request: object, job: Job) -> Iterator[None]:
        """While this runs the job can be promoted by its request; finals have no need of that."""
        key = repr(request)  # slots are mappings, which have no hash
        if job.priority is Priority.GUESS:
            self._jobs[key] = job
        try:
            yield
        finally:
            if self._jobs.get(key) is job:
                del self._jobs[key]

    def promote(self, request: object) -> None:
        """Make the guess with this request as urgent as a final, if it is on its way."""
        if (job := self._jobs.get(repr(request))) is not None:
            self._worker.promote(job)


async def _set_home(worker: WorkerProcess, home: Mapping[str, Any]) -> None:
    worker.configuration = {**worker.configuration, "home": home}
    await worker.call("home", home)


def _intent(fields: Mapping[str, Any]) -> IntentCall:
    return IntentCall(
        name=fields["name"],
        slots=fields.get("slots", {}),
        text=fields.get("text", ""),
        template=fields.get("template", ""),
    )
