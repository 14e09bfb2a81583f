"""How fast the language model's engine is beside llama.cpp itself, on the same file: `python -m benchmarks.gpu_llama`.

The weights are random and made on the spot, in the true shapes and the true quantisation (Llama-3-8B, Q5_K_M): how
fast they are read doesn't depend on what they say. With no card the shapes are small, to show that it runs at all.
llama.cpp's figures are those of its own benchmark: `llama_decode` in a plain loop, no sampling, no text, no grammar,
after as many tokens as our instructions have, which are evaluated before.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import psutil

from benchmarks.report import Report, Spread
from wyoming_superwhisper.engines.base import AnswerRequest, Priority
from wyoming_superwhisper.engines.llama import LlamaEngine
from wyoming_superwhisper.engines.llama_native import quiet_library
from wyoming_superwhisper.errors import ModelError
from wyoming_superwhisper.gpu import GpuChoice, choose

PROMPT_TOKENS = 512
ANSWER_TOKENS = 128
SIDE_BY_SIDE = 4
_ROUNDS = 3
_CONTEXT = 8192
_BLOCK_VALUES = 256

# The template in Llama-3-Instruct's own file.
_TEMPLATE = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + "
    "message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
_SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama."""

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("llama-3-8b", 4096, 32, 32, 8, 14_336, 128_256),
        Shape("small", 512, 4, 8, 2, 1792, 8192),
    )
}


Times = dict[str, list[float]]
"""Seconds by what was measured; per token, but for `first`."""


@dataclass
class _Call:
    """A call that notes when its parts came."""

    data: Mapping[str, Any]
    id: int = 0
    method: str = "answer"
    payload: bytes = b""
    priority: Priority = Priority.FINAL
    cancelled: bool = False
    frugal: bool = False
    times: list[float] = field(default_factory=list)
    result: Mapping[str, Any] | None = None

    def part(self, data: Mapping[str, Any], payload: bytes = b"") -> None:
        self.times.append(time.perf_counter())

    def done(self, data: Mapping[str, Any] | None = None, payload: bytes = b"") -> None:
        self.result = dict(data or {})

    def fail(self, error: Exception) -> None:
        raise error


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    options = _parser().parse_args(argv)
    card = choose(options.device)
    os.environ.update(card.environment("llama"))  # before anything loads CUDA
    shape = SHAPES[options.shape or ("llama-3-8b" if card.device("llama") == "cuda" else "small")]
    report = Report("gpu_llama")
    with _weights(options.weights, shape) as path:
        print(f"{shape.name}, Q5_K_M, {path.stat().st_size / 1e9:.2f} GB, random weights; on {card.reason}", flush=True)
        measure(path, card, report, options.runs, options.threads)
    report.save()
    return 0


def measure(path: Path, card: GpuChoice, report: Report, runs: int = 2, threads: int = 0) -> None:
    """Our engine and llama.cpp in turn, several times, on the same file; never both in memory at once."""
    device = card.device("llama")
    threads = threads or max(1, (psutil.cpu_count(logical=False) or 2))
    configuration = {"device": device, "gpu_uuid": card.gpu_uuid("llama"), "threads": threads}
    ours: Times = defaultdict(list)
    theirs: Times = defaultdict(list)
    memory = 0
    for _ in range(_ROUNDS):  # a machine that is busy for a while is so for both
        found, held, depth = _measure_engine(path, configuration, runs)
        memory = max(memory, held)
        _add(ours, found)
        _add(theirs, _LlamaCpp(path, 999 if device == "cuda" else 0, threads).measured(runs, depth))
    for key, what in (
        ("prompt", f"a prompt of {PROMPT_TOKENS} tokens, each"),
        ("answer", f"an answer of {ANSWER_TOKENS} tokens, each"),
        ("four", f"{SIDE_BY_SIDE} answers side by side, each token of any"),
    ):
        for who, times in ((f"llama/{key}/ours", ours[key]), (f"llama/{key}/llama.cpp", theirs[key])):
            name = "llama.cpp" if who.endswith("cpp") else "ours"
            rate = 1 / statistics.median(times)
            report.add(who, Spread.of_seconds(times), f"{name}: {what} ({rate:.1f} tokens/s)")
        ratio = statistics.median(ours[key]) / statistics.median(theirs[key])
        report.add(f"llama/{key}/ratio", ratio, "  ours by llama.cpp")
    report.add("llama/first", Spread.of_seconds(ours["first"]), "ours: from a command to the first token")
    report.add("llama/memory", memory / 2**30, "ours: memory", "GiB")


def _add(times: Times, more: Times) -> None:
    for key, values in more.items():
        times[key] += values


def write_random(path: Path, shape: Shape, seed: int = 1) -> None:
    """A GGUF of that shape with random weights, quantised as Q5_K_M quantises: mostly Q5_K, some Q6_K."""
    writer = gguf.GGUFWriter(str(path), "llama")
    _describe(writer, shape)
    _add_tokenizer(writer, shape.vocabulary)
    rng = np.random.default_rng(seed)
    tensors = list(_tensors(shape))
    for name, (rows, columns), kind in tensors:
        writer.add_tensor_info(name, _stored_shape(rows, columns, kind), *_stored_type(rows, columns, kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, (rows, columns), kind in tensors:
        writer.write_tensor_data(_random(rows, columns, kind, rng))
    writer.close()


# --- the engine


def _measure_engine(path: Path, configuration: Mapping[str, Any], runs: int) -> tuple[Times, int, int]:
    """What was measured, the memory, and how many tokens the fixed part of the prompts has."""
    before = psutil.Process().memory_info().rss
    engine = LlamaEngine(
        {"model_file": str(path), "context": _CONTEXT, "max_tokens": ANSWER_TOKENS, "sequences": SIDE_BY_SIDE}
        | dict(configuration)
    )
    depth = int(engine.load()["fixed_tokens"])
    found: Times = {"prompt": [], "answer": [], "four": [], "first": []}
    for run in range(-1, runs):  # the first one warms up
        long = _answered(engine, [f"{run} " + "lorem ipsum " * 40])[0]
        short = _answered(engine, [f"{run} il fait trop sombre au salon"])[0]
        four = _answered(engine, [f"{run} {number} bonjour" for number in range(SIDE_BY_SIDE)])
        if run >= 0:
            found["prompt"].append((long.times[1] - long.times[0]) / _evaluated(long))
            found["answer"].append((short.times[-1] - short.times[1]) / (len(short.times) - 2))
            begun, ended = max(one.times[1] for one in four), min(one.times[-1] for one in four)
            written = sum(begun < when <= ended for one in four for when in one.times)
            found["four"].append((ended - begun) / written)
            found["first"].append(short.times[1] - short.times[0])
    memory = _card_memory() or psutil.Process().memory_info().rss - before
    engine.close()
    return found, memory, depth


def _answered(engine: LlamaEngine, texts: Sequence[str]) -> list[_Call]:
    """Calls with the time of the beginning and of every part."""
    calls = [_Call(vars_of(AnswerRequest(text, "fr"))) for text in texts]
    for call in calls:
        call.times.append(time.perf_counter())
        engine.admit(call)
    while engine.step():
        pass
    return calls


def vars_of(request: AnswerRequest) -> dict[str, Any]:
    """The request as it travels."""
    return {"text": request.text, "language": request.language}


def _evaluated(call: _Call) -> int:
    """Tokens of the prompt that had to be evaluated."""
    assert call.result is not None
    return int(call.result["evaluated"]) - int(call.result["tokens"])


def _card_memory() -> int:
    """Bytes of the card's memory that this process holds; 0 where there is no card or it isn't said."""
    try:
        import pynvml

        pynvml.nvmlInit()
        me = psutil.Process().pid
        return sum(
            int(one.usedGpuMemory or 0)
            for index in range(pynvml.nvmlDeviceGetCount())
            for one in pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByIndex(index))
            if one.pid == me
        )
    except Exception:  # a benchmark goes on without this figure
        return 0


# --- llama.cpp alone


class _LlamaCpp:
    """llama.cpp's C interface in a plain loop, as its own `llama-bench` and `llama-batched-bench` call it."""

    def __init__(self, path: Path, gpu_layers: int, threads: int) -> None:
        import llama_cpp

        self._library = quiet_library()
        model = llama_cpp.llama_model_default_params()
        model.n_gpu_layers = gpu_layers
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), model)
        context = llama_cpp.llama_context_default_params()
        context.n_ctx, context.n_batch, context.n_ubatch = _CONTEXT, PROMPT_TOKENS, PROMPT_TOKENS
        context.n_seq_max, context.kv_unified = SIDE_BY_SIDE, True
        context.n_threads = context.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, context)
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(PROMPT_TOKENS, 0, 1)

    def measured(self, runs: int, depth: int) -> Times:
        """Seconds per token of a prompt, of an answer, and of answers side by side, all after `depth` tokens that are
        evaluated already; frees the model."""
        self._seconds(depth, lambda: self._answer(depth, 1))
        found: Times = {"prompt": [], "answer": [], "four": []}
        prompt = range(depth, depth + PROMPT_TOKENS)
        for _ in range(runs):
            found["prompt"].append(self._seconds(depth, lambda: self._decode(prompt, 1)) / PROMPT_TOKENS)
            found["answer"].append(self._seconds(depth, lambda: self._answer(depth, 1)) / ANSWER_TOKENS)
            four = self._seconds(depth, lambda: self._answer(depth, SIDE_BY_SIDE))
            found["four"].append(four / SIDE_BY_SIDE / ANSWER_TOKENS)
        self._library.llama_batch_free(self._batch)
        self._library.llama_free(self._context)
        self._library.llama_model_free(self._model)
        return found

    def _seconds(self, depth: int, work: Callable[[], None]) -> float:
        """How long the work takes after a prompt of that length, which all sequences share."""
        self._library.llama_memory_clear(self._memory, True)
        for start in range(0, depth, PROMPT_TOKENS):
            self._decode(range(start, min(depth, start + PROMPT_TOKENS)), 1)
        for sequence in range(1, SIDE_BY_SIDE):
            self._library.llama_memory_seq_cp(self._memory, 0, sequence, -1, -1)
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    def _answer(self, depth: int, sequences: int) -> None:
        for position in range(depth, depth + ANSWER_TOKENS):
            self._decode([position], sequences)

    def _decode(self, positions: Sequence[int], sequences: int) -> None:
        """One evaluation of those positions, in each of the sequences."""
        places = [(position, sequence) for sequence in range(sequences) for position in positions]
        self._batch.n_tokens = len(places)
        for index, (position, sequence) in enumerate(places):
            self._batch.token[index] = 100 + (position * 7 + sequence) % 500
            self._batch.pos[index] = position
            self._batch.n_seq_id[index] = 1
            self._batch.seq_id[index][0] = sequence
            self._batch.logits[index] = position == positions[-1]
        if self._library.llama_decode(self._context, self._batch):
            raise RuntimeError("llama_decode failed")
        self._library.llama_synchronize(self._context)


# --- random weights


def _describe(writer: Any, shape: Shape) -> None:
    writer.add_name(f"random {shape.name}")
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.hidden // shape.heads)
    writer.add_rope_freq_base(500_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q5_K_M)


def _add_tokenizer(writer: Any, size: int) -> None:
    """Every byte is a token; the rest are words that nothing is cut into."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable] + [chr(256 + number) for number in range(256 - len(printable))]
    words = [f"w{number}" for number in range(size - len(letters) - len(_SPECIAL))]
    kinds = [gguf.TokenType.NORMAL] * (size - len(_SPECIAL)) + [gguf.TokenType.CONTROL] * len(_SPECIAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list([*letters, *words, *_SPECIAL])
    writer.add_token_types(kinds)
    writer.add_token_merges(["w 0"])
    writer.add_bos_token_id(size - len(_SPECIAL))
    writer.add_eos_token_id(size - 1)
    writer.add_add_bos_token(True)
    writer.add_chat_template(_TEMPLATE)


def _tensors(shape: Shape) -> Iterator[tuple[str, tuple[int, int], Any]]:
    """Name, rows and columns, and quantisation of every tensor; one row: a norm, not quantised."""
    q5, q6, plain = gguf.GGMLQuantizationType.Q5_K, gguf.GGMLQuantizationType.Q6_K, gguf.GGMLQuantizationType.F32
    hidden, narrow = shape.hidden, shape.hidden // shape.heads * shape.kv_heads
    yield "token_embd.weight", (shape.vocabulary, hidden), q5
    for layer in range(shape.layers):
        more = q6 if _has_more_bits(layer, shape.layers) else q5
        for name, size, kind in (
            ("attn_norm", (1, hidden), plain), ("attn_q", (hidden, hidden), q5), ("attn_k", (narrow, hidden), q5),
            ("attn_v", (narrow, hidden), more), ("attn_output", (hidden, hidden), q5), ("ffn_norm", (1, hidden), plain),
            ("ffn_gate", (shape.feed_forward, hidden), q5), ("ffn_up", (shape.feed_forward, hidden), q5),
            ("ffn_down", (hidden, shape.feed_forward), more),
        ):  # fmt: skip
            yield f"blk.{layer}.{name}.weight", size, kind
    yield "output_norm.weight", (1, hidden), plain
    yield "output.weight", (shape.vocabulary, hidden), q6


def _has_more_bits(layer: int, layers: int) -> bool:
    """Which layers llama.cpp's "medium" mixtures give more bits: the first, the last, and every third between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _stored_shape(rows: int, columns: int, kind: Any) -> tuple[int, ...]:
    if kind == gguf.GGMLQuantizationType.F32:
        return (columns,)
    return (rows, columns // _BLOCK_VALUES * _block_bytes(kind))


def _stored_type(rows: int, columns: int, kind: Any) -> tuple[Any, int, Any]:
    """Type, bytes, and quantisation, as `add_tensor_info` wants them."""
    if kind == gguf.GGMLQuantizationType.F32:
        return np.dtype(np.float32), columns * 4, None
    return np.dtype(np.uint8), rows * columns // _BLOCK_VALUES * _block_bytes(kind), kind


def _block_bytes(kind: Any) -> int:
    return int(gguf.GGML_QUANT_SIZES[kind][1])


def _random(rows: int, columns: int, kind: Any, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Random blocks whose scales make weights of about 0.03; a few thousand different ones, repeated."""
    if kind == gguf.GGMLQuantizationType.F32:
        return np.ones(columns, np.float32)
    count = rows * columns // _BLOCK_VALUES
    blocks = rng.integers(0, 256, (min(count, 4096), _block_bytes(kind)), np.uint8)
    if kind == gguf.GGMLQuantizationType.Q5_K:  # scale and lowest value, then scales of parts and 5 bits a weight
        blocks[:, :4] = np.array([6e-5, 9.3e-4], np.float16).view(np.uint8)
    else:  # Q6_K: 6 bits a weight and scales of parts, then the scale
        blocks[:, -2:] = np.array([2e-5], np.float16).view(np.uint8)
    return np.resize(blocks, (count, blocks.shape[1])).reshape(rows, -1)


# --- the command


@contextmanager
def _weights(kept: Path | None, shape: Shape) -> Iterator[Path]:
    """The file with the weights: the one named, made if it isn't there, else one that is deleted afterwards."""
    if kept is not None:
        if not kept.exists():
            write_random(kept, shape)
        yield kept
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{shape.name}.gguf"
        write_random(path, shape)
        yield path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu_llama", description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, help="default: llama-3-8b on a card, small on the processor")
    parser.add_argument("--device", default="auto", help='card by name, UUID or index, "auto" or "cpu"')
    parser.add_argument("--weights", type=Path, help="keep the random weights in this file, or take them from it")
    parser.add_argument("--runs", type=int, default=2, help="in each of three rounds")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as the processor has cores")
    return parser


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except ModelError as error:
        print(f"gpu_llama: {error}", file=sys.stderr)
        raise SystemExit(1) from None
