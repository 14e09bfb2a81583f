"""What a connection may take: places, time, and the server's attention."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.ping import Ping

from tests.conftest import RunningServer, start_server
from tests.fakes import FakeLanguageModel
from tests.server.test_connection import FORMAT, LOUD, Fakes, connect, serving, types_until
from tests.waiting import WAIT_S, until
from wyoming_superwhisper.byte_budget import ByteBudget
from wyoming_superwhisper.config.settings import LimitSettings
from wyoming_superwhisper.engines.base import AnswerPart, AnswerRequest, Priority
from wyoming_superwhisper.server import connection
from wyoming_superwhisper.wire import encode


class Gated(FakeLanguageModel):
    """Answers nothing before its gate is open."""

    def __init__(self, *parts: str) -> None:
        super().__init__(*parts)
        self.gate = asyncio.Event()

    async def answer(self, request: AnswerRequest, priority: Priority = Priority.FINAL) -> AsyncIterator[AnswerPart]:
        self.requests.append(request)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        for part in self.parts:
            yield part


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def dial(fakes: Fakes) -> Streams:
    return await asyncio.open_connection("127.0.0.1", fakes.server.port)


async def ping(streams: Streams) -> None:
    reader, writer = streams
    writer.write(b'{"type": "ping", "data": {"text": "?"}}\n')
    assert b"pong" in await asyncio.wait_for(reader.readline(), WAIT_S)
    await reader.readexactly(len('{"text": "?"}'))


async def is_closed(streams: Streams) -> bool:
    """Whether the server closes without a word; our end is closed then too."""
    try:
        return await asyncio.wait_for(streams[0].read(), WAIT_S) == b""
    except ConnectionError:
        return True
    finally:
        streams[1].close()


async def test_an_idle_connection_is_closed_after_its_time_and_one_that_speaks_is_not() -> None:
    async with serving(limits=LimitSettings(idle_s=1.5)) as fakes:
        idle, lively = await dial(fakes), await dial(fakes)
        for _ in range(6):
            await ping(lively)
            await asyncio.sleep(0.3)
        assert await is_closed(idle)
        await ping(lively)
        lively[1].close()


async def test_a_connection_at_work_is_not_idle_however_long_it_takes() -> None:
    slow = FakeLanguageModel("Oui.", delay_s=0.8)
    async with serving(limits=LimitSettings(idle_s=0.2), reply=slow) as fakes, await connect(fakes) as client:
        await client.send(Event("transcript", {"text": "ça va ?"}))
        assert (await types_until(client, "handled-stop"))[-1] == "handled-stop"


async def test_where_all_places_are_taken_the_one_idle_longest_goes() -> None:
    async with serving(limits=LimitSettings(connections=3)) as fakes:
        first, second, third = [await dial(fakes) for _ in range(3)]
        for streams in (first, second, third, first):
            await ping(streams)
        fourth = await dial(fakes)
        await ping(fourth)
        assert await is_closed(second)
        for streams in (first, third, fourth):
            await ping(streams)
            streams[1].close()


async def test_one_with_work_in_flight_is_never_evicted() -> None:
    slow = Gated("Oui.")
    limits = LimitSettings(connections=2)
    async with (
        serving(limits=limits, reply=slow) as fakes,
        await connect(fakes) as asking,
        await connect(fakes) as speaking,
    ):
        await asking.send(Event("transcript", {"text": "ça va ?"}))
        await speaking.send(Event("audio-start", FORMAT))
        await speaking.send(Event("ping"))
        await types_until(speaking, "pong")
        await until(lambda: slow.requests)
        async with await connect(fakes) as third:
            assert await types_until(third, "error") == ["error"]
        await speaking.send(Event("audio-chunk", FORMAT, LOUD))
        await speaking.send(Event("audio-stop"))
        assert "transcript" in await types_until(speaking, "transcript-stop")
        slow.gate.set()
        assert (await types_until(asking, "handled-stop"))[-2] == "handled"


async def test_audio_that_was_announced_and_never_comes_holds_no_place_for_ever() -> None:
    async with serving(limits=LimitSettings(connections=1, event_s=0.3)) as fakes, await connect(fakes) as silent:
        await silent.send(Event("transcribe"))
        await asyncio.sleep(0.5)
        async with await connect(fakes) as second:
            await second.send(Event("ping", {"text": "?"}))
            assert await types_until(second, "pong") == ["pong"]
        error = await silent.receive_any()
        assert error.data["code"] == "busy"


async def from_address(fakes: Fakes, address: str) -> Streams:
    """A peer of this address, as far as the server can tell."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    fakes.server._accepted(ours, (address, 50_000))
    return await asyncio.open_connection(sock=theirs)


async def test_one_address_has_so_many_places_and_no_more() -> None:
    async with serving(limits=LimitSettings(connections_per_address=2)) as fakes:
        first, second = [await from_address(fakes, "192.168.1.20") for _ in range(2)]
        for streams in (first, second):
            await ping(streams)
        third, other = await from_address(fakes, "192.168.1.20"), await from_address(fakes, "192.168.1.21")
        assert await is_closed(first), "the one of that address that was idle longest"
        for streams in (second, third, other):
            await ping(streams)
            streams[1].close()


async def test_an_address_that_is_all_at_work_is_told_to_wait() -> None:
    slow = Gated("Oui.")
    async with serving(limits=LimitSettings(connections_per_address=1), reply=slow) as fakes:
        first = await from_address(fakes, "fd00::20")
        first[1].write(encode(Event("transcript", {"text": "ça va ?"})))
        await until(lambda: slow.requests)
        refused = await from_address(fakes, "fd00::20")
        assert b'"busy"' in await asyncio.wait_for(refused[0].read(), WAIT_S)
        for streams in (first, refused):
            streams[1].close()


async def test_loopback_is_exempt_from_the_limit_of_one_address() -> None:
    async with serving(limits=LimitSettings(connections_per_address=1)) as fakes:
        several = [await dial(fakes) for _ in range(4)]
        several += [await from_address(fakes, address) for address in ("127.0.0.2", "::1", "::ffff:127.0.0.1")]
        for streams in several:
            await ping(streams)
        for streams in several:
            streams[1].close()


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "172.32.0.1", "100.128.0.1"])
async def test_a_stranger_gets_nothing(address: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as fakes:
        with caplog.at_level(logging.WARNING):
            assert await is_closed(await from_address(fakes, address))
        assert fakes.server.connections == 0
        assert "server.allow" in caplog.text


@pytest.mark.parametrize(
    "address", ["192.168.1.20", "10.1.2.3", "172.31.9.9", "169.254.1.1", "fe80::1%eth0", "fd12::1", "100.64.0.1"]
)
async def test_homes_are_let_in(address: str) -> None:
    async with serving() as fakes:
        streams = await from_address(fakes, address)
        await ping(streams)
        streams[1].close()


async def test_a_flood_of_strangers_is_a_few_lines_of_log(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as fakes:
        with caplog.at_level(logging.INFO):
            for _ in range(300):
                (await from_address(fakes, "8.8.8.8"))[1].close()
        assert len(caplog.records) < 50


HALF = b'{"type": "audio-chunk", "payload_length": 200000}\n' + bytes(150_000)


async def test_who_finds_no_room_for_a_large_event_in_its_time_is_told_busy() -> None:
    async with serving(limits=LimitSettings(event_s=0.5)) as fakes:
        budget = fakes.server._services.budget = ByteBudget(500_000)
        assert budget.take(400_000)  # by others
        reader, writer = await asyncio.open_connection("127.0.0.1", fakes.server.port)
        writer.write(HALF)
        assert json.loads((await reader.read()).splitlines()[1])["code"] == "busy"
        assert budget.free == 100_000
        writer.close()


async def test_half_payloads_of_many_share_what_they_hold() -> None:
    async with serving(limits=LimitSettings(event_s=2.0)) as fakes:
        budget = fakes.server._services.budget = ByteBudget(500_000)
        peers = [await asyncio.open_connection("127.0.0.1", fakes.server.port) for _ in range(5)]
        for _, writer in peers:
            writer.write(HALF)
        await until(lambda: budget.free == 100_000)
        async with await connect(fakes) as decent:  # small events need no room
            await decent.send(Ping())
            assert (await decent.receive()).type == "pong"
        codes = [json.loads((await reader.read()).splitlines()[1])["code"] for reader, _ in peers]
        # Who waits is told "busy" at its own time, or gets the room of one that has ended a moment before.
        assert codes.count("timeout") >= 2
        assert set(codes) <= {"busy", "timeout"}
        for _, writer in peers:
            writer.close()
        await until(lambda: budget.free == 500_000)


async def test_a_large_event_is_handled_before_more_is_read() -> None:
    async with serving() as fakes:
        stereo = {"rate": 48_000, "width": 2, "channels": 2}  # little speech in many bytes
        budget = fakes.server._services.budget = ByteBudget(100_000)
        async with await connect(fakes) as client:
            for _ in range(3):
                await client.send(AudioStart(**stereo))
                for _ in range(2):  # only one of them fits at a time
                    await client.send(AudioChunk(audio=bytes(70_000), **stereo))
                await client.send(AudioStop())
                assert await types_until(client, "transcript-stop")
        await until(lambda: budget.free == 100_000)


async def test_a_client_that_leaves_with_a_full_queue_is_noticed() -> None:
    slow = Gated("Oui.")
    async with serving(reply=slow) as fakes:
        reader, writer = await dial(fakes)
        for number in range(400):
            writer.write(encode(Event("transcript", {"text": f"numéro {number}"})))
        await writer.drain()
        await until(lambda: slow.requests)
        writer.close()
        await until(lambda: not fakes.server.connections)
        assert slow.cancelled == 1
        del reader


async def test_a_client_that_only_closed_its_sending_side_gets_every_answer() -> None:
    async with serving() as fakes:
        reader, writer = await dial(fakes)
        for number in range(600):
            writer.write(encode(Event("transcript", {"text": f"numéro {number}"})))
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), WAIT_S)
        assert answer.count(b'"handled-stop"') == 600
        writer.close()


async def test_its_answers_may_take_longer_than_the_grace_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HALF_CLOSE_GRACE_S", 1.0)
    async with serving(reply=FakeLanguageModel("Oui.", delay_s=0.3)) as fakes:
        reader, writer = await dial(fakes)
        for number in range(5):
            writer.write(encode(Event("transcript", {"text": f"numéro {number}"})))
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), WAIT_S)
        assert answer.count(b'"handled-stop"') == 5
        writer.close()


async def test_a_client_that_never_reads_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(limits=LimitSettings(write_s=0.5)) as fakes:
        _, writer = await dial(fakes)
        writer.transport.pause_reading()
        writer.write(encode(Event("synthesize", {"text": "Une phrase un peu longue, tout de même. " * 240})))
        writer.write(encode(Event("synthesize", {"text": "Une phrase un peu longue, tout de même. " * 240})) * 8)
        await until(lambda: fakes.synthesizer.requests)
        await until(lambda: not fakes.server.connections)
        writer.transport.abort()


async def test_an_idle_connection_costs_next_to_nothing(server: RunningServer) -> None:
    front = psutil.Process(server.process.pid)

    async def come(count: int) -> list[Streams]:
        found = [await asyncio.open_connection(server.host, server.port) for _ in range(count)]
        for reader, writer in found:
            writer.write(b'{"type": "describe"}\n')
            await reader.readline()
        return found

    there = await come(50)
    await asyncio.sleep(1.0)
    before = front.memory_info().rss
    there += await come(300)
    each_kib = (front.memory_info().rss - before) / 300 / 1024
    for _, writer in there:
        writer.transport.abort()
    assert each_kib < 70, f"{each_kib:.0f} KiB for each"


async def test_many_requests_of_one_client_do_not_hold_up_another() -> None:
    async with serving() as fakes:
        floods = [await dial(fakes) for _ in range(20)]
        for _, writer in floods:
            writer.write(b'{"type": "describe"}\n' * 3_000)
        for _ in range(20):  # none of the floods is through: nobody takes what they are answered
            streams = await dial(fakes)
            await ping(streams)
            streams[1].close()
        for _, writer in floods:
            writer.transport.abort()


async def test_long_audio_of_another_rate_is_converted_beside_the_loop() -> None:
    """1 MiB at 8 kHz, 8 bit, is two minutes: nobody else waits while it is resampled."""
    async with serving() as fakes, await connect(fakes) as client:
        layout = {"rate": 48_000, "width": 4, "channels": 2}
        streams = await dial(fakes)
        await client.send(Event("audio-start", layout))
        for _ in range(20):
            await client.send(Event("audio-chunk", layout, bytes(1_048_576)))
        await client.send(Event("audio-stop"))
        await ping(streams)
        assert not fakes.recognizer.requests, "it is still being converted"
        await types_until(client, "transcript-stop")
        streams[1].close()


async def test_the_limit_of_open_files_is_survived_without_a_flood_of_log(tmp_path: Path) -> None:
    """More clients than files: the oldest idle ones make room, and the log stays small."""
    server = start_server(tmp_path / "log.txt", "--set", "llm.model=off", files=120)
    clients: list[Streams] = []
    try:
        for _ in range(400):
            clients.append(await asyncio.open_connection(server.host, server.port))
            if len(clients) % 100 == 0:
                clients[-1][1].write(b'{"type": "describe"}\n')
                line = await asyncio.wait_for(clients[-1][0].readline(), WAIT_S)
                assert json.loads(line)["type"] == "info"
        used = psutil.Process(server.process.pid).cpu_times().user
        await asyncio.sleep(1.0)
        assert psutil.Process(server.process.pid).cpu_times().user - used < 0.5, "it spins"
        assert psutil.Process(server.process.pid).num_fds() < 120
        assert server.log.stat().st_size < 20_000
        assert "Traceback" not in server.log.read_text()
    finally:
        for _, writer in clients:
            writer.transport.abort()
        server.stop()
