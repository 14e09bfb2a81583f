"""Stand-ins that are real classes: an engine for real worker processes, and the front's interfaces without any."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wyoming_superwhisper.endpointing import VoiceTracker
from wyoming_superwhisper.engines.base import (
    FRAME_SAMPLES,
    AnswerPart,
    AnswerRequest,
    Call,
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
from wyoming_superwhisper.errors import ModelError, SuperwhisperError, UnknownModel, UnknownVoice, from_code

FAKE_ENGINE = "tests.fakes:FakeEngine"
"""How the registry names `FakeEngine`."""


class FakeEngine:
    """An engine whose calls say themselves what shall happen; see `_METHODS`.

    Configuration: `capacity`, `load` ("ok", "model-error", "fault", "crash"), `gate` (a file without which loading goes
    on for ever).
    """

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        self.capacity: int = configuration.get("capacity", 1)
        self._configuration = configuration
        self._calls: dict[int, tuple[Call, dict[str, Any]]] = {}
        self._order: list[Any] = []
        self._hogged: list[bytes] = []

    def load(self) -> Mapping[str, Any]:
        while not _is_open(self._configuration):
            time.sleep(0.005)
        how = self._configuration.get("load", "ok")
        if how == "model-error":
            raise ModelError("The model file is not there; fetch it.")
        if how == "fault":
            raise RuntimeError("the library choked")
        if how == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        print("an engine's library prints to standard output")
        return {"configuration": dict(self._configuration), "nice": os.nice(0)}

    def admit(self, call: Call) -> None:
        if call.method not in self._METHODS:
            raise ValueError(f"unknown method {call.method}")
        self._order.append(call.data.get("name"))
        self._calls[call.id] = (call, {"began": time.monotonic()})

    def step(self) -> bool:
        for call, memory in list(self._calls.values()):
            if call.cancelled or self._METHODS[call.method](self, call, memory):
                del self._calls[call.id]
        return bool(self._calls)

    # Each returns whether the call is over.

    def _echo(self, call: Call, memory: dict[str, Any]) -> bool:
        call.done(call.data, call.payload)
        return True

    def _sleep(self, call: Call, memory: dict[str, Any]) -> bool:
        """Works for `s` seconds in small steps."""
        time.sleep(0.005)
        if time.monotonic() - memory["began"] < call.data["s"]:
            return False
        call.done({"priority": int(call.priority)})
        return True

    def _wait(self, call: Call, memory: dict[str, Any]) -> bool:
        """Works in small steps until there is the file `gate`."""
        time.sleep(0.005)
        if not _is_open(call.data):
            return False
        call.done({"priority": int(call.priority)})
        return True

    def _block(self, call: Call, memory: dict[str, Any]) -> bool:
        """One step that lasts until there is the file `gate`, as a native call does; without one, for ever."""
        while not _is_open({"gate": "", **call.data}):
            time.sleep(0.005)
        call.done({})
        return True

    def _parts(self, call: Call, memory: dict[str, Any]) -> bool:
        """Sends `n` parts of `size` bytes, then says when the last one was sent."""
        sent = memory["sent"] = memory.get("sent", 0) + 1
        time.sleep(call.data.get("pause_s", 0.0))
        call.part({"number": sent}, b"x" * call.data.get("size", 0))
        if sent < call.data["n"]:
            return False
        call.done({"sent": sent, "took_s": time.monotonic() - memory["began"]})
        return True

    def _crash(self, call: Call, memory: dict[str, Any]) -> bool:
        os.kill(os.getpid(), signal.SIGKILL)
        return True

    def _fail(self, call: Call, memory: dict[str, Any]) -> bool:
        call.fail(from_code(call.data["code"], call.data["text"]))
        return True

    def _fault(self, call: Call, memory: dict[str, Any]) -> bool:
        raise RuntimeError("a fault in the engine")

    def _nan(self, call: Call, memory: dict[str, Any]) -> bool:
        """Answers with what is not JSON: a bug in an engine."""
        call.done({"x": float("nan")})
        return True

    def _no_memory(self, call: Call, memory: dict[str, Any]) -> bool:
        """Finds no memory unless it is asked for `little`."""
        time.sleep(0.05)  # so that what was asked with it is here too
        if not call.data.get("little"):
            raise MemoryError
        call.done({"alone": len(self._calls) == 1})
        return True

    def _lose_card(self, call: Call, memory: dict[str, Any]) -> bool:
        """What torch says once the card is gone."""
        raise RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be reported later.")

    def _forget(self, call: Call, memory: dict[str, Any]) -> bool:
        """Ends without an answer: a bug in an engine."""
        return True

    def _hog(self, call: Call, memory: dict[str, Any]) -> bool:
        """Keeps `bytes` bytes for ever."""
        self._hogged.append(b"x" * call.data["bytes"])
        call.done({})
        return True

    def _order_of(self, call: Call, memory: dict[str, Any]) -> bool:
        """Says the names of the calls so far, in the order in which they came in."""
        call.done({"order": self._order[:-1]})
        return True

    _METHODS: Mapping[str, Callable[[FakeEngine, Call, dict[str, Any]], bool]] = {
        "echo": _echo, "sleep": _sleep, "wait": _wait, "block": _block, "parts": _parts, "crash": _crash, "fail": _fail,
        "fault": _fault, "nan": _nan, "forget": _forget, "no memory": _no_memory, "lose card": _lose_card,
        "hog": _hog, "order": _order_of,
    }  # fmt: skip


def _is_open(data: Mapping[str, Any]) -> bool:
    """Whether what waits for the file `gate` may go on (what names none needn't wait); `awaited` says that it does."""
    if "gate" not in data:
        return True
    if not data["gate"]:
        return False
    awaited(data["gate"]).touch()
    return os.path.exists(data["gate"])


def awaited(gate: str | os.PathLike[str]) -> Path:
    """A file that is there once an engine waits for this gate: what is asked of a worker has not reached it yet."""
    return Path(f"{os.fspath(gate)}.awaited")


class FakeStreams:
    """An engine with voice and wake streams that only count samples: loud samples are voice, and the wake word."""

    capacity = 8

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        self._streams: dict[int, list[int]] = {}
        self._opened = 0
        self._calls: list[Call] = []

    def load(self) -> Mapping[str, Any]:
        words = [{"name": "okay_nabu", "phrase": "okay nabu", "languages": ["en"], "engine": "micro"}]
        return {"languages": ["fr", "en"], "wake_words": words}

    def admit(self, call: Call) -> None:
        self._calls.append(call)

    def step(self) -> bool:
        calls, self._calls = self._calls, []
        for call in calls:
            self._answer(call)
        return False

    def _answer(self, call: Call) -> None:
        kind, _, verb = call.method.partition(".")
        if verb == "open":
            self._opened += 1  # the same numbers again after a restart, as a trap
            self._streams[self._opened] = []
            call.done({"stream": self._opened})
        elif verb == "close":
            self._streams.pop(call.data["stream"], None)
            call.done({})
        elif verb == "feed":
            frames = self._streams[call.data["stream"]]
            before = len(frames)
            size = 2 * FRAME_SAMPLES
            assert len(call.payload) % size == 0, "whole frames only"
            frames += [int(any(call.payload[at : at + size])) for at in range(0, len(call.payload), size)]
            call.done(_voice(frames) if kind == "voice" else _wake(frames, before))
        elif call.method == "count":
            call.done({"streams": len(self._streams)})
        elif call.method == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            raise ValueError(call.method)


class FakeModels:
    """An engine with the calls of the Whisper, Llama, Piper and light workers, each answered at once.

    Configuration: `home`, and `gate`, a file without which nothing but `asked` is answered.
    """

    capacity = 1

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        self._configuration = configuration
        self._home = configuration.get("home")
        self._calls: list[Call] = []
        self._asked: list[dict[str, Any]] = []

    def load(self) -> Mapping[str, Any]:
        return {"languages": ["fr"]}

    def admit(self, call: Call) -> None:
        self._calls.append(call)
        if call.method != "asked":
            self._asked.append({"method": call.method, "data": dict(call.data), "priority": int(call.priority)})

    def step(self) -> bool:
        calls, self._calls = self._calls, []
        for call in calls:
            while call.method != "asked" and not call.cancelled and not _is_open(self._configuration):
                time.sleep(0.005)
            getattr(self, call.method.replace(".", "_"))(call)
        return False

    def asked(self, call: Call) -> None:
        call.done({"asked": self._asked, "home": self._home})

    def transcribe(self, call: Call) -> None:
        numbers = {"no_speech_probability": 0.1, "average_logprob": -0.2, "compression_ratio": 1.5}
        call.done({"text": f"{len(call.payload)} bytes", "language": "fr", "tokens": [1, 2], **numbers})

    def intents_recognize(self, call: Call) -> None:
        intent = {"name": "HassTurnOn", "slots": {"area": "Salon"}, "text": "Allumé.", "template": ""}
        call.done({"intents": [intent] if call.data["text"] == "allume le salon" else []})

    def home(self, call: Call) -> None:
        self._home = call.data
        call.done({})

    def answer(self, call: Call) -> None:
        if call.data["text"] == "il fait sombre":
            call.part({"intents": [{"name": "HassTurnOn", "slots": {"area": "Salon"}}]})
        else:
            for word in ("Bonjour", " à", " vous."):
                call.part({"text": word})
        call.done({"tokens_prompt": 5, "tokens_cached": 0, "tokens_answer": 3, "stop": "end"})

    def speak(self, call: Call) -> None:
        call.done({"sample_rate": 22050, "level": 0.5}, bytes(2 * len(call.data["text"])))


def _voice(frames: list[int]) -> dict[str, Any]:
    voiced = [index for index, loud in enumerate(frames) if loud]
    return {
        "samples": len(frames) * FRAME_SAMPLES,
        "voiced_start": voiced[0] * FRAME_SAMPLES if voiced else None,
        "voiced_end": (voiced[-1] + 1) * FRAME_SAMPLES if voiced else 0,
        "speaking": bool(frames and frames[-1]),
        "voiced_samples": len(voiced) * FRAME_SAMPLES,
    }


def _wake(frames: list[int], before: int) -> dict[str, Any]:
    heard = [index for index in range(before, len(frames)) if frames[index]]
    return {"detections": [{"name": "okay_nabu", "sample": (index + 1) * FRAME_SAMPLES} for index in heard]}


# --- the front's interfaces without any process ---


class FakeRecognizer:
    """Hears what it was told to: `texts` in turn, the last one for ever. `delay_s` is the time it takes."""

    def __init__(self, *texts: str, languages: Sequence[str] = ("fr", "en"), delay_s: float = 0.0) -> None:
        self.languages = languages
        self.requests: list[TranscribeRequest] = []
        self.priorities: list[Priority] = []
        self.cancelled = 0
        self.error: SuperwhisperError | None = None
        self.delay_s = delay_s
        self._texts = list(texts) or [""]

    async def transcribe(self, request: TranscribeRequest, priority: Priority = Priority.FINAL) -> Transcription:
        self.requests.append(request)
        self.priorities.append(priority)
        await _work(self)
        text = self._texts.pop(0) if len(self._texts) > 1 else self._texts[0]
        return Transcription(text, request.language or self.languages[0])


class FakeIntents:
    """Understands the sentences it was given."""

    def __init__(
        self, intents: Mapping[str, Iterable[IntentCall]] | None = None, languages: Sequence[str] = ("fr", "en")
    ) -> None:
        self.languages = languages
        self.requests: list[RecognizeRequest] = []
        self.cancelled = 0
        self.error: SuperwhisperError | None = None
        self.delay_s = 0.0
        self._intents = {text: tuple(calls) for text, calls in (intents or {}).items()}

    async def recognize(self, request: RecognizeRequest, priority: Priority = Priority.FINAL) -> tuple[IntentCall, ...]:
        self.requests.append(request)
        await _work(self)
        return self._intents.get(request.text, ())

    async def complete(
        self, calls: Sequence[IntentCall], language: str, area: str | None = None
    ) -> tuple[IntentCall, ...]:
        return tuple(replace(call, text=call.text or f"{call.name} ({language})") for call in calls)


class FakeVoiceActivity:
    """Any sound that is not zero is voice, frame by frame."""

    def __init__(self) -> None:
        self.open_streams = 0

    async def open(self) -> FakeVoiceStream:
        self.open_streams += 1
        return FakeVoiceStream(self)


class FakeVoiceStream:
    """One utterance of `FakeVoiceActivity`."""

    def __init__(self, owner: FakeVoiceActivity) -> None:
        self._owner = owner
        self._tracker = VoiceTracker()
        self._rest = b""
        self._samples = 0
        self._closed = False

    async def feed(self, audio: bytes) -> VoiceState:
        await asyncio.sleep(0)
        audio, size = self._rest + audio, 2 * FRAME_SAMPLES
        whole = len(audio) // size * size
        self._rest, self._samples = audio[whole:], self._samples + whole // 2
        for at in range(0, whole, size):
            self._tracker.add(float(any(audio[at : at + size])))
        return self._tracker.state(self._samples)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._owner.open_streams -= 1


class FakeWakeWords:
    """Detects the first name that was asked for whenever a chunk is not silent."""

    def __init__(self, *names: str) -> None:
        self.words = tuple(WakeWordInfo(name, name.replace("_", " "), ("en",), "micro") for name in names)
        self.open_streams = 0

    async def open(self, names: Sequence[str]) -> FakeWakeWordStream:
        known = [word.name for word in self.words]
        for name in names:
            if name not in known:
                raise UnknownModel(f"There is no wake word {name}.")
        self.open_streams += 1
        return FakeWakeWordStream(self, (list(names) or known)[0])


class FakeWakeWordStream:
    """One stream of `FakeWakeWords`."""

    def __init__(self, owner: FakeWakeWords, name: str) -> None:
        self._owner = owner
        self._name = name
        self._samples = 0
        self._closed = False

    async def feed(self, audio: bytes) -> Sequence[WakeWordDetection]:
        self._samples += len(audio) // 2
        return [WakeWordDetection(self._name, self._samples)] if any(audio) else []

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._owner.open_streams -= 1


class FakeLanguageModel:
    """Answers with the parts it was given."""

    def __init__(self, *parts: AnswerPart | str, delay_s: float = 0.0) -> None:
        self.parts = tuple(AnswerPart(text=part) if isinstance(part, str) else part for part in parts)
        self.requests: list[AnswerRequest] = []
        self.cancelled = 0
        self.error: SuperwhisperError | None = None
        self.delay_s = delay_s
        """Before each part."""

    async def answer(self, request: AnswerRequest, priority: Priority = Priority.FINAL) -> AsyncIterator[AnswerPart]:
        self.requests.append(request)
        for part in self.parts:
            await _work(self)
            try:
                yield part
            except GeneratorExit:
                self.cancelled += 1
                raise


class FakeSynthesizer:
    """Says every text as 100 samples of silence per character."""

    def __init__(self, *voices: VoiceInfo, delay_s: float = 0.0) -> None:
        self.voices = voices or (VoiceInfo("fr_FR-demo-low", ("fr_FR",), 16_000),)
        self.requests: list[SpeakRequest] = []
        self.cancelled = 0
        self.error: SuperwhisperError | None = None
        self.delay_s = delay_s

    async def speak(self, request: SpeakRequest, priority: Priority = Priority.FINAL) -> Speech:
        self.requests.append(request)
        voice = next((voice for voice in self.voices if voice.name == request.voice), None)
        if voice is None:
            raise UnknownVoice(f"There is no voice {request.voice}.")
        await _work(self)
        return Speech(bytes(200 * len(request.text)), voice.sample_rate, request.level or 1.0)


async def _work(fake: FakeRecognizer | FakeIntents | FakeLanguageModel | FakeSynthesizer) -> None:
    """Take the fake's time, count a cancel, raise what it was told to raise."""
    try:
        await asyncio.sleep(fake.delay_s)
    except asyncio.CancelledError:
        fake.cancelled += 1
        raise
    if fake.error is not None:
        raise fake.error
