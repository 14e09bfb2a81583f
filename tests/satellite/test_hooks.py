"""Everybody who can be told what happens: commands, an event service, the web, lights on a fake bus."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest

from tests.scripted_server import Peer, scripted_server
from tests.waiting import WAIT_S, until
from wyoming_superwhisper.config.satellite_settings import HookSettings, LedSettings
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.satellite.event_service import EventService
from wyoming_superwhisper.satellite.hooks import Hooks
from wyoming_superwhisper.satellite.lights import COLOURS, Pins, Strip, frame, make_lights
from wyoming_superwhisper.satellite.news import Item, News
from wyoming_superwhisper.satellite.web import Web


async def test_a_command_gets_the_text_and_what_belongs_to_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = HookSettings(commands={"error": f'cat > {out}; echo "|$SATELLITE_EVENT|$SATELLITE_CODE" >> {out}'})
    async with Hooks(settings) as hooks:
        hooks(Item("error", "Schäden", {"code": "busy"}))
        hooks(Item("played"))
    assert out.read_text() == "Schäden|error|busy\n"


async def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    hooks = Hooks(HookSettings(commands={"played": f"sleep 1000 & echo $! > {pid}; wait"}, limit_s=2.0))
    async with asyncio.timeout(WAIT_S), hooks:
        hooks(Item("played"))
    child = int(pid.read_text())
    await until(lambda: not _lives(child))


def _lives(process: int) -> bool:
    try:
        return "Z (zombie)" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


def test_an_event_that_there_is_none_of_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="no event 'awoken'"):
        Hooks(HookSettings(commands={"awoken": "true"}))


async def test_an_event_service_is_told_in_the_protocols_words_also_when_it_comes_late(unused_tcp_port: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until("timer-finished")

    async with EventService(f"tcp://127.0.0.1:{unused_tcp_port}") as service:
        service(Item("awake", "okay_nabu"))
        service(Item("transcript", "Bonjour"))
        await asyncio.sleep(0.1)
        async with scripted_server(script, unused_tcp_port) as server:
            service(Item("reply", "Salut"))
            service(Item("timer-finished", "", {"id": "a"}))
            await until(lambda: server.peers and "timer-finished" in server.peers[0].types())
            assert server.peers[0].types() == ["detection", "transcript", "synthesize", "timer-finished"]
            assert server.peers[0].received[0].data["name"] == "okay_nabu"


async def http(port: int, request: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.replace("\n", "\r\n").encode())
    return reader, writer


async def test_the_web_presses_the_button_tells_the_state_and_streams_events() -> None:
    pressed: list[str] = []
    actions = {"/trigger": lambda: pressed.append("trigger")}
    async with Web("127.0.0.1:0", ["loopback"], lambda: "idle", actions) as web:
        news = News()
        news.subscribe(web)
        for request, status in (
            ("GET /state HTTP/1.1\n\n", "200"), ("POST /trigger HTTP/1.1\n\n", "202"),
            ("GET /trigger HTTP/1.1\n\n", "405"), ("GET /nothing HTTP/1.1\n\n", "404"),
            ("POST /trigger HTTP/1.1\nHost: pi:1\nOrigin: http://evil.example\n\n", "403"), ("nonsense\n\n", "404"),
            (f"GET /{'x' * 9000} HTTP/1.1\n\n", "400"),
        ):  # fmt: skip
            reader, writer = await http(web.port, request)
            assert (await asyncio.wait_for(reader.read(), WAIT_S)).split()[1].decode() == status, request
            writer.close()
        assert pressed == ["trigger"]
        key = base64.b64encode(bytes(16)).decode()
        upgrade = f"GET /events HTTP/1.1\nUpgrade: websocket\nSec-WebSocket-Key: {key}\n\n"
        reader, writer = await http(web.port, upgrade)
        assert b"101" in await reader.readuntil(b"\r\n\r\n")

        async def event() -> dict[str, object]:
            size = (await reader.readexactly(2))[1]
            text = json.loads(await reader.readexactly(size))
            assert isinstance(text, dict)
            return text

        assert await event() == {"event": "state", "text": "idle"}
        news.tell("transcript", "Bonjour")
        assert await event() == {"event": "transcript", "text": "Bonjour"}
        writer.write(bytes((0x89, 0x82, 1, 2, 3, 4, ord("h") ^ 1, ord("i") ^ 2)))
        assert await reader.readexactly(4) == b"\x8a\x02hi"
        writer.write(bytes((0x88, 0x80, 0, 0, 0, 0)))
        assert await reader.readexactly(2) == b"\x88\x00"
        assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
        writer.close()


class FakeBus:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.sent.append(data)


def test_a_strip_shows_each_state_in_its_colour_once() -> None:
    bus = FakeBus()
    strip = Strip(bus, 3, 8)
    for kind in ("listening", "listening", "transcript", "thinking"):
        strip(Item(kind))
    red, green, blue = COLOURS["listening"]
    assert bus.sent[0][:4] == bytes(4)
    assert bus.sent[0][4:16] == bytes((0xE8, blue, green, red)) * 3
    assert len(bus.sent) == 2
    assert bus.sent[1] == frame(COLOURS["thinking"], 3, 8)


def test_on_pins_the_light_of_the_state_is_on_and_no_other() -> None:
    class Light:
        lit = False

        def on(self) -> None:
            self.lit = True

        def off(self) -> None:
            self.lit = False

    lights = {"listening": Light(), "speaking": Light()}
    pins = Pins(lights)
    for kind, lit in (("listening", [True, False]), ("transcript", [True, False]), ("speaking", [False, True])):
        pins(Item(kind))
        assert [light.lit for light in lights.values()] == lit
    pins(Item("idle"))
    assert not any(light.lit for light in lights.values())


def test_a_bus_that_is_not_there_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="spidev9"):
        make_lights(LedSettings(driver="apa102", spi="/dev/spidev9.9"))
    assert make_lights(LedSettings()) is None
