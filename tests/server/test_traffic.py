"""What a connection's events say of its requests: the figures must be what the client saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from wyoming.event import Event

from wyoming_superwhisper import logs
from wyoming_superwhisper.observer import Observer
from wyoming_superwhisper.server.traffic import Traffic


@dataclass
class Seen(Observer):
    """Writes down what it is told."""

    requests: list[tuple[str, str, float | None]] = field(default_factory=list)
    stages: list[tuple[str, float]] = field(default_factory=list)
    turns: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    events: list[tuple[str, str]] = field(default_factory=list)

    def request(self, service: str, result: str, seconds: float | None, turn: str) -> None:
        self.requests.append((service, result, None if seconds is None else round(seconds, 3)))
        self.turns.add(turn)

    def stage(self, stage: str, seconds: float, turn: str) -> None:
        self.stages.append((stage, round(seconds, 3)))
        self.turns.add(turn)

    def error(self, code: str) -> None:
        self.errors.append(code)

    def event(self, kind: str, result: str) -> None:
        self.events.append((kind, result))


class Talk:
    """A connection in which every event takes a second."""

    def __init__(self) -> None:
        self.now = 0.0
        self.seen = Seen()
        self.traffic = Traffic(self.seen, "peer", lambda: self.now)
        self.in_run = False
        self.wanted = True

    def asks(self, kind: str, code: str = "", **data: Any) -> None:
        self.now += 1
        event = Event(kind, data)
        self.traffic.read(event)
        self.traffic.handling(event, self.now, in_turn=self.in_run, audio_wanted=self.wanted)
        self.traffic.handled(event, code)

    def hears(self, *kinds: str, **data: Any) -> None:
        for kind in kinds:
            self.now += 1
            self.traffic.sent(Event(kind, data))


@pytest.fixture
def talk() -> Talk:
    logs.turn.set("")
    return Talk()


def test_events_that_were_not_handled_when_the_client_left_are_counted_too(talk: Talk) -> None:
    talk.asks("transcribe")
    for kind in ("audio-start", "audio-chunk", "audio-chunk"):
        talk.traffic.read(Event(kind))
    talk.traffic.closed()
    assert talk.seen.events[0] == ("transcribe", "ok")
    assert sorted(talk.seen.events[1:]) == [("audio-chunk", "left"), ("audio-chunk", "left"), ("audio-start", "left")]


def test_an_utterance_is_answered_from_its_end(talk: Talk) -> None:
    talk.asks("transcribe")
    for kind in ("audio-start", "audio-chunk", "audio-stop"):
        talk.asks(kind)
    talk.hears("transcript-start", "transcript-chunk", "transcript", "transcript-stop")
    assert talk.seen.requests == [("asr", "ok", 3.0)]
    talk.asks("audio-start")  # another one, without transcribe
    talk.asks("audio-stop")
    talk.hears("transcript")
    assert talk.seen.requests[1:] == [("asr", "ok", 1.0)]
    assert len(talk.seen.turns) == 2
    assert all(len(turn) == 8 for turn in talk.seen.turns)


def test_where_the_server_ends_the_utterance_it_is_answered_from_there(talk: Talk) -> None:
    for kind in ("transcribe", "audio-start", "audio-chunk"):
        talk.asks(kind)
    talk.traffic.end_of_speech()
    talk.hears("transcript")
    talk.wanted = False
    talk.asks("audio-chunk")
    talk.asks("audio-stop")
    talk.traffic.closed()
    assert talk.seen.requests == [("asr", "ok", 1.0)]


def test_speech_is_answered_by_its_first_sound(talk: Talk) -> None:
    talk.asks("synthesize", text="Bonjour.")
    talk.hears("audio-start", "audio-chunk", "audio-chunk", "audio-stop")
    assert talk.seen.requests == [("tts", "ok", 2.0)]


def test_streamed_speech_is_one_request(talk: Talk) -> None:
    for kind in ("synthesize-start", "synthesize-chunk", "synthesize", "synthesize-stop"):
        talk.asks(kind)
    talk.hears("audio-start", "audio-chunk", "audio-stop", "synthesize-stopped")
    talk.asks("synthesize")
    talk.hears("audio-start", "audio-chunk", "audio-stop")
    assert talk.seen.requests == [("tts", "ok", 5.0), ("tts", "ok", 2.0)]


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (["intent"], ("ok", 1.0)),
        (["intents-start", "intent", "intent", "intents-stop"], ("ok", 4.0)),
        (["handled-start", "handled-chunk", "handled", "handled-stop"], ("ok", 3.0)),
        (["not-recognized"], ("not-recognized", 1.0)),
        (["not-handled"], ("not-handled", 1.0)),
    ],
)
def test_a_sentence_is_answered_by_its_whole_reply(talk: Talk, answer: list[str], result: tuple[str, float]) -> None:
    talk.asks("transcript", text="?")
    talk.hears(*answer)
    assert talk.seen.requests == [("conversation", *result)]


def test_requests_that_wait_for_each_other_are_answered_in_order(talk: Talk) -> None:
    talk.asks("synthesize")
    talk.asks("transcript")
    talk.asks("describe")
    talk.hears("info", "audio-chunk", "audio-stop", "handled")
    assert talk.seen.requests == [("describe", "ok", 1.0), ("tts", "ok", 4.0), ("conversation", "ok", 5.0)]


def test_a_request_that_fails_has_the_code_of_its_error(talk: Talk) -> None:
    talk.asks("synthesize", code="unknown-voice")
    talk.hears("error", code="unknown-voice")
    talk.asks("transcribe", code="unknown-language")
    talk.hears("error", code="unknown-language")
    assert talk.seen.requests == [("tts", "unknown-voice", None), ("asr", "unknown-language", None)]
    assert talk.seen.errors == ["unknown-voice", "unknown-language"]
    assert talk.seen.events == [("synthesize", "unknown-voice"), ("transcribe", "unknown-language")]


def test_what_is_wrong_beside_a_request_costs_it_nothing(talk: Talk) -> None:
    talk.asks("transcribe")
    talk.asks("audio-start")
    talk.asks("ping", code="bad-data")
    talk.asks("made-up", code="bad-event")
    talk.asks("audio-stop")
    talk.hears("transcript")
    assert talk.seen.requests == [("asr", "ok", 1.0)]


def test_who_leaves_or_is_sent_away_is_counted_so(talk: Talk) -> None:
    talk.asks("transcript")
    talk.traffic.closed()
    assert talk.seen.requests == [("conversation", "left", None)]
    other = Talk()
    other.asks("transcript")
    other.traffic.closed("stopping")
    assert other.seen.requests == [("conversation", "stopping", None)]


def test_listening_for_a_wake_word_is_no_question(talk: Talk) -> None:
    talk.asks("detect")
    talk.asks("audio-start")
    talk.hears("detection", "detection")
    talk.traffic.closed()
    assert talk.seen.requests == [("wake", "ok", None)] * 2
    other = Talk()
    other.asks("detect")
    other.asks("audio-start")
    other.asks("audio-stop")
    other.hears("not-detected")
    other.traffic.closed()
    assert other.seen.requests == [("wake", "not-detected", None)]
    answered = Talk()
    answered.asks("detect")
    answered.asks("audio-start")
    answered.hears("detection")
    answered.asks("audio-stop")
    answered.traffic.closed()
    assert answered.seen.requests == [("wake", "ok", None)]


def test_a_whole_turn_and_its_stages(talk: Talk) -> None:
    talk.asks("run-pipeline", start_stage="asr", end_stage="tts")
    talk.in_run = True
    talk.asks("audio-start")
    talk.hears("voice-started")
    talk.asks("audio-chunk")
    talk.hears("voice-stopped")  # 5: the end of speech
    talk.hears("transcript", "handled-start", "handled-chunk", "audio-start", "audio-chunk", "synthesize", "handled")
    talk.asks("audio-stop")
    talk.hears("audio-chunk", "audio-stop")
    assert talk.seen.stages == [("transcript", 1.0), ("reply", 2.0), ("speech", 5.0), ("end", 10.0)]
    assert talk.seen.requests == [("pipeline", "ok", 5.0)]
    assert len(talk.seen.turns) == 1


def test_a_turn_that_ends_with_words(talk: Talk) -> None:
    talk.asks("run-pipeline", start_stage="handle", end_stage="handle")
    talk.in_run = True
    talk.asks("transcript", text="?")
    talk.hears("not-recognized")
    talk.asks("run-pipeline", start_stage="tts", end_stage="tts")
    talk.hears("synthesize", "audio-start", "audio-chunk", "audio-stop")
    assert talk.seen.requests == [("pipeline", "not-recognized", 1.0), ("pipeline", "ok", 3.0)]


def test_a_turn_that_restarts_is_counted_each_time(talk: Talk) -> None:
    talk.asks("run-pipeline", start_stage="wake", end_stage="asr", restart_on_end=True)
    talk.in_run = True
    for _ in range(2):
        talk.asks("audio-start")
        talk.hears("detection")
        talk.asks("audio-stop")
        talk.hears("transcript")
    talk.traffic.closed()
    assert talk.seen.requests == [("pipeline", "ok", 1.0)] * 2
    assert len(talk.seen.turns) == 2


def test_a_run_that_fails_or_is_replaced(talk: Talk) -> None:
    talk.asks("run-pipeline", start_stage="asr", end_stage="tts")
    talk.in_run = True
    talk.asks("audio-stop")
    talk.traffic.failed("no-text")
    talk.asks("run-pipeline", start_stage="asr", end_stage="tts")
    talk.asks("run-pipeline", start_stage="tts", end_stage="tts")
    talk.hears("audio-chunk", "audio-stop")
    assert [one[:2] for one in talk.seen.requests] == [
        ("pipeline", "no-text"),
        ("pipeline", "left"),
        ("pipeline", "ok"),
    ]


def test_a_timer_that_rings_between_turns_is_none(talk: Talk) -> None:
    talk.asks("run-pipeline", start_stage="wake", end_stage="tts")
    talk.hears("timer-finished", "audio-start", "audio-chunk", "audio-stop")
    talk.traffic.closed()
    assert talk.seen.requests == []
