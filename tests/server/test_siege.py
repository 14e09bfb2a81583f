"""Decent clients are served in the middle of all kinds of others: slow, deaf, half, idle, and plainly wrong."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import select
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from wyoming.event import Event
from wyoming.info import Describe

from tests.conftest import RunningServer, start_server
from tests.server.abuse import inputs
from tests.server.speech import client, said
from tests.waiting import WAIT_S
from wyoming_superwhisper.wire import encode

SENTENCE = "Quelle heure est-il ?"
LONG_TEXT = "Bonjour, je suis à la maison et il fait trop chaud. " * 150


@dataclass
class Siege:
    """Clients that are no good, and how long each was held."""

    server: RunningServer
    held_s: dict[str, list[float]] = field(default_factory=dict)
    here: int = 0
    """How many have come so far."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def lay(self, kind: str, count: int, act: Callable[[asyncio.StreamWriter], Awaitable[None]], read: bool) -> None:
        """So many clients who do this until they are cut off."""
        for _ in range(count):
            self.tasks.append(asyncio.create_task(self._hold(kind, act, read)))

    async def lift(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _hold(self, kind: str, act: Callable[[asyncio.StreamWriter], Awaitable[None]], read: bool) -> None:
        reader, writer = await asyncio.open_connection(self.server.host, self.server.port)
        began = time.monotonic()
        self.here += 1
        if not read:
            writer.transport.pause_reading()
        acting = asyncio.create_task(_quietly(act(writer)))
        try:
            if read:
                with contextlib.suppress(ConnectionError):
                    while await reader.read(65_536):
                        pass
            else:
                await _until_reset(writer)
            self.held_s.setdefault(kind, []).append(time.monotonic() - began)
        finally:
            acting.cancel()
            await asyncio.gather(acting, return_exceptions=True)
            writer.transport.abort()


async def _quietly(act: Awaitable[None]) -> None:
    with contextlib.suppress(ConnectionError):
        await act


async def _until_reset(writer: asyncio.StreamWriter) -> None:
    """Wait for the end of a connection from which nothing is read."""
    poll = select.poll()
    poll.register(writer.get_extra_info("socket").fileno(), select.POLLRDHUP)
    while not poll.poll(0):  # noqa: ASYNC110
        await asyncio.sleep(0.2)


async def send_slowly(writer: asyncio.StreamWriter) -> None:
    for byte in itertools.cycle(b'{"type": "transcribe", '):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.5)


async def send_half_a_payload(writer: asyncio.StreamWriter) -> None:
    writer.write(b'{"type": "audio-chunk", "payload_length": 1000000}\n' + bytes(500_000))
    await writer.drain()


async def ask_for_much(writer: asyncio.StreamWriter) -> None:
    """More than all buffers on the way hold, also where speech takes its time."""
    writer.write(b'{"type": "describe"}\n' * 4_000 + encode(Event("synthesize", {"text": LONG_TEXT})))
    await writer.drain()


async def do_nothing(writer: asyncio.StreamWriter) -> None:
    pass


@contextlib.asynccontextmanager
async def besieged(server: RunningServer, slow: int, half: int, deaf: int, idle: int) -> AsyncIterator[Siege]:
    siege = Siege(server)
    siege.lay("idle", idle, do_nothing, read=True)
    siege.lay("slow", slow, send_slowly, read=True)
    siege.lay("half", half, send_half_a_payload, read=True)
    siege.lay("deaf", deaf, ask_for_much, read=False)
    try:
        while siege.here < slow + half + deaf + idle:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        yield siege
    finally:
        await siege.lift()


async def describe_s(server: RunningServer) -> float:
    began = time.monotonic()
    async with client(server) as one:
        await one.send(Describe())
        assert (await one.receive()).type == "info"
    return time.monotonic() - began


async def transcript(server: RunningServer, speech: bytes) -> str:
    async with client(server) as one:
        return await one.transcribe(speech, "fr")


async def throw_stones(server: RunningServer, seed: int) -> None:
    """Malformed inputs, one connection after the other, for ever."""
    for abuse in inputs(seed):
        reader, writer = await asyncio.open_connection(server.host, server.port)
        try:
            writer.write(abuse.data)
            writer.write_eof()
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()


@dataclass
class Served:
    """What decent clients saw."""

    describe_s: list[float] = field(default_factory=list)
    transcripts: list[str] = field(default_factory=list)

    @property
    def p99_s(self) -> float:
        return statistics.quantiles(self.describe_s, n=100)[98]


async def serve_decent(server: RunningServer, clients: int, seconds: float, speech: bytes, pause_s: float) -> Served:
    """So many decent clients, each asking this and that with pauses; one in ten speaks."""
    served, until = Served(), time.monotonic() + seconds

    async def one(number: int) -> None:
        rng = random.Random(number)
        while time.monotonic() < until:
            await asyncio.sleep(rng.uniform(0, 2 * pause_s))
            if number % 10 == 0:
                served.transcripts.append(await transcript(server, speech))
            else:
                served.describe_s.append(await describe_s(server))

    await asyncio.gather(*(one(number) for number in range(clients)))
    return served


async def all_gone(siege: Siege, counts: dict[str, int], within_s: float) -> str:
    """Wait until all of them were cut off; "" or who was not."""
    left: dict[str, int] = {}
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        left = {kind: count - len(siege.held_s.get(kind, ())) for kind, count in counts.items()}
        if not any(left.values()):
            return ""
        await asyncio.sleep(0.1)
    return f"still held after {within_s:g} s: {left}"


async def test_decent_clients_are_served_in_a_small_siege(tmp_path: Path) -> None:
    limits = ("limits.event_s=3", "limits.write_s=3", "limits.connections=100")
    options = [part for limit in limits for part in ("--set", limit)]
    server = start_server(tmp_path / "log.txt", *options)
    speech = said(SENTENCE)
    try:
        right = await transcript(server, speech)
        counts = {"slow": 30, "half": 5, "deaf": 5}
        front = psutil.Process(server.process.pid)
        before = front.memory_info().rss
        async with besieged(server, **counts, idle=80) as siege:
            stones = [asyncio.create_task(throw_stones(server, seed)) for seed in range(2)]
            served = await serve_decent(server, 20, 5.0, speech, pause_s=0.5)
            assert front.memory_info().rss - before < 128 * 2**20
            left = await all_gone(siege, counts, 3 * WAIT_S)
            for stone in stones:
                stone.cancel()
            await asyncio.gather(*stones, return_exceptions=True)
        assert not left
        assert set(served.transcripts) == {right}
        assert len(served.describe_s) >= 18, "each of them was served while the others were there"
        assert "Traceback" not in server.log.read_text()
        assert server.log.stat().st_size < 200_000
    finally:
        server.stop()


@pytest.mark.long
async def test_the_whole_siege(own_server: RunningServer) -> None:
    """200 slow senders, 20 half payloads, 20 that never read, 500 idle, stones, and a hundred decent clients."""
    speech = said(SENTENCE)
    right = await transcript(own_server, speech)
    counts = {"slow": 200, "half": 20, "deaf": 20}
    async with besieged(own_server, **counts, idle=500) as siege:
        stones = [asyncio.create_task(throw_stones(own_server, seed)) for seed in range(4)]
        served = await serve_decent(own_server, 100, 40.0, speech, pause_s=3.0)
        left = await all_gone(siege, counts, 60)
        for stone in stones:
            stone.cancel()
        await asyncio.gather(*stones, return_exceptions=True)
    figures = f"{len(served.describe_s)} describes, 99th percentile {served.p99_s * 1000:.0f} ms, "
    figures += f"{len(served.transcripts)} transcripts; held at most "
    figures += ", ".join(f"{kind} {max(held):.0f} s" for kind, held in siege.held_s.items())
    print(figures)
    assert not left, figures
    assert set(served.transcripts) == {right}, figures
    assert served.p99_s < 0.25, figures
    assert max(max(siege.held_s[kind]) for kind in counts) < 60, figures
    assert "Traceback" not in own_server.log.read_text()
