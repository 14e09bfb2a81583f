from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.models.hub import Hub
from tests.models.tiny_models import onnx, voice_json
from wyoming_superwhisper.cli.models import ProgressLine

SIWIS = "fr_FR-siwis-medium"
FOLDER = "fr/fr_FR/siwis/medium"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    files = {f"{FOLDER}/{SIWIS}.onnx": onnx(5000), f"{FOLDER}/{SIWIS}.onnx.json": voice_json()}
    with Hub("rhasspy/piper-voices", files) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub


def test_a_model_is_downloaded_listed_verified_and_found(command: Command, hub: Hub, tmp_path: Path) -> None:
    models = ("--models", tmp_path)
    assert "not here" in next(line for line in command("models", "list", *models).out.splitlines() if SIWIS in line)
    outcome = command("models", "download", SIWIS, *models)
    assert outcome.status == 0, outcome.err
    assert f"{SIWIS} is here" in outcome.out
    assert "100 %" in outcome.err
    line = next(line for line in command("models", "list", *models).out.splitlines() if SIWIS in line)
    assert " here " in line
    assert command("models", "path", SIWIS, *models).out == f"{tmp_path / SIWIS}\n"
    assert command("models", "verify", *models).out == f"{SIWIS}: right\n"
    hub.requests.clear()
    assert "is here already" in command("models", "download", SIWIS, *models).out
    assert hub.requests == []
    assert "is here:" in command("models", "download", SIWIS, "--again", *models).out


def test_a_broken_file_is_found_by_verify_and_is_status_2(command: Command, hub: Hub, tmp_path: Path) -> None:
    command("models", "download", SIWIS, "--models", tmp_path)
    path = tmp_path / SIWIS / f"{SIWIS}.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    outcome = command("models", "verify", SIWIS, "--models", tmp_path)
    assert outcome.status == 2
    assert "wrong SHA-256" in outcome.out
    assert "models download" in outcome.err


def test_path_of_a_model_that_is_not_here_is_status_2(command: Command, tmp_path: Path) -> None:
    outcome = command("models", "path", SIWIS, "--models", tmp_path)
    assert outcome.status == 2
    assert f"models download {SIWIS}" in outcome.err
    assert command("models", "path", "--models", tmp_path).out == f"{tmp_path}\n"


def test_the_folder_can_come_from_the_environment(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WYOMING_SUPERWHISPER_MODELS_DIR", str(tmp_path))
    assert command("models", "path").out == f"{tmp_path}\n"


def test_the_list_marks_what_suits_this_machine(command: Command, tmp_path: Path) -> None:
    lines = command("models", "list", "--models", tmp_path, "--set", "gpu.device=cpu").out.splitlines()
    marked = [line.split()[1] for line in lines if line.startswith(" * ")]
    assert marked == [
        "whisper-small", "qwen2.5-1.5b-instruct-q4_k_m", SIWIS, "en_GB-alba-medium", "es_ES-davefx-medium",
    ]  # fmt: skip


def test_nothing_to_verify_is_said(command: Command, tmp_path: Path) -> None:
    assert command("models", "verify", "--models", tmp_path).out == f"No models are in {tmp_path}.\n"


def test_progress_on_a_terminal_is_one_line_that_changes(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    line = ProgressLine()
    line.show("a", 0, 1000)
    line.show("a", 1000, 1000)
    line.end()
    shown = capsys.readouterr().err
    assert shown.count("\r") == 2
    assert "100 %" in shown
    assert shown.endswith("\n")
