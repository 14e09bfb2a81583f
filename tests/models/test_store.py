from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.models.tiny_models import gguf, onnx, put, safetensors, voice_json, whisper_files
from wyoming_superwhisper.errors import ModelError
from wyoming_superwhisper.models.store import (
    DEMO_WEIGHTS,
    FileRecord,
    ModelRecord,
    ModelStore,
    default_folder,
    demo_voices,
    file_sha256,
)

SMALL = "whisper-small"
QWEN = "qwen2.5-1.5b-instruct-q4_k_m"
SIWIS = "fr_FR-siwis-medium"


@dataclass
class Card:
    memory_mb: int = 24576
    engines: tuple[str, ...] = ("whisper", "llama")

    def device(self, engine: str) -> str:
        return "cuda" if engine in self.engines else "cpu"


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def install(store: ModelStore, name: str, files: dict[str, bytes]) -> Path:
    """Put a model into the store as a download would leave it."""
    folder = put(store.folder_of(name), files)
    records = {file: FileRecord(len(content), file_sha256(folder / file)) for file, content in files.items()}
    ModelRecord(name, "repo", "rev", "2026-11-22T00:00:00+00:00", records).write(folder)
    return folder


def install_voice(store: ModelStore, name: str = SIWIS) -> Path:
    return install(store, name, {f"{name}.onnx": onnx(), f"{name}.onnx.json": voice_json()})


# --- names ------------------------------------------------------------------------------------------------------


def test_the_folder_is_the_users_own_unless_named(tmp_path: Path) -> None:
    assert ModelStore().folder == default_folder()
    assert "wyoming-superwhisper" in str(default_folder())
    assert ModelStore(tmp_path).folder == tmp_path
    assert ModelStore("~/models").folder == Path.home() / "models"


def test_a_downloaded_model_is_found_by_name(store: ModelStore) -> None:
    folder = install(store, SMALL, whisper_files())
    assert store.whisper(SMALL) == store.whisper("small") == folder
    gguf_name = store.catalogue.get(QWEN).files[0].name
    file = install(store, QWEN, {gguf_name: gguf()}) / gguf_name
    assert store.llama(QWEN.upper()) == file


def test_auto_is_what_suits_the_card(tmp_path: Path) -> None:
    assert ModelStore(tmp_path, Card()).resolve("whisper", "auto") == "whisper-large-v3"
    assert ModelStore(tmp_path, Card(8192)).resolve("llama", "auto") == "llama-3.2-3b-instruct-q4_k_m"
    assert ModelStore(tmp_path, Card(engines=("llama",))).resolve("whisper", "auto") == SMALL
    assert ModelStore(tmp_path).resolve("llama", "auto") == QWEN


def test_auto_makes_do_with_a_smaller_one_that_is_here(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, Card())
    install(store, SMALL, whisper_files())
    assert store.resolve("whisper", "auto") == SMALL


def test_a_path_is_taken_as_it_is(tmp_path: Path, store: ModelStore) -> None:
    mine = put(tmp_path / "mine", whisper_files())
    assert store.whisper(str(mine)) == mine
    (tmp_path / "my.gguf").write_bytes(gguf())
    assert store.llama(str(tmp_path / "my.gguf")) == tmp_path / "my.gguf"


def test_a_missing_model_is_one_sentence_with_the_command_that_fetches_it(store: ModelStore) -> None:
    for ask in (lambda: store.whisper("auto"), lambda: store.whisper(SMALL)):
        with pytest.raises(
            ModelError, match=rf"{SMALL} is not in .*; run: wyoming-superwhisper models download {SMALL}"
        ):
            ask()
    with pytest.raises(ModelError, match=f"models download {QWEN}"):
        store.llama("auto")
    with pytest.raises(ModelError, match=f"models download {SIWIS}"):
        store.voices()
    with pytest.raises(ModelError, match=f"models download {SIWIS}"):
        store.voices([SIWIS])


def test_a_model_of_another_kind_is_refused(store: ModelStore) -> None:
    with pytest.raises(ModelError, match="is a speech recognition model, not a language model"):
        store.llama(SMALL)
    with pytest.raises(
        ModelError, match=r"there is no speech recognition model 'whisper-smal'; did you mean whisper-small\?"
    ):
        store.whisper("whisper-smal")
    with pytest.raises(ModelError, match=r"there is no voice 'nobody'; there are fr_FR-siwis-medium, .*, or a path"):
        store.voices(["nobody"])


# --- voices -----------------------------------------------------------------------------------------------------


def test_without_names_all_installed_voices_are_offered_the_catalogues_first(store: ModelStore) -> None:
    put(store.folder / "mine", {"aa_AA-mine-low.onnx": onnx(), "aa_AA-mine-low.onnx.json": voice_json()})
    put(store.folder, {"bb_BB-loose-low.onnx": onnx(), "bb_BB-loose-low.onnx.json": voice_json()})
    install_voice(store)
    assert list(store.voices()) == [SIWIS, "bb_BB-loose-low", "aa_AA-mine-low"]
    assert store.voices([SIWIS])[SIWIS]["config"].endswith(f"{SIWIS}.onnx.json")
    assert list(store.voices(["aa_AA-mine-low"])) == ["aa_AA-mine-low"]


def test_a_voice_can_be_the_path_of_its_file(tmp_path: Path, store: ModelStore) -> None:
    put(tmp_path, {"v.onnx": onnx(), "v.onnx.json": voice_json()})
    assert store.voices([str(tmp_path / "v.onnx")]) == {
        "v": {"model": str(tmp_path / "v.onnx"), "config": str(tmp_path / "v.onnx.json")}
    }
    with pytest.raises(ModelError, match="no voice"):
        store.voices([str(tmp_path / "w.onnx")])
    put(tmp_path, {"v.onnx.json": b"{}"})
    with pytest.raises(ModelError, match="not the JSON of a Piper voice"):
        store.voices([str(tmp_path / "v.onnx")])


# --- demo -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (DEMO_WEIGHTS / "piper").is_dir(), reason="the demo voices are not made yet")
def test_the_demo_voices_are_part_of_the_package(store: ModelStore) -> None:
    names = [voice.name for voice in demo_voices()]
    assert list(store.voices(["demo"])) == names
    assert any(name.startswith("fr") for name in names)
    assert any(name.startswith("en") for name in names)
    assert store.voices([names[0]])


@pytest.mark.skipif(not (DEMO_WEIGHTS / "whisper").is_dir(), reason="the demo Whisper is not made yet")
def test_the_demo_whisper_is_part_of_the_package(store: ModelStore) -> None:
    assert store.whisper("demo") == DEMO_WEIGHTS / "whisper"


@pytest.mark.skipif(not (DEMO_WEIGHTS / "llama").is_dir(), reason="the demo Llama is not made yet")
def test_the_demo_llama_is_part_of_the_package(store: ModelStore) -> None:
    assert store.llama("demo") == DEMO_WEIGHTS / "llama" / "demo.gguf"


# --- what is wrong with files ------------------------------------------------------------------------------------


def test_a_file_that_is_missing_or_cut_off_stops_the_model(store: ModelStore) -> None:
    folder = install(store, SMALL, whisper_files())
    (folder / "tokenizer.json").unlink()
    with pytest.raises(
        ModelError, match=r"not whole: tokenizer.json is missing; run: wyoming-superwhisper models download"
    ):
        store.whisper(SMALL)
    install(store, SMALL, whisper_files())
    (folder / "model.safetensors").write_bytes(safetensors()[:-1])
    with pytest.raises(ModelError, match=r"model.safetensors has \d+ bytes instead of \d+"):
        store.whisper(SMALL)


def test_verify_reads_every_byte(store: ModelStore) -> None:
    folder = install(store, SMALL, whisper_files())
    assert list(store.verify(SMALL)) == []
    broken = bytearray(whisper_files()["model.safetensors"])
    broken[-1] ^= 1
    (folder / "model.safetensors").write_bytes(broken)
    assert store.is_present(SMALL)
    assert list(store.verify(SMALL)) == ["model.safetensors has a wrong SHA-256"]


def test_a_model_put_there_by_hand_needs_all_files_of_the_catalogue(store: ModelStore) -> None:
    put(store.folder_of(SMALL), whisper_files())
    assert not store.is_present(SMALL)
    put(store.folder_of(SMALL), {file.name: b"{}" for file in store.catalogue.get(SMALL).files})
    put(store.folder_of(SMALL), whisper_files())
    assert store.is_present(SMALL)


def test_a_record_that_cannot_be_read_is_none(store: ModelStore) -> None:
    folder = install_voice(store)
    for text in ("", "[]", "{}", '{"files": 3}', "\x00"):
        (folder / "superwhisper.json").write_text(text)
        assert store.record(SIWIS) is None


def test_pickles_are_named_as_the_reason(tmp_path: Path, store: ModelStore) -> None:
    files = whisper_files()
    del files["model.safetensors"]
    put(tmp_path / "old", {**files, "pytorch_model.bin": b"x"})
    with pytest.raises(ModelError, match="pickles are never loaded"):
        store.whisper(str(tmp_path / "old"))


def test_a_folder_of_another_model_is_refused(tmp_path: Path, store: ModelStore) -> None:
    put(tmp_path / "bert", {**whisper_files(), "config.json": b'{"model_type": "bert"}'})
    with pytest.raises(ModelError, match="holds no Whisper model: its config.json says 'bert'"):
        store.whisper(str(tmp_path / "bert"))
    put(tmp_path / "bert", {"config.json": b"{"})
    with pytest.raises(ModelError, match="is not JSON"):
        store.whisper(str(tmp_path / "bert"))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        folder = tmp_path / f"cut-{file}"
        put(folder, {**whisper_files(), file: b'{"version": "1.0", '})
        with pytest.raises(ModelError, match=f"{file} is not JSON"):
            store.whisper(str(folder))
    with pytest.raises(ModelError, match="there is no folder"):
        store.whisper(str(tmp_path / "nothing"))
