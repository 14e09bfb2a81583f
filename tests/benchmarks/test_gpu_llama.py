"""The benchmark of the language model's engine runs, on random weights of a small shape."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("llama_cpp")

from benchmarks import report
from benchmarks.gpu_llama import SHAPES, Shape, measure, write_random
from wyoming_superwhisper.gpu import choose

TINY = Shape("tiny", 256, 2, 4, 2, 512, 1024)


def test_every_figure_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "FIGURES", tmp_path)
    path = tmp_path / "tiny.gguf"
    write_random(path, TINY)
    written = report.Report("gpu_llama")
    measure(path, choose("cpu"), written, runs=1, threads=1)
    written.save()
    figures = report.read("gpu_llama")
    parts = {f"llama/{what}/{who}" for what in ("prompt", "answer", "four") for who in ("ours", "llama.cpp", "ratio")}
    assert parts | {"llama/first", "llama/memory"} <= set(figures)
    assert all(value > 0 for key, value in figures.items() if key != "llama/memory")


def test_the_large_shape_is_llama_3s() -> None:
    """As many weights as its card says: 8.03 billion."""
    shape = SHAPES["llama-3-8b"]
    narrow = shape.hidden // shape.heads * shape.kv_heads
    layer = 2 * shape.hidden * (shape.hidden + narrow + 1) + 3 * shape.hidden * shape.feed_forward
    weights = shape.layers * layer + 2 * shape.vocabulary * shape.hidden + shape.hidden
    assert weights == 8_030_261_248
