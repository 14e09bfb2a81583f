"""What a client sees of its requests: watches the events of one connection, in and out, and tells an observer.

The handlers know nothing of it: a request begins with the event that completes the question and ends with the event
that completes the answer, so the counts are those a client would make at the other end of the connection.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from wyoming.event import Event

from wyoming_superwhisper import logs
from wyoming_superwhisper.observer import Observer

logger = logging.getLogger(__name__)
_failures = logs.Throttled(logger)

LEFT = "left"
"""Result of a request whose client did not wait for the answer."""

_REPLIES = {
    "intent": "ok", "intents-stop": "ok", "handled": "ok",
    "not-recognized": "not-recognized", "not-handled": "not-handled",
}  # fmt: skip
"""The event that completes a reply in words, and what came of the request."""

_RUN_ENDS = {"wake": "wake", "asr": "transcript", "intent": "reply", "handle": "reply", "tts": "end"}
"""The stage by which a pipeline run ends, by its last stage's name in the protocol."""

_SERVICE_OF = {
    "describe": "describe", "run-pipeline": "pipeline", "transcribe": "asr", "audio-start": "asr", "audio-chunk": "asr",
    "audio-stop": "asr", "detect": "wake", "transcript": "conversation", "recognize": "conversation",
    "synthesize": "tts", "synthesize-start": "tts", "synthesize-chunk": "tts", "synthesize-stop": "tts",
}  # fmt: skip
"""The service that fails with an event."""


@dataclass(slots=True, eq=False)
class Request:
    """A question that has not been answered yet."""

    service: str
    turn: str
    asked_at: float | None
    """When the question was complete; None: somebody still speaks."""
    answered_s: float | None = None
    """From then to what its client waits for."""
    result: str = "ok"
    several: bool = False
    """Whether intents come between `intents-start` and `intents-stop`."""
    last: str = ""
    """The stage by which it ends (pipeline runs)."""
    waits_for_word: bool = False
    """Whether it begins with a wake word, which may never come."""
    restarts: bool = False
    stages: set[str] = field(default_factory=set)


class Traffic:
    """The requests of one connection."""

    def __init__(self, observer: Observer, peer: str, now: Callable[[], float] = time.monotonic) -> None:
        self._observer = observer
        self._peer = peer
        self._now = now
        self._unhandled: Counter[str] = Counter()  # events that were read, by type
        self._open: list[Request] = []
        self._utterance: Request | None = None  # whose the audio is
        self._streams = False  # whether a streamed synthesis is being asked for

    # --- what comes in

    def read(self, event: Event) -> None:
        """An event has come; it is handled when those before it are."""
        self._unhandled[event.type] += 1

    def handling(self, event: Event, at: float, *, in_turn: bool, audio_wanted: bool) -> None:
        """An event that was read at this time is about to be handled.

        `in_turn`: a pipeline run is at work, to which it belongs. `audio_wanted`: audio is not just thrown away.
        """
        kind = event.type
        if kind == "describe":
            self._begin("describe", at)
        elif kind == "run-pipeline":
            self._begin_run(event, at)
        elif kind.startswith("synthesize"):
            self._handling_synthesis(kind, at)
        elif in_turn:
            self._handling_in_run(kind, at)
        elif kind in ("transcribe", "detect"):
            self._take_audio(self._begin("asr" if kind == "transcribe" else "wake", None))
        elif kind in ("transcript", "recognize"):
            self._begin("conversation", at)
        elif kind.startswith("audio-") and audio_wanted:
            self._handling_audio(kind, at)

    def handled(self, event: Event, code: str = "") -> None:
        """It was handled; `code`: of its error."""
        self._unhandled[event.type] -= 1
        self._observer.event(event.type, code or "ok")
        if code:
            self._fail(_SERVICE_OF.get(event.type, ""), code)
        elif event.type == "audio-stop":
            self._listened()

    def failed(self, code: str) -> None:
        """What goes on beside the handling of events, a run or a stream, has failed."""
        self._fail("pipeline" if self._first("pipeline") else "tts", code)

    def invalid(self, code: str) -> None:
        """Something came that is no event."""
        self._observer.event("invalid", code)

    def evicted(self) -> None:
        """The connection is ended to make room for another."""
        self._observer.connection_evicted()

    def end_of_speech(self) -> None:
        """The server has found that the speaker has ended."""
        if self._utterance is not None and self._utterance.asked_at is None:
            self._utterance.asked_at = self._now()

    def _begin(self, service: str, asked_at: float | None) -> Request:
        turn = "" if service == "describe" else logs.begin_turn()
        request = Request(service, turn, asked_at)
        self._open.append(request)
        return request

    def _begin_run(self, event: Event, at: float) -> None:
        if (before := self._first("pipeline")) is not None:
            self._end(before, LEFT)  # the new run takes its place
        start, end = event.data.get("start_stage"), event.data.get("end_stage")
        run = self._begin("pipeline", None if start in ("wake", "asr") else at)
        run.last = _RUN_ENDS.get(end, "") if isinstance(end, str) else ""
        run.waits_for_word = start == "wake"
        run.restarts = event.data.get("restart_on_end") is True
        self._take_audio(run)

    def _handling_in_run(self, kind: str, at: float) -> None:
        run = self._first("pipeline")
        if run is None:
            return
        logs.turn.set(run.turn)
        if kind == "transcript" or (kind == "audio-stop" and run.asked_at is None):
            run.asked_at = at

    def _handling_synthesis(self, kind: str, at: float) -> None:
        if kind == "synthesize-start" or (kind == "synthesize" and not self._streams):
            self._begin("tts", at)
        if kind in ("synthesize-start", "synthesize-stop"):
            self._streams = kind == "synthesize-start"

    def _handling_audio(self, kind: str, at: float) -> None:
        if self._utterance is None:
            self._take_audio(self._begin("asr", None))
        if kind == "audio-stop" and self._utterance is not None:
            self._utterance.asked_at = at

    def _take_audio(self, request: Request) -> None:
        """What was waiting for audio before is never answered."""
        before, self._utterance = self._utterance, request
        if before in self._open and before.asked_at is None:
            self._end(before, "" if before.service == "wake" else LEFT)

    # --- what goes out

    def sent(self, event: Event) -> None:
        """An event was sent to the client."""
        kind = event.type
        if kind == "error":
            self._observer.error(str(event.data.get("code", "")))
        elif kind == "info":
            self._answer("describe")
        elif (run := self._first("pipeline")) is not None and self._sent_in_run(run, kind):
            return
        elif kind == "transcript":
            self._answer("asr")
        elif kind in ("detection", "not-detected"):
            self._heard_wake_word(kind)
        elif kind in _REPLIES or kind == "intents-start":
            self._replied(kind)
        elif kind == "audio-chunk":
            self._mark_answered(self._first("tts"))
        elif kind == "audio-stop":
            self._answer("tts")

    def closed(self, code: str = "") -> None:
        """The connection has ended, perhaps with an error."""
        for kind, count in self._unhandled.items():
            for _ in range(count):
                self._observer.event(kind, code or LEFT)
        for request in list(self._open):
            request.restarts = False
            listens_on = request.asked_at is None and (request.service == "wake" or request.waits_for_word)
            self._end(request, "" if listens_on else code or LEFT)

    def _sent_in_run(self, run: Request, kind: str) -> bool:
        """Whether the event is part of the run."""
        if kind == "voice-stopped":
            run.asked_at = self._now()
        elif kind in ("detection", "not-detected"):
            self._reach(run, "wake", kind == "not-detected")
        elif kind == "transcript":
            self._reach(run, "transcript")
        elif kind == "intents-start":
            run.several = True
        elif kind in ("handled-start", *_REPLIES):
            self._reply_in_run(run, kind)
        elif kind == "audio-chunk":
            self._reach(run, "speech")
            self._mark_answered(run)
        elif kind == "audio-stop" and run.asked_at is not None:
            self._reach(run, "end")
        else:
            return False
        return True

    def _reply_in_run(self, run: Request, kind: str) -> None:
        complete = kind in _REPLIES and not (run.several and kind == "intent")
        if complete:
            run.result = _REPLIES[kind]
        self._note_stage(run, "reply")
        if complete:
            self._reach(run, "reply")

    def _reach(self, run: Request, stage: str, is_end: bool = False) -> None:
        self._note_stage(run, stage)
        if is_end:
            self._end(run, "not-detected")
        elif stage == run.last:
            self._mark_answered(run)
            self._end(run, run.result)

    def _note_stage(self, run: Request, stage: str) -> None:
        seconds = self._since(run)
        if seconds is not None and stage not in run.stages:
            run.stages.add(stage)
            self._observer.stage(stage, seconds, run.turn)

    def _listened(self) -> None:
        """The audio has ended: of a wake word that was heard nothing more comes, and it has been counted."""
        listening = self._utterance
        if listening is not None and listening.service == "wake" and listening.restarts:
            self._end(listening, "")

    def _heard_wake_word(self, kind: str) -> None:
        request = self._first("wake")
        if request is not None and kind == "detection":
            request.restarts = True  # it has had its answer, and may have another
            self._observer.request("wake", "ok", None, request.turn)
        elif request is not None:
            self._end(request, kind)

    def _replied(self, kind: str) -> None:
        request = self._first("conversation")
        if request is None:
            return
        if kind == "intents-start":
            request.several = True
        elif not (request.several and kind == "intent"):
            self._mark_answered(request)
            self._end(request, _REPLIES[kind])

    def _answer(self, service: str) -> None:
        if (request := self._first(service)) is not None:
            self._mark_answered(request)
            self._end(request, "ok")

    def _mark_answered(self, request: Request | None) -> None:
        if request is not None and request.answered_s is None:
            request.answered_s = self._since(request)

    # --- the ends

    def _first(self, service: str) -> Request | None:
        return next((request for request in self._open if request.service == service), None)

    def _since(self, request: Request) -> float | None:
        return None if request.asked_at is None else self._now() - request.asked_at

    def _fail(self, service: str, code: str) -> None:
        failed = self._first(service)
        if failed is None and service == "asr":  # audio belongs to whoever asked for it
            failed = self._utterance
        if failed is not None and failed in self._open:
            self._end(failed, code)

    def _end(self, request: Request, result: str) -> None:
        """`result` "": it ends without ever having been a question."""
        self._open.remove(request)
        if request is self._utterance:
            self._utterance = None
        if not result or (request.service == "wake" and request.restarts):
            return
        seconds = request.answered_s if result in ("ok", "not-recognized", "not-handled") else None
        self._observer.request(request.service, result, seconds, request.turn)
        if request.service != "describe":
            after = "" if seconds is None else f" after {seconds * 1000:.0f} ms"
            line = ("[%s] %s: %s%s", self._peer, request.service, result, after)
            if seconds is None:  # of requests that fail a client can send any number
                _failures.log(logging.INFO, f"{request.service} {result}", *line)
            else:
                logger.info(*line)
        if request.restarts and result != LEFT:
            self._begin_again(request)

    def _begin_again(self, ended: Request) -> None:
        run = Request(ended.service, logs.new_turn(), None)
        run.last, run.waits_for_word, run.restarts = ended.last, ended.waits_for_word, True
        self._open.append(run)
        self._utterance = run
