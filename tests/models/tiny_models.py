"""The smallest files that pass for models, to put into stores and to serve to downloads."""

from __future__ import annotations

import json
import struct
from pathlib import Path


def safetensors(values: int = 4) -> bytes:
    """A safetensors file of one tensor."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [values], "data_offsets": [0, 4 * values]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * values)


def gguf(values: int = 16) -> bytes:
    """A GGUF file of version 3 with one tensor and a value of each kind that a header may hold."""

    def string(text: str) -> bytes:
        return struct.pack("<Q", len(text)) + text.encode()

    keys = [
        string("general.alignment") + struct.pack("<II", 4, 64),
        string("general.name") + struct.pack("<I", 8) + string("tiny"),
        string("a.flag") + struct.pack("<I?", 7, True),
        string("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + string("a") + string("b"),
        string("tokenizer.ggml.scores") + struct.pack("<IIQ2f", 9, 6, 2, 0, 1),
    ]
    tensor = string("a") + struct.pack("<IQIQ", 1, values, 0, 0)
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, len(keys)) + b"".join(keys) + tensor
    return header + bytes(-len(header) % 64) + bytes(4 * values)


def onnx(size: int = 64) -> bytes:
    """An ONNX file: a version, and a graph of nothing."""
    length = bytes([size & 0x7F | 0x80, size >> 7])
    return b"\x08\x08" + b"\x3a" + length + bytes(size)


def voice_json() -> bytes:
    return json.dumps({"audio": {"sample_rate": 22050}, "phoneme_id_map": {"_": [0]}}).encode()


def whisper_files() -> dict[str, bytes]:
    """The files of a Whisper checkpoint, by name."""
    return {
        "config.json": b'{"model_type": "whisper"}',
        "generation_config.json": b"{}",
        "preprocessor_config.json": b"{}",
        "tokenizer.json": b"{}",
        "model.safetensors": safetensors(),
    }


def put(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder
