"""The light worker's engine answers each call by itself; its streams are bounded and cleaned up."""

import json
from typing import Any

import pytest

from tests.speech import speech
from wyoming_superwhisper import errors
from wyoming_superwhisper.engines import light
from wyoming_superwhisper.engines.base import IntentCall, Priority
from wyoming_superwhisper.engines.light import LightEngine

CONFIGURATION = {"languages": ["fr", "en"], "home": {}, "wake": {"words": ["okay_nabu", "alexa"], "engine": "micro"}}


class RecordedCall:
    """A call that keeps its end."""

    def __init__(self, method: str, payload: bytes = b"", cancelled: bool = False, **data: Any) -> None:
        self.id, self.method, self.payload, self.data = 0, method, payload, data
        self.priority, self.cancelled = Priority.FINAL, cancelled
        self.result: Any = None
        self.error: Exception | None = None

    def part(self, data, payload=b""):
        raise AssertionError("no parts")

    def done(self, data=None, payload=b""):
        self.result = json.loads(json.dumps(data))

    def fail(self, error):
        self.error = error


class RuleBook:
    """Intents by a rule of its own."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.home: Any = None

    def recognize(self, text, language, area, previous):
        self.asked.append((text, language, area, previous))
        return [IntentCall("HassTurnOn", {"area": "Salon"}, "D'accord.")]

    def complete(self, calls, language, area):
        return [IntentCall(call.name, {**call.slots, "preferred_area_id": area}, language) for call in calls]

    def set_home(self, home):
        self.home = home


@pytest.fixture
def engine(monkeypatch) -> LightEngine:
    monkeypatch.setattr(light, "_load_intents", lambda configuration: RuleBook())
    engine = LightEngine(CONFIGURATION)
    engine.load()
    return engine


def ask(engine: LightEngine, method: str, payload: bytes = b"", **data: Any) -> Any:
    call = RecordedCall(method, payload, **data)
    engine.admit(call)
    while engine.step():
        pass
    if call.error:
        raise call.error
    return call.result


def test_capabilities(engine):
    capabilities = json.loads(json.dumps(engine.load()))
    assert capabilities["languages"] == ["fr", "en"]
    assert capabilities["wake_words"][0] == {
        "name": "okay_nabu", "phrase": "Okay Nabu", "engine": "micro",
        "languages": ["en", "nl", "fr", "de", "it", "es", "sv"],
    }  # fmt: skip
    assert engine.capacity == 32


def test_voice_in_a_stream(engine):
    stream = ask(engine, "voice.open")["stream"]
    audio = speech("Allume la lumière.", "fr")
    for at in range(0, len(audio), 4000):
        state = ask(engine, "voice.feed", audio[at : at + 4000], stream=stream)
    assert state["samples"] == len(audio) // 2
    assert state["voiced_samples"] > 8000
    assert 0 < state["voiced_start"] < state["voiced_end"] < state["samples"]
    assert not state["speaking"]
    assert ask(engine, "voice.close", stream=stream) == {}
    with pytest.raises(errors.EngineLost):
        ask(engine, "voice.feed", audio, stream=stream)


def test_wake_words_in_a_stream(engine):
    audio = speech("Alexa", "en-us", rate=140, before_s=1.5, after_s=1.5)
    every, other = ask(engine, "wake.open", names=[])["stream"], ask(engine, "wake.open", names=["ok_nabu"])["stream"]
    [detection] = ask(engine, "wake.feed", audio, stream=every)["detections"]
    assert detection["name"] == "alexa"
    assert ask(engine, "wake.feed", audio, stream=other)["detections"] == []


def test_only_configured_wake_words_are_offered(engine):
    for name in ("hey_jarvis", "computer"):
        with pytest.raises(errors.UnknownModel, match="okay_nabu"):
            ask(engine, "wake.open", names=[name])


def test_intents(engine):
    previous = [{"name": "HassTurnOff", "slots": {"area": "Salon"}, "text": "ok", "template": ""}]
    result = ask(engine, "intents.recognize", text="allume", language="fr", area="salon", previous=previous)
    assert result == {
        "intents": [{"name": "HassTurnOn", "slots": {"area": "Salon"}, "text": "D'accord.", "template": ""}]
    }
    assert engine._intents.asked == [("allume", "fr", "salon", (IntentCall("HassTurnOff", {"area": "Salon"}, "ok"),))]


def test_intents_that_a_model_chose_get_their_replies(engine):
    chosen = [{"name": "HassTurnOn", "slots": {"name": "Lampe"}}]
    result = ask(engine, "intents.complete", intents=chosen, language="fr", area="salon")
    slots = {"name": "Lampe", "preferred_area_id": "salon"}
    assert result == {"intents": [{"name": "HassTurnOn", "slots": slots, "text": "fr", "template": ""}]}


def test_a_stream_that_nobody_learnt_of_is_forgotten(engine):
    class Cancelled(RecordedCall):
        def done(self, data=None, payload=b""):
            super().done(data)
            self.cancelled = True

    engine.admit(Cancelled("voice.open"))
    engine.step()
    assert not engine._streams


def test_names_can_be_replaced(engine):
    ask(engine, "home", areas=[{"id": "cave"}])
    assert engine._intents.home == {"areas": [{"id": "cave"}]}


def test_without_intents_the_rest_works(engine):
    engine._intents = None
    with pytest.raises(errors.EngineUnavailable):
        ask(engine, "intents.recognize", text="allume", language="fr")
    assert ask(engine, "voice.open")["stream"]


def test_a_wrong_call_fails_alone(engine):
    with pytest.raises(errors.NotSupported):
        ask(engine, "voice.sing")
    with pytest.raises(KeyError):
        ask(engine, "intents.recognize", language="fr")
    with pytest.raises(errors.EngineLost):
        ask(engine, "wake.feed", stream=ask(engine, "voice.open")["stream"])


def test_calls_are_answered_one_at_a_step_in_order(engine):
    calls = [RecordedCall("voice.open") for _ in range(3)]
    for call in calls:
        engine.admit(call)
    assert engine.step()
    assert [call.result is None for call in calls] == [False, True, True]
    assert engine.step()
    assert not engine.step()
    assert not engine.step()


def test_cancelled_calls_are_skipped_but_streams_still_close(engine):
    stream = ask(engine, "voice.open")["stream"]
    feed = RecordedCall("voice.feed", bytes(2048), cancelled=True, stream=stream)
    close = RecordedCall("voice.close", cancelled=True, stream=stream)
    engine.admit(feed)
    engine.admit(close)
    while engine.step():
        pass
    assert feed.result is None
    assert not engine._streams


def test_streams_are_bounded_and_forgotten_ones_give_way(engine, monkeypatch):
    monkeypatch.setattr(light, "MOST_STREAMS", 2)
    first, second = (ask(engine, "voice.open")["stream"] for _ in range(2))
    with pytest.raises(errors.Busy):
        ask(engine, "voice.open")
    monkeypatch.setattr(light, "IDLE_S", -1.0)
    ask(engine, "voice.feed", b"", stream=first)
    third = ask(engine, "voice.open")["stream"]
    assert set(engine._streams) == {first, third}
    assert second not in engine._streams
