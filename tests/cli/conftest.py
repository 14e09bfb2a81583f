"""The command line in this process, and a scripted server in a thread for it to talk to."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from tests.scripted_server import Script, ScriptedServer, scripted_server
from wyoming_superwhisper.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    status: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Run a command line in this process, with none of our variables in its environment."""
    for name in ("SETTINGS", "MODELS_DIR", "LOG_LEVEL"):
        monkeypatch.delenv(f"WYOMING_SUPERWHISPER_{name}", raising=False)
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(status, captured.out, captured.err)

    yield run
    root.handlers[:], root.level = before
    logging.captureWarnings(False)


@contextmanager
def _running(script: Script) -> Iterator[ScriptedServer]:
    started, stop = threading.Event(), threading.Event()
    found: list[ScriptedServer] = []
    failed: list[BaseException] = []

    async def serve() -> None:
        async with scripted_server(script) as server:
            found.append(server)
            started.set()
            await asyncio.to_thread(stop.wait)

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            failed.append(error)
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait(10)
    try:
        yield found[0]
    finally:
        stop.set()
        thread.join(10)
    if failed:
        raise failed[0]


@pytest.fixture
def scripted() -> Iterator[Callable[[Script], ScriptedServer]]:
    """Start a scripted server that runs until the end of the test."""
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(_running(script))
