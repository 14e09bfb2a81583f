"""Where values are found: text and YAML read from files, and how errors call the place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wyoming_superwhisper.errors import SettingsError

MOST_BYTES = 1_048_576
"""No file of settings is larger: it is enough for a home of thousands of devices."""


@dataclass(frozen=True, slots=True)
class Found:
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
class Source:
    """What YAML is read from, as errors call it."""

    name: str
    has_lines: bool = True

    def at(self, node: yaml.Node) -> str:
        """Where a node stands ("demo.yaml, line 3")."""
        return f"{self.name}, line {node.start_mark.line + 1}" if self.has_lines else self.name


def read(path: Path) -> str:
    """The text of a file. Raises `SettingsError`."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)  # no more, of whatever has no end or was meant for something else
        if len(content) > MOST_BYTES:
            raise SettingsError(f"{path} is larger than {MOST_BYTES} bytes: that can't be settings")
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not text in UTF-8 (byte {error.start})") from error
    except ValueError as error:
        raise SettingsError(f"{str(path)!r} is no path: {error}") from error
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {(error.strerror or str(error)).lower()}") from error


def compose(text: str, source: Source) -> yaml.Node | None:
    """The YAML as nodes, which know their lines; None: it is empty. Raises `SettingsError`."""
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


def is_nothing(node: yaml.Node) -> bool:
    """Whether there is no value."""
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def describe(node: yaml.Node) -> str:
    """What stands there, for errors."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "empty" if is_nothing(node) else str(node.value) or "empty"
