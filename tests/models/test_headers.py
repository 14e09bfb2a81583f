from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.models.tiny_models import gguf, onnx, safetensors
from wyoming_superwhisper.errors import ModelError
from wyoming_superwhisper.models.headers import check_header
from wyoming_superwhisper.models.store import DEMO_WEIGHTS

WHOLE = {"a.safetensors": safetensors(), "a.gguf": gguf(), "a.onnx": onnx()}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_is_what_its_name_says_passes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(WHOLE[name])
    check_header(tmp_path / name)


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for length in range(len(WHOLE[name])):
        path.write_bytes(WHOLE[name][:length])
        with pytest.raises(ModelError, match=rf"{name} is (cut off|not in|an ONNX file without)"):
            check_header(path)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04" + bytes(100), b"<html><body>Not found</body></html>", b"\x80\x04\x95" + bytes(50)]
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name}.*; do this"):
        check_header(tmp_path / name, "; do this")


@pytest.mark.timeout(60)  # it is over after a second
@pytest.mark.parametrize("name", WHOLE)
def test_no_bytes_whatever_hang_it_or_raise_anything_else(tmp_path: Path, name: str) -> None:
    rng, path = random.Random(3), tmp_path / name
    for _ in range(300):
        content = bytearray(WHOLE[name])
        for _ in range(rng.randrange(1, 6)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        try:
            check_header(path)
        except ModelError as error:
            assert str(path) in str(error)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a.gguf can't be read: No such file"):
        check_header(tmp_path / "a.gguf")


def test_other_files_are_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"")
    check_header(tmp_path / "config.json")


def test_the_packaged_models_pass_and_do_not_when_cut_off(tmp_path: Path) -> None:
    packaged = [path for path in DEMO_WEIGHTS.rglob("*") if path.suffix in (".safetensors", ".gguf", ".onnx")]
    assert packaged
    for path in packaged:
        check_header(path)
        content = path.read_bytes()
        cut = tmp_path / path.name
        for length in (len(content) - 1, len(content) * 3 // 4, len(content) // 2, 100):
            cut.write_bytes(content[:length])
            with pytest.raises(ModelError):
                check_header(cut)
