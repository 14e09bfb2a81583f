"""Bad days: the server is killed, stopped and brought back in every state of a turn, again and again."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import free_port
from tests.satellite.test_seat import Satellite, microphone, player

SERVER = Path(__file__).parent / "short_server.py"
STATES = ("idle", "listening", "thinking", "speaking")


class Killable:
    """A small server in a process of its own, at an address of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.process: asyncio.subprocess.Process | None = None
        self.lines: asyncio.Queue[str] = asyncio.Queue()
        self.reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, str(SERVER), str(self.port), stdout=asyncio.subprocess.PIPE
        )
        self.lines = asyncio.Queue()
        self.reading = asyncio.create_task(self._read(self.process, self.lines))
        await self.said("up")

    async def said(self, text: str) -> None:
        """Wait until it has said so."""
        async with asyncio.timeout(10):
            while await self.lines.get() != text:
                pass

    async def end(self, sign: signal.Signals = signal.SIGKILL) -> None:
        """End it, if it is there."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(sign)
            await self.process.wait()
        if self.reading is not None:
            await self.reading

    async def _read(self, process: asyncio.subprocess.Process, lines: asyncio.Queue[str]) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            lines.put_nowait(line.decode().strip())


@asynccontextmanager
async def dialling_satellite(folder: Path, port: int) -> AsyncIterator[Satellite]:
    room = folder / "room.raw"
    room.touch()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wyoming_superwhisper", "satellite", "--server", f"tcp://127.0.0.1:{port}",
        "--mic", microphone(room), "--snd", player(folder / "played.raw"), "--set", "timers.keep=false",
        "--set", "snd.lead_in_s=0", "--log-level", "debug",
        stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    one = Satellite(process, "", bytearray(), folder / "played.raw")

    async def read_log() -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            one.log.extend(line)

    reading = asyncio.create_task(read_log())
    try:
        yield one
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 5)
        await reading
        assert b"Traceback" not in one.log, one.log.decode()
        assert process.returncode == 0, one.log.decode()


async def ready(one: Satellite, count: int, timeout_s: float = 10.0) -> None:
    """Wait until it has become ready so many times."""
    async with asyncio.timeout(timeout_s):
        while one.log.count(b"Ready") < count:
            assert one.process.returncode is None, one.log.decode()
            await asyncio.sleep(0.01)


async def kill_in_each_state(folder: Path, rounds: int) -> None:
    """The server is killed in each state in turn; each time the satellite is back soon after the server is."""
    server = Killable(free_port())
    await server.start()
    try:
        async with dialling_satellite(folder, server.port) as one:
            await ready(one, 1)
            resources: list[tuple[int, int]] = []
            for number in range(rounds):
                count = one.log.count(b"Ready")
                state = STATES[number % len(STATES)]
                if state != "idle":
                    one.process.send_signal(signal.SIGUSR1)
                    await server.said(state)
                await server.end()
                await server.start()
                began = time.monotonic()
                await ready(one, count + 1, 8)
                assert time.monotonic() - began < 5.0, state
                if number % len(STATES) == 0:
                    process = psutil.Process(one.process.pid)
                    resources.append((process.num_fds(), process.num_threads()))
            assert resources[-1][0] <= resources[0][0] + 1, resources
            assert resources[-1][1] <= resources[0][1] + 1, resources
            one.process.send_signal(signal.SIGUSR1)
            await server.said("speaking")
    finally:
        await server.end()


async def test_the_server_may_be_killed_in_each_state(tmp_path: Path) -> None:
    await kill_in_each_state(tmp_path, 4)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_the_server_may_be_killed_fifty_times_in_a_row(tmp_path: Path) -> None:
    await kill_in_each_state(tmp_path, 50)


async def test_a_server_that_is_stopped_in_mid_turn_is_noticed_and_comes_back(tmp_path: Path) -> None:
    server = Killable(free_port())
    await server.start()
    try:
        async with dialling_satellite(tmp_path, server.port) as one:
            await ready(one, 1)
            one.process.send_signal(signal.SIGUSR1)
            await server.said("thinking")
            assert server.process is not None
            server.process.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            await one.logged("No connection to the server", 8)
            assert time.monotonic() - began <= 6.5
            server.process.send_signal(signal.SIGCONT)
            await ready(one, 2, 8)
    finally:
        await server.end()
