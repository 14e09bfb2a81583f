"""How the program logs: lines for people or for machines, always on standard error."""

from __future__ import annotations

import json
import logging
import sys
from typing import TextIO

TEXT_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

_NOISY = ("zeroconf", "asyncio")
"""Libraries whose own INFO lines say nothing to the owner of a server."""


def configure(level: str = "info", format: str = "text", stream: TextIO | None = None) -> None:
    """Send the log to standard error (or `stream`), from this level on, as `text` or `json`."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else logging.Formatter(TEXT_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel("DEBUG" if level == "debug" else "WARNING")
    logging.captureWarnings(True)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (seconds since 1970), level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for a record; a traceback is part of its message."""
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        line = {"time": record.created, "level": record.levelname.lower(), "logger": record.name, "message": text}
        return json.dumps(line, ensure_ascii=False)
