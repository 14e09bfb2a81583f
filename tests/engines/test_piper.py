"""The Piper engine on the demo voices: what stock Piper says, at our level, in turn."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wyoming_superwhisper.engines import piper
from wyoming_superwhisper.engines.base import Priority
from wyoming_superwhisper.engines.piper import LEVEL_PEAK, MOST_GAIN, PiperEngine, level_of, to_pcm
from wyoming_superwhisper.errors import BadData, EngineUnavailable, ModelError, NotSupported, UnknownVoice
from wyoming_superwhisper.models.demo.piper_training import WEIGHTS

FRENCH, ENGLISH = "fr_FR-demo-medium", "en_US-demo-medium"
QUIET = {"noise_scale": 0, "noise_w": 0}


class FakeCall:
    """A call whose answers are kept."""

    def __init__(self, text: str = "Bonjour.", method: str = "speak", priority: Priority = Priority.FINAL, **data: Any):
        self.id = 1
        self.method = method
        self.data: Mapping[str, Any] = {"text": text, "voice": FRENCH, "client": "a", **QUIET, **data}
        self.payload = b""
        self.priority = priority
        self.cancelled = False
        self.answer: Mapping[str, Any] | None = None
        self.audio = b""
        self.error: Exception | None = None

    def part(self, data: Mapping[str, Any], payload: bytes = b"") -> None:
        raise AssertionError("a piece comes whole")

    def done(self, data: Mapping[str, Any] | None = None, payload: bytes = b"") -> None:
        assert self.answer is None
        assert self.error is None
        self.answer, self.audio = data or {}, payload

    def fail(self, error: Exception) -> None:
        assert self.answer is None
        assert self.error is None
        self.error = error

    @property
    def level(self) -> float:
        assert self.answer is not None, self.error
        level: float = self.answer["level"]
        return level


def voice_files(*names: str) -> dict[str, dict[str, str]]:
    return {
        name: {"model": str(WEIGHTS / f"{name}.onnx"), "config": str(WEIGHTS / f"{name}.onnx.json")} for name in names
    }


@pytest.fixture(scope="module")
def engine() -> PiperEngine:
    made = PiperEngine({"voices": voice_files(FRENCH, ENGLISH), "default": {"length_scale": 1.0}})
    assert made.load() == {"voices": [FRENCH, ENGLISH]}
    return made


def serve(engine: PiperEngine, *calls: FakeCall) -> None:
    for call in calls:
        engine.admit(call)
    while engine.step():
        pass


def stock(name: str, text: str, **options: Any) -> list[Any]:
    from piper import PiperVoice, SynthesisConfig

    options = {"noise_scale": 0, "noise_w_scale": 0, "normalize_audio": False, **options}
    return list(PiperVoice.load(WEIGHTS / f"{name}.onnx").synthesize(text, SynthesisConfig(**options)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (FRENCH, "Allume la lumière de la cuisine, s'il te plaît."),
        (FRENCH, "Bonjour ! Quelle heure est-il ? Il est tard."),
        (ENGLISH, "The light in the living room is on."),
        # These differ in hundreds of samples where the work is shared out among another number of threads.
        (FRENCH, "Il est dix heures et quart."),
        (FRENCH, "Voulez-vous autre chose ?"),
        (ENGLISH, "The kitchen light is on."),
    ],
)
def test_the_sound_is_stock_pipers_at_our_level(engine: PiperEngine, name: str, text: str) -> None:
    call = FakeCall(text, voice=name)
    serve(engine, call)
    samples = np.concatenate([chunk.audio_float_array for chunk in stock(name, text)])
    assert call.level == round(LEVEL_PEAK / float(np.abs(samples).max()), 4)
    assert call.audio == b"".join(chunk.audio_int16_bytes for chunk in stock(name, text, volume=call.level))
    assert call.answer == {"sample_rate": 22050, "level": call.level}


def test_later_pieces_keep_the_level_of_the_first(engine: PiperEngine) -> None:
    text = "Il est tard."
    call = FakeCall(text, level=0.5)
    serve(engine, call)
    assert call.level == 0.5
    assert call.audio == b"".join(chunk.audio_int16_bytes for chunk in stock(FRENCH, text, volume=0.5))


def test_scales_come_from_the_request_and_else_from_the_settings(engine: PiperEngine) -> None:
    slow, plain = FakeCall(length_scale=2.0), FakeCall()
    serve(engine, slow, plain)
    assert len(slow.audio) == pytest.approx(2 * len(plain.audio), rel=0.1)
    slow_by_settings = PiperEngine({"voices": voice_files(FRENCH), "default": {"length_scale": 2.0}})
    slow_by_settings.load()
    call = FakeCall()
    serve(slow_by_settings, call)
    assert call.audio == slow.audio


def test_noise_makes_two_sounds_differ(engine: PiperEngine) -> None:
    calls = [FakeCall(noise_scale=0.667, noise_w=0.8) for _ in range(2)]
    serve(engine, *calls)
    assert calls[0].audio != calls[1].audio


def test_what_has_no_sound_gives_none(engine: PiperEngine) -> None:
    call = FakeCall("")
    serve(engine, call)
    assert (call.audio, call.level) == (b"", 1.0)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"voice": "nobody"}, UnknownVoice),
        ({"voice": str(WEIGHTS / f"{FRENCH}.onnx")}, UnknownVoice),
        ({"voice": None}, UnknownVoice),
        ({"speaker": "paul"}, UnknownVoice),
        ({"length_scale": "2"}, BadData),
        ({"noise_scale": float("nan")}, BadData),
        ({"noise_w": -1}, BadData),
        ({"level": True}, BadData),
        ({"method": "sing"}, NotSupported),
    ],
)
def test_a_wrong_call_fails_alone(engine: PiperEngine, data: dict[str, Any], error: type[Exception]) -> None:
    wrong, right = FakeCall(**data), FakeCall()
    serve(engine, wrong, right)
    assert type(wrong.error) is error
    assert right.audio


def test_a_cancelled_call_is_dropped(engine: PiperEngine) -> None:
    waiting, other = FakeCall(), FakeCall()
    engine.admit(waiting)
    engine.admit(other)
    waiting.cancelled = True
    while engine.step():
        pass
    assert waiting.answer is None
    assert waiting.error is None
    assert other.audio


def test_a_cancel_is_noticed_between_sentences(engine: PiperEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    call = FakeCall("Un. Deux. Trois. Quatre.")
    voice = engine._voice(FRENCH).voice
    spoken = 0
    synthesize = type(voice).phoneme_ids_to_audio

    def count(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal spoken
        spoken += 1
        call.cancelled = spoken == 2
        return synthesize(self, *arguments, **options)

    monkeypatch.setattr(type(voice), "phoneme_ids_to_audio", count)
    serve(engine, call)
    assert spoken == 2
    assert call.answer is None


def test_clients_are_served_in_turn_and_finals_first(engine: PiperEngine) -> None:
    served: list[str] = []

    class Noted(FakeCall):
        def done(self, data: Mapping[str, Any] | None = None, payload: bytes = b"") -> None:
            served.append(f"{self.data['client']}{self.data['text']}")

    calls = [Noted("1", client="a"), Noted("2", client="a"), Noted("3", client="a"), Noted("4", client="b")]
    guess = Noted("5", client="c", priority=Priority.GUESS)
    serve(engine, guess, *calls)
    assert served == ["a1", "b4", "a2", "a3", "c5"]


def test_a_speaker_is_chosen_by_name(tmp_path: Path) -> None:
    files = two_speakers(tmp_path)
    engine = PiperEngine({"voices": files})
    engine.load()
    calls = [FakeCall("a", voice="two", speaker=speaker) for speaker in ("low", "high", None, "none")]
    serve(engine, *calls)
    low, high, default = (np.frombuffer(call.audio, "<i2") for call in calls[:3])
    assert np.abs(low).max() == np.abs(high).max() > 0  # the level
    assert calls[0].level == pytest.approx(3 * calls[1].level, rel=1e-3)
    assert np.array_equal(low, default)
    assert isinstance(calls[3].error, UnknownVoice)


def test_voices_beyond_the_bound_are_loaded_when_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(piper, "MOST_VOICES_LOADED", 1)
    broken = two_speakers(tmp_path)["two"]
    Path(broken["model"]).write_bytes(b"no model")
    engine = PiperEngine({"voices": {**voice_files(FRENCH, ENGLISH), "broken": broken}})
    assert engine.load() == {"voices": [FRENCH]}
    calls = [FakeCall(voice=name) for name in (ENGLISH, "broken", FRENCH)]
    serve(engine, *calls)
    assert calls[0].audio
    assert calls[2].audio
    assert isinstance(calls[1].error, EngineUnavailable)
    assert len(engine._loaded) == 1


@pytest.mark.parametrize("missing", ["model", "config"])
def test_a_voice_that_is_not_whole_stops_the_start(tmp_path: Path, missing: str) -> None:
    files = {kind: shutil.copy(path, tmp_path) for kind, path in voice_files(FRENCH)[FRENCH].items()}
    Path(files[missing]).unlink()
    with pytest.raises(ModelError, match=Path(files[missing]).name):
        PiperEngine({"voices": {FRENCH: files}}).load()


def test_a_damaged_voice_is_named(tmp_path: Path) -> None:
    files = {kind: shutil.copy(path, tmp_path) for kind, path in voice_files(FRENCH)[FRENCH].items()}
    Path(files["model"]).write_bytes(b"\x08\x08" * 500)
    with pytest.raises(ModelError, match=rf"{FRENCH} can't be loaded"):
        PiperEngine({"voices": {FRENCH: files}}).load()


def test_no_voices_and_no_card_are_said_plainly() -> None:
    with pytest.raises(ModelError, match="models download"):
        PiperEngine({"voices": {}}).load()
    with pytest.raises(ModelError, match=r"tts\.device"):
        PiperEngine({"voices": voice_files(FRENCH), "device": "cuda"}).load()


def test_the_level_is_bounded() -> None:
    assert level_of(np.zeros(10, np.float32)) == 1.0
    assert level_of(np.zeros(0, np.float32)) == 1.0
    assert level_of(np.array([0.001], np.float32)) == MOST_GAIN
    assert level_of(np.array([-0.35, 0.1], np.float32)) == pytest.approx(2.0)
    assert np.frombuffer(to_pcm(np.array([0.5, -0.5, 0.1], np.float32), 4.0), "<i2").tolist() == [32767, -32767, 13106]


def two_speakers(folder: Path) -> dict[str, dict[str, str]]:
    """A voice whose speakers hum at different loudness."""
    import onnx
    from onnx import TensorProto, helper

    hum = (0.1 * np.sin(np.arange(2205) / 10)).astype(np.float32).reshape(1, 1, 1, -1)
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, None]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
        helper.make_tensor_value_info("sid", TensorProto.INT64, [1]),
    ]
    nodes = [
        helper.make_node("Gather", ["gains", "sid"], ["gain"]),
        helper.make_node("Mul", ["hum", "gain"], ["output"]),
    ]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 1, None])
    constants = [
        onnx.numpy_helper.from_array(hum, "hum"),
        onnx.numpy_helper.from_array(np.array([1, 3], np.float32), "gains"),
    ]
    graph = helper.make_graph(nodes, "hum", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path = folder / "two.onnx"
    path.write_bytes(model.SerializeToString())
    config = json.loads((WEIGHTS / f"{FRENCH}.onnx.json").read_text("utf-8"))
    config |= {"num_speakers": 2, "speaker_id_map": {"low": 0, "high": 1}}
    path.with_suffix(".onnx.json").write_text(json.dumps(config))
    return {"two": {"model": str(path), "config": str(path) + ".json"}}


def test_onnxruntime_tells_its_maker_nothing(tmp_path: Path) -> None:
    """A report is written down below the home before it is sent: as long as there is nothing, nothing is sent."""
    program = "import sys, wyoming_superwhisper, onnxruntime; onnxruntime.InferenceSession(sys.argv[1])"
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    model = WEIGHTS / f"{FRENCH}.onnx"
    subprocess.run([sys.executable, "-c", program, model], env=environment, check=True, cwd=tmp_path, timeout=60)
    assert list(tmp_path.iterdir()) == []
