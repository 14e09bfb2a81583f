"""The servers that are measured, each in processes of its own on a free port of loopback: ours, and its peers."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.clients import describe, speak, transcribe
from benchmarks.spoken import say
from tests.conftest import free_port

ROOT = Path(__file__).parent.parent
PEERS = ROOT / "benchmarks" / ".peers" / "bin" / "python"
WEIGHTS = ROOT / "wyoming_superwhisper" / "models" / "demo" / "weights"
READY_S = 120.0

_first = False


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    listening_s: float
    """From its start until it answered `describe`."""
    ready_s: float
    """From its start until it had answered its first request."""

    def memory_mb(self) -> float:
        """Resident memory of all its processes, what they share counted once for each process's part."""
        return sum(one.memory_full_info().pss for one in self.processes()) / 2**20

    def processes(self) -> list[psutil.Process]:
        """Its processes."""
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def processor_s(self) -> float:
        """Processor time that all its processes have taken so far: hardly depends on what else the machine does."""
        return sum(sum(one.cpu_times()[:2]) for one in self.processes())


@contextmanager
def ours(*options: str, settings: str = "demo") -> Iterator[Running]:
    """wyoming-superwhisper on the demo models."""
    port = free_port()
    uri = f"tcp://127.0.0.1:{port}"
    command = [sys.executable, "-m", "wyoming_superwhisper", "serve", "--settings", settings, "--no-zeroconf"]
    with _running("wyoming-superwhisper", port, [*command, "--uri", uri, *options]) as server:
        yield server


@contextmanager
def faster_whisper() -> Iterator[Running]:
    """wyoming-faster-whisper by its transformers backend, greedy, on the same weights."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "--uri": f"tcp://127.0.0.1:{port}", "--stt-library": "transformers", "--language": "fr",
            "--model": str(WEIGHTS / "whisper"), "--data-dir": folder, "--beam-size": "1",
        }  # fmt: skip
        command = [str(PEERS), "-m", "wyoming_faster_whisper", *(part for pair in options.items() for part in pair)]
        with _running("wyoming-faster-whisper", port, [*command, "--local-files-only"]) as server:
            yield server


@contextmanager
def piper() -> Iterator[Running]:
    """wyoming-piper on the same voice."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        for file in (WEIGHTS / "piper").glob("fr_FR-*"):
            shutil.copy(file, folder)
        options = {"--uri": f"tcp://127.0.0.1:{port}", "--voice": "fr_FR-demo-medium", "--data-dir": folder}
        command = [str(PEERS), "-m", "wyoming_piper", *(part for pair in options.items() for part in pair)]
        with _running("wyoming-piper", port, command, speech=True) as server:
            yield server


def put_all_first() -> None:
    """Have the scheduler prefer servers started from now on, and this process, to all else on a shared machine.

    Linux only, as root.
    """
    global _first
    _first = True


def _put_first(server: Running) -> None:
    for process in (psutil.Process(), *server.processes()):
        # Linux shares the processors out by session first, and what `nice` says counts within one only.
        try:
            Path(f"/proc/{process.pid}/autogroup").write_text("-19", "ascii")
        except OSError as error:
            raise SystemExit(f"--first needs Linux with sched_autogroup, and root: {error}") from error


def have_peers() -> bool:
    """Whether `benchmarks/setup-peers` was run."""
    return PEERS.is_file()


def versions() -> str:
    """Of what is measured."""
    mine = f"wyoming-superwhisper {version('wyoming-superwhisper')}"
    if not have_peers():
        return mine
    code = "from importlib.metadata import version as v; print(*(f'{n} {v(n)}' for n in ('wyoming-faster-whisper', 'wyoming-piper')), sep=', ')"  # fmt: skip  # noqa: E501
    theirs = subprocess.run([PEERS, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    return f"{mine}, {theirs}"


@contextmanager
def _running(name: str, port: int, command: Sequence[str], *, speech: bool = False) -> Iterator[Running]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    if command[0] == str(PEERS):
        environment.pop("PYTHONPATH")
    log = tempfile.TemporaryFile()  # noqa: SIM115  closed below
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    try:
        try:
            listening_s, ready_s = _wait(port, process, began, speech)
        except Exception:
            log.seek(0)
            print(log.read().decode(errors="replace")[-4000:])
            raise
        server = Running(name, port, process, listening_s, ready_s)
        if _first:
            _put_first(server)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _wait(port: int, process: subprocess.Popen[bytes], began: float, speech: bool) -> tuple[float, float]:
    while process.poll() is None and time.monotonic() - began < READY_S:
        try:
            asyncio.run(describe(port))
            break
        except (OSError, RuntimeError):  # a port that nobody listens on may even answer itself
            time.sleep(0.005)
    else:
        raise RuntimeError(f"the server did not come up (status {process.poll()})")
    listening_s = time.monotonic() - began
    if speech:
        asyncio.run(speak(port, "Bonjour."))
    else:
        spoken = say("Bonjour.", "fr", 0.3)
        asyncio.run(transcribe(port, spoken, real_time=False))
    return listening_s, time.monotonic() - began
