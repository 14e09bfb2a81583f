"""The keys of a tree of frozen dataclasses, written with dots, and what each may hold."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from wyoming_superwhisper.config import checks
from wyoming_superwhisper.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Leaf:
    """A key that holds a value: its type, and what its field says of it."""

    key: str
    type: Any
    check: checks.Check | None = None
    secret: bool = False


class Schema:
    """The keys of a tree of dataclasses."""

    def __init__(self, kind: type[Any]) -> None:
        self.leaves: dict[str, Leaf] = {leaf.key: leaf for leaf in leaves_of(kind, "")}
        self.sections = {key.rpartition(".")[0] for key in self.leaves} - {""}
        # A section of sections ("server" of "server.tls") counts too.
        self.sections |= {parent for section in self.sections for parent in _parents(section)}

    def unknown(self, key: str, where: str) -> SettingsError:
        """The error for a key that isn't there, with the nearest one that is."""
        names = [*self.leaves, *self.sections]
        near = difflib.get_close_matches(key, names, 1, 0.6) or _same_last_part(key, names)
        hint = f"; did you mean {near[0]}?" if near else ""
        return SettingsError(f"{where}: there is no setting {key}{hint}")


_SCHEMAS: dict[type[Any], Schema] = {}


def schema_of(kind: type[Any]) -> Schema:
    """The schema of a kind of settings."""
    if kind not in _SCHEMAS:
        _SCHEMAS[kind] = Schema(kind)
    return _SCHEMAS[kind]


def keys(kind: type[Any]) -> tuple[str, ...]:
    """All dotted keys of a kind of settings, in order."""
    return tuple(schema_of(kind).leaves)


def leaves_of(kind: type[Any], prefix: str) -> Iterator[Leaf]:
    """The keys of a dataclass and of those in it; each begins with the prefix."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        key, hint = prefix + field.name, hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from leaves_of(typing.cast(type[Any], hint), key + ".")
        else:
            yield Leaf(key, hint, field.metadata.get(checks.KEY), bool(field.metadata.get(checks.SECRET)))


def _parents(key: str) -> Iterator[str]:
    while "." in key:
        key = key.rpartition(".")[0]
        yield key


def _same_last_part(key: str, names: Iterable[str]) -> list[str]:
    last = key.rpartition(".")[2]
    by_last = {name.rpartition(".")[2]: name for name in names}
    return [by_last[near] for near in difflib.get_close_matches(last, by_last, 1, 0.8)]
