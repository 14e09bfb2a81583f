"""Keeps what was said, and what was understood of it, where the settings ask for it (`record.dir`): for debugging.

Two files for each utterance, its sound and its transcript, readable by this user alone. The oldest go when there are
too many or they are too large together. Nothing here is ever on unless somebody has switched it on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wyoming_superwhisper import logs
from wyoming_superwhisper.audio import SPEECH, wav_bytes
from wyoming_superwhisper.config.settings import RecordSettings
from wyoming_superwhisper.errors import SettingsError

logger = logging.getLogger(__name__)

_OUR_NAME = re.compile(r"\d{8}-\d{6}-\d{3}-\w+")
MOST_WAITING = 32
"""Utterances waiting for the disk; more are not kept."""


class Recorder:
    """Writes beside the loop, one after the other; a disk that fails costs recordings and nothing else."""

    def __init__(self, settings: RecordSettings, now: Callable[[], float] = time.time) -> None:
        """Raises `SettingsError` where the folder can't be made or written to."""
        self._settings = settings
        self._folder = Path(settings.dir).expanduser()
        self._now = now
        self._waiting = 0
        self._failed = False
        _make(self._folder)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="record")
        self._sizes = self._find()

    def keep(self, audio: bytes, text: str, language: str) -> None:
        """Keep an utterance (s16le mono 16 kHz) and its transcript; returns at once."""
        if self._waiting >= MOST_WAITING:
            return
        self._waiting += 1
        at = self._now()
        about = {"time": at, "turn": logs.turn.get(), "language": language, "text": text}
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(at))
        name = f"{stamp}-{int(at * 1000) % 1000:03d}-{about['turn'] or logs.new_turn()}"
        self._threads.submit(self._write, name, audio, json.dumps(about, ensure_ascii=False)).add_done_callback(
            lambda _: self._written()
        )

    def close(self) -> None:
        """Write what waits."""
        self._threads.shutdown()

    def _written(self) -> None:
        self._waiting -= 1

    def _write(self, name: str, audio: bytes, about: str) -> None:
        try:
            content = {".wav": wav_bytes(audio, SPEECH), ".json": about.encode() + b"\n"}
            for suffix, data in content.items():
                _write_private(self._folder / f"{name}{suffix}", data)
            self._sizes[name] = sum(map(len, content.values()))
            self._forget_old()
            self._failed = False
        except OSError as error:
            with contextlib.suppress(OSError):
                self._remove(name)  # half of it would be counted by nobody
            if not self._failed:
                logger.warning("utterances can't be recorded in %s: %s", self._folder, error.strerror or error)
            self._failed = True

    def _forget_old(self) -> None:
        most_bytes = self._settings.megabytes * 1_000_000
        while len(self._sizes) > self._settings.files or sum(self._sizes.values()) > most_bytes:
            oldest = min(self._sizes)  # names begin with the time
            del self._sizes[oldest]
            self._remove(oldest)

    def _remove(self, name: str) -> None:
        for suffix in (".wav", ".json"):
            (self._folder / f"{name}{suffix}").unlink(missing_ok=True)

    def _find(self) -> dict[str, int]:
        """What an earlier run has left, by name. Files of other names are somebody else's."""
        sizes: dict[str, int] = {}
        for path in self._folder.iterdir():
            if path.suffix in (".wav", ".json") and _OUR_NAME.fullmatch(path.stem) and path.is_file():
                sizes[path.stem] = sizes.get(path.stem, 0) + path.stat().st_size
        return sizes


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / ".probe"
        _write_private(probe, b"")
        probe.unlink()
    except OSError as error:
        raise SettingsError(f"record.dir: {folder} can't be written to: {error.strerror or error}.") from error


def _write_private(path: Path, data: bytes) -> None:
    """Write a file that is this user's alone from its first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
