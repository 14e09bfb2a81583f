"""The same abuse for this server and for one made of the stock library: who is answered, who hangs, what it costs.

    python -m benchmarks.abuse                          both, 1,000 inputs, 50 MB behind a length of 10^12
    python -m benchmarks.abuse --inputs 10000 --megabytes 200

The stock server is `wyoming.server.AsyncServer` with a handler that does what such handlers do: it parses what it
knows with the library's own classes, answers `describe`, and takes audio. Inputs are those of `tests/server/abuse.py`.
Loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.rest import until_it_rests
from tests.conftest import free_port
from tests.server.abuse import PING, Input, inputs
from wyoming_superwhisper.wire import EventParser, Limits

HANG_S = 5.0
"""A peer that gets neither an answer nor an end for so long is left hanging."""
AT_ONCE = 25
LINE = "{:38} {:>16} {:>16}"

STOCK = """
import asyncio, sys
from functools import partial
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioChunkConverter, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.server import AsyncEventHandler, AsyncServer
from wyoming.tts import Synthesize

BY = Attribution("benchmark", "http://localhost")
MODEL = AsrModel("m", BY, True, "model", None, ["fr"])
INFO = Info(asr=[AsrProgram("stock", BY, True, "stock", None, [MODEL])]).event()

class Handler(AsyncEventHandler):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.audio = b""
        self.converter = AudioChunkConverter(rate=16000, width=2, channels=1)

    async def handle_event(self, event: Event) -> bool:
        if Describe.is_type(event.type):
            await self.write_event(INFO)
        elif Ping.is_type(event.type):
            await self.write_event(Pong(text=Ping.from_event(event).text).event())
        elif Transcribe.is_type(event.type):
            Transcribe.from_event(event)
        elif AudioStart.is_type(event.type):
            AudioStart.from_event(event)
        elif AudioChunk.is_type(event.type):
            self.audio += self.converter.convert(AudioChunk.from_event(event)).audio
        elif AudioStop.is_type(event.type):
            await self.write_event(Transcript(text="stock").event())
            return False
        elif Synthesize.is_type(event.type):
            Synthesize.from_event(event)
        return True

asyncio.run(AsyncServer.from_uri(sys.argv[1]).run(partial(Handler)))
"""


@dataclass
class Target:
    """A server in a process of its own."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def memory_mb(self) -> float:
        return float(psutil.Process(self.process.pid).memory_info().rss / 2**20)


def start(name: str, command: Iterable[str], port: int, folder: Path) -> Target:
    """Start it and wait until it listens."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, *command], stdout=output, stderr=subprocess.STDOUT, env=os.environ)
    target = Target(name, port, process, log)
    for _ in range(600):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return target
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit(f"{name} does not listen:\n{log.read_text()}")


async def provoke(target: Target, data: bytes) -> tuple[set[str], bool]:
    """Types of what came back, and whether the server ended the exchange in time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    answer, ended = b"", True
    try:
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(HANG_S):
            while chunk := await reader.read(65_536):
                answer += chunk
    except TimeoutError:
        ended = False
    except ConnectionError:
        pass
    finally:
        writer.close()
    parser = EventParser(Limits())
    parser.feed(answer)
    types = set()
    with suppress(Exception):  # an answer of any shape
        types = {event.type for event in iter(parser.next_event, None)}
    return types, ended


async def try_inputs(target: Target, abuses: list[Input]) -> Counter[str]:
    """How many of the malformed ones got an `error`, how many of the odd ones any answer, how many hung."""
    counts: Counter[str] = Counter()

    async def one(abuse: Input) -> None:
        types, ended = await provoke(target, abuse.data + (b"" if abuse.kind == "cut" else PING))
        counts["hanging"] += not ended
        if abuse.refused:
            counts["malformed"] += 1
            counts["malformed, error"] += "error" in types
        else:
            counts["odd"] += 1
            counts["odd, answered"] += bool(types & {"error", "pong"})

    remaining = iter(abuses)
    while batch := list(itertools.islice(remaining, AT_ONCE)):
        await asyncio.gather(*(one(abuse) for abuse in batch))
    return counts


async def send_endless_payload(target: Target, megabytes: int) -> float:
    """Bytes behind a length of 10^12; how much the server's memory grew, in MB."""
    before, highest = target.memory_mb, 0.0
    _, writer = await asyncio.open_connection("127.0.0.1", target.port)
    writer.write(b'{"type": "audio-chunk", "payload_length": 1000000000000}\n')
    with suppress(ConnectionError):
        for _ in range(megabytes):
            writer.write(bytes(2**20))
            await writer.drain()
            highest = max(highest, target.memory_mb)
    await until_it_rests([psutil.Process(target.process.pid)])
    highest = max(highest, target.memory_mb)
    writer.transport.abort()
    return highest - before


async def send_one_hertz(target: Target) -> float:
    """40 kB said to be 1 Hz; how much the server's memory grew, in MB."""
    before, highest = target.memory_mb, 0.0
    data = json.dumps({"rate": 1, "width": 2, "channels": 1})
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    writer.write(f'{{"type": "audio-start", "data": {data}}}\n'.encode())
    writer.write(f'{{"type": "audio-chunk", "data": {data}, "payload_length": 40000}}\n'.encode() + bytes(40_000))
    writer.write_eof()
    done = asyncio.create_task(reader.read())
    while not done.done():
        await asyncio.wait([done], timeout=0.02)
        highest = max(highest, target.memory_mb)
    await asyncio.gather(done, return_exceptions=True)
    writer.close()
    return highest - before


async def describe_ms(target: Target) -> float:
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    writer.write(b'{"type": "describe"}\n')
    await asyncio.wait_for(reader.readline(), 60)
    writer.transport.abort()
    return (time.monotonic() - began) * 1000


async def describe_amid_pipelines(target: Target) -> float:
    """Longest `describe` in ms while twenty others have sent three thousand each, in one go."""
    floods = [await asyncio.open_connection("127.0.0.1", target.port) for _ in range(20)]
    readers = [asyncio.create_task(reader.read()) for reader, _ in floods]
    for _, writer in floods:
        writer.write(b'{"type": "describe"}\n' * 3_000)
    took = [await describe_ms(target) for _ in range(10)]
    for _, writer in floods:
        writer.transport.abort()
    await asyncio.gather(*readers, return_exceptions=True)
    return max(took)


async def measure(target: Target, count: int, megabytes: int) -> dict[str, Any]:
    """Everything of one server."""
    await until_it_rests([psutil.Process(target.process.pid)])  # what it loads after listening is not of interest
    quiet = statistics.median([await describe_ms(target) for _ in range(20)])
    counts = await try_inputs(target, list(itertools.islice(inputs(seed=7), count)))
    found = {
        "malformed, answered by an error": f"{counts['malformed, error']} of {counts['malformed']}",
        "odd, answered": f"{counts['odd, answered']} of {counts['odd']}",
        "left hanging": counts["hanging"],
        "tracebacks in the log": target.log.read_bytes().count(b"Traceback"),
        "log, kB": target.log.stat().st_size // 1000,
        f"{megabytes} MB behind 10^12, MB": f"{await send_endless_payload(target, megabytes):+.0f}",
        "40 kB at 1 Hz, MB": f"{await send_one_hertz(target):+.0f}",
        "describe, quiet, ms": f"{quiet:.1f}",
        "describe amid pipelines, longest, ms": f"{await describe_amid_pipelines(target):.0f}",
    }
    return {"name": target.name, **found}


def main() -> None:
    """Measure both, one after the other, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000)
    parser.add_argument("--megabytes", type=int, default=50)
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "stock.py").write_text(STOCK, encoding="utf-8")
        for kind in ("ours", "stock"):
            port = free_port()
            uri = f"tcp://127.0.0.1:{port}"
            ours = ("-m", "wyoming_superwhisper", "serve", "--settings", "demo", "--no-zeroconf", "--uri", uri)
            command = ours if kind == "ours" else (str(folder / "stock.py"), uri)
            target = start(kind, command, port, folder)
            try:
                results.append(asyncio.run(measure(target, options.inputs, options.megabytes)))
            finally:
                target.process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    target.process.wait(15)
                target.process.kill()
    own, stock = results
    print(LINE.format("", "ours", "stock library"))
    for key in own:
        if key != "name":
            print(LINE.format(key, str(own[key]), str(stock[key])))


if __name__ == "__main__":
    main()
