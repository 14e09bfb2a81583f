"""Figures as a table on the terminal and as JSON beside the others, with the machine they were taken on."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).parent / "figures"


@dataclass(frozen=True)
class Spread:
    """Times of one thing that was done many times, in milliseconds."""

    times_ms: tuple[float, ...]

    @classmethod
    def of_seconds(cls, seconds: Iterable[float]) -> Spread:
        return cls(tuple(1000 * one for one in seconds))

    @property
    def median(self) -> float:
        return statistics.median(self.times_ms)

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.times_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    def __str__(self) -> str:
        low, high = self.percentile(10), self.percentile(90)
        return f"{self.median:.1f} ms (10-90 %: {low:.1f} to {high:.1f}; n={len(self.times_ms)})"


class Report:
    """One benchmark's figures. `add` prints each at once; `save` keeps them for `regress` and the documentation."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._figures: dict[str, float] = {}
        print(f"{name} on {machine()}\n")

    def add(self, key: str, value: Spread | float, text: str = "", unit: str = "") -> None:
        """A figure under a key that stays; `text` says to people what it is."""
        self._figures[key] = round(value.median if isinstance(value, Spread) else value, 4)
        if isinstance(value, Spread):
            self._figures[f"{key}/p95"] = round(value.percentile(95), 4)
        shown = str(value) if isinstance(value, Spread) else f"{value:.4g} {unit}".rstrip()
        print(f"{text or key:64} {shown}", flush=True)

    def keep(self, key: str, value: float) -> None:
        """A figure that is shown elsewhere, in a table."""
        self._figures[key] = round(value, 4)

    def heading(self, text: str) -> None:
        print(f"\n{text}", flush=True)

    def save(self) -> None:
        """Write them down."""
        FIGURES.mkdir(exist_ok=True)
        made = {"machine": machine(), "load": list(os.getloadavg()), "figures": self._figures}
        (FIGURES / f"{self.name}.json").write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n", "utf-8")


def read(name: str) -> Mapping[str, Any]:
    """Figures that were saved; {} if there are none."""
    path = FIGURES / f"{name}.json"
    return json.loads(path.read_text("utf-8"))["figures"] if path.is_file() else {}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return "\n".join(line.rstrip() for line in lines)


def machine() -> str:
    """Processor, cores and memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name, memory = platform.processor() or platform.machine(), ""
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            name = line.split(":", 1)[1].strip()
            break
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal"):
            memory = f", {int(line.split()[1]) // 2**20} GiB"
    return f"{name}, {cores} cores{memory}, Python {platform.python_version()}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("utf-8").splitlines()
    except OSError:
        return []
