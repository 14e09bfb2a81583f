"""Cheap proof that a model file is what its name says and is whole: by its header, never by reading the weights."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from wyoming_superwhisper.errors import ModelError

_LARGEST_HEADER = 100 << 20
"""Safetensors' own limit on its header, in bytes."""
_LARGEST_COUNT = 1 << 24
"""More tensors, keys or words than this are no model but a broken file."""

_LARGEST_FILE = 1 << 50


class _Cut(Exception):
    """The file ends in the middle of its header."""


def check_header(path: Path, hint: str = "") -> None:
    """Compare a file's header and size with what its ending promises; `hint` is added. Raises `ModelError`."""
    check = _CHECKS.get(path.suffix)
    if check is None:
        return
    try:
        problem = check(path)
    except _Cut:
        problem = f"is cut off: it ends after {path.stat().st_size} bytes"
    except OSError as error:
        problem = f"can't be read: {error.strerror or error}"
    if problem:
        raise ModelError(f"{path} {problem}{hint}")


# --- safetensors: length, JSON that says where each tensor lies, tensors -----------------------------------------


def _safetensors_problem(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= min(_LARGEST_HEADER, size):
            return "is not in the safetensors format"
        try:
            tensors = json.loads(file.read(length))
            end = max(int(entry["data_offsets"][1]) for key, entry in tensors.items() if key != "__metadata__")
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            return "is not in the safetensors format"
    if 8 + length + end != size:
        return f"is cut off or too long: {size} bytes"
    return ""


# --- ONNX: a protocol buffer, of which only the outermost fields are walked --------------------------------------


def _onnx_problem(path: Path) -> str:
    size, fields = path.stat().st_size, set()
    with path.open("rb") as file:
        if file.read(1) != b"\x08":  # ir_version, a small number, comes first
            return "is not in the ONNX format"
        file.seek(0)
        while file.tell() < size:
            tag = _varint(file)
            fields.add(tag >> 3)
            if not _skip_field(file, tag & 7):
                return "is not in the ONNX format"
        if file.tell() > size:
            raise _Cut
    return "" if 7 in fields else "is an ONNX file without a graph"


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = _take(file, 1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    return value


def _skip_field(file: BinaryIO, wire_type: int) -> bool:
    """Go past a field's value; False: there is no such type."""
    if wire_type == 0:
        _varint(file)
    elif wire_type in (1, 5):
        file.seek(8 if wire_type == 1 else 4, 1)
    elif wire_type == 2:
        _go_past(file, _varint(file))
    else:
        return False
    return True


# --- GGUF: keys and values, where each tensor lies, tensors ------------------------------------------------------

_GGUF_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Value type → bytes."""
_GGUF_STRING, _GGUF_ARRAY, _GGUF_UINT32 = 8, 9, 4

_TENSOR_TYPES = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 30: (1, 2),
}  # fmt: skip
"""ggml's tensor type → values and bytes of a block (https://github.com/ggml-org/ggml, ggml.h and ggml-common.h)."""


def _gguf_problem(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            return "is not in the GGUF format"
        version, tensors, keys = _numbers(file, "<IQQ")
        if version not in (2, 3) or not 0 < tensors < _LARGEST_COUNT or keys > _LARGEST_COUNT:
            return f"is a GGUF file of a version that is not understood ({version})"
        alignment = 32
        for _ in range(keys):
            name = _string(file)
            value = _value(file)
            if name == b"general.alignment" and value:
                alignment = value
        end = max(_tensor_end(file) for _ in range(tensors))
        start = math.ceil(file.tell() / alignment) * alignment
    return f"is cut off: {size} bytes instead of {start + end}" if size < start + end else ""


def _tensor_end(file: BinaryIO) -> int:
    """Where one tensor ends, counted from the start of all; one of an unknown type ends where it starts."""
    _string(file)
    (dimensions,) = _numbers(file, "<I")
    if dimensions > 8:
        raise _Cut
    values = math.prod(_numbers(file, f"<{dimensions}Q"))
    kind, offset = _numbers(file, "<IQ")
    block, size = _TENSOR_TYPES.get(kind, (1, 0))
    return int(offset + values // block * size)


def _value(file: BinaryIO) -> int:
    """Go past a value; a number of 32 bits is told, anything else is 0."""
    (kind,) = _numbers(file, "<I")
    if kind == _GGUF_UINT32:
        return _numbers(file, "<I")[0]
    if kind == _GGUF_ARRAY:
        item, count = _numbers(file, "<IQ")
        if count > _LARGEST_COUNT:
            raise _Cut
        if item in _GGUF_SCALARS:
            _go_past(file, _GGUF_SCALARS[item] * count)
        else:
            for _ in range(count):
                _skip(file, item)
    else:
        _skip(file, kind)
    return 0


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == _GGUF_STRING:
        _go_past(file, _numbers(file, "<Q")[0])
    elif kind in _GGUF_SCALARS:
        file.seek(_GGUF_SCALARS[kind], 1)
    else:
        raise _Cut


def _string(file: BinaryIO) -> bytes:
    (length,) = _numbers(file, "<Q")
    if length > 1 << 20:
        raise _Cut
    return _take(file, length)


def _numbers(file: BinaryIO, format: str) -> tuple[int, ...]:
    return struct.unpack(format, _take(file, struct.calcsize(format)))


def _go_past(file: BinaryIO, size: int) -> None:
    if size > _LARGEST_FILE:
        raise _Cut
    file.seek(size, 1)


def _take(file: BinaryIO, size: int) -> bytes:
    taken = file.read(size)
    if len(taken) < size:
        raise _Cut
    return taken


_CHECKS: Mapping[str, Callable[[Path], str]] = {
    ".safetensors": _safetensors_problem,
    ".gguf": _gguf_problem,
    ".onnx": _onnx_problem,
}
