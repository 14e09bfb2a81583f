"""The smallest files that pass for models, to put into stores and to serve to downloads."""

from __future__ import annotations

import json
import struct
from pathlib import Path


def safetensors(values: int = 4) -> bytes:
    """A safetensors file of one tensor."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [values], "data_offsets": [0, 4 * values]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * values)


def gguf(size: int = 64) -> bytes:
    """The start of a GGUF file of version 3."""
    return b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + bytes(size)


def onnx(size: int = 64) -> bytes:
    """The start of an ONNX file."""
    return b"\x08\x08" + bytes(size)


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
