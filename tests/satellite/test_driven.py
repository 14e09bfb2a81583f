"""Our server driving satellites: ours, two that hear the same word, and the stock one where its environment is."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import free_port, start_server
from tests.satellite.test_seat import Satellite, loud_s, satellite, say
from tests.speech import speech
from tests.waiting import until
from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.satellites.arbiter import Arbiter


@asynccontextmanager
async def driving_server(log: Path, *uris: str) -> AsyncIterator[Path]:
    """A server that drives the satellites at these addresses; its log."""
    server = await asyncio.to_thread(
        start_server, log, "--set", f"satellites={','.join(uris)}", "--set", "asr.language=fr"
    )
    try:
        await until(lambda: _is_driving(log, len(uris)), lambda: _text(log))
        yield log
    finally:
        await asyncio.to_thread(server.stop)
        print(_text(log))  # seen where the test fails
        assert "Traceback" not in _text(log), _text(log)


def _text(log: Path) -> str:
    return log.read_text()


def _is_driving(log: Path, count: int) -> bool:
    return _text(log).count("Driving the satellite") >= count and "ready after" in _text(log)


def wake_and_ask(loudness: float = 1.0) -> bytes:
    said = speech("okay nabu", "en-us", after_s=0.0) + speech("Quelle heure est-il ?", before_s=0.3, after_s=1.0)
    return (np.frombuffer(said, "<i2") * loudness).astype("<i2").tobytes()


async def test_a_satellite_is_driven_through_whole_turns(tmp_path: Path) -> None:
    async with satellite(tmp_path, "--wake-word", "okay_nabu") as one, driving_server(tmp_path / "log.txt", one.uri):
        await _turn(tmp_path, one)
        assert loud_s(one.played) > 0.3


async def _turn(folder: Path, one: Satellite) -> None:
    await one.logged("Ready")
    ready = one.times_logged("Ready")  # counted before it is spoken to: it may be ready again as soon as it answers
    say(folder, wake_and_ask())
    await one.logged("Heard: Quelle heure est-il")
    await one.logged("Answer: Il est")
    await one.logged("Ready", times=ready + 1)


@pytest.mark.long
async def test_of_two_that_hear_the_word_the_one_that_hears_it_better_answers(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    near.mkdir()
    far.mkdir()
    word = ("--wake-word", "okay_nabu")
    async with (
        satellite(near, *word, "--name", "near") as first,
        satellite(far, *word, "--name", "far") as second,
        driving_server(tmp_path / "log.txt", first.uri, second.uri),
    ):
        noise = np.random.default_rng(1).normal(0, 40, 16000 * 2).astype("<i2").tobytes()
        say(far, noise + wake_and_ask(0.2))
        say(near, noise + wake_and_ask())
        await first.logged("Heard: Quelle heure est-il")
        await second.logged("Another satellite answers")
        await asyncio.sleep(1.0)
        assert b"Answer" not in second.log
        assert loud_s(second.played) < 0.3  # the awake sound at most


def test_the_first_answers_a_louder_one_takes_over_and_a_later_one_is_another_word() -> None:
    now = 0.0
    lost: list[str] = []
    arbiter = Arbiter(lambda: now)
    assert arbiter.claim("a", "okay_nabu", 20.0, lambda: lost.append("a"))
    now = 0.1
    assert not arbiter.claim("b", "okay_nabu", 20.5, lambda: lost.append("b"))
    assert arbiter.claim("c", "alexa", 1.0, lambda: lost.append("c"))
    assert arbiter.claim("d", "okay_nabu", 25.0, lambda: lost.append("d"))
    assert lost == ["a"]
    now = 0.35
    assert not arbiter.claim("e", "okay_nabu", 50.0, lambda: lost.append("e"))  # something may be said already
    now = 2.05
    assert arbiter.claim("e", "okay_nabu", 5.0, lambda: lost.append("e"))
    assert lost == ["a"]


STOCK = os.environ.get("STOCK_SATELLITE_PYTHON", "")


@pytest.mark.system
@pytest.mark.skipif(not STOCK, reason="STOCK_SATELLITE_PYTHON names no interpreter with wyoming-satellite")
async def test_a_stock_satellite_is_driven(tmp_path: Path) -> None:
    port = free_port()
    room, played = tmp_path / "room.raw", tmp_path / "played.raw"
    room.touch()
    microphone = (
        "import sys, time\n"
        "at, next = 0, time.monotonic()\n"
        "while True:\n"
        " data = open(sys.argv[1], 'rb').read()[at:at + 2048]\n"
        " at += len(data)\n"
        " sys.stdout.buffer.write(data + bytes(2048 - len(data))); sys.stdout.flush()\n"
        " next += 0.064; time.sleep(max(0, next - time.monotonic()))\n"
    )
    (tmp_path / "mic.py").write_text(microphone)
    process = await asyncio.create_subprocess_exec(
        STOCK, "-m", "wyoming_satellite", "--uri", f"tcp://127.0.0.1:{port}", "--no-zeroconf", "--name", "stock",
        "--mic-command", f"{sys.executable} -u {tmp_path}/mic.py {room}", "--snd-command", f"tee -a {played}",
        stdout=asyncio.subprocess.DEVNULL, env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )  # fmt: skip
    try:
        async with driving_server(tmp_path / "log.txt", f"tcp://127.0.0.1:{port}"):
            await asyncio.sleep(1.0)
            say(tmp_path, wake_and_ask() + SPEECH.silence(1.0))
            await until(
                lambda: played.exists() and played.stat().st_size >= 20_000, lambda: _text(tmp_path / "log.txt")
            )
    finally:
        process.terminate()
        await process.wait()
