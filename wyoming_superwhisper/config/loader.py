"""Fills the typed settings: defaults, then a file, then the environment, then options; the later ones win.

`load` works for any tree of frozen dataclasses: sections are dataclasses, and every other field is a key, written
with dots (`asr.model`). What is wrong raises one `SettingsError` that says where it stands (file and line,
environment variable or option), which key it is, what was found and what is allowed.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from wyoming_superwhisper.config.consistency import check_consistency
from wyoming_superwhisper.config.environment import from_environment
from wyoming_superwhisper.config.schema import Schema, schema_of
from wyoming_superwhisper.config.settings import HomeSettings, Settings
from wyoming_superwhisper.config.source import Found, Source, compose, describe, is_nothing, read
from wyoming_superwhisper.config.values import checked, convert, from_text
from wyoming_superwhisper.errors import SettingsError

PACKAGED = ("default", "demo", "rtx3090", "satellite")
"""Settings files that come with the package and are named without a path."""

_FOLDER = Path(__file__).parent
_HOME_FILE = "home.file"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Override:
    """One key set by an option; `origin` names the option in errors ("--uri")."""

    key: str
    value: str
    origin: str = "--set"


def load(
    kind: type[T] = Settings,  # type: ignore[assignment]
    source: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Iterable[Override] | Mapping[str, str] = (),
) -> T:
    """The settings of this kind from the named file (a packaged one's name, or a path), environment and options.

    Without a source: the packaged defaults of the kind. Raises `SettingsError`.
    """
    schema = schema_of(kind)
    found: dict[str, Found] = {}
    if source is not None and str(source) != "default":
        found.update(_from_file(schema, source))
    variables = from_environment(schema, os.environ if environment is None else environment)
    options = list(_as_overrides(overrides))
    if kind is Settings:
        # Before the rest of the environment and the options, which may change what the home's file says.
        found.update({key: value for key, value in variables.items() if key == _HOME_FILE})
        for option in options:
            if option.key == _HOME_FILE:
                _apply_override(schema, option, found)
        _read_home_file(found)
    found.update(variables)
    for option in options:
        _apply_override(schema, option, found)
    _read_secret_files(schema, found)
    settings = _build(kind, "", found)
    if isinstance(settings, Settings):
        check_consistency(settings, found)
    return settings


def locate(source: str | Path) -> Path:
    """The file of a packaged name or a path. Raises `SettingsError` where there is none."""
    if str(source) in PACKAGED:
        return _FOLDER / f"{source}.yaml"
    path = Path(source).expanduser()
    if not path.exists():
        names = ", ".join(PACKAGED)
        near = difflib.get_close_matches(str(source), PACKAGED, 1)
        hint = f"; did you mean {near[0]}?" if near else f" (packaged ones: {names})"
        raise SettingsError(f"there is no settings file {source}{hint}")
    return path


def parse_assignment(text: str, origin: str = "--set") -> Override:
    """`KEY=VALUE` as an override. Raises `SettingsError`."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise SettingsError(f"option {origin} takes KEY=VALUE, not {text!r}")
    return Override(key.strip(), value, f"{origin} {key.strip()}")


# --- the tree --------------------------------------------------------------------------------------------------


def _build(kind: type[T], prefix: str, found: Mapping[str, Found]) -> T:
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(typing.cast(Any, kind)):
        key, hint = prefix + field.name, hints[field.name]
        if dataclasses.is_dataclass(hint):
            values[field.name] = _build(typing.cast(type[Any], hint), key + ".", found)
        elif key in found:
            values[field.name] = found[key].value
    return kind(**values)


# --- the file --------------------------------------------------------------------------------------------------


def _from_file(schema: Schema, source: str | Path) -> dict[str, Found]:
    path = locate(source)
    root = compose(read(path), Source(path.name))
    found: dict[str, Found] = {}
    if root is not None:
        _collect(schema, root, "", path, found)
    return found


def _collect(schema: Schema, node: yaml.Node, prefix: str, path: Path, found: dict[str, Found]) -> None:
    """Walk a section's mapping and put its keys into `found`."""
    source = Source(path.name)
    if prefix and is_nothing(node):
        return  # a section whose lines are all commented out
    if not isinstance(node, yaml.MappingNode):
        what = f"section {prefix[:-1]} takes" if prefix else "settings are"
        raise SettingsError(f"{source.at(node)}: {what} a list of KEY: VALUE lines, not {describe(node)}")
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        key, where = prefix + str(key_node.value), source.at(key_node)
        if key in lines:
            raise SettingsError(f"{where}: {key} is set twice (first in line {lines[key]})")
        lines[key] = key_node.start_mark.line + 1
        if key in schema.leaves:
            leaf = schema.leaves[key]
            value = checked(leaf, convert(leaf, leaf.type, value_node, key, source), source.at(value_node))
            items = value_node.value if isinstance(value_node, yaml.SequenceNode) else ()
            found[key] = Found(value, source.at(value_node), path.parent, tuple(map(source.at, items)))
        elif key in schema.sections:
            _collect(schema, value_node, key + ".", path, found)
        else:
            raise schema.unknown(key, where)


# --- options ---------------------------------------------------------------------------------------------------


def _as_overrides(overrides: Iterable[Override] | Mapping[str, str]) -> Iterator[Override]:
    if isinstance(overrides, Mapping):
        yield from (Override(key, value, f"--set {key}") for key, value in overrides.items())
    else:
        yield from overrides


def _apply_override(schema: Schema, override: Override, found: dict[str, Found]) -> None:
    where = f"option {override.origin}"
    if override.key in schema.leaves:
        leaf = schema.leaves[override.key]
        found[leaf.key] = Found(from_text(leaf, override.value, where), where)
        return
    # An entry of a mapping: home.satellites.kitchen-pi=kitchen
    for leaf in schema.leaves.values():
        if typing.get_origin(leaf.type) is dict and override.key.startswith(leaf.key + "."):
            held = found[leaf.key].value if leaf.key in found else {}
            found[leaf.key] = Found({**held, override.key.removeprefix(leaf.key + "."): override.value}, where)
            return
    if override.key in schema.sections:
        inside = ", ".join(key for key in schema.leaves if key.startswith(override.key + "."))
        raise SettingsError(f"{where}: {override.key} is a section; its settings are {inside}")
    raise schema.unknown(override.key, where)


# --- files that are named by settings ---------------------------------------------------------------------------


def _read_home_file(found: dict[str, Found]) -> None:
    """Replace the home by what `home.file` holds."""
    named = found.get(_HOME_FILE)
    if named is None or not named.value:
        return
    path = _named_path(named)
    if not os.path.exists(path):  # `Path.exists` fails for a name that is too long
        raise SettingsError(f"{named.where}: {_HOME_FILE} names {path}, which does not exist")
    inside: dict[str, Found] = {}
    try:
        root = compose(read(path), Source(path.name))
        if isinstance(root, yaml.MappingNode) and [key.value for key, _ in root.value] == ["home"]:
            root = root.value[0][1]
        if root is not None:
            _collect(schema_of(HomeSettings), root, "", path, inside)
    except SettingsError as error:
        raise SettingsError(f"{named.where}: {_HOME_FILE}: {error}") from error
    inside.pop("file", None)
    found.update({f"home.{key}": value for key, value in inside.items()})


def _named_path(named: Found) -> Path:
    """The file that a setting names, from the folder of the settings file."""
    try:
        return (named.folder or Path()) / Path(named.value).expanduser()
    except (RuntimeError, ValueError) as error:  # the folder of a user who isn't known here, or no path at all
        raise SettingsError(f"{named.where}: {named.value!r} names no file: {error}") from error


def _read_secret_files(schema: Schema, found: dict[str, Found]) -> None:
    """Fill each secret whose sibling `…_file` is set and that is not set itself."""
    for leaf in schema.leaves.values():
        named = found.get(f"{leaf.key}_file")
        if leaf.secret and named and named.value and not (leaf.key in found and found[leaf.key].value):
            try:
                found[leaf.key] = Found(read(_named_path(named)).strip(), named.where)
            except SettingsError as error:
                raise SettingsError(f"{named.where}: {leaf.key}_file: {error}") from error
