"""What is written, as a value of the type that its key holds; or the error that says what is allowed."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from typing import Any, Literal

import yaml

from wyoming_superwhisper.config.schema import Leaf, leaves_of
from wyoming_superwhisper.config.source import Source, compose, describe, is_nothing
from wyoming_superwhisper.errors import SettingsError

MOST = 2_147_483_647
"""No number may be larger: what takes it, down to the system, counts no further."""
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


def from_text(leaf: Leaf, text: str, where: str) -> Any:
    """A value written in an option or an environment variable, with no YAML around it. Raises `SettingsError`."""
    kind = leaf.type
    value: Any
    if kind is str:
        value = text
    elif kind is bool:
        if text.strip().lower() not in _TRUE | _FALSE:
            raise wrong(where, leaf.key, _show(leaf, text), "true or false")
        value = text.strip().lower() in _TRUE
    elif kind == tuple[str, ...] and not text.lstrip().startswith("["):
        value = tuple(part.strip() for part in text.split(",") if part.strip())
    else:
        source = Source(where, has_lines=False)
        node = _word(text) if typing.get_origin(kind) is Literal else compose(text, source)
        if node is None:
            raise wrong(where, leaf.key, "empty", _allowed(kind))
        value = convert(leaf, kind, node, leaf.key, source)
    return checked(leaf, value, where)


def _word(text: str) -> yaml.Node:
    return yaml.ScalarNode("tag:yaml.org,2002:str", text.strip())


def convert(leaf: Leaf, kind: Any, node: yaml.Node, key: str, source: Source) -> Any:
    """A YAML node as a value of this type. Raises `SettingsError`."""
    origin = typing.get_origin(kind)
    if origin is tuple:
        return _convert_list(leaf, typing.get_args(kind)[0], node, key, source)
    if origin is dict:
        return _convert_mapping(leaf, node, key, source)
    if dataclasses.is_dataclass(kind):
        return _convert_item(typing.cast(type[Any], kind), node, key, source)
    if origin in (types.UnionType, typing.Union):
        if is_nothing(node):
            return None
        kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
    if isinstance(node, yaml.ScalarNode) and not is_nothing(node):
        try:
            return _scalar(kind, node)
        except ValueError:
            pass
    raise wrong(source.at(node), key, _show(leaf, describe(node)), _allowed(kind), _nearest(kind, node))


def _scalar(kind: Any, node: yaml.ScalarNode) -> Any:
    """A scalar of this type. Raises `ValueError`."""
    tag = node.tag.rpartition(":")[2]
    if kind is str:
        text = str(node.value)  # as it is written: "off" and "no" stay words, 007 keeps its zeros
        text.encode()  # half of a character ("\\ud800") is no text: nothing could be done with it
        return text
    if typing.get_origin(kind) is Literal:
        choices = {str(choice): choice for choice in typing.get_args(kind)}
        if node.value in choices:
            return choices[node.value]
    elif kind is bool and tag == "bool":
        return str(node.value).lower() in _TRUE
    elif kind is int and tag == "int":
        return int(str(node.value), 10)  # YAML 1.1 would read 010 as 8
    elif kind is float and tag in ("int", "float"):
        number = float(node.value)
        if math.isfinite(number):
            return number
    raise ValueError(kind)


def _convert_list(leaf: Leaf, kind: Any, node: yaml.Node, key: str, source: Source) -> tuple[Any, ...]:
    if not isinstance(node, yaml.SequenceNode):
        raise wrong(source.at(node), key, _show(leaf, describe(node)), f"a list, as {_list_example(kind)}")
    return tuple(convert(leaf, kind, item, f"{key}[{index}]", source) for index, item in enumerate(node.value))


def _list_example(kind: Any) -> str:
    return "[{id: …, name: …}]" if dataclasses.is_dataclass(kind) else "[a, b]"


def _convert_mapping(leaf: Leaf, node: yaml.Node, key: str, source: Source) -> dict[str, str]:
    if not isinstance(node, yaml.MappingNode):
        raise wrong(source.at(node), key, _show(leaf, describe(node)), "a mapping, as {a: b}")
    return {
        str(key_node.value): str(convert(leaf, str, value_node, f"{key}.{key_node.value}", source))
        for key_node, value_node in node.value
    }


def _convert_item(kind: type[Any], node: yaml.Node, key: str, source: Source) -> Any:
    """One entry of a list of dataclasses, such as a room."""
    if not isinstance(node, yaml.MappingNode):
        raise wrong(source.at(node), key, describe(node), f"a mapping, as {_list_example(kind)[1:-1]}")
    leaves = {leaf.key: leaf for leaf in leaves_of(kind, "")}
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        field, where = str(key_node.value), source.at(key_node)
        if field not in leaves:
            near = difflib.get_close_matches(field, leaves, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; allowed: {', '.join(leaves)}"
            raise SettingsError(f"{where}: {key} takes no {field}{hint}")
        if field in values:
            raise SettingsError(f"{where}: {key}.{field} is set twice")
        leaf = dataclasses.replace(leaves[field], key=f"{key}.{field}")
        values[field] = checked(leaf, convert(leaf, leaf.type, value_node, leaf.key, source), source.at(value_node))
    for field_info in dataclasses.fields(kind):
        required = field_info.default is field_info.default_factory is dataclasses.MISSING
        if required and field_info.name not in values:
            raise SettingsError(f"{source.at(node)}: {key} has no {field_info.name}")
    return kind(**values)


def checked(leaf: Leaf, value: Any, where: str) -> Any:
    """The value itself. Raises `SettingsError` where its key doesn't allow it."""
    if isinstance(value, int | float) and abs(value) > MOST:
        raise wrong(where, leaf.key, _show(leaf, value), f"at most {MOST}")
    if leaf.check is not None and value is not None and not leaf.check.passes(value):
        shown = ", ".join(value) if isinstance(value, tuple) else value
        raise wrong(where, leaf.key, _show(leaf, shown), leaf.check.allowed)
    return value


def wrong(where: str, key: str, found: object, allowed: str, near: str = "") -> SettingsError:
    """The error for a value that can't be."""
    hint = f"; did you mean {near}?" if near else ""
    return SettingsError(f"{where}: {key} is {'empty' if found == '' else found}; allowed: {allowed}{hint}")


def _show(leaf: Leaf, value: object) -> object:
    return "(a secret)" if leaf.secret else value


def _nearest(kind: Any, node: yaml.Node) -> str:
    if typing.get_origin(kind) is not Literal or not isinstance(node, yaml.ScalarNode):
        return ""
    near = difflib.get_close_matches(node.value, [str(choice) for choice in typing.get_args(kind)], 1)
    return near[0] if near else ""


def _allowed(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        *head, last = [str(choice) for choice in typing.get_args(kind)]
        return f"{', '.join(head)} or {last}" if head else last
    return {str: "text", bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "a value")
