"""Fills the typed settings: defaults, then a file, then the environment, then options; the later ones win.

`load` works for any tree of frozen dataclasses: sections are dataclasses, and every other field is a key, written
with dots (`asr.model`). What is wrong raises one `SettingsError` that says where it stands (file and line,
environment variable or option), which key it is, what was found and what is allowed.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from wyoming_superwhisper.config import checks
from wyoming_superwhisper.config.satellite_settings import SatelliteSettings
from wyoming_superwhisper.config.settings import Area, Device, Floor, HomeSettings, Settings
from wyoming_superwhisper.errors import SettingsError

PREFIX = "WYOMING_SUPERWHISPER_"
"""What the environment variables of settings begin with."""

PACKAGED = ("default", "demo", "rtx3090", "satellite")
"""Settings files that come with the package and are named without a path."""

NOT_SETTINGS = frozenset({"SETTINGS", "WORKER_SECRET"})
"""Environment variables with our prefix that are read elsewhere."""

_FOLDER = Path(__file__).parent
_HOME_FILE = "home.file"
_KUBERNETES = ("SERVICE_", "PORT")
"""Kubernetes sets WYOMING_SUPERWHISPER_SERVICE_HOST, …_PORT, …_PORT_10300_TCP for a service of our name."""

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
    schema = _schema(kind)
    found: dict[str, _Found] = {}
    if source is not None and str(source) != "default":
        found.update(_from_file(schema, source))
    from_environment = _from_environment(schema, os.environ if environment is None else environment)
    options = list(_as_overrides(overrides))
    if kind is Settings:
        # Before the rest of the environment and the options, which may change what the home's file says.
        found.update({key: value for key, value in from_environment.items() if key == _HOME_FILE})
        for option in options:
            if option.key == _HOME_FILE:
                _apply_override(schema, option, found)
        _read_home_file(found)
    found.update(from_environment)
    for option in options:
        _apply_override(schema, option, found)
    _read_secret_files(schema, found)
    settings = _build(kind, "", found)
    if isinstance(settings, Settings):
        _check_server(settings, found)
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


def keys(kind: type[Any]) -> tuple[str, ...]:
    """All dotted keys of a kind of settings, in order."""
    return tuple(_schema(kind).leaves)


def environment_name(key: str) -> str:
    """The environment variable that sets a key."""
    return PREFIX + key.replace(".", "_").replace("-", "_").upper()


# --- the schema ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Leaf:
    """A key that holds a value: its type, and what its field says of it."""

    key: str
    type: Any
    check: checks.Check | None = None
    secret: bool = False


class _Schema:
    """The keys of a tree of dataclasses."""

    def __init__(self, kind: type[Any]) -> None:
        self.leaves: dict[str, Leaf] = {leaf.key: leaf for leaf in _leaves(kind, "")}
        self.sections = {key.rpartition(".")[0] for key in self.leaves} - {""}
        # A section of sections ("server" of "server.tls") counts too.
        self.sections |= {parent for section in self.sections for parent in _parents(section)}

    def unknown(self, key: str, where: str) -> SettingsError:
        """The error for a key that isn't there, with the nearest one that is."""
        names = [*self.leaves, *self.sections]
        near = difflib.get_close_matches(key, names, 1, 0.6) or _same_last_part(key, names)
        hint = f"; did you mean {near[0]}?" if near else ""
        return SettingsError(f"{where}: there is no setting {key}{hint}")


_SCHEMAS: dict[type[Any], _Schema] = {}


def _schema(kind: type[Any]) -> _Schema:
    return _SCHEMAS.setdefault(kind, _SCHEMAS.get(kind) or _Schema(kind))


def _parents(key: str) -> Iterator[str]:
    while "." in key:
        key = key.rpartition(".")[0]
        yield key


def _same_last_part(key: str, names: Iterable[str]) -> list[str]:
    last = key.rpartition(".")[2]
    by_last = {name.rpartition(".")[2]: name for name in names}
    return [by_last[near] for near in difflib.get_close_matches(last, by_last, 1, 0.8)]


def _leaves(kind: type[Any], prefix: str) -> Iterator[Leaf]:
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        key, hint = prefix + field.name, hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from _leaves(typing.cast(type[Any], hint), key + ".")
        else:
            yield Leaf(key, hint, field.metadata.get(checks.KEY), bool(field.metadata.get(checks.SECRET)))


@dataclass(frozen=True, slots=True)
class _Found:
    """A checked value and where it was found ("demo.yaml, line 3")."""

    value: Any
    where: str
    folder: Path | None = None
    """Folder of the file it was found in: relative paths of `home.file` start there."""
    items: tuple[str, ...] = ()
    """Where each entry of a list was found."""

    def item(self, index: int) -> str:
        """Where this entry of a list was found."""
        return self.items[index] if index < len(self.items) else self.where


@dataclass(frozen=True, slots=True)
class _Source:
    """What YAML is read from, as errors call it."""

    name: str
    has_lines: bool = True

    def at(self, node: yaml.Node) -> str:
        """Where a node stands ("demo.yaml, line 3")."""
        return f"{self.name}, line {node.start_mark.line + 1}" if self.has_lines else self.name


def _build(kind: type[T], prefix: str, found: Mapping[str, _Found]) -> T:
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


def _from_file(schema: _Schema, source: str | Path) -> dict[str, _Found]:
    path = locate(source)
    root = _compose(_read(path), _Source(path.name))
    found: dict[str, _Found] = {}
    if root is not None:
        _collect(schema, root, "", path, found)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not text in UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {(error.strerror or str(error)).lower()}") from error


def _compose(text: str, source: _Source) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark and source.has_lines else ""
        raise SettingsError(f"{source.name}{line}: this is not valid YAML: {error.problem or error.context}") from error
    except RecursionError as error:
        raise SettingsError(f"{source.name}: this is not valid YAML: it is nested too deeply") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{source.name}: this is not valid YAML: {str(error).splitlines()[0]}") from error
    return node


def _collect(schema: _Schema, node: yaml.Node, prefix: str, path: Path, found: dict[str, _Found]) -> None:
    """Walk a section's mapping and put its keys into `found`."""
    source = _Source(path.name)
    if prefix and _is_nothing(node):
        return  # a section whose lines are all commented out
    if not isinstance(node, yaml.MappingNode):
        what = f"section {prefix[:-1]} takes" if prefix else "settings are"
        raise SettingsError(f"{source.at(node)}: {what} a list of KEY: VALUE lines, not {_describe(node)}")
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        key, where = prefix + str(key_node.value), source.at(key_node)
        if key in lines:
            raise SettingsError(f"{where}: {key} is set twice (first in line {lines[key]})")
        lines[key] = key_node.start_mark.line + 1
        if key in schema.leaves:
            leaf = schema.leaves[key]
            value = _check(leaf, _convert(leaf, leaf.type, value_node, key, source), source.at(value_node))
            items = value_node.value if isinstance(value_node, yaml.SequenceNode) else ()
            found[key] = _Found(value, source.at(value_node), path.parent, tuple(map(source.at, items)))
        elif key in schema.sections:
            _collect(schema, value_node, key + ".", path, found)
        else:
            raise schema.unknown(key, where)


# --- environment and options -----------------------------------------------------------------------------------


def _from_environment(schema: _Schema, environment: Mapping[str, str]) -> dict[str, _Found]:
    names = {environment_name(key).removeprefix(PREFIX): key for key in schema.leaves}
    known_elsewhere = {environment_name(key).removeprefix(PREFIX) for kind in _KINDS for key in keys(kind)}
    found: dict[str, _Found] = {}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).replace("__", "_")
        where, text = f"environment variable {variable}", environment[variable]
        key = names.get(name)
        if key is None and name.endswith("_FILE"):
            key = names.get(name.removesuffix("_FILE"))
            if key is not None:
                text = _read(Path(text)).strip()
        if key is not None:
            found[key] = _Found(_from_text(schema.leaves[key], text, where), where)
        elif not _is_foreign(name, known_elsewhere):
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {PREFIX}{near[0]}?" if near else ""
            raise SettingsError(f"{where}: there is no such setting{hint}")
    return found


_KINDS: tuple[type[Any], ...] = (Settings, SatelliteSettings)


def _is_foreign(name: str, known_elsewhere: set[str]) -> bool:
    base = name.removesuffix("_FILE")
    return name in NOT_SETTINGS or base in known_elsewhere or name.startswith(_KUBERNETES)


def _as_overrides(overrides: Iterable[Override] | Mapping[str, str]) -> Iterator[Override]:
    if isinstance(overrides, Mapping):
        yield from (Override(key, value, f"--set {key}") for key, value in overrides.items())
    else:
        yield from overrides


def _apply_override(schema: _Schema, override: Override, found: dict[str, _Found]) -> None:
    where = f"option {override.origin}"
    if override.key in schema.leaves:
        leaf = schema.leaves[override.key]
        found[leaf.key] = _Found(_from_text(leaf, override.value, where), where)
        return
    # An entry of a mapping: home.satellites.kitchen-pi=kitchen
    for leaf in schema.leaves.values():
        if typing.get_origin(leaf.type) is dict and override.key.startswith(leaf.key + "."):
            held = found[leaf.key].value if leaf.key in found else {}
            found[leaf.key] = _Found({**held, override.key.removeprefix(leaf.key + "."): override.value}, where)
            return
    if override.key in schema.sections:
        inside = ", ".join(key for key in schema.leaves if key.startswith(override.key + "."))
        raise SettingsError(f"{where}: {override.key} is a section; its settings are {inside}")
    raise schema.unknown(override.key, where)


_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


def _from_text(leaf: Leaf, text: str, where: str) -> Any:
    """A value written in an option or an environment variable, where there is no YAML around it."""
    kind = leaf.type
    value: Any
    if kind is str:
        value = text
    elif kind is bool:
        if text.strip().lower() not in _TRUE | _FALSE:
            raise _wrong(where, leaf.key, _show(leaf, text), "true or false")
        value = text.strip().lower() in _TRUE
    elif kind == tuple[str, ...] and not text.lstrip().startswith("["):
        value = tuple(part.strip() for part in text.split(",") if part.strip())
    else:
        source = _Source(where, has_lines=False)
        node = _word(text) if typing.get_origin(kind) is Literal else _compose(text, source)
        if node is None:
            raise _wrong(where, leaf.key, "empty", _allowed(kind))
        value = _convert(leaf, kind, node, leaf.key, source)
    return _check(leaf, value, where)


def _word(text: str) -> yaml.Node:
    return yaml.ScalarNode("tag:yaml.org,2002:str", text.strip())


# --- values ----------------------------------------------------------------------------------------------------


def _convert(leaf: Leaf, kind: Any, node: yaml.Node, key: str, source: _Source) -> Any:
    """A YAML node as a value of this type. Raises `SettingsError`."""
    origin = typing.get_origin(kind)
    if origin is tuple:
        return _convert_list(leaf, typing.get_args(kind)[0], node, key, source)
    if origin is dict:
        return _convert_mapping(leaf, node, key, source)
    if dataclasses.is_dataclass(kind):
        return _convert_item(typing.cast(type[Any], kind), node, key, source)
    if origin in (types.UnionType, typing.Union):
        if _is_nothing(node):
            return None
        kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
    if isinstance(node, yaml.ScalarNode) and not _is_nothing(node):
        try:
            return _scalar(kind, node)
        except ValueError:
            pass
    raise _wrong(source.at(node), key, _show(leaf, _describe(node)), _allowed(kind), _nearest(kind, node))


def _scalar(kind: Any, node: yaml.ScalarNode) -> Any:
    """A scalar of this type. Raises `ValueError`."""
    tag = node.tag.rpartition(":")[2]
    if kind is str:
        return str(node.value)  # as it is written: "off" and "no" stay words, 007 keeps its zeros
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


def _convert_list(leaf: Leaf, kind: Any, node: yaml.Node, key: str, source: _Source) -> tuple[Any, ...]:
    if not isinstance(node, yaml.SequenceNode):
        raise _wrong(source.at(node), key, _show(leaf, _describe(node)), f"a list, as {_list_example(kind)}")
    return tuple(_convert(leaf, kind, item, f"{key}[{index}]", source) for index, item in enumerate(node.value))


def _list_example(kind: Any) -> str:
    return "[{id: …, name: …}]" if dataclasses.is_dataclass(kind) else "[a, b]"


def _convert_mapping(leaf: Leaf, node: yaml.Node, key: str, source: _Source) -> dict[str, str]:
    if not isinstance(node, yaml.MappingNode):
        raise _wrong(source.at(node), key, _show(leaf, _describe(node)), "a mapping, as {a: b}")
    return {
        str(key_node.value): str(_convert(leaf, str, value_node, f"{key}.{key_node.value}", source))
        for key_node, value_node in node.value
    }


def _convert_item(kind: type[Any], node: yaml.Node, key: str, source: _Source) -> Any:
    """One entry of a list of dataclasses, such as a room."""
    if not isinstance(node, yaml.MappingNode):
        raise _wrong(source.at(node), key, _describe(node), f"a mapping, as {_list_example(kind)[1:-1]}")
    leaves = {leaf.key: leaf for leaf in _leaves(kind, "")}
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
        values[field] = _check(leaf, _convert(leaf, leaf.type, value_node, leaf.key, source), source.at(value_node))
    for field_info in dataclasses.fields(kind):
        required = field_info.default is field_info.default_factory is dataclasses.MISSING
        if required and field_info.name not in values:
            raise SettingsError(f"{source.at(node)}: {key} has no {field_info.name}")
    return kind(**values)


def _check(leaf: Leaf, value: Any, where: str) -> Any:
    if leaf.check is not None and value is not None and not leaf.check.passes(value):
        shown = ", ".join(value) if isinstance(value, tuple) else value
        raise _wrong(where, leaf.key, _show(leaf, shown), leaf.check.allowed)
    return value


def _wrong(where: str, key: str, found: object, allowed: str, near: str = "") -> SettingsError:
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


def _is_nothing(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _describe(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "empty" if _is_nothing(node) else str(node.value) or "empty"


# --- the home, secrets, and what only the whole shows -----------------------------------------------------------


def _read_home_file(found: dict[str, _Found]) -> None:
    """Replace the home by what `home.file` holds."""
    named = found.get(_HOME_FILE)
    if named is None or not named.value:
        return
    path = (named.folder or Path()) / Path(named.value).expanduser()
    if not path.exists():
        raise SettingsError(f"{named.where}: home.file names {path}, which does not exist")
    root = _compose(_read(path), _Source(path.name))
    if isinstance(root, yaml.MappingNode) and [key.value for key, _ in root.value] == ["home"]:
        root = root.value[0][1]
    inside: dict[str, _Found] = {}
    if root is not None:
        _collect(_schema(HomeSettings), root, "", path, inside)
    inside.pop("file", None)
    found.update({f"home.{key}": value for key, value in inside.items()})


def _read_secret_files(schema: _Schema, found: dict[str, _Found]) -> None:
    """Fill each secret whose sibling `…_file` is set and that is not set itself."""
    for leaf in schema.leaves.values():
        named = found.get(f"{leaf.key}_file")
        if leaf.secret and named and named.value and not (leaf.key in found and found[leaf.key].value):
            path = (named.folder or Path()) / Path(named.value).expanduser()
            try:
                found[leaf.key] = _Found(_read(path).strip(), named.where)
            except SettingsError as error:
                raise SettingsError(f"{named.where}: {leaf.key}_file: {error}") from error


def _check_server(settings: Settings, found: Mapping[str, _Found]) -> None:
    language, languages = settings.asr.language, settings.asr.languages
    if language != "auto" and language not in languages:
        place = found.get("asr.language") or found.get("asr.languages")
        allowed = f"auto or one of asr.languages ({', '.join(languages)})"
        raise _wrong(place.where if place else "the settings", "asr.language", language, allowed)
    _check_ids(settings.home, found)
    _check_places(settings.home, found, learnt=bool(settings.home_assistant.url))
    if settings.home_assistant.url and not settings.home_assistant.token:
        place = found.get("home_assistant.url")
        raise SettingsError(
            f"{place.where if place else 'the settings'}: home_assistant.url needs a token: set home_assistant."
            f"token_file or {environment_name('home_assistant.token')}"
        )


def _check_ids(home: HomeSettings, found: Mapping[str, _Found]) -> None:
    by_key: dict[str, tuple[Floor | Area | Device, ...]] = {
        "home.floors": home.floors,
        "home.areas": home.areas,
        "home.devices": home.devices,
    }
    for key, entries in by_key.items():
        seen: set[str] = set()
        for index, entry in enumerate(entries):
            if entry.id in seen:
                raise SettingsError(f"{found[key].item(index)}: {key} has two entries with the id {entry.id}")
            seen.add(entry.id)


def _check_places(home: HomeSettings, found: Mapping[str, _Found], learnt: bool) -> None:
    """Every floor and area that is named must be there; a satellite's may be one to be `learnt` of Home Assistant."""
    floors, areas = {floor.id for floor in home.floors}, {area.id for area in home.areas}
    for index, area in enumerate(home.areas):
        if area.floor and area.floor not in floors:
            where = found["home.areas"].item(index)
            raise _no_such(where, f"area {area.id} is on floor", area.floor, "home.floors", floors)
    for index, device in enumerate(home.devices):
        if device.area and device.area not in areas:
            where = found["home.devices"].item(index)
            raise _no_such(where, f"device {device.id} is in area", device.area, "home.areas", areas)
    for satellite, area_id in home.satellites.items():
        if area_id not in areas and not learnt:
            where = found["home.satellites"].where
            raise _no_such(where, f"satellite {satellite} is in area", area_id, "home.areas", areas)


def _no_such(where: str, what: str, name: str, key: str, known: set[str]) -> SettingsError:
    near = difflib.get_close_matches(name, sorted(known), 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return SettingsError(f"{where}: {what} {name}, which is not in {key}{hint}")
