"""What a satellite costs while it waits for its wake word: ours, and the stock one with its openWakeWord service.

python -m benchmarks.satellite [--seconds S] [--peers FOLDER]

Both listen to the same noise in a virtual room (a PulseAudio daemon of their own, as in the tests). Memory is the
proportional set size of the whole process tree, processor time that of the same tree. benchmarks/setup-satellite makes
the stock one's environments; without them only ours is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import psutil

from benchmarks.report import Report
from benchmarks.rest import cpu_s, family, until_it_rests
from tests.conftest import free_port
from tests.satellite.driver import driver
from tests.satellite.room import Room, satellite_in, virtual_room
from tests.speech import sound

SETTLE_S = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each is watched")
    parser.add_argument(
        "--peers", type=Path, default=Path("benchmarks/.satellite"), help="the stock one's environments"
    )
    options = parser.parse_args()
    report = Report("satellite")
    mine, theirs = asyncio.run(_measure(options.seconds, options.peers))
    report.add("ours/memory", mine[0], "our satellite, waiting for a wake word: memory", "MB")
    report.add("ours/cpu", mine[1], "… processor", "%")
    report.add("ours/start", mine[2], "… from its start until it can be connected to", "s")
    if theirs is not None:
        report.add("stock/memory", theirs[0], "stock satellite and openWakeWord service: memory", "MB")
        report.add("stock/cpu", theirs[1], "… processor", "%")
    report.save()


async def _measure(seconds: float, peers: Path) -> tuple[tuple[float, float, float], tuple[float, float] | None]:
    with tempfile.TemporaryDirectory() as folder:
        async with virtual_room(Path(folder), recorded=False) as room:
            mine = await _ours(room, seconds)
            there = (peers / "satellite/bin/python").exists()
            return mine, await _stock(room, seconds, peers) if there else None


async def _ours(room: Room, seconds: float) -> tuple[float, float, float]:
    began = time.monotonic()
    async with satellite_in(room, "--uri", "tcp://127.0.0.1:0", "--no-zeroconf", "--wake-word", "okay_nabu") as one:
        address = (await one.logged("Listening on ")).strip()
        start_s = time.monotonic() - began
        async with driver(address):
            return *await _watch(room, [psutil.Process(one.process.pid)], seconds), start_s


async def _stock(room: Room, seconds: float, peers: Path) -> tuple[float, float]:
    environment = {key: value for key, value in room.environment.items() if key != "PYTHONPATH"}
    wake_port, port = free_port(), free_port()
    recorder = "parec --device=air.monitor --raw --format=s16le --rate=16000 --channels=1 --latency-msec=20"
    player = "pacat --device=loud --raw --format=s16le --rate=22050 --channels=1"
    async with AsyncExitStack() as stack:
        programs = []
        for command in (
            [peers / "wake-word/bin/python", "-m", "wyoming_openwakeword", "--uri", f"tcp://127.0.0.1:{wake_port}",
             "--preload-model", "ok_nabu"],
            [peers / "satellite/bin/python", "-m", "wyoming_satellite", "--uri", f"tcp://127.0.0.1:{port}",
             "--no-zeroconf", "--name", "stock", "--mic-command", recorder, "--snd-command", player,
             "--wake-uri", f"tcp://127.0.0.1:{wake_port}", "--wake-word-name", "ok_nabu"],
        ):  # fmt: skip
            process = await asyncio.create_subprocess_exec(
                *map(str, command), env=environment, stderr=asyncio.subprocess.DEVNULL
            )
            stack.push_async_callback(_end, process)
            programs.append(psutil.Process(process.pid))
            await until_it_rests(programs)  # the second asks the first one as soon as it starts
        async with driver(f"tcp://127.0.0.1:{port}"):
            return await _watch(room, programs, seconds)


async def _end(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    await process.wait()


async def _watch(room: Room, roots: list[psutil.Process], seconds: float) -> tuple[float, float]:
    """Memory in MB and processor time in % of a core, while the room is full of noise."""
    saying = asyncio.create_task(room.say(sound("pink", seconds + SETTLE_S)))
    await asyncio.sleep(SETTLE_S)
    tree = family(roots)
    before, began = sum(map(cpu_s, tree)), time.monotonic()
    await asyncio.sleep(seconds)
    used = 100 * (sum(map(cpu_s, tree)) - before) / (time.monotonic() - began)
    memory = sum(process.memory_full_info().pss for process in tree) / 1e6
    saying.cancel()
    await asyncio.gather(saying, return_exceptions=True)
    return memory, used


if __name__ == "__main__":
    main()
