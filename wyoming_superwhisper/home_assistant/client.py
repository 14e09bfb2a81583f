"""Home Assistant's HTTP and WebSocket API, as far as it is used here: every answer bounded in size and time.

aiohttp takes half a second to import, and only who names a Home Assistant needs it: it is imported, in a thread, when
the first connection is made.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from wyoming_superwhisper.errors import system_reason
from wyoming_superwhisper.home_assistant.errors import (
    ConnectionEnded,
    HomeAssistantError,
    RequestFailed,
    RightsMissing,
    TokenRefused,
    Unreachable,
)

if TYPE_CHECKING:
    import aiohttp

CONNECT_S = 5.0
"""Time for a connection, and for each step of logging in."""
ANSWER_S = 15.0
"""Time for an answer over the WebSocket; that of a large home takes a small machine a second."""
REQUEST_S = 10.0
"""Time for an answer over HTTP: somebody waits for it in a room."""
HEARTBEAT_S = 20.0
"""A ping this often; without an answer within half of it the connection counts as lost."""
CLOSE_S = 1.0
"""Time for the other side to agree to an end."""
MESSAGE_BYTES = 16 * 2**20
"""Largest message over the WebSocket: the registry of 20,000 entities."""
ANSWER_BYTES = 2**20
"""Largest answer over HTTP."""

OnEvent = Callable[[Mapping[str, Any]], None]


class Client:
    """One Home Assistant. Nothing is opened before it is needed; `close` in the end."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close what is open. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """A WebSocket on which we are logged in. Raises `Unreachable`, `TokenRefused`."""
        session = await self._open_session()
        try:
            async with asyncio.timeout(CONNECT_S):
                socket = await session.ws_connect(
                    f"{self.url}/api/websocket",
                    heartbeat=HEARTBEAT_S,
                    max_msg_size=MESSAGE_BYTES,
                    timeout=_closing_timeout(),
                )
        except Exception as error:
            raise self._unreachable(error) from error
        try:
            connection = Connection(socket)
            await self._log_in(connection)
            reader = asyncio.create_task(connection.run(), name="home assistant reader")
            try:
                yield connection
            finally:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)
        finally:
            await socket.close()

    async def get(self, path: str) -> Any:
        """Ask over HTTP. Raises `HomeAssistantError`s."""
        return await self._request("GET", path, None)

    async def post(self, path: str, data: Mapping[str, Any]) -> Any:
        """Send over HTTP and give the answer. Raises `HomeAssistantError`s; `ConnectionEnded` leaves its fate open."""
        return await self._request("POST", path, data)

    async def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            aiohttp = await asyncio.to_thread(importlib.import_module, "aiohttp")
            if self._session is None:  # another task may have been quicker
                timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_connect=CONNECT_S)
                # A connection for each request: where it can't be made, nothing can have been done.
                connector = aiohttp.TCPConnector(force_close=True)
                self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        return self._session

    async def _log_in(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                hello = await connection.receive()
                if hello.get("type") != "auth_required":
                    raise Unreachable(f"{self.url} does not answer as Home Assistant does.")
                await connection.send({"type": "auth", "access_token": self._token})
                answer = await connection.receive()
        except (TimeoutError, ConnectionEnded) as error:
            raise Unreachable(f"Home Assistant at {self.url} broke off the login: {_reason(error)}.") from error
        if answer.get("type") != "auth_ok":
            raise TokenRefused(f"Home Assistant at {self.url} does not accept the token.")
        connection.version = str(answer.get("ha_version") or "")

    async def _request(self, method: str, path: str, data: Mapping[str, Any] | None) -> Any:
        session = await self._open_session()
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            async with asyncio.timeout(REQUEST_S):
                async with session.request(
                    method, f"{self.url}{path}", json=data, headers=headers, allow_redirects=False
                ) as response:
                    return self._answer(response.status, await _read(response))
        except HomeAssistantError:
            raise
        except Exception as error:  # whatever aiohttp raises; our own errors and cancellation have passed
            raise self._broken(error) from error

    def _answer(self, status: int, body: bytes) -> Any:
        if status == 401:
            raise TokenRefused(f"Home Assistant at {self.url} does not accept the token.")
        if status == 403:
            raise self._banned()
        if status not in (200, 201):
            raise RequestFailed(f"Home Assistant answered with status {status}: {_excerpt(body)}", str(status))
        return _parse(body)

    def _broken(self, error: Exception) -> HomeAssistantError:
        """Whether a request never got there, or nobody knows."""
        import aiohttp

        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL):
            return self._unreachable(error)
        return ConnectionEnded(f"Home Assistant at {self.url} did not answer: {_reason(error)}.")

    def _banned(self) -> TokenRefused:
        return TokenRefused(
            f"Home Assistant at {self.url} has banned this machine after wrong tokens: see ip_bans.yaml in its "
            "configuration folder."
        )

    def _unreachable(self, error: Exception) -> HomeAssistantError:
        if isinstance(error, Unreachable):
            return error
        import aiohttp

        if isinstance(error, aiohttp.WSServerHandshakeError):
            if error.status == 403:
                return self._banned()
            return Unreachable(f"{self.url} does not answer as Home Assistant does (status {error.status}).")
        return Unreachable(f"Home Assistant can't be reached at {self.url}: {_reason(error)}.")


class Connection:
    """A WebSocket to Home Assistant. `run` reads it; made by `Client.connect`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._next_id = 1
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._listeners: dict[int, OnEvent] = {}
        self.version = ""
        """Version of Home Assistant, as "2026.11.0"."""
        self.ended = asyncio.Event()
        """Set when the connection is over,"""
        self.on_end: Callable[[], None] = lambda: None
        """and this is called."""

    async def command(self, kind: str, **fields: Any) -> Any:
        """The result of a command. Raises `RequestFailed`, `RightsMissing`, `ConnectionEnded`."""
        return await self._call(self._take_id(), kind, fields)

    async def subscribe(self, listener: OnEvent, kind: str, **fields: Any) -> None:
        """Call the listener with every event of a subscription. Raises as `command`."""
        number = self._take_id()
        self._listeners[number] = listener  # before the answer: the first event may come right behind it
        await self._call(number, kind, fields)

    async def run(self) -> None:
        """Read until the connection ends; whoever waits for an answer then gets `ConnectionEnded`."""
        try:
            while True:
                self._take(await self.receive())
        except ConnectionEnded as error:
            self._end(error)
        finally:
            self._end(ConnectionEnded("The connection to Home Assistant was closed."))

    async def receive(self) -> Mapping[str, Any]:
        """The next message. Raises `ConnectionEnded`, also for one that is too large or no JSON object."""
        import aiohttp

        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise ConnectionEnded(f"The connection to Home Assistant ended ({message.type.name.lower()}).")
        data = _parse(message.data)
        if not isinstance(data, dict):
            raise ConnectionEnded("Home Assistant sent something that is no message.")
        return data

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message. Raises `ConnectionEnded`."""
        try:
            await self._socket.send_str(json.dumps(message))
        except Exception as error:  # aiohttp, OSError, or what some Python releases raise on a lost connection
            raise ConnectionEnded(f"The connection to Home Assistant ended: {_reason(error)}.") from error

    def _take_id(self) -> int:
        number = self._next_id
        self._next_id += 1
        return number

    async def _call(self, number: int, kind: str, fields: Mapping[str, Any]) -> Any:
        if self.ended.is_set():
            raise ConnectionEnded("The connection to Home Assistant is closed.")
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(ANSWER_S):
                await self.send({"id": number, "type": kind, **fields})
                return await answer
        except TimeoutError:
            raise ConnectionEnded(f"Home Assistant did not answer {kind} in time.") from None
        finally:
            del self._waiting[number]

    def _take(self, message: Mapping[str, Any]) -> None:
        number = message.get("id")
        if not isinstance(number, int):
            return
        if message.get("type") == "event" and isinstance(event := message.get("event"), dict):
            if listener := self._listeners.get(number):
                listener(event)
        elif message.get("type") == "result" and (answer := self._waiting.get(number)) and not answer.done():
            if message.get("success") is True:
                answer.set_result(message.get("result"))
            else:
                answer.set_exception(_failure(message.get("error")))

    def _end(self, error: ConnectionEnded) -> None:
        if not self.ended.is_set():
            self.ended.set()
            self.on_end()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)


def _closing_timeout() -> aiohttp.ClientWSTimeout:
    import aiohttp

    return aiohttp.ClientWSTimeout(ws_close=CLOSE_S)


def _failure(error: Any) -> HomeAssistantError:
    fields = error if isinstance(error, dict) else {}
    if fields.get("code") == "unauthorized":
        return RightsMissing("The token must be one of an administrator: others are not told what is exposed.")
    return RequestFailed(f"Home Assistant refused: {_excerpt(fields.get('message'))}.", str(fields.get("code") or ""))


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > ANSWER_BYTES:
            raise ConnectionEnded("Home Assistant's answer is too large.")
    return bytes(body)


def _parse(body: bytes | str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ConnectionEnded("Home Assistant's answer is no JSON.") from error


def _excerpt(text: Any) -> str:
    shown = text.decode(errors="replace") if isinstance(text, bytes) else str(text or "no reason given")
    return " ".join("".join(char if char.isprintable() else " " for char in shown).split())[:200]


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if refused := getattr(error, "certificate_error", None):
        return f"its certificate is not trusted here ({_excerpt(getattr(refused, 'verify_message', '') or refused)})"
    reason = getattr(error, "os_error", error)
    said = system_reason(reason) if isinstance(reason, OSError) else str(reason)
    return _excerpt(said or type(error).__name__).rstrip(".")
