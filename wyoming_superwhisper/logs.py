"""How the program logs: lines for people or for machines, always on standard error."""

from __future__ import annotations

import json
import logging
import secrets
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TextIO

TEXT_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(turn_text)s%(message)s"

turn: ContextVar[str] = ContextVar("turn", default="")
"""Id of the turn that the running task or thread works on; every line that is logged meanwhile carries it."""

_OURS = __name__.partition(".")[0]
_NOISY = ("zeroconf", "asyncio")
"""Libraries whose own INFO lines say nothing to the owner of a server."""


def configure(level: str = "info", format: str = "text", stream: TextIO | None = None) -> None:
    """Send the log to standard error (or `stream`), from this level on, as `text` or `json`."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else logging.Formatter(TEXT_FORMAT))
    handler.addFilter(_add_turn)
    # Libraries say at debug level what they work on, and that is what people said: never more of them than INFO.
    logging.basicConfig(level="INFO" if level == "debug" else level.upper(), handlers=[handler], force=True)
    logging.getLogger(_OURS).setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel("DEBUG" if level == "debug" else "WARNING")
    logging.captureWarnings(True)


def new_turn() -> str:
    """An id for a turn."""
    return secrets.token_hex(4)


def begin_turn() -> str:
    """A new id for what begins now, in this task and the tasks it starts."""
    made = new_turn()
    turn.set(made)
    return made


def _add_turn(record: logging.LogRecord) -> bool:
    of_turn = turn.get()
    record.__dict__.update(turn=of_turn, turn_text=f"({of_turn}) " if of_turn else "")
    return True


class Throttled:
    """Lets so many lines of one kind through in a time; the first one after it says how many were left out."""

    def __init__(
        self,
        logger: logging.Logger,
        burst: int = 20,
        period_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._burst = burst
        self._period_s = period_s
        self._clock = clock
        self._kinds: dict[str, tuple[float, int]] = {}  # when the period began, lines since

    def log(self, level: int, kind: str, message: str, *arguments: Any) -> None:
        """Log a line, as `Logger.log`, or only at debug level where there were too many of its kind."""
        now = self._clock()
        began, count = self._kinds.get(kind, (now, 0))
        if now - began >= self._period_s:
            if count > self._burst:
                self._logger.log(level, "%d more lines like the next one were left out", count - self._burst)
            began, count = now, 0
        self._kinds[kind] = (began, count + 1)
        self._logger.log(level if count < self._burst else logging.DEBUG, message, *arguments)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (seconds since 1970), level, logger, message, and the turn's id if any."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for a record; a traceback is part of its message."""
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        line = {"time": record.created, "level": record.levelname.lower(), "logger": record.name, "message": text}
        if of_turn := getattr(record, "turn", ""):
            line["turn"] = of_turn
        return json.dumps(line, ensure_ascii=False)
