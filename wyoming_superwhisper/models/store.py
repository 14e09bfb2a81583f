"""The store: where models lie on the disk, whether they are all there, and what a name in the settings means.

A model has a folder of its own; `superwhisper.json` in it records, from the first download on, the revision and
each file's size and SHA-256. Nothing here asks the network.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import platformdirs

from wyoming_superwhisper.errors import ModelError
from wyoming_superwhisper.models import catalogue
from wyoming_superwhisper.models.catalogue import DEMO, CatalogueModel, Kind
from wyoming_superwhisper.models.headers import check_header

logger = logging.getLogger(__name__)

RECORD = "superwhisper.json"
"""File in a model's folder that says what was downloaded."""

DEMO_WEIGHTS = Path(__file__).parent / "demo" / "weights"
"""The small models that come with the package."""

_HASH_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a downloaded file was."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """What was downloaded, kept in the model's folder."""

    name: str
    repo: str
    revision: str
    fetched: str
    """When, as ISO 8601."""
    files: Mapping[str, FileRecord] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Put it into the model's folder."""
        text = json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"
        (folder / RECORD).write_text(text, encoding="utf-8")


LIBRARY_MB = 500
"""Video memory that CUDA and its libraries take for themselves, in each process."""


@dataclass(frozen=True, slots=True)
class VoiceFiles:
    """The two files of a voice."""

    name: str
    model: Path
    config: Path


class Card(Protocol):
    """What `auto` must know of the card that was chosen (`gpu.GpuChoice`)."""

    @property
    def memory_mb(self) -> int: ...

    def device(self, engine: str) -> str:
        """ "cuda" or "cpu" for this engine."""


class ModelStore:
    """The folder of downloaded models, and the packaged demo models beside it."""

    def __init__(self, folder: str | Path = "", card: Card | None = None) -> None:
        """`card`: what `auto` chooses for; None: the CPU."""
        self.folder = Path(folder).expanduser() if str(folder) else default_folder()
        self.catalogue = catalogue.load()
        self._card = card

    # --- what the settings name ---------------------------------------------------------------------------------

    def memory_mb(self, kind: Kind) -> int:
        """Memory of the card that models of this kind run on, in MiB; 0: the CPU."""
        return self._card.memory_mb if self._card is not None and self._card.device(kind) == "cuda" else 0

    def recommended(self, kind: Kind) -> str:
        """Name of the model of the catalogue that suits this machine best, whether it is here or not."""
        return catalogue.choose(kind, self.memory_mb(kind))

    def resolve(self, kind: Kind, name: str) -> str:
        """What a name in the settings stands for: `auto` becomes a model of the catalogue, others stay.

        `auto` is the model that suits the card; where that isn't here, the best other one that fits and is.
        Raises `ModelError` for a name that is neither known nor a path.
        """
        if name == DEMO or _is_path(name):
            return name
        if name != "auto":
            return self._known(kind, name).name
        wanted = self.recommended(kind)
        if self.is_present(wanted):
            return wanted
        limit = self.catalogue.get(wanted).memory_mb
        others = [model for model in self.catalogue.of_kind(kind) if model.memory_mb <= limit]
        present = next((model.name for model in others if self.is_present(model.name)), None)
        if present is not None:
            logger.info("%s would suit this machine best and is not here; using %s", wanted, present)
        return present or wanted

    def whisper(self, name: str) -> Path:
        """Folder of a Whisper checkpoint, checked. Raises `ModelError` with the remedy."""
        name = self.resolve("whisper", name)
        if name == DEMO:
            return check_whisper(DEMO_WEIGHTS / "whisper", "the packaged demo model")
        if _is_path(name):
            return check_whisper(Path(name).expanduser(), name)
        self.check(name)
        return check_whisper(self.folder_of(name), name, _remedy(name))

    def llama(self, name: str) -> Path:
        """GGUF file of a language model, checked. Raises `ModelError` with the remedy."""
        name = self.resolve("llama", name)
        if name == DEMO:
            return check_gguf(DEMO_WEIGHTS / "llama" / "demo.gguf", "the packaged demo model")
        if _is_path(name):
            return check_gguf(Path(name).expanduser(), name)
        self.check(name)
        file = next(file.name for file in self.catalogue.get(name).files if file.name.endswith(".gguf"))
        return check_gguf(self.folder_of(name) / file, name, _remedy(name))

    def voices(self, names: Sequence[str] = ()) -> dict[str, dict[str, str]]:
        """The voices of these names, checked: paths as {"model", "config"} by name; without names all installed ones.

        A name is one of the catalogue, `demo` (all packaged voices), a packaged voice, or the path of an .onnx file.
        Raises `ModelError` with the remedy; also when none is installed and none is named.
        """
        found = {voice.name: voice for name in names for voice in self._voices_named(name)}
        if not names:
            found = {voice.name: voice for voice in self.installed_voices()}
            if not found:
                first = next(iter(self.catalogue.voices.values()))
                raise ModelError(f"no voice is installed in {self.folder}; {_remedy(first)}")
        for voice in found.values():
            check_voice(voice)
        return {name: {"model": str(voice.model), "config": str(voice.config)} for name, voice in found.items()}

    def _voices_named(self, name: str) -> list[VoiceFiles]:
        packaged = {voice.name: voice for voice in demo_voices()}
        if name == DEMO:
            if not packaged:
                raise ModelError(f"the packaged demo voices are missing from {DEMO_WEIGHTS / 'piper'}")
            return list(packaged.values())
        if name in packaged:
            return [packaged[name]]
        if _is_path(name):
            path = Path(name).expanduser()
            return [VoiceFiles(path.stem, path, path.with_name(path.name + ".json"))]
        own = {voice.name: voice for voice in self.installed_voices()}
        if name in own:
            self._check_record(name)
            return [own[name]]
        self.check(self._known("voice", name).name)
        return list(_voices_in(self.folder_of(name)))

    # --- what is there --------------------------------------------------------------------------------------------

    def folder_of(self, name: str) -> Path:
        """Folder of a model of the catalogue, whether it is there or not."""
        return self.folder / self.catalogue.get(name).name

    def is_present(self, name: str) -> bool:
        """Whether all files of a model of the catalogue are there, with the recorded sizes."""
        return not self.problems(name)

    def installed_voices(self) -> list[VoiceFiles]:
        """Every voice in the store, downloaded or put there by hand; the catalogue's first, in its order."""
        order = [model.name for model in self.catalogue.of_kind("voice")]
        folders = [self.folder, *(path for path in _sorted_folders(self.folder))]
        found = [voice for folder in folders for voice in _voices_in(folder)]
        return sorted(found, key=lambda voice: order.index(voice.name) if voice.name in order else len(order))

    def problems(self, name: str) -> list[str]:
        """What is wrong with a model's files, by their presence and sizes; empty: nothing."""
        model = self.catalogue.get(name)
        folder, record = self.folder_of(name), self.record(name)
        found = []
        for file in model.files:
            path = folder / file.name
            size = path.stat().st_size if path.is_file() else None
            known = record.files.get(file.name) if record else None
            expected = file.size if file.size is not None else known.size if known else None
            if size is None:
                if record is None or known is not None:
                    found.append(f"{file.name} is missing")
            elif expected is not None and size != expected:
                found.append(f"{file.name} has {size} bytes instead of {expected}")
        return found

    def check(self, name: str) -> None:
        """Raises `ModelError` where a model's files are missing or of a wrong size."""
        model = self.catalogue.get(name)
        folder = self.folder_of(name)
        if not folder.is_dir():
            raise ModelError(f"the model {model.name} is not in {self.folder}; {_remedy(model.name)}")
        problems = self.problems(name)
        if problems:
            raise ModelError(f"the model {model.name} is not whole: {problems[0]}; {_remedy(model.name)}")

    def verify(self, name: str) -> Iterator[str]:
        """Read every file of a model and yield what is wrong with it: sizes, headers, SHA-256."""
        problems = self.problems(name)
        yield from problems
        if problems:
            return
        record, folder = self.record(name), self.folder_of(name)
        expected = {file.name: file.sha256 for file in self.catalogue.get(name).files if file.sha256}
        expected |= {file: known.sha256 for file, known in record.files.items()} if record else {}
        for file, sha256 in expected.items():
            if sha256 != file_sha256(folder / file):
                yield f"{file} has a wrong SHA-256"
        for path in sorted(folder.iterdir()):
            try:
                check_header(path)
            except ModelError as error:
                yield str(error)

    def record(self, name: str) -> ModelRecord | None:
        """What was downloaded for a model; None: nothing, or it lies here by hand."""
        return read_record(self.folder_of(name))

    def _check_record(self, name: str) -> None:
        if name in self.catalogue.models and (self.folder / name / RECORD).is_file():
            self.check(name)

    def _known(self, kind: Kind, name: str) -> CatalogueModel:
        """The model of this name and kind. Raises `ModelError` that names those there are."""
        what = _KIND_NAMES[kind]
        try:
            model = self.catalogue.get(name)
        except ModelError as error:
            names = [model.name for model in self.catalogue.of_kind(kind)]
            names += [voice.name for voice in demo_voices()] if kind == "voice" else [DEMO]
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}, or a path to files of yours"
            raise ModelError(f"there is no {what} {name!r}; {hint}") from error
        if model.kind != kind:
            raise ModelError(f"{model.name} is a {_KIND_NAMES[model.kind]}, not a {what}")
        return model


def default_folder() -> Path:
    """The user's own folder of models."""
    return platformdirs.user_data_path("wyoming-superwhisper") / "models"


def demo_voices() -> list[VoiceFiles]:
    """The voices that come with the package."""
    return list(_voices_in(DEMO_WEIGHTS / "piper"))


def read_record(folder: Path) -> ModelRecord | None:
    """The record in a model's folder; None where there is none or it can't be read."""
    try:
        fields: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files = {name: FileRecord(**file) for name, file in fields.pop("files").items()}
        return ModelRecord(files=files, **fields)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_HASH_PIECE):
            digest.update(piece)
    return digest.hexdigest()


# --- whether files are what the settings say ---------------------------------------------------------------------


def check_whisper(folder: Path, name: str, remedy: str = "") -> Path:
    """A folder that holds a Whisper checkpoint in safetensors. Raises `ModelError`."""
    hint = f"; {remedy}" if remedy else ""
    if not folder.is_dir():
        raise ModelError(f"there is no folder {folder} with a Whisper checkpoint{hint}")
    config = _read_json(folder / "config.json", name, hint)
    if config.get("model_type") != "whisper":
        raise ModelError(f"{folder} holds no Whisper model: its config.json says {config.get('model_type')!r}{hint}")
    weights = sorted(folder.glob("model*.safetensors"))
    if not weights:
        pickled = " (weights as pickles are never loaded)" if list(folder.glob("*.bin")) else ""
        raise ModelError(f"{folder} holds no model.safetensors{pickled}{hint}")
    for needed in ("preprocessor_config.json", "generation_config.json"):
        _read_json(folder / needed, name, hint)
    for optional in ("tokenizer.json", "tokenizer_config.json"):  # vocab.json and merges.txt do as well
        if (folder / optional).exists():
            _read_json(folder / optional, name, hint)
    for path in weights:
        check_header(path, hint)
    return folder


def whisper_languages(folder: Path) -> frozenset[str]:
    """Whisper's codes of the languages that a checkpoint says it knows; empty: it doesn't say. Raises `ModelError`."""
    tokens = _read_json(folder / "generation_config.json", folder.name, "").get("lang_to_id")
    return frozenset(token.strip("<|>") for token in tokens) if isinstance(tokens, dict) else frozenset()


def check_gguf(path: Path, name: str, remedy: str = "") -> Path:
    """A GGUF file. Raises `ModelError`."""
    hint = f"; {remedy}" if remedy else ""
    if not path.is_file():
        raise ModelError(f"there is no model file {path}{hint}")
    if path.suffix != ".gguf":
        raise ModelError(f"{path} is no GGUF file{hint}")
    check_header(path, hint)
    return path


def check_voice(voice: VoiceFiles) -> None:
    """A Piper voice: an ONNX model and its JSON. Raises `ModelError`."""
    if not voice.model.is_file():
        raise ModelError(f"there is no voice {voice.model}")
    if voice.model.suffix != ".onnx":
        raise ModelError(f"{voice.model} is no ONNX file")
    check_header(voice.model)
    config = _read_json(voice.config, voice.name, "")
    if not isinstance(config.get("audio"), dict) or "phoneme_id_map" not in config:
        raise ModelError(f"{voice.config} is not the JSON of a Piper voice")


_KIND_NAMES: Mapping[str, str] = {"whisper": "speech recognition model", "llama": "language model", "voice": "voice"}


def _read_json(path: Path, name: str, hint: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{name} is not whole: {path} can't be read ({error.strerror}){hint}") from error
    except ValueError as error:
        raise ModelError(f"{name} is not whole: {path} is not JSON{hint}") from error
    return value if isinstance(value, dict) else {}


def _voices_in(folder: Path) -> Iterator[VoiceFiles]:
    if folder.is_dir():
        for model in sorted(folder.rglob("*.onnx") if folder.name == "piper" else folder.glob("*.onnx")):
            config = model.with_name(model.name + ".json")
            if config.is_file():
                yield VoiceFiles(model.stem, model, config)


def _sorted_folders(folder: Path) -> Iterable[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_path(name: str) -> bool:
    return "/" in name or "\\" in name or name.endswith((".gguf", ".onnx")) or name.startswith(("~", "."))


def _remedy(name: str) -> str:
    return f"run: wyoming-superwhisper models download {name} (or try the packaged demo models: --settings demo)"


def whisper_window(folder: Path) -> str:
    """What a Whisper checkpoint was made for: "speech", windows as short as what was spoken, or "full"."""
    if folder == DEMO_WEIGHTS / "whisper":
        return "speech"
    known = catalogue.load().models.get(folder.name)
    return known.window if known is not None else "full"


def expected_memory_mb(kind: Kind, path: Path) -> int:
    """Video memory that a model will take, in MiB: what the catalogue says, else guessed from the size of its files."""
    known = catalogue.load().models.get(path.name if kind == "whisper" else path.parent.name)
    if known is not None and known.memory_mb:
        return known.memory_mb
    files = [path] if path.is_file() else list(path.glob("*.safetensors"))
    size_mb = sum(file.stat().st_size for file in files) >> 20
    return size_mb + size_mb // 5 + LIBRARY_MB
