"""The demonstration as its user runs it: a real process that starts the real server and speaks to it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.conftest import free_port
from tests.speech import speech
from tests.waiting import WAIT_S
from wyoming_superwhisper.audio import SPEECH, read_wav, write_wav


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Demonstrations that a test has started; none outlives it."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def start(tmp_path: Path, started: list[subprocess.Popen[str]], *options: str) -> subprocess.Popen[str]:
    """Start it, with its files in the test's own folder."""
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "wyoming_superwhisper.demonstration", *options],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
    )  # fmt: skip
    started.append(process)
    return process


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """What it prints, up to the line that holds these words."""
    assert process.stdout is not None
    shown = ""
    for line in process.stdout:
        shown += line
        if words in line:
            return shown
    raise AssertionError(f"it has ended without saying {words!r}:\n{shown}")


def wait_listening(process: subprocess.Popen[str], folder: Path) -> Path:
    """Wait until the server that it has started listens; its log."""
    read_until(process, "Starting the server")
    log = folder / "wyoming-superwhisper" / "demonstration" / "server.log"
    while "listening" not in (log.read_text() if log.exists() else ""):
        assert process.poll() is None
    return log


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.parametrize("language", ["fr", pytest.param("en", marks=pytest.mark.long)])
def test_it_hears_what_it_says_and_answers_audibly(
    tmp_path: Path, started: list[subprocess.Popen[str]], language: str
) -> None:
    process = start(tmp_path, started, "--once", "--language", language, "--port", str(free_port()))
    shown, _ = process.communicate()
    assert process.returncode == 0, shown
    assert shown.count("right:") == 3, shown
    assert "answered by: intent HassGetCurrentTime" in shown
    assert "answered by: intent HassTurnOn" in shown
    assert "answered by: llm" in shown
    answers = [Path(path) for path in re.findall(r"spoken: +(\S+\.wav)", shown)]
    assert len(answers) == 3
    for answer in answers:
        format, audio = read_wav(answer)
        samples = np.frombuffer(audio, "<i2").astype(float)
        assert 0.3 < format.seconds(len(audio)) < 15
        assert np.sqrt(np.mean(samples**2)) > 300


def test_it_stays_up_after_a_recording_until_it_is_told_to_stop(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    write_wav(tmp_path / "said.wav", speech("Quelle heure est-il ?"), SPEECH)
    port = free_port()
    process = start(tmp_path, started, "--wav", str(tmp_path / "said.wav"), "--port", str(port))
    shown = read_until(process, "Ctrl-C")
    assert "Home Assistant" in shown
    assert f"satellite --server tcp://127.0.0.1:{port}" in shown
    socket.create_connection(("127.0.0.1", port), timeout=WAIT_S).close()
    processes = family(process)
    assert processes
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert "Traceback" not in shown + rest
    assert not any(one.is_running() for one in processes)


def test_ctrl_c_while_the_models_load_ends_all(tmp_path: Path, started: list[subprocess.Popen[str]]) -> None:
    process = start(tmp_path, started, "--port", str(free_port()))
    server_log = wait_listening(process, tmp_path)
    processes = family(process)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert "Traceback" not in rest + server_log.read_text()
    assert not any(one.is_running() for one in processes)


def test_killed_it_leaves_no_server(tmp_path: Path, started: list[subprocess.Popen[str]]) -> None:
    process = start(tmp_path, started, "--port", str(free_port()))
    wait_listening(process, tmp_path)
    processes = family(process)
    process.kill()
    gone, alive = psutil.wait_procs(processes, timeout=WAIT_S)
    assert gone
    assert not alive


def test_a_cache_folder_that_is_nobodys_to_write_is_done_without(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    (tmp_path / "wyoming-superwhisper").write_text("in the way")
    process = start(tmp_path, started, "--port", str(free_port()))
    shown = read_until(process, "Starting the server")
    log = Path(re.findall(r"log: (.*)\)", shown)[0])
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=WAIT_S)
    assert tmp_path not in log.parents
    assert log.exists()
    shutil.rmtree(log.parent)


def test_a_port_that_is_taken_is_one_sentence_and_status_2(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        process = start(tmp_path, started, "--once", "--port", str(port))
        shown, _ = process.communicate()
    assert process.returncode == 2
    assert shown == f"Port {port} is taken by another program; choose another with --port.\n"


def test_a_recording_that_is_none_is_one_sentence_and_status_2(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    process = start(tmp_path, started, "--once", "--wav", str(tmp_path / "missing.wav"))
    shown, _ = process.communicate()
    assert process.returncode == 2
    assert "missing.wav" in shown
    assert len(shown.splitlines()) == 1
