"""The front's engines: each interface of `engines.base`, served by a worker process."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from wyoming_superwhisper.engines.base import (
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
    WakeWordInfo,
)
from wyoming_superwhisper.engines.front.jobs import Job
from wyoming_superwhisper.engines.front.process import WorkerProcess
from wyoming_superwhisper.engines.front.stream import RemoteVoiceStream, RemoteWakeWordStream
from wyoming_superwhisper.errors import UnknownModel


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
            loss_without_end=data.get("loss_without_end", math.inf),
            loss_without_phrase=data.get("loss_without_phrase", math.inf),
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
        data: dict[str, Any] = {
            "language": request.language,
            "names": list(request.names),
            "terms": list(request.terms),
            "look_back": list(request.look_back),
        }
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
