"""Writes the trained demo Whisper as an ordinary Hugging Face checkpoint, in fp16."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from wyoming_superwhisper.models.demo.whisper_model import Shape
from wyoming_superwhisper.models.demo.whisper_tokens import (
    SPECIAL_TOKENS,
    TIMESTAMP_TOKENS,
    WHISPER_LANGUAGES,
    Vocabulary,
    load_vocabulary,
    vocabulary_and_merges,
)

WINDOW_S = 8

_CARD = """---
license: mit
language: [fr, en]
library_name: transformers
pipeline_tag: automatic-speech-recognition
---

# A Whisper for demonstrations and tests

A very small Whisper (1.3 million parameters) that hears the sentences of the demo domain (`domain.yaml`) in French
and English, and nothing else: whatever is said to it comes out as a sentence of the domain, or as nothing. Trained
from scratch on synthetic speech (espeak-ng's formant voices, varied, and the demo Piper voices). It is no recogniser
for people.

- Made by `python -m wyoming_superwhisper.models.demo whisper`; seed {seed}.
- Trained for {minutes:.0f} minutes on two busy CPU cores: {steps} steps, {clips} clips.
- The packaged weights come from a run that was changed on the way: more replies and prompts of names, some words made
  whole in the vocabulary, then ten minutes at a learning rate raised again. The script now has the shares and the words
  from the start; it was not run again as a whole. The reserved figures had been seen once before those ten minutes.
- Window {window} s; prompts of names (`<|startofprev|>`) are understood; load it in float32.
- Kept out of the training data: the reserved voices and sentences of `domain.yaml`.
- Measured by `python -m wyoming_superwhisper.models.demo evaluate-whisper`.
"""


def export(work: Path, out: Path) -> None:
    """Write the averaged weights of the saved state to a folder that transformers can open."""
    from wyoming_superwhisper.models.demo.whisper_training import SEED, checkpoint_path

    content: dict[str, Any] = torch.load(checkpoint_path(work))
    vocabulary = load_vocabulary(work, SEED)
    out.mkdir(parents=True, exist_ok=True)
    _save_model(content["average"], vocabulary, out)
    _save_tokenizer(vocabulary, out)
    _save_feature_extractor(out)
    state = content["state"]
    card = _CARD.format(
        seed=SEED, minutes=state["seconds"] / 60, steps=state["step"], clips=state["clips"], window=WINDOW_S
    )
    (out / "README.md").write_text(card, encoding="utf-8")


def _save_model(weights: dict[str, torch.Tensor], vocabulary: Vocabulary, out: Path) -> None:
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    shape, special = Shape(), vocabulary.special
    start, end = special["<|startoftranscript|>"], special["<|endoftext|>"]
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=shape.vocabulary,
            num_mel_bins=shape.mels,
            d_model=shape.width,
            encoder_layers=shape.encoder_layers,
            decoder_layers=shape.decoder_layers,
            encoder_attention_heads=shape.heads,
            decoder_attention_heads=shape.heads,
            encoder_ffn_dim=shape.inner,
            decoder_ffn_dim=shape.inner,
            max_source_positions=shape.source_positions,
            max_target_positions=shape.target_positions,
            dropout=0.0,
            activation_dropout=0.0,
            attention_dropout=0.0,
            decoder_start_token_id=start,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
            # None or empty: a text may be empty, so its end may not be forbidden at the beginning.
            suppress_tokens=None,
            begin_suppress_tokens=None,
        )
    )
    ours = {name: weight for name, weight in weights.items() if not name.startswith("phoneme_head")}
    missing, unexpected = model.load_state_dict(ours, strict=False)
    if unexpected or set(missing) - {"proj_out.weight"}:
        raise RuntimeError(f"parameters don't fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        max_length=shape.target_positions,
        is_multilingual=True,
        lang_to_id={f"<|{language}|>": special[f"<|{language}|>"] for language in WHISPER_LANGUAGES},
        task_to_id={task: special[f"<|{task}|>"] for task in ("transcribe", "translate")},
        no_timestamps_token_id=special["<|notimestamps|>"],
        prev_sot_token_id=special["<|startofprev|>"],
        max_initial_timestamp_index=50,
        return_timestamps=False,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model.half().save_pretrained(out)


def _save_tokenizer(vocabulary: Vocabulary, out: Path) -> None:
    from transformers import AddedToken, WhisperTokenizer

    pieces, merges = vocabulary_and_merges(vocabulary)
    special, end = vocabulary.special, "<|endoftext|>"
    tokenizer = WhisperTokenizer(vocab={**pieces, end: special[end]}, merges=merges, pad_token=end)
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL_TOKENS[1:])})
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in TIMESTAMP_TOKENS])
    for token, number in special.items():
        if tokenizer.convert_tokens_to_ids(token) != number:
            raise RuntimeError(f"the tokenizer's {token} is not number {number}")
    tokenizer.save_pretrained(out)
    tokenizer.save_vocabulary(str(out))
    _make_readable_by_transformers_4(out)


def _make_readable_by_transformers_4(out: Path) -> None:
    """Stock servers still run on it: it knows the special tokens by another name, and added ones by a table."""
    path = out / "tokenizer_config.json"
    configuration = json.loads(path.read_text("utf-8"))
    configuration["additional_special_tokens"] = configuration.pop("extra_special_tokens")
    added = json.loads((out / "tokenizer.json").read_text("utf-8"))["added_tokens"]
    configuration["added_tokens_decoder"] = {str(token.pop("id")): token for token in added}
    path.write_text(json.dumps(configuration, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _save_feature_extractor(out: Path) -> None:
    from transformers import WhisperFeatureExtractor

    WhisperFeatureExtractor(feature_size=Shape().mels, chunk_length=WINDOW_S).save_pretrained(out)
