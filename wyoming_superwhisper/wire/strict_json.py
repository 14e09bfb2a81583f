"""JSON of strangers: bounded in depth and in values, and nothing but JSON."""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from typing import Any, NoReturn

from wyoming_superwhisper.wire.limits import Limits


class NotJson(ValueError):
    """Says in a few words why some bytes are not JSON that is accepted."""


def parse_json(text: bytes, limits: Limits, pairs_hook: Any = None) -> Any:
    """The value that the bytes say. Raises `NotJson` with a few words on what is wrong."""
    _check_depth(text, limits.depth)
    if separators(text) > limits.values and separators(_outside_strings(text)) > limits.values:
        raise NotJson(f"it has more than {limits.values} values")
    try:
        value = _decoder(pairs_hook).decode(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise NotJson("not UTF-8") from error
    except json.JSONDecodeError as error:
        raise NotJson(f"{error.msg} at character {error.pos}") from error
    except NotJson:
        raise
    except ValueError as error:  # Python refuses to convert thousands of digits
        raise NotJson("a number is too long") from error
    if not limits.surrogates and _SURROGATE.search(text):
        _check_surrogates(value)
    return value


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _check_depth(text: bytes, depth: int) -> None:
    """Refuse deep nesting before the JSON module recurses into it. Linear in the text, none of it in Python."""
    if text.count(b"[") + text.count(b"{") <= depth:
        return
    brackets = _outside_strings(text).translate(_BRACES_AS_BRACKETS, _NOT_BRACKETS)
    for _ in range(depth):
        outer = brackets.replace(b"[]", b"")
        if not outer:
            return
        if len(outer) == len(brackets):
            raise NotJson("brackets don't match")
        brackets = outer
    raise NotJson(f"nested deeper than {depth}")


def _outside_strings(text: bytes) -> bytes:
    unescaped = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(unescaped.split(b'"')[::2])


def separators(text: bytes) -> int:
    """About as many as the values in a text of JSON, those in its strings included."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


_BRACES_AS_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise NotJson("half of a surrogate pair") from error


@lru_cache(maxsize=4)
def _decoder(pairs_hook: Any) -> json.JSONDecoder:
    # `json.loads` would make one for every event.
    return json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=pairs_hook)


def _no_constant(name: str) -> NoReturn:
    raise NotJson(f"{name} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NotJson("a number is too large")
    return value


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two lengths in one header would let two readers see different events. In the data the last one counts."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise NotJson("a name is given twice")
    return fields
