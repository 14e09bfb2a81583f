"""A Whisper checkpoint of random weights: it says nonsense, by exactly the code that real ones go through."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

WINDOW_S = 8
TIMESTAMPS = 401
TEXT = [
    " Allume la lumière de la cuisine.", " Éteins le salon, la chambre et le bureau.", " Quelle heure est-il ?",
    " Turn on the kitchen light.", " Open the blinds in the living room.", " What time is it?",
]  # fmt: skip


def make_checkpoint(
    folder: Path,
    seed: int = 0,
    suppress: Sequence[int] | None = None,
    begin_suppress: Sequence[int] | None = None,
    max_length: int = 40,
    positions: int = 192,
    spread: float = 0.25,
) -> Path:
    """Write a checkpoint. `spread` is the scale of the weights: large enough for words that depend on the audio."""
    pieces = _train_pieces()
    special = [
        "<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES), "<|translate|>",
        "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
    ]  # fmt: skip
    stamps = [f"<|{number * 0.02:.2f}|>" for number in range(TIMESTAMPS)]
    tokenizer = WhisperTokenizer(vocab=pieces[0], merges=pieces[1], additional_special_tokens=special[1:])
    tokenizer.add_tokens(stamps)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in [*special, *stamps]}
    assert [*ids.values()] == list(range(len(pieces[0]), len(pieces[0]) + len(ids)))
    model = _model(seed, len(tokenizer), ids, positions, spread)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=ids["<|startoftranscript|>"], eos_token_id=ids["<|endoftext|>"],
        bos_token_id=ids["<|endoftext|>"], pad_token_id=ids["<|endoftext|>"], max_length=max_length,
        suppress_tokens=[*range(ids["<|startoftranscript|>"], len(tokenizer)), *(suppress or ())],
        begin_suppress_tokens=None if begin_suppress is None else list(begin_suppress),
        lang_to_id={f"<|{code}|>": ids[f"<|{code}|>"] for code in LANGUAGES}, is_multilingual=True,
        task_to_id={"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]},
        no_timestamps_token_id=ids["<|notimestamps|>"], prev_sot_token_id=ids["<|startofprev|>"],
        return_timestamps=False,
    )  # fmt: skip
    model.save_pretrained(folder)
    extractor = WhisperFeatureExtractor(chunk_length=WINDOW_S)
    WhisperProcessor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def _model(seed: int, vocabulary: int, ids: dict[str, int], positions: int, spread: float):
    torch.manual_seed(seed)
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    config = WhisperConfig(
        vocab_size=vocabulary, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=96, decoder_ffn_dim=96, max_source_positions=400,
        max_target_positions=positions, init_std=spread, dropout=0.0, pad_token_id=end, bos_token_id=end,
        eos_token_id=end, decoder_start_token_id=start,
    )  # fmt: skip
    return WhisperForConditionalGeneration(config).eval()


def _train_pieces() -> tuple[dict[str, int], list[tuple[str, str]]]:
    import json

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]
