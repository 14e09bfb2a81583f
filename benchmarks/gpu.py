"""Whisper at true sizes on the card, beside plain transformers `generate`: `python -m benchmarks.gpu [--shape NAME]`.

The weights are random and made on the spot at the real shapes; a command is 4 s of audio and 15 tokens, whatever they
say. With no card a small shape runs on the CPU, through the same decoder of fixed shapes, to show that it works; its
figures say nothing about a card. The language model's half is `python -m benchmarks.gpu_llama`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers
from transformers import WhisperConfig, WhisperForConditionalGeneration

from benchmarks.report import Report, Spread
from wyoming_superwhisper.engines.whisper_decoding import GreedyDecoder
from wyoming_superwhisper.engines.whisper_rules import Row, Rules
from wyoming_superwhisper.engines.whisper_static import StaticDecoder

TOKENS = 15
SHAPES = {  # width, encoder layers, decoder layers, heads, mels, vocabulary
    "tiny": (384, 4, 4, 6, 80, 51865),
    "base": (512, 6, 6, 8, 80, 51865),
    "small": (768, 12, 12, 12, 80, 51865),
    "large-v3": (1280, 32, 32, 20, 128, 51866),
    "large-v3-turbo": (1280, 32, 4, 20, 128, 51866),
}
_START, _FRENCH, _TRANSCRIBE, _NO_TIMESTAMPS, _END = 50258, 50265, 50360, 50364, 50257


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    on_card = torch.cuda.is_available()
    parser.add_argument("--shape", choices=SHAPES, default="large-v3" if on_card else "tiny")
    parser.add_argument("-n", type=int, default=20 if on_card else 3, help="commands for each figure")
    parser.add_argument("--batch", type=int, default=4)
    options = parser.parse_args()
    report = Report("gpu" if on_card else "gpu-without-card")
    print(f"Whisper {options.shape}, random weights, {'half precision' if on_card else 'single precision, no card'}\n")
    transformers.logging.set_verbosity_error()
    model = _model(options.shape, on_card)
    rules = _rules(model)
    measure(report, model, rules, options.n, options.batch)
    if on_card:
        report.add("whisper/memory", torch.cuda.max_memory_allocated() / 2**20, "most memory held on the card", "MiB")
    report.save()


def measure(report: Report, model: Any, rules: Rules, count: int, batch: int) -> None:
    """The encoder, a token, a whole command; ours in its two ways, and plain `generate`."""
    mels, frames = model.config.num_mel_bins, 2 * model.config.max_source_positions
    features = torch.randn(mels, frames)
    row = Row(features, (), "fr")
    static = StaticDecoder(model, rules, ["fr"], batch)
    began = time.monotonic()
    static.prepare()
    report.add("whisper/capture_s", time.monotonic() - began, "capturing the steps, at start", "s")
    plain = GreedyDecoder(model, rules, ["fr"])

    def generate() -> None:
        inputs = features[None].to(model.device, model.dtype)
        model.generate(
            inputs, language="fr", task="transcribe", return_timestamps=False, do_sample=False, num_beams=1,
            min_new_tokens=TOKENS, max_new_tokens=TOKENS,
        )  # fmt: skip

    def encode() -> None:
        with torch.inference_mode():
            model.model.encoder(features[None].to(model.device, model.dtype))

    ours = _times(lambda: static.decode([row]), count)
    theirs = _times(generate, count)
    encoder = _times(encode, count)
    report.add("whisper/encoder", encoder, "encoder alone (transformers)")
    report.add("whisper/ours", ours, f"a command of {TOKENS} tokens, steps of fixed shape")
    report.add("whisper/token", (ours.median - encoder.median) / TOKENS, "  of that a token, about", "ms")
    report.add("whisper/plain", _times(lambda: plain.decode([row]), count), "the same, plain loop")
    report.add("whisper/generate", theirs, "the same by transformers `generate`")
    report.add("whisper/ratio", ours.median / theirs.median, "ours / generate")
    full = _times(lambda: static.decode([row] * batch), count)
    report.add(f"whisper/batch-{batch}", full, f"{batch} commands together")


def _times(work: Callable[[], object], count: int) -> Spread:
    for _ in range(2):
        work()
    times = []
    for _ in range(count):
        _finish()
        began = time.monotonic()
        work()
        _finish()
        times.append(time.monotonic() - began)
    return Spread.of_seconds(times)


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _model(shape: str, on_card: bool) -> Any:
    width, encoder_layers, decoder_layers, heads, mels, vocabulary = SHAPES[shape]
    config = WhisperConfig(
        vocab_size=vocabulary, num_mel_bins=mels, d_model=width, encoder_layers=encoder_layers,
        decoder_layers=decoder_layers, encoder_attention_heads=heads, decoder_attention_heads=heads,
        encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width, decoder_start_token_id=_START,
        bos_token_id=_END, eos_token_id=_END, pad_token_id=_END,
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    with torch.device("cuda" if on_card else "cpu"):
        model = WhisperForConditionalGeneration(config)
    generation = model.generation_config
    generation.lang_to_id, generation.task_to_id = {"<|fr|>": _FRENCH}, {"transcribe": _TRANSCRIBE}
    generation.is_multilingual, generation.no_timestamps_token_id = True, _NO_TIMESTAMPS
    generation.suppress_tokens = generation.begin_suppress_tokens = None
    generation.max_length = 448
    return (model.half() if on_card else model).eval()


def _rules(model: Any) -> Rules:
    """Always as many tokens: the end is never chosen."""
    return Rules(
        start=_START, previous=None, transcribe=_TRANSCRIBE, no_timestamps=_NO_TIMESTAMPS, no_speech=_NO_TIMESTAMPS - 1,
        ends=frozenset({_END}), languages={"fr": _FRENCH}, suppressed=(_END,), suppressed_first=(),
        max_length=448, max_new_tokens=TOKENS, positions=model.config.max_target_positions,
    )  # fmt: skip


if __name__ == "__main__":
    main()
