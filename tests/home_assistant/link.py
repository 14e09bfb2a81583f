"""What a browser or a companion app does with Home Assistant: its WebSocket and HTTP API."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.waiting import WAIT_S

CALL_S = WAIT_S


class Refused(Exception):
    """Home Assistant answered a command with an error."""


class Subscription:
    """Events that come for one command, in order."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def next(self, timeout_s: float = CALL_S) -> dict[str, Any]:
        """The next event. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            return await self.events.get()


class Link:
    """A WebSocket connection, and HTTP requests with the same token. Commands may overlap."""

    def __init__(self, http: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.http = http
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._subscriptions: dict[int, Subscription] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, token: str) -> AsyncIterator[Link]:
        """Connect and log in."""
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession(url, headers=headers) as http,
            http.ws_connect("/api/websocket", max_msg_size=0) as socket,
        ):
            assert (await socket.receive_json())["type"] == "auth_required"
            await socket.send_json({"type": "auth", "access_token": token})
            answer = await socket.receive_json()
            assert answer["type"] == "auth_ok", answer
            link = cls(http, socket)
            reading = asyncio.create_task(link._read(), name="link")
            try:
                yield link
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    # --- commands

    async def call(self, kind: str, **fields: Any) -> Any:
        """Send a command and wait for its result. Raises `Refused`, `TimeoutError`."""
        number, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        await self._socket.send_json({"id": number, "type": kind, **fields})
        async with asyncio.timeout(CALL_S):
            return await answer

    async def subscribe(self, kind: str, **fields: Any) -> Subscription:
        """Send a command whose answer is a row of events."""
        number, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._subscriptions[number] = Subscription(number)
        await self._socket.send_json({"id": number, "type": kind, **fields})
        async with asyncio.timeout(CALL_S):
            await answer
        return self._subscriptions[number]

    async def send_bytes(self, data: bytes) -> None:
        """A binary message (audio of a pipeline)."""
        await self._socket.send_bytes(data)

    async def service(
        self, domain: str, service: str, target: Any = None, *, response: bool = False, **data: Any
    ) -> Any:
        """Call a service; its response where it has one."""
        fields = {"domain": domain, "service": service, "service_data": data}
        if target is not None:
            fields["target"] = {"entity_id": target}
        if response:
            fields["return_response"] = True
        return (await self.call("call_service", **fields)).get("response")

    async def states(self) -> dict[str, dict[str, Any]]:
        """State and attributes of every entity, by entity id."""
        found = await self.call("get_states")
        return {one["entity_id"]: {"state": one["state"], "attributes": one["attributes"]} for one in found}

    async def until_running(self, timeout_s: float = CALL_S) -> None:
        """Wait until Home Assistant has started."""
        started = await self.subscribe("subscribe_events", event_type="homeassistant_started")
        if (await self.call("get_config"))["state"] != "RUNNING":
            await started.next(timeout_s)

    # --- HTTP

    async def get(self, path: str) -> bytes:
        """The body of an answer. Raises `aiohttp.ClientResponseError`."""
        async with self.http.get(path) as answer:
            answer.raise_for_status()
            return await answer.read()

    async def post(self, path: str, body: Any = None) -> Any:
        """The answer's JSON. Raises `aiohttp.ClientResponseError`."""
        async with self.http.post(path, json=body) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def delete(self, path: str) -> Any:
        """The answer's JSON. Raises `aiohttp.ClientResponseError`."""
        async with self.http.delete(path) as answer:
            answer.raise_for_status()
            return await answer.json()

    # ---

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._take(message.json())
        finally:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(ConnectionError("Home Assistant closed the connection."))
                    with contextlib.suppress(ConnectionError):
                        answer.exception()

    def _take(self, message: dict[str, Any]) -> None:
        number = message.get("id", 0)
        if message["type"] == "event":
            self._subscriptions[number].events.put_nowait(message["event"])
        elif message["type"] == "result" and (answer := self._waiting.pop(number, None)) and not answer.done():
            if message["success"]:
                answer.set_result(message["result"])
            else:
                answer.set_exception(Refused(message["error"]))
