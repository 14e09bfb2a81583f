"""The voices Whisper is trained on: espeak-ng variants of our own, none of them a reserved one."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wyoming_superwhisper.models.demo.domain import load_domain
from wyoming_superwhisper.models.demo.espeak import ACCENTS, find_data_folder, variants

DEV_VARIANTS = ("Alex", "steph3", "m3", "f2", "max", "aunty", "paul", "belinda")
"""Never trained on either: the checkpoint is chosen by how well these are heard."""

_MADE_VOICES = 240  # espeak-ng lists at most 349 voices, variants included
_LIKELY_ACCENTS = {"fr": 4.0, "en-us": 3.0, "en": 1.5}
_SCALED_LINES = ("formant", "pitch", "voicing", "consonants", "flutter", "roughness")


@dataclass(frozen=True)
class Manner:
    """How one clip is spoken."""

    voice: str
    rate: int
    pitch: int
    pitch_range: int


def trained_variants() -> list[str]:
    """The variants of espeak-ng that may be trained on."""
    kept_out = {*load_domain().reserved_voices, *DEV_VARIANTS}
    return [name for name in variants() if name not in kept_out and " " not in name]


def prepare_data_folder(folder: Path, seed: int) -> tuple[Path, list[str]]:
    """A copy of espeak-ng's data with made-up variants added; gives its path and the names that may be spoken."""
    data = folder / "espeak-ng-data"
    made = [f"made{number}" for number in range(_MADE_VOICES)]
    if not (data / "complete").exists():
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(find_data_folder(), data)
        _drop_unused(data)
        _write_variants(data / "voices" / "!v", made, random.Random(seed))
        (data / "complete").touch()
    return data, made


def choose_manner(rng: random.Random, language: str, made: list[str], plain: list[str]) -> Manner:
    """A voice, speed and pitch for one clip: mostly made-up variants, some of espeak-ng's, some without one."""
    accents = ACCENTS[language]
    accent = rng.choices(accents, [_LIKELY_ACCENTS.get(name, 0.8) for name in accents])[0]
    kind = rng.random()
    variant = "" if kind < 0.06 else "+" + rng.choice(plain if kind < 0.4 else made)
    if rng.random() < 0.3:
        return Manner(accent + variant, rng.randint(100, 230), 50, 50)
    return Manner(accent + variant, rng.randint(90, 250), rng.randint(12, 88), rng.randint(15, 90))


def _drop_unused(data: Path) -> None:
    # To stay below the limit of listed voices; and what isn't there can't be trained on by mistake.
    spoken = {accent for accents in ACCENTS.values() for accent in accents}
    for path in (data / "lang").rglob("*"):
        if path.is_file() and path.name.lower() not in {accent.lower() for accent in spoken}:
            path.unlink()
    kept = set(trained_variants())
    for path in (data / "voices" / "!v").iterdir():
        if path.name not in kept:
            path.unlink()


def _write_variants(folder: Path, names: Iterable[str], rng: random.Random) -> None:
    bases = [_parse(folder / name) for name in trained_variants()]
    bases = [base for base in bases if any(line[0] == "formant" for line in base)]
    for name in names:
        lines = _vary(rng.choice(bases), rng)
        text = "\n".join(" ".join(line) for line in lines)
        (folder / name).write_text(f"language variant\nname {name}\n{text}\n", encoding="utf-8")


def _parse(path: Path) -> list[list[str]]:
    lines = [line.split("//")[0].split() for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and line[0] not in ("language", "name", "gender")]


def _vary(base: list[list[str]], rng: random.Random) -> list[list[str]]:
    # One length of vocal tract for all formants, and a little of each formant's own.
    tract = rng.gauss(1.0, 0.05)
    return [_vary_line(line, tract, rng) for line in base]


def _vary_line(line: list[str], tract: float, rng: random.Random) -> list[str]:
    if line[0] not in _SCALED_LINES:
        return line
    numbers = [float(number) for number in line[1:]]
    if line[0] == "formant":
        scales = [1.0, tract * rng.gauss(1.0, 0.03), rng.gauss(1.0, 0.12), rng.gauss(1.0, 0.1)]
        numbers = [value * scale for value, scale in zip(numbers[:4], scales, strict=False)] + numbers[4:]
    elif line[0] == "pitch":
        shift = rng.uniform(0.8, 1.25)
        numbers = [value * shift for value in numbers]
    else:
        numbers = [value * rng.uniform(0.7, 1.3) for value in numbers]
    return [line[0], *(str(round(value)) for value in numbers)]
