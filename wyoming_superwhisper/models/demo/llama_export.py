"""Writes the demo Llama as GGUF (Q8_0), in the form that stock llama.cpp loads; reads it back to teach it further."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from wyoming_superwhisper.engines.llm_prompt import CHATML
from wyoming_superwhisper.models.demo.llama_model import DemoLlama, Shape
from wyoming_superwhisper.models.demo.llama_tokens import END_OF_TEXT, SPECIAL, TURN_END, known_tokenizer

_LAYER_NAMES = {
    "attention_norm": "attn_norm", "attention.q": "attn_q", "attention.k": "attn_k", "attention.v": "attn_v",
    "attention.o": "attn_output", "ffn_norm": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
}  # fmt: skip


def write_gguf(model: DemoLlama, tokenizer: Tokenizer, path: Path) -> None:
    """Write model and tokenizer to `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    writer = gguf.GGUFWriter(str(unfinished), "llama")
    _describe(writer, model.shape)
    _add_tokenizer(writer, tokenizer, model.shape.vocabulary)
    _add_weights(writer, model)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.replace(path)


def read_gguf(path: Path, shape: Shape) -> tuple[dict[str, Tensor], Tokenizer]:
    """The weights of a model that was written here, as `DemoLlama` names them, and its tokenizer."""
    reader = gguf.GGUFReader(str(path))
    weights = {
        one.name: torch.from_numpy(np.array(gguf.quants.dequantize(one.data, one.tensor_type), np.float32))
        for one in reader.tensors
    }
    state = {"embedding.weight": weights["token_embd.weight"], "norm.weight": weights["output_norm.weight"]}
    for index in range(shape.layers):
        for ours, theirs in _LAYER_NAMES.items():
            weight = weights[f"blk.{index}.{theirs}.weight"]
            if theirs in ("attn_q", "attn_k"):
                weight = _halved(weight, shape.heads if theirs == "attn_q" else shape.kv_heads)
            state[f"layers.{index}.{ours}.weight"] = weight
    tokens, merges = (reader.fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges"))
    return state, known_tokenizer(tokens, merges)


def _describe(writer: Any, shape: Shape) -> None:
    writer.add_name("Wyoming Superwhisper demo")
    writer.add_description("Understands a few loose French and English sentences of a home. A demonstration, no more.")
    writer.add_license("MIT")
    writer.add_languages(["fr", "en"])
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def _add_tokenizer(writer: Any, tokenizer: Tokenizer, size: int) -> None:
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    by_id = {index: text for text, index in vocabulary.items()}
    kinds = {True: gguf.TokenType.CONTROL, False: gguf.TokenType.NORMAL}
    tokens = [by_id.get(index, f"<|unused{index}|>") for index in range(size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [kinds[by_id[index] in SPECIAL] if index in by_id else gguf.TokenType.UNUSED for index in range(size)]
    )
    writer.add_token_merges(_merges(tokenizer))
    writer.add_bos_token_id(vocabulary[END_OF_TEXT])
    writer.add_eos_token_id(vocabulary[TURN_END])
    writer.add_pad_token_id(vocabulary[END_OF_TEXT])
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)


def _merges(tokenizer: Tokenizer) -> list[str]:
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [one if isinstance(one, str) else " ".join(one) for one in merges]


def _add_weights(writer: Any, model: DemoLlama) -> None:
    shape = model.shape
    _add(writer, "token_embd.weight", model.embedding.weight)
    for index, layer in enumerate(model.layers):
        for ours, theirs in _LAYER_NAMES.items():
            weight = layer.get_submodule(ours).weight
            if theirs in ("attn_q", "attn_k"):
                weight = _interleaved(weight, shape.heads if theirs == "attn_q" else shape.kv_heads)
            _add(writer, f"blk.{index}.{theirs}.weight", weight)
    _add(writer, "output_norm.weight", model.norm.weight)


def _add(writer: Any, name: str, weight: Tensor) -> None:
    values = weight.detach().float().numpy()
    if values.ndim == 1:  # norms stay exact
        writer.add_tensor(name, values)
        return
    packed = gguf.quants.quantize(np.ascontiguousarray(values), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)


def _interleaved(weight: Tensor, heads: int) -> Tensor:
    """Rows from "first halves, second halves" to the pairs that llama.cpp rotates."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _halved(weight: Tensor, heads: int) -> Tensor:
    """Rows back from the pairs that llama.cpp rotates to "first halves, second halves"."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
