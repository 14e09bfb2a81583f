"""The demo Llama is written as GGUF and read back to be taught further: the same weights, the same tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("gguf")

from wyoming_superwhisper.models.demo.llama_export import read_gguf, write_gguf
from wyoming_superwhisper.models.demo.llama_model import DemoLlama, Shape
from wyoming_superwhisper.models.demo.llama_tokens import SPECIAL
from wyoming_superwhisper.models.demo.llama_training import OUTPUT, mixed


def test_what_was_read_is_written_again_byte_for_byte(tmp_path: Path) -> None:
    shape = Shape(3072)
    weights, tokenizer = read_gguf(OUTPUT, shape)
    model = DemoLlama(shape)
    model.load_state_dict(weights)
    write_gguf(model, tokenizer, tmp_path / "again.gguf")
    assert (tmp_path / "again.gguf").read_bytes() == OUTPUT.read_bytes()


def test_its_tokenizer_reads_its_own_text_back() -> None:
    _, tokenizer = read_gguf(OUTPUT, Shape(3072))
    text = "Il fait trop sombre à l'entrée, n'est-ce pas ? It's 3 o'clock."
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert [tokenizer.encode(one).ids for one in SPECIAL] == [[tokenizer.token_to_id(one)] for one in SPECIAL]


def test_weights_are_mixed_by_the_share_of_those_that_were_known() -> None:
    learnt, known = {"a": torch.tensor([4.0, 8.0])}, {"a": torch.tensor([0.0, 4.0])}
    assert mixed(learnt, known, 0.0)["a"].tolist() == [4.0, 8.0]
    assert mixed(learnt, known, 0.25)["a"].tolist() == [3.0, 7.0]
    assert mixed(learnt, known, 1.0)["a"].tolist() == [0.0, 4.0]
