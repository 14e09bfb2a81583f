"""Asking what is installed: versions, and libraries in processes of their own."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

PROBE_S = 120.0
"""Time that loading a library may take; the first time on a slow disk takes long."""

Version = Callable[[str], str | None]
Probe = Callable[[str, Mapping[str, str]], "ProbeResult"]


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a library said in a process of its own: its facts, or why there are none."""

    facts: Mapping[str, Any] | None
    problem: str = ""


def installed_version(package: str) -> str | None:
    """Version of an installed package; None: not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def run_probe(code: str, environment: Mapping[str, str]) -> ProbeResult:
    """Run a few lines of Python in a process of its own; they print their facts as JSON."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    try:
        done = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=PROBE_S,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return ProbeResult(None, f"no answer within {PROBE_S:g} s")
    lines = done.stdout.strip().splitlines()
    try:
        return ProbeResult(json.loads(lines[-1]))
    except (IndexError, ValueError):
        last = done.stderr.strip().splitlines()[-1:] or [f"it ended with status {done.returncode}"]
        return ProbeResult(None, last[0])
