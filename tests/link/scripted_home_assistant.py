"""A Home Assistant that says what a test tells it to: for what a real one never does, and for logic without one."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web

from tests.waiting import WAIT_S

TOKEN = "a-token-that-opens"
Answer = Callable[[dict[str, Any]], Any]


class Peer:
    """Answers the commands of the link out of `answers`, and intents out of `intent`; remembers what was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.version = "2026.11.0"
        self.attempts = 0
        self.commands: list[str] = []
        self.intents: list[dict[str, Any]] = []
        self.states: dict[str, Any] = {}
        self.answers: dict[str, Any] = {
            "config/entity_registry/list": [],
            "config/device_registry/list": [],
            "config/area_registry/list": [],
            "config/floor_registry/list": [],
            "config/entity_registry/get_entries": lambda message: {},
            "homeassistant/expose_entity/list": {"exposed_entities": {}},
            "homeassistant/expose_new_entities/get": {"expose_new": True},
            "get_config": {"state": "RUNNING"},
        }
        self.intent: Callable[[dict[str, Any]], web.Response] = lambda body: web.json_response(done())
        self.greeting: Any = {"type": "auth_required", "ha_version": self.version}
        self._asked = asyncio.Condition()
        self._sockets: set[web.WebSocketResponse] = set()
        self._listening: dict[web.WebSocketResponse, dict[str, int]] = {}

    def light(self, name: str, entity_id: str = "light.one", area: str | None = None, **record: Any) -> None:
        """Put an exposed light into the registry."""
        self.answers["config/entity_registry/list"].append(
            {
                "entity_id": entity_id,
                "name": None,
                "original_name": name,
                "area_id": area,
                "device_id": None,
                "options": {"conversation": {"should_expose": True}},
                **record,
            }
        )
        self.states[entity_id] = {"s": "off", "a": {"friendly_name": name}}

    async def tell(self, kind: str, event: Any) -> None:
        """Send an event to every connection that listens to this kind."""
        for socket, numbers in list(self._listening.items()):
            if kind in numbers:
                await socket.send_json({"id": numbers[kind], "type": "event", "event": event})

    async def say(self, text: str) -> None:
        """Send this, whatever it is, on every connection."""
        for socket in list(self._sockets):
            await socket.send_str(text)

    async def until_asked(self, kind: str, times: int = 1) -> None:
        """Wait until this command has come so often."""
        async with self._asked:
            await self._asked.wait_for(lambda: self.commands.count(kind) >= times)

    async def hang_up(self) -> None:
        """Close every connection."""
        for socket in list(self._sockets):
            await socket.close()

    async def handle_intent(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        self.intents.append(body := await request.json())
        return self.intent(body)

    async def serve_socket(self, request: web.Request) -> web.WebSocketResponse:
        self.attempts += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            if self.greeting is not None:
                await socket.send_json(self.greeting)
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._answer(socket, json.loads(message.data))
        finally:
            self._sockets.discard(socket)
            self._listening.pop(socket, None)
        return socket

    async def _answer(self, socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
        kind, number = message["type"], message.get("id")
        if kind == "auth":
            good = message["access_token"] == TOKEN
            await socket.send_json({"type": "auth_ok" if good else "auth_invalid", "ha_version": self.version})
            return
        self.commands.append(kind)
        async with self._asked:
            self._asked.notify_all()
        if kind in ("subscribe_events", "subscribe_entities"):
            await socket.send_json({"id": number, "type": "result", "success": True, "result": None})
            self._listening.setdefault(socket, {})[message.get("event_type", kind)] = number
            if kind == "subscribe_entities":
                await socket.send_json({"id": number, "type": "event", "event": {"a": self.states}})
            return
        answer = self.answers.get(kind)
        answer = answer(message) if callable(answer) else answer
        if isinstance(answer, Exception):
            error = {"code": str(answer), "message": "Unauthorized"}
            await socket.send_json({"id": number, "type": "result", "success": False, "error": error})
        else:
            await socket.send_json({"id": number, "type": "result", "success": True, "result": answer})


def done(*success: str, speech: str = "", **fields: Any) -> dict[str, Any]:
    """What a newer Home Assistant answers when it has executed an intent for these entities."""
    return {
        "speech": {"plain": {"speech": speech}} if speech else {},
        "response_type": "action_done",
        "data": {"success": [{"type": "entity", "name": one, "id": one} for one in success], "failed": []},
        **fields,
    }


@asynccontextmanager
async def scripted(port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """A peer that listens on loopback."""
    peer = Peer()
    routes = (web.get("/api/websocket", peer.serve_socket), web.post("/api/intent/handle", peer.handle_intent))
    async with listening(*routes, port=port, tls=tls) as peer.url:
        try:
            yield peer
        finally:
            await peer.hang_up()


@asynccontextmanager
async def listening(*routes: web.RouteDef, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A web server on loopback; its address."""
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
        yield f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await asyncio.wait_for(runner.cleanup(), WAIT_S)
