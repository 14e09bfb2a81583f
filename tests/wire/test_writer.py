"""Events to a stream: whole, and never for a peer that takes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import struct
from pathlib import Path

import pytest
from wyoming.event import Event, async_read_event

from tests.certificates import Authority
from tests.waiting import WAIT_S
from tests.wire.examples import (
    connected,
)
from wyoming_superwhisper import wire


async def test_events_of_several_tasks_go_out_whole() -> None:
    async with connected() as (_, writer, theirs):
        sent = [Event("t", {"n": n}, bytes([n]) * 5000 * n) for n in range(10)]
        reader, peer = await asyncio.open_connection(sock=theirs)
        async with asyncio.TaskGroup() as group:
            for event in sent:
                group.create_task(writer.write(event))
            received = [await async_read_event(reader) for _ in sent]
        assert [(event.data, event.payload) for event in received if event] == [
            (event.data, event.payload or None) for event in sent
        ]
        peer.close()


async def test_a_peer_that_takes_nothing_is_cut_off() -> None:
    async with connected(write_s=0.1) as (_, writer, _):
        with pytest.raises(wire.Disconnected, match=r"took nothing for 0\.1 seconds"):
            await writer.write(Event("t", {}, bytes(10_000_000)))
        assert writer.stream.transport.is_closing()


async def test_whoever_counts_events_is_told_of_each_that_is_written() -> None:
    async with connected() as (_, writer, _):
        told: list[str] = []
        await writer.write(Event("before"))
        writer.on_sent = lambda event: told.append(event.type)
        await writer.write(Event("one"))
        await writer.write_bytes(wire.encode(Event("not named")))
        await writer.write_bytes(wire.encode(Event("two")), event=Event("two"))
        assert told == ["one", "two"]


async def test_a_peer_that_is_cut_off_is_reset_and_leaves_nothing_in_the_kernel() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        _, stream = await asyncio.open_connection(sock=listening.accept()[0])
    writer = wire.EventWriter(stream)
    with contextlib.suppress(TimeoutError):  # until it would have to wait
        async with asyncio.timeout(0.5):
            while True:
                await writer.write(Event("t", {}, bytes(100_000)))
    writer.abort()
    await asyncio.sleep(0)
    assert writer.descriptor == -1
    hung_up = select.poll()
    hung_up.register(theirs, select.POLLHUP)  # both directions: a reset, with all that was on its way
    assert hung_up.poll(1000)
    writer.abort()  # is nothing any more
    theirs.close()


async def test_a_peer_that_is_slow_but_takes_something_is_not() -> None:
    async with connected(write_s=1.0) as (_, writer, theirs):
        total = 3_000_000

        async def sip() -> None:
            received = 0
            while received < total:
                await asyncio.sleep(0.03)
                try:
                    received += len(theirs.recv(60_000))
                except BlockingIOError:
                    continue

        async with asyncio.TaskGroup() as group:
            group.create_task(sip())
            await writer.write(Event("t", {}, bytes(total)))


async def test_others_run_between_two_events() -> None:
    async with connected() as (_, writer, _):
        steps = 0

        async def other() -> None:
            nonlocal steps
            while True:
                await asyncio.sleep(0)
                steps += 1

        task = asyncio.create_task(other())
        for _ in range(20):
            await writer.write(Event("small"))
        task.cancel()
        assert steps >= 19


async def test_a_peer_that_is_gone_from_an_encrypted_connection_is_noticed_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    pair = authority.pair("server")
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=authority.file)
    ours.load_cert_chain(pair.certificate, pair.key)
    accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda _, stream: accepted.set_result(stream), "127.0.0.1", 0, ssl=ours)
    async with server:
        peer = await asyncio.to_thread(_dial, server.sockets[0].getsockname(), theirs)
        writer = wire.EventWriter(await accepted)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()  # at once, before the loop looks again
        with pytest.raises(wire.Disconnected):
            await _write_for_ever(writer)
        await writer.close()
    assert "socket.send() raised exception" not in caplog.text


async def test_a_lost_connection_is_one_kind_of_error() -> None:
    async with connected() as (_, writer, theirs):
        theirs.close()
        with pytest.raises(wire.Disconnected):
            await writer.write(Event("t", {}, bytes(10_000_000)))
        with pytest.raises(wire.Disconnected):
            await writer.write(Event("t"))


@pytest.mark.parametrize("kind", [AttributeError, TypeError, RuntimeError, BrokenPipeError])
async def test_so_are_the_errors_of_some_python_versions(kind: type[Exception]) -> None:
    async with connected() as (_, writer, _):
        stream = writer.stream

        class Broken:
            transport = stream.transport

            def write(self, data: bytes) -> None:
                raise kind("'NoneType' object")

        with pytest.raises(wire.Disconnected):
            await wire.EventWriter(Broken()).write(Event("t"))  # type: ignore[arg-type]


async def test_closing_a_connection_whose_peer_reads_nothing_ends() -> None:
    async with connected() as (_, writer, _):
        writer.stream.write(bytes(10_000_000))
        await asyncio.wait_for(writer.close(0.05), WAIT_S)


def _dial(address: tuple[str, int], tls: ssl.SSLContext) -> socket.socket:
    return tls.wrap_socket(socket.create_connection(address), server_hostname="localhost")


async def _write_for_ever(writer: wire.EventWriter) -> None:
    while True:
        await writer.write(Event("t", {}, bytes(1000)))
