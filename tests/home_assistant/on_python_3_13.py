"""Lets Python 3.13 import a Home Assistant that was written for 3.14. Runs inside Home Assistant's environment.

`script/setup-ha` copies this file into an environment and has it installed at the start of its interpreter. Nothing of
Home Assistant is changed on disk and none of its behaviour is replaced. Four things are different in 3.14 and are made
good here:

- `except A, B:` needs no parentheses (PEP 758): they are put back where a file doesn't compile without;
- annotations are evaluated when they are asked for (PEP 649): files are compiled with postponed annotations instead;
- `annotationlib`, and the parameter of `inspect.signature` that goes with it: a small one is supplied;
- writing to a connection that is lost raises no AttributeError or TypeError any more (also mended in later 3.13).
"""

from __future__ import annotations
import __future__

import importlib.abc
import importlib.util
import inspect
import io
import os
import sys
import tokenize
import types
from enum import IntEnum
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import Any

PACKAGES = frozenset({"homeassistant", "hass_nabucasa"})
"""What is written for 3.14; every other package of the environment supports 3.13 itself."""

POSTPONED = __future__.annotations.compiler_flag


def install() -> None:
    """Make imports of Home Assistant work; does nothing on 3.14 and newer."""
    if sys.version_info >= (3, 14):
        return
    # Compiled files say nothing of how they were compiled: keep ours away from everybody else's.
    sys.pycache_prefix = os.path.join(sys.prefix, "pycache-3.13")
    sys.modules.setdefault("annotationlib", _annotationlib())
    _ignore_annotation_format()
    _mend_lost_connections()
    sys.meta_path.insert(0, _Finder())


def with_parentheses(source: str) -> str:
    """The same source with parentheses around every bare list of exceptions."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    insertions: list[tuple[int, int, str]] = []
    for number, token in enumerate(tokens):
        if token.type == tokenize.NAME and token.string == "except":
            insertions += _around_exceptions(tokens[number + 1 :])
    lines = source.splitlines(keepends=True)
    for row, column, text in sorted(insertions, reverse=True):
        line = lines[row - 1]
        lines[row - 1] = line[:column] + text + line[column:]
    return "".join(lines)


def _around_exceptions(tokens: list[tokenize.TokenInfo]) -> list[tuple[int, int, str]]:
    """Where parentheses belong in the tokens after an `except`: none unless it has a comma outside of any bracket."""
    depth, comma = 0, False
    names: list[tokenize.TokenInfo] = []
    for token in tokens:
        if token.string in "([{" and token.type == tokenize.OP:
            depth += 1
        elif token.string in ")]}" and token.type == tokenize.OP:
            depth -= 1
        elif depth == 0 and (token.string == ":" or (token.type == tokenize.NAME and token.string == "as")):
            break
        comma = comma or (depth == 0 and token.string == ",")
        if not (not names and token.string == "*"):  # `except*`
            names.append(token)
    if not comma:
        return []
    return [(*names[0].start, "("), (*names[-1].end, ")")]


class _Loader(SourceFileLoader):
    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> Any:
        try:
            return compile(data, path, "exec", POSTPONED, True, _optimize)
        except SyntaxError:
            source = importlib.util.decode_source(bytes(data))
            return compile(with_parentheses(source), path, "exec", POSTPONED, True, _optimize)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in PACKAGES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Format(IntEnum):
    VALUE = 1
    VALUE_WITH_FAKE_GLOBALS = 2
    FORWARDREF = 3
    STRING = 4


def _annotationlib() -> types.ModuleType:
    module = types.ModuleType("annotationlib", "What Home Assistant uses of the module of that name in 3.14.")
    vars(module).update(Format=_Format, get_annotations=_get_annotations)
    return module


def _get_annotations(
    obj: Any, *, globals: Any = None, locals: Any = None, eval_str: bool = False, format: int = _Format.VALUE
) -> dict[str, Any]:
    """Annotations of a class, function or module, evaluated: here they are all strings at first."""
    written = dict(inspect.get_annotations(obj))
    if format == _Format.STRING:
        return written
    if globals is None:
        globals = vars(sys.modules.get(getattr(obj, "__module__", ""), types.ModuleType("")))
    if locals is None:
        locals = vars(obj) if isinstance(obj, type) else {}
    return {name: _evaluated(text, globals, locals, format) for name, text in written.items()}


def _evaluated(annotation: Any, globals: Any, locals: Any, format: int) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, dict(globals), dict(locals))
    except Exception:  # what it names may be anything
        if format == _Format.VALUE:
            raise
        return object  # a name that only type checkers see


def _ignore_annotation_format() -> None:
    original = inspect.signature

    def signature(obj: Any, *, annotation_format: int = _Format.VALUE, **options: Any) -> inspect.Signature:
        return original(obj, **options)

    inspect.signature = signature  # type: ignore[assignment]


def _mend_lost_connections() -> None:
    import asyncio.selector_events

    transport: Any = vars(asyncio.selector_events)["_SelectorSocketTransport"]
    original = transport.writelines
    if "_conn_lost" in original.__code__.co_names:
        return  # a 3.13 that is mended

    def writelines(self: Any, lines: Any) -> None:
        if self._conn_lost or self._write_ready is None:
            self._conn_lost += 1
        else:
            original(self, lines)

    transport.writelines = writelines
