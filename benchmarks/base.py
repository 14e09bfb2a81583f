"""Whisper of base size on the CPU, beside faster-whisper: `python -m benchmarks.base [-n COMMANDS] [--threads N]`.

Random weights of the real shape, made on the spot, the same for both; a command is 3 s of audio and 12 tokens, whatever
they say. faster-whisper always encodes 30 s. What `asr.window: speech` would cost is measured with no doubt ever: with
random weights every word is doubtful.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import servers
from benchmarks.report import Report, Spread
from wyoming_superwhisper.engines import whisper
from wyoming_superwhisper.engines.base import Priority
from wyoming_superwhisper.engines.whisper import WhisperEngine

SECONDS, TOKENS = 3.0, 12
_END = 50257
_SIDE = """
import json, sys, time, numpy as np
from faster_whisper import WhisperModel
folder, compute, threads, count, seconds, tokens, end = sys.argv[1], sys.argv[2], *map(float, sys.argv[3:])
model = WhisperModel(folder, device="cpu", compute_type=compute, cpu_threads=int(threads), num_workers=1)
audio = (np.random.default_rng(0).standard_normal(int(seconds * 16000)) * 0.1).astype(np.float32)
times = []
# ctranslate2 gives half of the length to the text, less one, and counts the four tokens before it.
room, never = int(2 * (tokens + 1) - 4), list(range(int(end), 51865))
for _ in range(int(count) + 1):
    began = time.perf_counter()
    segments, _ = model.transcribe(
        audio, language="fr", beam_size=1, temperature=0, without_timestamps=True, max_new_tokens=room,
        suppress_tokens=never, log_prob_threshold=None, no_speech_threshold=None, compression_ratio_threshold=None,
    )
    made = sum(len(segment.tokens) for segment in segments)
    times.append(time.perf_counter() - began)
print(json.dumps({"times": times[1:], "tokens": made}))
"""


class _Call:
    """A request that is made in this process."""

    id, method, priority, cancelled = 0, "transcribe", Priority.FINAL, False

    def __init__(self, audio: bytes) -> None:
        self.payload = audio
        self.data: Mapping[str, Any] = {"language": "fr"}
        self.result: Any = None

    def part(self, data: Any, payload: bytes = b"") -> None:
        """A sign of life."""

    def done(self, data: Any = None, payload: bytes = b"") -> None:
        self.result = data

    def fail(self, error: Exception) -> None:
        raise error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=5, help="commands for each figure")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    report = Report("base")
    print(servers.versions(), f"{options.threads} threads", sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        model = make_checkpoint(Path(folder))
        report.heading(f"a command of {SECONDS:g} s and {TOKENS} tokens, base shape")
        ways = [("transformers", "float32"), ("ctranslate2", "float32"), ("ctranslate2", "int8")]
        ours = {}
        for engine, compute in ways:
            for window in ("full", "speech"):
                spread = _ours(model, options, engine, compute, window)
                ours[f"{engine}/{compute}/{window}"] = spread
                report.add(f"ours/{engine}/{compute}/{window}", spread, f"ours, {engine}, {compute}, window {window}")
        if servers.have_peers():
            for compute in ("float32", "int8"):
                theirs = _theirs(model, options, compute)
                report.add(f"faster-whisper/{compute}", theirs, f"faster-whisper, {compute}")
                for window in ("full", "speech"):
                    ratio = theirs.median / ours[f"ctranslate2/{compute}/{window}"].median
                    report.add(f"ratio/{compute}/{window}", ratio, f"  theirs / ours by ctranslate2, window {window}")
    report.save()


def make_checkpoint(folder: Path) -> Path:
    """Random weights of base shape, with a vocabulary that has Whisper's special tokens in their places."""
    import torch
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    codes = list(LANGUAGES)[:99]  # those of base
    special = [
        "<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in codes), "<|translate|>", "<|transcribe|>",
        "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
    ]  # fmt: skip
    tokenizer = WhisperTokenizer(
        vocab={f"w{number}": number for number in range(_END)}, merges=[], additional_special_tokens=special[1:]
    )
    tokenizer.add_tokens([f"<|{number * 0.02:.2f}|>" for number in range(1501)])
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in special}
    torch.manual_seed(0)
    shape = WhisperConfig(
        vocab_size=len(tokenizer), d_model=512, encoder_layers=6, decoder_layers=6, encoder_attention_heads=8,
        decoder_attention_heads=8, encoder_ffn_dim=2048, decoder_ffn_dim=2048, bos_token_id=_END, eos_token_id=_END,
        pad_token_id=_END, decoder_start_token_id=ids["<|startoftranscript|>"],
    )  # fmt: skip
    model = WhisperForConditionalGeneration(shape)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=ids["<|startoftranscript|>"], eos_token_id=_END, pad_token_id=_END, bos_token_id=_END,
        suppress_tokens=[_END, *range(_END + 1, len(tokenizer))], max_new_tokens=TOKENS, is_multilingual=True,
        lang_to_id={f"<|{code}|>": ids[f"<|{code}|>"] for code in codes}, return_timestamps=False,
        task_to_id={"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]},
        no_timestamps_token_id=ids["<|notimestamps|>"], prev_sot_token_id=ids["<|startofprev|>"],
    )  # fmt: skip
    model.save_pretrained(folder)
    extractor = WhisperFeatureExtractor()
    WhisperProcessor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    extractor.save_pretrained(folder)  # under the name that faster-whisper reads
    return folder


def _ours(model: Path, options: argparse.Namespace, engine: str, compute: str, window: str) -> Spread:
    whisper.LEAST_MARGIN = 0.0
    made = WhisperEngine(
        {
            "model_dir": str(model), "languages": ["fr"], "engine": engine, "compute": compute, "window": window,
            "threads": options.threads, "batch": 1, "device": "cpu",
        }
    )  # fmt: skip
    made.load()
    audio = (np.random.default_rng(0).standard_normal(int(SECONDS * 16_000)) * 3277).astype("<i2").tobytes()

    def work() -> None:
        call = _Call(audio)
        made.admit(call)
        while made.step():
            pass
        if len(call.result["tokens"]) != TOKENS:
            raise RuntimeError(f"{len(call.result['tokens'])} tokens instead of {TOKENS}")

    return _times(work, options.n)


def _theirs(model: Path, options: argparse.Namespace, compute: str) -> Spread:
    converted = model / "ctranslate2"
    for name in ("tokenizer.json", "preprocessor_config.json"):
        (converted / name).write_bytes((model / name).read_bytes())
    numbers = (options.threads, options.n, SECONDS, TOKENS, _END)
    command = [str(servers.PEERS), "-c", _SIDE, str(converted), compute, *map(str, numbers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    said = json.loads(done.stdout.splitlines()[-1])
    if said["tokens"] != TOKENS:
        raise RuntimeError(f"faster-whisper made {said['tokens']} tokens instead of {TOKENS}")
    return Spread.of_seconds(said["times"])


def _times(work: Callable[[], object], count: int) -> Spread:
    work()
    times = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return Spread.of_seconds(times)


if __name__ == "__main__":
    main()
