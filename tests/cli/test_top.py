"""`top`, and `health --http`: against a page of figures that is a real listener's."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus

import pytest
from wyoming.error import Error

from tests.cli.conftest import Command
from tests.operations.test_metrics import filled
from tests.scripted_server import Peer, Script, ScriptedServer
from wyoming_superwhisper.access import AllowList
from wyoming_superwhisper.cli.top import screen
from wyoming_superwhisper.figures import parse
from wyoming_superwhisper.operations.http_listener import Answer, HttpListener


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    """A page of one of everything, served in a thread, of a server that lives and isn't ready."""
    metrics, health = filled(), json.dumps({"state": "degraded", "engines": {"whisper": "failed: no files"}}).encode()
    routes = {
        "/metrics": lambda headers: Answer(*metrics.page(headers.get("accept", ""))),
        "/health/live": lambda headers: Answer(health),
        "/health/ready": lambda headers: Answer(health, status=HTTPStatus.SERVICE_UNAVAILABLE),
    }
    listening, stop, found = threading.Event(), threading.Event(), list[int]()

    async def serve() -> None:
        listener = HttpListener("127.0.0.1:0", routes, AllowList(("loopback",)))
        await listener.start()
        found.append(listener.port)
        listening.set()
        await asyncio.to_thread(stop.wait)
        await listener.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    listening.wait(10)
    yield f"127.0.0.1:{found[0]}"
    stop.set()
    thread.join(10)


def test_top_shows_everything_once(command: Command, page: str) -> None:
    outcome = command("top", "--metrics", page, "--once")
    assert outcome.status == 0, outcome.err
    words = {line.split()[0]: line.split() for line in outcome.out.splitlines() if line.strip()}
    assert words["asr"][1] == "2"
    assert words["asr"][3:5] == ["0", "1"], "one of them left, none failed"
    assert words["whisper"][1:4] == ["failed", "3", "9"]
    assert "degraded" in outcome.out
    assert "guesses kept: asr 50 % of 2" in outcome.out
    assert "language model: 25 tokens a second, 50 in all" in outcome.out or "tokens a second" in outcome.out
    assert "card: 50 % busy, 61 °C" in outcome.out
    assert "errors told: bad-event 1" in outcome.out
    assert "\x1b" not in outcome.out


def test_quantiles_and_rates_are_those_of_the_time_between_two_looks() -> None:
    before, after = filled(), filled()
    for _ in range(9):
        after.request("asr", "ok", 0.45, "")
    earlier, now = parse(before.page()[0].decode()), parse(after.page()[0].decode())
    new = now.since(earlier)
    assert new.total("requests_total", service="asr") == 9
    median = new.quantile("request_seconds", 0.5, service="asr")
    assert median is not None
    assert 0.4 < median <= 0.5
    assert new.quantile("request_seconds", 0.5, service="tts") is None
    lines = screen("here", now, new, 60.0, {"state": "ready"}, colour=True)
    assert "\x1b[32mready\x1b[0m" in lines[0]
    assert [line.split()[1:3] for line in lines if line.startswith("asr")] == [["11", "9.0"]]


def test_health_over_http_has_an_exit_status(command: Command, page: str) -> None:
    alive = command("health", "--http", page)
    assert (alive.status, alive.out) == (0, f"{page} is degraded: whisper failed: no files\n")
    assert command("health", "--http", page, "--ready").status == 1
    assert command("health", "--http", "127.0.0.1:1").status == 1
    assert command("top", "--metrics", "nowhere").status == 2
    gone = command("top", "--metrics", "127.0.0.1:1", "--once")
    assert gone.status == 1
    assert "does not answer" in gone.err


def test_an_address_that_is_no_page_is_one_line(command: Command, scripted: Callable[[Script], ScriptedServer]) -> None:
    async def wyoming(peer: Peer) -> None:
        await peer.reader.readline()
        await peer.send(Error("The header line of an event is not JSON."))

    other = command("top", "--metrics", scripted(wyoming).uri.removeprefix("tcp://"), "--once")
    assert (other.status, len(other.err.splitlines())) == (1, 1)
    assert "no page of this server" in other.err
