"""The catalogue: which models are known by name, where they come from, and which suit which card."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from wyoming_superwhisper.errors import ModelError

Kind = Literal["whisper", "llama", "voice"]
"""What a model is for."""

DEMO = "demo"
"""Name of the small models that come with the package."""

_FILE = Path(__file__).with_name("catalogue.yaml")
_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9}


@dataclass(frozen=True, slots=True)
class CatalogueFile:
    """One file of a model."""

    name: str
    about_bytes: int = 0
    """Rounded size, for the display; 0: small or unknown."""
    size: int | None = None
    """Exact size; None: recorded at the first download."""
    sha256: str = ""
    """Empty: recorded at the first download."""


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """A model that can be downloaded by name."""

    name: str
    kind: Kind
    description: str
    repo: str
    files: tuple[CatalogueFile, ...]
    folder: str = ""
    """Folder inside the repository."""
    revision: str | None = None
    """Commit; None: the newest at the first download, recorded then."""
    licence: str = ""
    memory_mb: int = 0
    """Memory it takes while it works, in MiB, roughly."""
    languages: tuple[str, ...] = ()
    window: str = "full"
    source: tuple[str, ...] = ()
    """Where the facts were read."""

    @property
    def about_bytes(self) -> int:
        """Rounded size of all files."""
        return sum(file.about_bytes for file in self.files)

    def path_of(self, file: CatalogueFile) -> str:
        """The file's path inside the repository."""
        return f"{self.folder}/{file.name}" if self.folder else file.name


@dataclass(frozen=True, slots=True)
class Choice:
    """What `auto` means from this much memory on."""

    at_least_mb: int
    whisper: str
    llama: str
    meant_for: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All known models, and what suits which card."""

    models: Mapping[str, CatalogueModel]
    choices: tuple[Choice, ...]
    voices: Mapping[str, str]
    """A voice for each language."""

    def get(self, name: str) -> CatalogueModel:
        """The model of this name; case doesn't matter. Raises `ModelError` that names the nearest."""
        by_lower = {known.lower(): model for known, model in self.models.items()}
        for candidate in (name.lower(), f"whisper-{name.lower()}"):
            if candidate in by_lower:
                return by_lower[candidate]
        raise ModelError(f"there is no model {name!r} in the catalogue{_nearest(name, self.models)}")

    def of_kind(self, kind: Kind) -> tuple[CatalogueModel, ...]:
        """The models of one kind, the best first."""
        return tuple(model for model in self.models.values() if model.kind == kind)

    def choice(self, memory_mb: int) -> Choice:
        """What suits a card with this much memory in MiB; 0: the CPU."""
        return next(choice for choice in self.choices if memory_mb >= choice.at_least_mb)


@functools.cache
def load() -> Catalogue:
    """The catalogue that comes with the package."""
    return parse(_FILE.read_text(encoding="utf-8"))


def choose(kind: Kind, memory_mb: int) -> str:
    """Name of the model of this kind that suits a card with this much memory in MiB; 0: the CPU."""
    choice = load().choice(memory_mb)
    return choice.whisper if kind == "whisper" else choice.llama


def parse(text: str) -> Catalogue:
    """A catalogue from its YAML. Raises `ValueError` where it contradicts itself."""
    tree = yaml.safe_load(text)
    models = {name: _model(name, entry) for name, entry in tree["models"].items()}
    choices = tuple(sorted((Choice(**entry) for entry in tree["choices"]), key=lambda choice: -choice.at_least_mb))
    catalogue = Catalogue(models, choices, tree["voices"])
    _check(catalogue)
    return catalogue


def _model(name: str, entry: Mapping[str, Any]) -> CatalogueModel:
    fields = dict(entry)
    files = tuple(_file(file) for file in (*fields.pop("small_files", ()), *fields.pop("files")))
    fields |= {key: tuple(fields[key]) for key in ("languages", "source") if key in fields}
    return CatalogueModel(name=name, files=files, **fields)


def _file(entry: Mapping[str, Any]) -> CatalogueFile:
    fields = dict(entry)
    about = _bytes(fields.pop("about", "")) or fields.get("size") or 0
    return CatalogueFile(about_bytes=about, **fields)


def _bytes(text: str) -> int:
    number, _, unit = text.partition(" ")
    return round(float(number) * _UNITS[unit]) if text else 0


def _check(catalogue: Catalogue) -> None:
    named = {choice.whisper for choice in catalogue.choices} | {choice.llama for choice in catalogue.choices}
    for name in (*named, *catalogue.voices.values()):
        if name not in catalogue.models:
            raise ValueError(f"the catalogue chooses {name}, which it doesn't hold")
    for model in catalogue.models.values():
        if model.kind not in get_args(Kind):
            raise ValueError(f"{model.name} is of no known kind: {model.kind}")
        if any("/" in file.name or file.name.startswith(".") for file in model.files):
            raise ValueError(f"{model.name} has a file outside its folder")


def _nearest(name: str, names: Iterable[str]) -> str:
    known = sorted(names)
    near = difflib.get_close_matches(name.lower(), known, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else f"; it holds {', '.join(known)}"
