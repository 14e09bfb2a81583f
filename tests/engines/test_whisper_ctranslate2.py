"""By ctranslate2 Whisper says what it says by transformers; models are converted once, and the quicker one is taken."""

import json
import logging
import shutil
import sys
from pathlib import Path

import pytest

from tests.engines.test_whisper import NAMES, Plain, RecordedCall, open_engine, run, sound
from tests.engines.tiny_whisper import make_checkpoint
from wyoming_superwhisper import errors
from wyoming_superwhisper.engines.whisper_ctranslate2 import ConvertedDecoder

ctranslate2 = pytest.importorskip("ctranslate2")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("whisper"))


@pytest.fixture
def folder(original, tmp_path) -> Path:
    return shutil.copytree(original, tmp_path / "model")


def models_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("model.bin"))


@pytest.mark.parametrize(
    "options",
    [
        {"suppress": [6, 306, 62], "begin_suppress": [288, 320], "max_length": 12},
        {"max_length": 70, "positions": 64},
    ],
)
def test_tokens_are_those_of_generate_for_other_checkpoints(tmp_path, options):
    folder = make_checkpoint(tmp_path / "other", seed=3, **options)
    engine, plain = open_engine(folder, engine="ctranslate2"), Plain(folder)
    audios = [sound(seed) for seed in range(2)]
    results = run(engine, *[RecordedCall(audio) for audio in audios], RecordedCall(audios[0], names=("Salon",)))
    expected = [plain.generate(audio) for audio in audios] + [plain.generate(audios[0], names=("Salon",))]
    assert [result["tokens"] for result in results] == expected


def test_where_a_short_window_leaves_a_doubt_the_whole_is_heard(folder):
    engine, plain = open_engine(folder, engine="ctranslate2", window="speech"), Plain(folder)
    asked = [(sound(11, 0.4), "fr", NAMES), (sound(12, 3), "en", ()), (sound(14, 2), "fr", ())]
    calls = [RecordedCall(audio, language=language, names=names) for audio, language, names in asked]
    assert [result["tokens"] for result in run(engine, *calls)] == [plain.generate(*request) for request in asked]


def test_the_language_is_the_one_that_transformers_hears(folder):
    calls = [[RecordedCall(sound(seed), language=None) for seed in (31, 32, 33)] for _ in range(2)]
    theirs = run(open_engine(folder), *calls[0])
    ours = run(open_engine(folder, engine="ctranslate2"), *calls[1])
    assert [(one["language"], one["tokens"]) for one in ours] == [(one["language"], one["tokens"]) for one in theirs]


def test_what_nobody_wants_any_more_is_not_begun(folder):
    engine = open_engine(folder, engine="ctranslate2")
    stays, leaves = RecordedCall(sound(1)), RecordedCall(sound(2), cancel_after=1)
    run(engine, leaves, stays)
    assert stays.result["tokens"]
    assert leaves.asked == 2


def test_the_conversion_is_kept_beside_the_model_and_made_once(folder, cache):
    open_engine(folder, engine="ctranslate2")
    [kept] = models_in(folder)
    made = kept.stat().st_mtime_ns
    open_engine(folder, engine="ctranslate2")
    assert kept.stat().st_mtime_ns == made
    assert not cache.exists()
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == [kept.parent.name]  # nothing half made


def test_another_model_in_the_same_folder_is_converted_again(folder, tmp_path):
    open_engine(folder, engine="ctranslate2")
    other = make_checkpoint(tmp_path / "other", seed=9)
    shutil.copy(other / "model.safetensors", folder)
    engine, plain = open_engine(folder, engine="ctranslate2"), Plain(other)
    assert run(engine, RecordedCall(sound(1)))[0]["tokens"] == plain.generate(sound(1))
    assert len(models_in(folder)) == 1


def test_what_can_not_be_written_beside_the_model_goes_to_the_cache(folder, cache):
    (folder / "ctranslate2").write_text("in the way")
    open_engine(folder, engine="ctranslate2")
    assert len(models_in(cache)) == 1


def test_nowhere_to_keep_it_is_said(folder, cache, caplog):
    (folder / "ctranslate2").write_text("in the way")
    cache.write_text("in the way too")
    with pytest.raises(errors.ModelError, match=r"conversion of .* can't be kept"):
        open_engine(folder, engine="ctranslate2")
    engine = open_engine(folder, engine="auto")  # the choice is ours then
    assert not isinstance(engine._decoder, ConvertedDecoder)
    assert "decoded by transformers: the conversion" in caplog.text


def test_the_quicker_one_is_measured_once(folder, caplog):
    caplog.set_level(logging.INFO)
    first = open_engine(folder, engine="auto")
    assert "measured now" in caplog.text
    [notes] = folder.rglob("superwhisper-times.json")
    [(case, times)] = json.loads(notes.read_text()).items()
    quicker = min(times, key=times.__getitem__)
    assert isinstance(first._decoder, ConvertedDecoder) == (quicker == "ctranslate2")
    notes.write_text(json.dumps({case: {"ctranslate2": "fast"}}))  # not what we write
    caplog.clear()
    open_engine(folder, engine="auto")
    assert "measured now" in caplog.text
    for other in ("transformers", "ctranslate2"):  # what is noted decides
        slow = {name: 1.0 if name == other else 9.0 for name in times}
        notes.write_text(json.dumps({case: slow}))
        caplog.clear()
        engine = open_engine(folder, engine="auto")
        assert isinstance(engine._decoder, ConvertedDecoder) == (other == "ctranslate2")
        assert f"decoded by {other}: 1.0 ms" in caplog.text
        assert "noted earlier" in caplog.text
        assert run(engine, RecordedCall(sound(1)))[0]["tokens"]


def test_another_number_format_is_measured_anew_and_int8_is_for_ctranslate2(folder, caplog):
    engine = open_engine(folder, engine="auto", compute="int8")
    assert isinstance(engine._decoder, ConvertedDecoder)
    assert run(engine, RecordedCall(sound(1)))[0]["tokens"]
    with pytest.raises(errors.ModelError, match="int8 is for"):
        open_engine(folder, compute="int8")
    with pytest.raises(errors.ModelError, match=r"can't compute in float16 here"):
        open_engine(folder, engine="ctranslate2", compute="float16")
    assert not isinstance(open_engine(folder, engine="auto", compute="bfloat16")._decoder, ConvertedDecoder)


def test_where_it_is_not_installed(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    assert not isinstance(open_engine(folder, engine="auto")._decoder, ConvertedDecoder)
    with pytest.raises(errors.ModelError, match="pip install"):
        open_engine(folder, engine="ctranslate2")


def test_a_damaged_model_is_named(folder):
    (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    for engine in ("auto", "ctranslate2"):
        with pytest.raises(errors.ModelError, match="Whisper model in") as caught:
            open_engine(folder, engine=engine)
        assert str(folder) in str(caught.value)
