"""Ten thousand inputs that are wrong: each is answered or the connection closed, and the next client is served."""

import asyncio
import json
import random

import psutil
import pytest

from tests.conftest import RunningServer

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

TYPES = [
    "describe", "transcribe", "audio-start", "audio-chunk", "audio-stop", "synthesize", "synthesize-start", "detect",
    "synthesize-chunk", "synthesize-stop", "transcript", "recognize", "run-pipeline", "ping", "select-program",
    "intent",
]  # fmt: skip
FIELDS = [
    "text",
    "name",
    "language",
    "rate",
    "width",
    "channels",
    "voice",
    "names",
    "context",
    "start_stage",
    "end_stage",
]
VALUES: list[object] = [None, True, -1, 0, 10**12, 1.5, [], {}, [1], {"a": {}}, [[]], "\u0000"]


def odd_event(rng: random.Random) -> bytes:
    """A framed event of a known type whose fields have wrong types, sometimes mutilated."""
    data = {field: rng.choice(VALUES) for field in rng.sample(FIELDS, rng.randint(1, 5))}
    data.pop("text") if isinstance(data.get("text"), str) else None
    line = json.dumps({"type": rng.choice(TYPES), "data": data}).encode() + b"\n"
    if rng.random() < 0.4:
        at = rng.randrange(len(line) - 1)
        line = line[:at] + bytes([rng.randrange(256)]) + line[at + 1 :]
    return line


async def provoke(server: RunningServer, abuse: bytes) -> list[str]:
    """Send, close the sending side, and read until the server closes: the types of its answers."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(abuse)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 30)
    except ConnectionError:
        return []
    finally:
        writer.close()
    return [str(json.loads(line)["type"]) for line in answer.splitlines() if line.startswith(b'{"type"')]


async def describe(server: RunningServer) -> None:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(b'{"type": "describe"}\n')
    line = await asyncio.wait_for(reader.readline(), 2.0)
    assert json.loads(line)["type"] == "info"
    writer.close()


@pytest.mark.parametrize("abuse", ABUSE, ids=lambda abuse: repr(abuse[:40]))
async def test_what_is_no_event_is_answered_with_an_error(server: RunningServer, abuse: bytes) -> None:
    assert "error" in await provoke(server, abuse)
    await describe(server)


@pytest.mark.timeout(300)
async def test_ten_thousand_odd_inputs_leave_the_front_as_it_was(server: RunningServer) -> None:
    rng = random.Random(7)
    front = psutil.Process(server.process.pid)
    for _ in range(20):
        await asyncio.gather(*(provoke(server, odd_event(rng)) for _ in range(25)))
    await asyncio.sleep(3.0)
    memory, files = front.memory_info().rss, front.num_fds()
    for _ in range(380):
        await asyncio.gather(*(provoke(server, odd_event(rng)) for _ in range(25)))
        await describe(server)
    await asyncio.sleep(3.0)
    assert front.num_fds() <= files
    assert front.memory_info().rss - memory < 8 * 2**20


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
