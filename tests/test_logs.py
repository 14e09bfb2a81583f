from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from wyoming_superwhisper import logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
    logging.captureWarnings(False)


def test_text_lines_hold_time_level_logger_and_message() -> None:
    stream = io.StringIO()
    logs.configure("info", "text", stream)
    logging.getLogger("a.b").info("hello %s", "you")
    logging.getLogger("a.b").debug("not shown")
    [line] = stream.getvalue().splitlines()
    assert line.endswith("INFO    a.b: hello you")


def test_json_lines_are_one_object_each_tracebacks_included() -> None:
    stream = io.StringIO()
    logs.configure("debug", "json", stream)
    try:
        raise ValueError("broken\nin two")
    except ValueError:
        logging.getLogger("a").exception("über")
    [line] = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert entry["level"] == "error"
    assert entry["logger"] == "a"
    assert entry["message"].startswith("über\nTraceback")
    assert isinstance(entry["time"], float)


def test_standard_output_stays_clean(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logging.getLogger("a").warning("x")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "x" in captured.err


def test_lines_of_one_kind_are_throttled_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    throttled = logs.Throttled(logging.getLogger("test"), burst=2, period_s=60, clock=lambda: now[0])
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            throttled.log(logging.INFO, "refused", "refused %s", "you")
        throttled.log(logging.INFO, "other", "another kind")
        now[0] = 61.0
        throttled.log(logging.INFO, "refused", "refused %s", "you")
    assert caplog.messages == [
        "refused you", "refused you", "another kind", "3 more lines like the next one were left out", "refused you",
    ]  # fmt: skip
