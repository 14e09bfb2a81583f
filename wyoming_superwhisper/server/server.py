"""Listens for clients on TCP, a Unix socket or standard input and output, and gives each a `Connection`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import ssl
import struct
from typing import Any

from wyoming_superwhisper.access import AllowList, server_tls
from wyoming_superwhisper.config.settings import LimitSettings, ServerSettings
from wyoming_superwhisper.errors import Busy, SettingsError
from wyoming_superwhisper.logs import Throttled
from wyoming_superwhisper.observer import NOBODY, Observer
from wyoming_superwhisper.pipeline.services import Services
from wyoming_superwhisper.server.address import parse_uri, why_not
from wyoming_superwhisper.server.connection import Connection
from wyoming_superwhisper.server.hang_ups import HangUps
from wyoming_superwhisper.server.listener import Listener, remove_socket
from wyoming_superwhisper.server.places import Client, Places
from wyoming_superwhisper.server.stdio import open_stdio
from wyoming_superwhisper.wire import LINGER_S, EventReader, EventWriter, Limits, refuse

logger = logging.getLogger(__name__)

MOST_REFUSED = 16
"""Peers that are told at the same time that there is no room; more are cut off without a word."""
READ_BYTES = 16_384
"""Taken from a socket at once. While nobody reads, asyncio keeps three times as much for each peer."""
EVENT_VALUES = 10_000
"""Values that an event of a client may hold; the longest lists that a request may carry are far below."""
END_S = 3.0
"""Time for the last connections to be told that the server stops."""
_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""A peer that vanished is noticed after two minutes at the latest, also while nothing is sent."""
_MOST_MS = 2_147_483_647
"""The longest time that the kernel can be told."""


class Server:
    """The listener and its open connections."""

    def __init__(
        self, settings: ServerSettings, limits: LimitSettings, services: Services, observer: Observer = NOBODY
    ) -> None:
        """Raises `SettingsError` for a wrong URI, allow-list or certificate."""
        self.address = parse_uri(settings.uri)
        self._allow = AllowList(settings.allow)
        self._tls_settings = settings.tls
        self._tls = server_tls(settings.tls) if self.address.scheme == "tcp" else None
        self._plain = AllowList(settings.tls.plain)
        self._limits = limits
        self._wire_limits = _wire_limits(limits)
        self._services = services
        self._observer = observer
        self._places = Places(limits)
        self._listener = Listener(self._accepted, self._places.make_room)
        self._hang_ups = HangUps()
        self._refused: set[asyncio.Task[None]] = set()  # on their way out, with an error
        self._throttled = Throttled(logger)
        self._stopping = False
        self._stdio: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)  # of clients that have no address
        self.ended: asyncio.Event = asyncio.Event()
        """Set when standard input has ended (stdio:// only)."""

    async def start(self) -> None:
        """Listen. Raises `SettingsError` for a port in use or an address that isn't ours."""
        try:
            if self.address.scheme == "tcp":
                await self._listener.listen_tcp(self.address.host, self.address.port)
            elif self.address.scheme == "unix":
                await self._listener.listen_unix(self.address.path)
            else:
                self._stdio = asyncio.create_task(self._serve_stdio(), name="stdio")
        except OSError as error:
            raise SettingsError(why_not(self.address, self._services.settings.server.uri, error)) from error

    async def stop(self, grace_s: float, hurry: asyncio.Event) -> None:
        """Stop listening; let busy connections finish for `grace_s`, or until `hurry`; tell the rest `stopping`."""
        self._listener.close()
        if self.address.scheme == "unix":
            with contextlib.suppress(OSError):
                remove_socket(self.address.path)
        self._stop_connections(now=hurry.is_set())
        await self._wait_for_connections(grace_s, hurry)
        self._stop_connections(now=True)
        await self._wait_for_connections(END_S)
        if self._stdio is not None:
            self._stdio.cancel()
        self._hang_ups.close()

    def use(self, settings: ServerSettings, limits: LimitSettings) -> None:
        """Let in whom these settings allow, and hold new connections to these limits. Raises `SettingsError`.

        Certificates are read again, so that they can be renewed while it runs.
        """
        allow = AllowList(settings.allow)
        if self._tls is not None:
            self._tls = server_tls(self._tls_settings)
        self._allow = allow
        self._limits = limits
        self._wire_limits = _wire_limits(limits)
        self._places.use(limits)

    @property
    def uri(self) -> str:
        """Where it listens, with the port that was chosen for 0."""
        if self.address.scheme != "tcp":
            return self._services.settings.server.uri
        return f"{'tcp' if self._tls is None else 'tls'}://{self.address.host}:{self.port}"

    @property
    def port(self) -> int:
        """The TCP port that is listened on; 0 where there is none."""
        return self._listener.port

    @property
    def connections(self) -> int:
        """Clients that are connected."""
        return len(self._places.clients)

    async def serve_inside(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        """Serve a client within this process, until it leaves or this is cancelled."""
        await self._serve_unasked(reader, writer, name, patient=False)

    # --- accepting

    def _accepted(self, accepted: socket.socket, name: Any) -> bool:
        """Look at who calls, before anything is read or written: a stranger gets nothing at all.

        Returns whether there is a crowd: those that were ended for others need a moment to go.
        """
        address, peer = self._peer(name)
        if address and not self._allow.allows(address):
            self._observer.connection("not-allowed")
            self._log("stranger", "[%s] refused: its network is not in server.allow", peer)
            _reset(accepted)
        elif self._places.have_room_for(address):
            client = Client(address, peer)
            task = asyncio.create_task(self._serve(client, accepted), name=f"client {peer}")
            self._places.clients[client] = task
            task.add_done_callback(lambda task: self._ended(client, task))
        else:
            self._observer.connection("busy")
            self._log("full", "[%s] refused: too many connections", peer)
            self._turn_away(accepted)
        return self._places.crowded

    def _turn_away(self, accepted: socket.socket) -> None:
        """Say why, to a few at a time: more would cost the very files that there are too few of."""
        if len(self._refused) >= MOST_REFUSED or self._tls is not None:
            _reset(accepted)
            return
        task = asyncio.create_task(self._refuse(accepted), name="refuse")
        self._refused.add(task)
        task.add_done_callback(self._refused.discard)

    async def _refuse(self, accepted: socket.socket) -> None:
        reader, writer = await self._streams(accepted, None)
        writer.on_sent = lambda event: self._observer.error(Busy.code)
        await refuse(reader, writer, Busy("The server has too many connections; try again later."), most_s=LINGER_S)

    async def _serve(self, client: Client, accepted: socket.socket) -> None:
        try:
            _keep_alive(accepted, self._limits.write_s)
            reader, writer = await self._streams(accepted, self._tls_for(client.address))
        except (OSError, ssl.SSLError) as error:
            self._observer.connection("handshake")
            self._throttled.log(logging.INFO, "tls", "[%s] refused: %s", client.peer, _why(error))
            accepted.close()
            return
        event_reader = EventReader(
            reader, self._wire_limits, event_s=self._limits.event_s, budget=self._services.budget
        )
        connection = Connection(
            event_reader, writer, self._services, client.peer, hang_ups=self._hang_ups, observer=self._observer
        )
        await self._run(client, connection)

    def _tls_for(self, address: str) -> ssl.SSLContext | None:
        """Encryption for this peer; none for the networks that are named as unable to do it."""
        return None if self._tls is None or self._plain.allows(address) else self._tls

    async def _streams(
        self, accepted: socket.socket, tls: ssl.SSLContext | None
    ) -> tuple[asyncio.StreamReader, EventWriter]:
        """Raises OSError (`ssl.SSLError` too) where the peer is gone or its handshake fails."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=READ_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        handshake_s = None if tls is None else self._limits.event_s
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, accepted, ssl=tls, ssl_handshake_timeout=handshake_s
        )
        # asyncio's own 256 KiB would come on top of the reader's limit.
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]
        return reader, EventWriter(
            asyncio.StreamWriter(transport, protocol, reader, loop), write_s=self._limits.write_s
        )

    async def _run(self, client: Client, connection: Connection) -> None:
        client.connection = connection
        if self._stopping:
            connection.stop(now=True)
        logger.debug("[%s] connected", client.peer)
        self._observer.connection("accepted")
        self._observer.connection_opened()
        try:
            await connection.run()
        finally:
            self._observer.connection_closed()
        logger.debug("[%s] disconnected", client.peer)

    def _ended(self, client: Client, task: asyncio.Task[None]) -> None:
        del self._places.clients[client]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("[%s] connection failed", client.peer, exc_info=error)

    def _stop_connections(self, *, now: bool) -> None:
        self._stopping = True
        for client, task in list(self._places.clients.items()):
            if client.connection is None:
                task.cancel()  # still shaking hands
            else:
                client.connection.stop(now=now)

    def _log(self, kind: str, message: str, peer: str) -> None:
        self._throttled.log(logging.WARNING, kind, message, peer)

    async def _serve_stdio(self) -> None:
        try:
            if (ends := await open_stdio(self._limits.header_bytes)) is not None:
                await self._serve_unasked(ends.reader, ends.writer, "stdio", patient=True)
                if ends.written is not None:
                    await asyncio.to_thread(ends.written.join, END_S)
        except OSError as error:
            logger.error("standard input and output can't be used: %s", error.strerror or error)
        finally:
            self.ended.set()

    async def _serve_unasked(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str, *, patient: bool
    ) -> None:
        """Serve a client that no limit of connections holds for. `patient`: see `Connection`."""
        connection = Connection(
            EventReader(reader, self._wire_limits),
            EventWriter(writer),
            self._services,
            name,
            patient=patient,
            observer=self._observer,
        )
        client = Client("", name)
        task = asyncio.current_task()
        assert task is not None
        self._places.clients[client] = task
        try:
            await self._run(client, connection)
        finally:
            del self._places.clients[client]

    async def _wait_for_connections(self, timeout_s: float, hurry: asyncio.Event | None = None) -> None:
        tasks = (*self._places.clients.values(), *self._refused)
        if not tasks:
            return
        ended = asyncio.gather(*tasks, return_exceptions=True)
        hurried = asyncio.create_task(hurry.wait() if hurry else asyncio.sleep(timeout_s), name="hurry")
        try:
            await asyncio.wait((ended, hurried), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurried.cancel()

    def _peer(self, name: Any) -> tuple[str, str]:
        if self.address.scheme == "unix":
            return "", f"unix:{next(self._numbers)}"
        host, port = name[:2]
        return host, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _wire_limits(limits: LimitSettings) -> Limits:
    return Limits(limits.header_bytes, limits.data_bytes, limits.payload_bytes, values=EVENT_VALUES)


def _keep_alive(connection: socket.socket, write_s: float) -> None:
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A peer that takes nothing is cut in the kernel too, where what waits is less than a write of ours. Ours comes
    # first: it resets the connection, while the kernel forgets it without telling the peer.
    options = {**_KEEP_ALIVE, "TCP_USER_TIMEOUT": min(int(2 * write_s * 1000), _MOST_MS)}
    for name, value in options.items():
        if hasattr(socket, name):  # not on every system
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _reset(accepted: socket.socket) -> None:
    """Close such that nothing is sent and nothing of it stays in the kernel."""
    with contextlib.suppress(OSError):
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    accepted.close()


def _why(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or str(error) or type(error).__name__
