"""Listens for clients on TCP, a Unix socket or standard input and output, and gives each a `Connection`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import logging
import os
import resource
import socket
import stat
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlsplit

from wyoming_superwhisper.access import AllowList
from wyoming_superwhisper.config.settings import LimitSettings, ServerSettings
from wyoming_superwhisper.connection import Connection
from wyoming_superwhisper.errors import Busy, SettingsError
from wyoming_superwhisper.pipeline.services import Services
from wyoming_superwhisper.wire import EventReader, EventWriter, Limits, refuse

logger = logging.getLogger(__name__)

DEFAULT_PORT = 10300
SPARE_FILES = 64
"""Open files kept free for everything that is no client's connection."""
BACKLOG = 128
END_S = 3.0
"""Time for the last connections to be told that the server stops."""
_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""A peer that vanished is noticed after two minutes at the latest, also while nothing is sent."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, from a URI."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""


def parse_uri(uri: str) -> Address:
    """tcp://HOST[:PORT], unix://PATH or stdio://. Raises `SettingsError`."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise SettingsError(f"'{uri}' is no address: the port must be a number up to 65535.") from None
    if parts.scheme == "tcp":
        return Address("tcp", host=parts.hostname or "0.0.0.0", port=DEFAULT_PORT if port is None else port)
    if parts.scheme == "unix" and (parts.netloc or parts.path):
        return Address("unix", path=parts.netloc + parts.path)
    if parts.scheme == "stdio":
        return Address("stdio")
    raise SettingsError(f"'{uri}' is no address to listen on; write tcp://HOST:PORT, unix://PATH or stdio://.")


class Server:
    """The listener and its open connections."""

    def __init__(self, settings: ServerSettings, limits: LimitSettings, services: Services) -> None:
        """Raises `SettingsError` for a wrong URI or allow-list."""
        self.address = parse_uri(settings.uri)
        self._allow = AllowList(settings.allow)
        self._limits = limits
        self._wire_limits = Limits(limits.header_bytes, limits.data_bytes, limits.payload_bytes)
        self._services = services
        self._listener: asyncio.Server | None = None
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._per_address: Counter[str] = Counter()
        self._most_connections = min(limits.connections, _file_limit() - SPARE_FILES)
        self._stdio: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)  # of clients that have no address
        self.ended: asyncio.Event = asyncio.Event()
        """Set when standard input has ended (stdio:// only)."""

    async def start(self) -> None:
        """Listen. Raises `SettingsError` for a port in use or an address that isn't ours."""
        try:
            if self.address.scheme == "tcp":
                await self._listen_tcp()
            elif self.address.scheme == "unix":
                await self._listen_unix()
            else:
                self._stdio = asyncio.create_task(self._serve_stdio(), name="stdio")
        except OSError as error:
            raise SettingsError(self._why_not(error)) from error

    async def stop(self, grace_s: float, hurry: asyncio.Event) -> None:
        """Stop listening; let busy connections finish for `grace_s`, or until `hurry`; tell the rest `stopping`."""
        if self._listener is not None:
            self._listener.close()
        if self.address.scheme == "unix":
            _remove_socket(self.address.path)
        for connection in list(self._connections):
            connection.stop(now=hurry.is_set())
        await self._wait_for_connections(grace_s, hurry)
        for connection in list(self._connections):
            connection.stop(now=True)
        await self._wait_for_connections(END_S)
        if self._stdio is not None:
            self._stdio.cancel()

    @property
    def uri(self) -> str:
        """Where it listens, with the port that was chosen for 0."""
        if self.address.scheme != "tcp":
            return self._services.settings.server.uri
        return f"tcp://{self.address.host}:{self.port}"

    @property
    def port(self) -> int:
        """The TCP port that is listened on; 0 where there is none."""
        if self._listener is None or self.address.scheme != "tcp":
            return 0
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    async def _listen_tcp(self) -> None:
        hosts = None if self.address.host in ("", "*") else self.address.host
        self._listener = await asyncio.start_server(
            self._accept, hosts, self.address.port, backlog=BACKLOG, limit=self._limits.header_bytes
        )

    async def _listen_unix(self) -> None:
        if not _remove_socket(self.address.path):  # asyncio would take it from under the other server
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        self._listener = await asyncio.start_unix_server(
            self._accept, self.address.path, backlog=BACKLOG, limit=self._limits.header_bytes
        )

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address, peer = self._peer(writer)
        event_writer = EventWriter(writer, write_s=self._limits.write_s)
        if address and not self._allow.allows(address):
            logger.warning("[%s] refused: its network is not in server.allow", peer)
            writer.transport.abort()
            return
        if self._is_full(address):
            logger.warning("[%s] refused: too many connections", peer)
            await refuse(reader, event_writer, Busy("The server has too many connections; try again later."))
            return
        _keep_alive(writer)
        event_reader = EventReader(reader, self._wire_limits, event_s=self._limits.event_s)
        connection = Connection(event_reader, event_writer, self._services, peer)
        await self._run(connection, address)

    async def _run(self, connection: Connection, address: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[connection] = task
        self._per_address[address] += 1
        logger.debug("[%s] connected", connection.peer)
        try:
            await connection.run()
        finally:
            del self._connections[connection]
            self._per_address[address] -= 1
            if not self._per_address[address]:
                del self._per_address[address]
            logger.debug("[%s] disconnected", connection.peer)

    def _is_full(self, address: str) -> bool:
        if len(self._connections) >= self._most_connections and not self._evict_idle():
            return True
        loopback = not address or address.startswith("127.") or address in ("::1", "::ffff:127.0.0.1")
        return not loopback and self._per_address[address] >= self._limits.connections_per_address

    def _evict_idle(self) -> bool:
        """End the connection that has been idle longest; one with work in flight never."""
        idle = [connection for connection in self._connections if not (connection.busy or connection.ending)]
        if not idle:
            return False
        min(idle, key=lambda connection: connection.last_event_s).stop(now=True)
        return True

    async def _serve_stdio(self) -> None:
        try:
            if sys.stdin is not None and sys.stdout is not None:  # None: closed before we were started
                await self._serve_pipes(sys.stdin.buffer, _claim_stdout())
        except OSError as error:
            logger.error("standard input and output can't be used: %s", error.strerror or error)
        finally:
            self.ended.set()

    async def _serve_pipes(self, source: BinaryIO, sink: BinaryIO) -> None:
        """Serve one client over these; files are read and written by threads, since asyncio takes only pipes."""
        pipe_in, _ = _pipe_from(source)
        pipe_out, written = _pipe_to(sink)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=self._limits.header_bytes)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe_in)
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.streams.FlowControlMixin(loop=loop), pipe_out
        )
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        connection = Connection(
            EventReader(reader, self._wire_limits),
            EventWriter(writer),
            self._services,
            "stdio",
            patient=True,
        )
        await self._run(connection, "")
        if written is not None:
            await asyncio.to_thread(written.join, END_S)

    async def _wait_for_connections(self, timeout_s: float, hurry: asyncio.Event | None = None) -> None:
        if not self._connections:
            return
        ended = asyncio.gather(*self._connections.values(), return_exceptions=True)
        hurried = asyncio.create_task(hurry.wait() if hurry else asyncio.sleep(timeout_s), name="hurry")
        try:
            await asyncio.wait((ended, hurried), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurried.cancel()

    def _peer(self, writer: asyncio.StreamWriter) -> tuple[str, str]:
        if self.address.scheme == "unix":
            return "", f"unix:{next(self._numbers)}"
        host, port = (writer.get_extra_info("peername") or ("", 0))[:2]
        return host, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _why_not(self, error: OSError) -> str:
        uri = self._services.settings.server.uri
        if error.errno == errno.EADDRINUSE and self.address.scheme == "unix":
            return f"{uri} is in use by another program: stop it, or choose another address with --uri."
        if error.errno == errno.EADDRINUSE:
            return (
                f"{uri} is in use by another program: stop it, or choose another address with --uri"
                f" (tcp://0.0.0.0:{self.address.port + 1})."
            )
        if error.errno == errno.EACCES:
            return f"{uri} may not be opened by this user: choose a port above 1023, or a folder you may write to."
        return f"{uri} can't be listened on: {error.strerror or error}. Choose an address of this machine with --uri."


def _claim_stdout() -> BinaryIO:
    """Standard output for events alone: whatever else prints goes to standard error from here on."""
    ours = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return ours


def _pipe_from(source: BinaryIO) -> tuple[BinaryIO, threading.Thread | None]:
    """The source, or a pipe that a thread fills from it."""
    if _is_pipe(source):
        return source, None
    reading, writing = os.pipe()
    return os.fdopen(reading, "rb"), _pump(source, os.fdopen(writing, "wb"))


def _pipe_to(sink: BinaryIO) -> tuple[BinaryIO, threading.Thread | None]:
    """The sink, or a pipe that a thread empties into it, and ends when the pipe has."""
    if _is_pipe(sink):
        return sink, None
    reading, writing = os.pipe()
    return os.fdopen(writing, "wb"), _pump(os.fdopen(reading, "rb"), sink)


def _is_pipe(stream: BinaryIO) -> bool:
    mode = os.fstat(stream.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stream.isatty()


def _pump(source: BinaryIO, sink: BinaryIO) -> threading.Thread:
    def copy() -> None:
        with contextlib.suppress(OSError, ValueError), sink:
            while chunk := os.read(source.fileno(), 65_536):
                sink.write(chunk)
                sink.flush()

    thread = threading.Thread(target=copy, name="pump", daemon=True)
    thread.start()
    return thread


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):  # not on every system
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _remove_socket(path: str) -> bool:
    """Remove a socket file that nobody listens on any more; whether the place is free."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
    except FileNotFoundError:
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            os.unlink(path)
            return True
    return False


def _file_limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft
