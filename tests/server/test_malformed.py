"""Ten thousand inputs that are wrong: each is answered or the connection closed, and the next client is served."""

import asyncio
import itertools
import json
from collections.abc import Iterable

import psutil
import pytest

from tests.conftest import RunningServer
from tests.server.abuse import PING, Input, inputs
from tests.waiting import WAIT_S, until
from wyoming_superwhisper.wire import EventParser, Limits

ABUSE = [
    b"\n", b"null\n", b"[]\n", b"5\n", b'"text"\n', b"{\n", b"[" * 50_000 + b"\n", b"\xff\xfe\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"{}\n", b'{"type": null}\n', b'{"type": 5}\n', b'{"type": ""}\n', b'{"type": "describe", "data": []}\n',
    b'{"type": "describe", "data_length": -1}\n', b'{"type": "describe", "data_length": NaN}\n',
    b'{"type": "describe", "data_length": true}\n', b'{"type": "describe", "data_length": 1.5}\n',
    b'{"type": "describe", "data_length": "9"}\n', b'{"type": "describe", "payload_length": 1000000000000}\n',
    b'{"type": "describe", "data_length": 1000000000000}\n', b'{"type": "describe", "data_length": 2}\n{]',
    b'{"type": "x", "data": ' + b'{"a":' * 3_000 + b"1" + b"}" * 3_000 + b"}\n",
    b'{"type": "ping", "data": {"text": 5}}\n',
    b'{"type": "ping", "data": {"text": "\\ud800"}}\n', b"a" * 70_000 + b"\n", b'{"type": "no-such-event"}\n',
    b'{"type": "audio-stop"}\n', b'{"type": "audio-chunk"}\n', b'{"type": "synthesize-stop"}\n', b'{"type": "info"}\n',
    b'{"type": "synthesize", "data": {"text": {}}}\n', b'{"type": "run-pipeline", "data": {"start_stage": "lunch"}}\n',
]  # fmt: skip


async def provoke(server: RunningServer, abuse: bytes) -> list[str]:
    """Send, close the sending side, and read until the server closes: the types of its answers."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(abuse)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), WAIT_S)
    except ConnectionError:
        return []
    finally:
        writer.close()
    parser = EventParser(Limits())
    parser.feed(answer)
    return [event.type for event in iter(parser.next_event, None)]


async def describe(server: RunningServer) -> None:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(b'{"type": "describe"}\n')
    line = await asyncio.wait_for(reader.readline(), WAIT_S)
    assert json.loads(line)["type"] == "info"
    writer.close()


@pytest.mark.parametrize("abuse", ABUSE, ids=lambda abuse: repr(abuse[:40]))
async def test_what_is_no_event_is_answered_with_an_error(server: RunningServer, abuse: bytes) -> None:
    assert "error" in await provoke(server, abuse)
    await describe(server)


async def tried(server: RunningServer, abuse: Input) -> str:
    """What is wrong with the server's answer to an input; "": nothing."""
    types = await provoke(server, abuse.data + (b"" if abuse.kind == "cut" else PING))
    if abuse.refused and "error" not in types:
        return f"{abuse.kind}: no error for {abuse.data[:100]!r}, but {types}"
    if not {"error", "pong"} & set(types):
        return f"{abuse.kind}: silence for {abuse.data[:100]!r}"
    return ""


async def tried_all(server: RunningServer, abuses: Iterable[Input]) -> list[str]:
    """All of them, 25 at a time; in between, others are served."""
    found = []
    while batch := list(itertools.islice(abuses, 25)):
        found += await asyncio.gather(*(tried(server, abuse) for abuse in batch))
        await describe(server)
    return [wrong for wrong in found if wrong]


async def test_ten_thousand_odd_inputs_are_answered_and_leave_the_front_as_it_was(server: RunningServer) -> None:
    abuses = inputs(seed=7)
    front = psutil.Process(server.process.pid)
    wrong = await tried_all(server, itertools.islice(abuses, 1_000))
    await asyncio.sleep(3.0)
    memory, files = front.memory_info().rss, front.num_fds()
    wrong += await tried_all(server, itertools.islice(abuses, 9_000))
    await asyncio.sleep(3.0)
    assert not wrong, f"{len(wrong)} inputs, such as " + "; ".join(wrong[:5])
    await until(lambda: front.num_fds() <= files)
    assert front.memory_info().rss - memory < 8 * 2**20
    assert server.log.read_text().count("Traceback") == 0


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(5))
async def test_ten_thousand_more(own_server: RunningServer, seed: int) -> None:
    wrong = await tried_all(own_server, itertools.islice(inputs(100 + seed), 10_000))
    assert not wrong, f"{len(wrong)} inputs, such as " + "; ".join(wrong[:5])
    assert "Traceback" not in own_server.log.read_text()
    assert own_server.log.stat().st_size < 1_000_000


async def test_a_gigabyte_that_is_announced_is_never_held(server: RunningServer) -> None:
    front = psutil.Process(server.process.pid)
    before = front.memory_info().rss
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(b'{"type": "audio-chunk", "payload_length": 1000000000000}\n')
    try:
        for _ in range(200):
            writer.write(bytes(2**20))
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()
    assert front.memory_info().rss - before < 8 * 2**20
    del reader
    await describe(server)


async def test_values_by_the_hundred_thousand_are_not_kept(server: RunningServer) -> None:
    """A megabyte of empty objects would be thirty in Python, and dozens of them can wait for a long answer."""
    front = psutil.Process(server.process.pid)
    data = b'{"a": [' + b"{}," * 340_000 + b"{}]}"
    bomb = b'{"type": "transcript", "data_length": %d}\n' % len(data) + data
    before = peak = front.memory_info().rss

    async def ask() -> list[str]:
        text = json.dumps({"type": "synthesize", "data": {"text": "Bonjour tout le monde. " * 100}}).encode()
        return await provoke(server, text + b"\n" + bomb * 3)

    asking = [asyncio.create_task(ask()) for _ in range(5)]
    while not all(one.done() for one in asking):
        peak = max(peak, front.memory_info().rss)
        await asyncio.sleep(0.01)
    assert all("error" in one.result() for one in asking)
    assert peak - before < 32 * 2**20
    await describe(server)
