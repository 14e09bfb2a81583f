"""Bad days: the server is killed, stopped and brought back in every state of a turn, again and again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import free_port
from tests.satellite.test_seat import Satellite, microphone, player
from tests.waiting import LOOK_S, WAIT_S

SERVER = Path(__file__).parent / "short_server.py"
STATES = ("idle", "listening", "thinking", "speaking")


class Killable:
    """A small server in a process of its own, at an address of its own."""

    def __init__(self, port: int, *options: str, prefix: Sequence[str] = ()) -> None:
        self.port = port
        self.options = options
        self.prefix = prefix
        self.process: asyncio.subprocess.Process | None = None
        self.lines: asyncio.Queue[str] = asyncio.Queue()
        self.reading: asyncio.Task[None] | None = None

    @property
    def uri(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *self.prefix, sys.executable, str(SERVER), str(self.port), *self.options, stdout=asyncio.subprocess.PIPE
        )
        self.lines = asyncio.Queue()
        self.reading = asyncio.create_task(self._read(self.process, self.lines))
        await self.said("up")

    async def said(self, text: str) -> None:
        """Wait until it has said so."""
        async with asyncio.timeout(WAIT_S):
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
async def dialling_satellite(
    folder: Path, server: str, *options: str, prefix: Sequence[str] = ()
) -> AsyncIterator[Satellite]:
    room = folder / "room.raw"
    room.touch()
    process = await asyncio.create_subprocess_exec(
        *prefix, sys.executable, "-m", "wyoming_superwhisper", "satellite", "--server", server,
        "--mic", microphone(room), "--snd", player(folder / "played.raw"), "--set", "timers.keep=false",
        "--set", "snd.lead_in_s=0", "--log-level", "debug", *options,
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
        await asyncio.wait_for(process.wait(), WAIT_S)
        await reading
        assert b"Traceback" not in one.log, one.log.decode()
        assert process.returncode == 0, one.log.decode()


async def ready(one: Satellite, count: int) -> None:
    """Wait until it has become ready so many times."""
    await one.logged("Ready", times=count)


async def asked(web: int) -> dict[str, Any]:
    """What the satellite tells of itself at this port."""
    reader, writer = await asyncio.open_connection("127.0.0.1", web)
    writer.write(b"GET /state HTTP/1.1\r\n\r\n")
    told: dict[str, Any] = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
    writer.close()
    await writer.wait_closed()
    return told


async def state_at(web: int) -> str:
    """What the satellite is doing."""
    return str((await asked(web))["state"])


async def resources(one: Satellite, web: int) -> dict[str, int]:
    """What the idle satellite holds."""
    state = await asked(web)
    assert state["state"] == "idle"
    process = psutil.Process(one.process.pid)
    children = [child for child in process.children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
    return {
        "tasks": state["tasks"], "threads": process.num_threads(), "files": process.num_fds(), "programs": len(children)
    }  # fmt: skip


async def holds_no_more(one: Satellite, web: int, first: dict[str, int]) -> None:
    """Wait until the idle satellite holds no more than at first: a player that was ended may not be gone yet."""
    async with asyncio.timeout(WAIT_S):
        while any(now > first[kind] for kind, now in (await resources(one, web)).items()):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)


async def kill_in_each_state(folder: Path, rounds: int) -> None:
    """The server is killed in each state in turn; each time the satellite is back soon after the server is."""
    server, web = Killable(free_port()), free_port()
    await server.start()
    try:
        async with dialling_satellite(folder, server.uri, "--set", f"hooks.web=127.0.0.1:{web}") as one:
            await ready(one, 1)
            first: dict[str, int] = {}
            for number in range(rounds):
                state = STATES[number % len(STATES)]
                lost = one.times_logged("No connection to the server")
                if state != "idle":
                    one.process.send_signal(signal.SIGUSR1)
                    await server.said(state)
                await server.end()
                await one.logged("No connection to the server", times=lost + 1)
                count = one.times_logged("Ready")  # a turn may have ended before the server did
                await server.start()
                await ready(one, count + 1)
                if state == STATES[-1] and not first:
                    first = await resources(one, web)
            await holds_no_more(one, web, first)
            one.process.send_signal(signal.SIGUSR1)
            await server.said("speaking")
    finally:
        await server.end()


async def test_the_server_may_be_killed_in_each_state_and_nothing_is_left_behind(tmp_path: Path) -> None:
    await kill_in_each_state(tmp_path, 8)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_the_server_may_be_killed_fifty_times_in_a_row(tmp_path: Path) -> None:
    await kill_in_each_state(tmp_path, 52)


async def test_a_server_that_is_stopped_in_mid_turn_is_noticed_and_comes_back(tmp_path: Path) -> None:
    server = Killable(free_port())
    await server.start()
    try:
        async with dialling_satellite(tmp_path, server.uri) as one:
            await ready(one, 1)
            one.process.send_signal(signal.SIGUSR1)
            await server.said("thinking")
            assert server.process is not None
            server.process.send_signal(signal.SIGSTOP)
            await one.logged("No connection to the server")
            server.process.send_signal(signal.SIGCONT)
            await ready(one, 2)
    finally:
        await server.end()


# --- two machines: two namespaces of this one, with a cable between them ------------------------------------------

ADDRESSES = ("10.213.77.1", "10.213.77.2")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=WAIT_S)


@pytest.fixture
def machines() -> Iterator[tuple[str, str]]:
    """Two namespaces that see nothing but each other."""
    if shutil.which("ip") is None:
        pytest.skip("NOT TESTED: there is no program ip (Debian: iproute2)")
    names = (f"server-{os.getpid()}", f"satellite-{os.getpid()}")
    ends = ("cable0", "cable1")
    made = []
    try:
        for name in names:
            ip("netns", "add", name)
            made.append(name)
        ip("-n", names[0], "link", "add", ends[0], "type", "veth", "peer", "name", ends[1], "netns", names[1])
        for name, end, address in zip(names, ends, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
            for link in ("lo", end):
                ip("-n", name, "link", "set", link, "up")
            ip("-n", name, "route", "add", "default", "dev", end)
        yield names
    except subprocess.CalledProcessError as error:
        pytest.skip(f"NOT TESTED: no network namespaces on this machine: {error.stderr.decode().strip()}")
    finally:
        for name in made:
            ip("netns", "del", name)


def inside(name: str) -> tuple[str, ...]:
    return ("ip", "netns", "exec", name)


@pytest.mark.system
async def test_a_network_that_is_cut_is_noticed_and_gone_on_with(tmp_path: Path, machines: tuple[str, str]) -> None:
    server = Killable(free_port(), ADDRESSES[0], prefix=inside(machines[0]))
    await server.start()
    try:
        async with dialling_satellite(
            tmp_path, f"tcp://{ADDRESSES[0]}:{server.port}", prefix=inside(machines[1])
        ) as one:
            await ready(one, 1)
            for number, state in enumerate(STATES[:2]):
                if state != "idle":
                    one.process.send_signal(signal.SIGUSR1)
                    await server.said(state)
                lost = one.times_logged("No connection to the server")
                ip("-n", machines[0], "link", "set", "cable0", "down")
                await one.logged("No connection to the server", times=lost + 1)
                ip("-n", machines[0], "link", "set", "cable0", "up")
                await ready(one, number + 2)
    finally:
        await server.end()


@pytest.mark.system
async def test_a_server_that_comes_back_at_another_address_is_found_again(
    tmp_path: Path, machines: tuple[str, str]
) -> None:
    """Over zeroconf, on a network of the test's own."""
    at = [Killable(free_port(), ADDRESSES[0], "house", prefix=inside(machines[0])) for _ in range(2)]
    try:
        async with dialling_satellite(tmp_path, "auto", prefix=inside(machines[1])) as one:
            for number, server in enumerate(at):
                await server.start()
                await ready(one, number + 1)
                assert f"Connected to tcp://{ADDRESSES[0]}:{server.port}".encode() in one.log
                await server.end()
    finally:
        for server in at:
            await server.end()
