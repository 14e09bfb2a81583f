"""The real core as our side sees it: a process that is asked what it makes of a sentence, or of our calls."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wyoming_superwhisper.engines.base import IntentCall

PROGRAM = Path(__file__).with_name("core_program.py")


class Core:
    """A running core with a home in it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._read()  # it is ready

    def say(self, text: str, language: str, area: str | None = None) -> dict[str, Any]:
        """What its own agent makes of a sentence, and what its handlers then do."""
        return self._ask({"say": text, "language": language, "area": area})

    def execute(self, calls: Sequence[IntentCall], language: str, area: str | None = None) -> dict[str, Any]:
        """What its handlers do with our calls."""
        asked = [{"name": call.name, "slots": dict(call.slots)} for call in calls]
        answer: dict[str, Any] = self._ask({"execute": asked, "language": language, "area": area})["effects"]
        return answer

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("Home Assistant ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


def version_of(python: str) -> tuple[int, ...]:
    """Year and month of the Home Assistant of an interpreter."""
    command = [python, "-c", "from homeassistant import const; print(const.MAJOR_VERSION, const.MINOR_VERSION)"]
    return tuple(map(int, subprocess.check_output(command, text=True).split()))


@contextmanager
def running_core(python: str, home: Path) -> Iterator[Core]:
    """Start a core with this home in it; it ends with the block."""
    process = subprocess.Popen(
        [python, str(PROGRAM), str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    try:
        yield Core(process)
    finally:
        assert process.stdin
        assert process.stdout
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
