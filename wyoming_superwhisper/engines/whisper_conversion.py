"""Whisper checkpoints in ctranslate2's format: converted once, and kept beside the model.

Where the model's folder can't be written to, and for what is packaged, they are kept in the user's cache folder. A
conversion whose model has changed since is made again. Only files of the disk are read, never code of a model.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import platformdirs

import wyoming_superwhisper
from wyoming_superwhisper import errors
from wyoming_superwhisper.engines.whisper_checkpoint import Checkpoint

logger = logging.getLogger(__name__)

_FOLDER = "ctranslate2"
_ORIGIN = "superwhisper-conversion.json"
"""In a conversion's folder: what it was made of."""
_PACKAGE = Path(wyoming_superwhisper.__file__).parent


def converted(checkpoint: Checkpoint) -> Path:
    """The folder of the checkpoint's conversion, which is made now if there is none.

    Raises `ModelError` where it can't be converted, or be kept anywhere.
    """
    origin = _origin(checkpoint)
    places = list(_places(checkpoint.folder))
    for place in places:
        if _read(place / _ORIGIN) == origin:
            return place
    for place in places:
        try:
            return _convert(checkpoint, place, origin)
        except OSError as error:
            reason = error
    raise errors.ModelError(f"the conversion of {checkpoint.folder} can't be kept in {places[-1]}: {reason}")


def read_notes(folder: Path, name: str) -> Mapping[str, Any]:
    """What was noted in a conversion's folder under this name; {} for nothing."""
    return _read(folder / name)


def write_notes(folder: Path, name: str, notes: Mapping[str, Any]) -> None:
    """Note something in a conversion's folder, for as long as it lives. A folder that can't be written to: nothing."""
    try:
        with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".json", delete=False, encoding="utf-8") as file:
            json.dump(notes, file, indent=2)
        os.replace(file.name, folder / name)
    except OSError as error:
        logger.debug("%s can't be noted in %s: %s", name, folder, error)


def _places(model: Path) -> Iterator[Path]:
    """Where the conversion may be, the best place first."""
    model = model.resolve()
    if _PACKAGE not in model.parents:  # what is installed stays as it was installed
        yield model / _FOLDER
    known = hashlib.sha256(str(model).encode()).hexdigest()[:12]
    cache = platformdirs.user_cache_path("wyoming-superwhisper", appauthor=False)
    yield cache / _FOLDER / f"{model.name}-{known}"


def _origin(checkpoint: Checkpoint) -> dict[str, Any]:
    """What tells one conversion from another: the model's files, and who converts."""
    import ctranslate2

    names = ("config.json", "generation_config.json", "tokenizer.json")
    files = [*(checkpoint.folder / name for name in names), *sorted(checkpoint.folder.glob("model*.safetensors"))]
    known = {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()}
    return {"files": known, "ctranslate2": ctranslate2.__version__.split(".")[0]}


def _convert(checkpoint: Checkpoint, place: Path, origin: Mapping[str, Any]) -> Path:
    """Convert into a folder beside it, which then takes its place. Raises OSError where that can't be written."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists() and not place.is_dir():
        raise FileExistsError(f"{place} is in the way")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f".{_FOLDER}-", dir=place.parent) as scratch:
        made = Path(scratch) / "made"
        _run_converter(checkpoint, made)
        (made / _ORIGIN).write_text(json.dumps(origin), encoding="utf-8")
        if _read(place / _ORIGIN) != origin:  # else another process was quicker, and is reading its own
            _put(made, place, Path(scratch) / "old")
    logger.info("The Whisper model was converted for ctranslate2 in %.1f s, once: %s", time.monotonic() - began, place)
    return place


def _run_converter(checkpoint: Checkpoint, made: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    kept = "float32" if checkpoint.is_single_precision else "float16"  # computed with in what is asked for
    try:
        converter = TransformersConverter(str(checkpoint.folder), load_as_float16=kept == "float16")
        converter.convert(str(made), quantization=kept)
        _write_rules(checkpoint, made / "config.json")
    except OSError:
        raise
    except Exception as error:  # whatever the converter can't do with this checkpoint
        reason = " ".join(str(error).split()) or type(error).__name__
        raise errors.ModelError(f"cannot convert the Whisper model in {checkpoint.folder}: {reason}") from error


def _write_rules(checkpoint: Checkpoint, path: Path) -> None:
    """The converter fills in what a checkpoint leaves out; the rules are the checkpoint's alone."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["suppress_ids"] = list(checkpoint.rules.suppressed)
    config["suppress_ids_begin"] = list(checkpoint.rules.suppressed_first)
    path.write_text(json.dumps(config), encoding="utf-8")


def _put(made: Path, place: Path, old: Path) -> None:
    """Two renames: whoever looks finds the old one, none, or the new one, never half of one."""
    if place.exists():
        os.replace(place, old)
    try:
        os.replace(made, place)
    except OSError:
        if not place.is_dir():
            raise
        # Another process has put its own there meanwhile: the same.
    shutil.rmtree(old, ignore_errors=True)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
