"""Reads a server's page of figures (`metrics.listen`) and its health; needs nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wyoming_superwhisper.errors import SettingsError, SuperwhisperError

PREFIX = "wyoming_superwhisper_"
DEFAULT_PAGE = "127.0.0.1:10301"
"""Where `metrics.listen` puts the page in our examples."""
MOST_BYTES = 4_000_000

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Unreachable(SuperwhisperError):
    """Nobody answers there."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of the page."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Figures:
    """A page, and how to ask it."""

    samples: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)

    def total(self, name: str, **labels: str) -> float:
        """The sum over all samples with these labels; 0 where there is none."""
        return sum(sample.value for sample in self._those(name, labels))

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """The sums by the values of a label."""
        sums: dict[str, float] = {}
        for sample in self._those(name, labels):
            key = sample.labels.get(label, "")
            sums[key] = sums.get(key, 0.0) + sample.value
        return sums

    def quantile(self, name: str, share: float, **labels: str) -> float | None:
        """A quantile of a histogram, interpolated in its bucket; None where it is empty."""
        counts = sorted(
            (float(bound.replace("+Inf", "inf")), count)
            for bound, count in self.by(f"{name}_bucket", "le", **labels).items()
        )
        if not counts or counts[-1][1] <= 0:
            return None
        wanted, low, before = share * counts[-1][1], 0.0, 0.0
        for bound, count in counts:
            if count >= wanted:
                if bound == float("inf"):
                    return low
                return low + (bound - low) * ((wanted - before) / (count - before) if count > before else 1.0)
            low, before = bound, count
        return low

    def since(self, earlier: Figures) -> Figures:
        """What was added since an earlier page of the same server, for counters and histograms."""
        before = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for samples in earlier.samples.values()
            for sample in samples
        }
        return _index(
            Sample(
                sample.name,
                sample.labels,
                max(0.0, sample.value - before.get((sample.name, *sorted(sample.labels.items())), 0.0)),
            )
            for samples in self.samples.values()
            for sample in samples
        )

    def _those(self, name: str, labels: Mapping[str, str]) -> list[Sample]:
        return [
            sample
            for sample in self.samples.get(name, ())
            if all(sample.labels.get(label) == value for label, value in labels.items())
        ]


def parse(text: str) -> Figures:
    """A page in Prometheus' text format; only our own samples, without their prefix."""
    return _index(
        Sample(name.removeprefix(PREFIX), dict(_LABEL.findall(labels or "")), float(value))
        for name, labels, value in _SAMPLE.findall(text)
        if name.startswith(PREFIX)
    )


def read_figures(page: str, timeout_s: float = 5.0) -> Figures:
    """The figures of the server whose page is at HOST:PORT. Raises `Unreachable`, `SettingsError`."""
    status, body = _get(page, "/metrics", timeout_s)
    if status != 200:
        raise Unreachable(f"http://{page}/metrics answers {status}")
    return parse(body)


def read_health(page: str, *, ready: bool, timeout_s: float = 5.0) -> tuple[bool, dict[str, Any]]:
    """Whether the server lives, or is `ready`, and what it says of itself. Raises `Unreachable`, `SettingsError`."""
    status, body = _get(page, "/health/ready" if ready else "/health/live", timeout_s)
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if status not in (200, 503) or not isinstance(said, dict):
        raise Unreachable(f"http://{page} is no page of this server (it answers {status})")
    return status == 200, said


def _get(page: str, path: str, timeout_s: float) -> tuple[int, str]:
    host, _, port = page.removeprefix("http://").rstrip("/").rpartition(":")
    if not host or not port.isdigit():
        raise SettingsError(f"{page!r} is no address of a page: write HOST:PORT, as metrics.listen has it")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Accept": "text/plain"})
        answer = connection.getresponse()
        return answer.status, answer.read(MOST_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise Unreachable(
            f"http://{page} does not answer ({error.strerror or error}): does a server with --metrics {page} run there?"
        ) from error
    except http.client.HTTPException as error:
        raise Unreachable(f"http://{page} is no page of this server (it doesn't speak HTTP)") from error
    finally:
        connection.close()


def _index(samples: Iterable[Sample]) -> Figures:
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.name, []).append(sample)
    return Figures({name: tuple(listed) for name, listed in by_name.items()})
