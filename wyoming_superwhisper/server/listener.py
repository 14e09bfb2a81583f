"""Listening sockets, and what accepts from them.

asyncio's own acceptor writes a traceback for each place in the backlog once no file can be opened any more, megabytes
within seconds, and makes a transport before anybody is asked whether the peer may connect. This one hands over bare
sockets, a few in each turn of the loop, and waits where none is to be had.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import socket
import stat
from collections.abc import Callable
from typing import Any

from wyoming_superwhisper.logs import Throttled

logger = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections that the kernel keeps waiting; one more is dropped, and its client tries again a second later."""
AT_ONCE = 16
"""Connections taken in one turn of the loop: many at once must not starve those that are there already."""
RETRY_S = 0.5
"""Pause where no connection can be taken, in seconds."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Accepted = Callable[[socket.socket, Any], bool]
"""Takes a connection and its peer's address; whether there is a crowd, so that the next one is taken later.
Must not block, and must close the socket in the end."""


class Listener:
    """Accepts connections until it is closed."""

    def __init__(self, accepted: Accepted, exhausted: Callable[[], object]) -> None:
        """`exhausted` is called when no more files can be opened: it may close something."""
        self._accepted = accepted
        self._exhausted = exhausted
        self._sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._throttled = Throttled(logger, burst=1)

    @property
    def port(self) -> int:
        """The TCP port; 0 where there is none."""
        if not self._sockets or self._sockets[0].family == socket.AF_UNIX:
            return 0
        port: int = self._sockets[0].getsockname()[1]
        return port

    async def listen_tcp(self, host: str, port: int) -> None:
        """Listen on every address of this host; "" or "*": of the machine. Raises OSError."""
        loop = asyncio.get_running_loop()
        name = None if host in ("", "*") else host
        found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        failed: OSError | None = None
        for family, kind, protocol, _, address in dict.fromkeys(found):
            if port == 0 and self.port:
                address = (address[0], self.port, *address[2:])
            try:
                self._bind(socket.socket(family, kind, protocol), address)
            except OSError as error:
                failed = error
                if error.errno == errno.EADDRINUSE:
                    break
        if failed is not None and (failed.errno == errno.EADDRINUSE or not self._sockets):
            self.close()
            raise failed  # a machine without IPv6 listens on IPv4 alone
        self._start()

    async def listen_unix(self, path: str) -> None:
        """Listen on a socket file. Raises OSError, also where another program listens there."""
        if not remove_socket(path):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        self._bind(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path)
        self._start()

    def close(self) -> None:
        """Accept nobody any more."""
        for task in self._tasks:
            task.cancel()
        for one in self._sockets:
            asyncio.get_running_loop().remove_reader(one)  # before its number can be another's
            one.close()
        self._tasks.clear()
        self._sockets.clear()

    def _bind(self, listening: socket.socket, address: Any) -> None:
        try:
            listening.setblocking(False)
            if listening.family != socket.AF_UNIX:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if listening.family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
        self._sockets.append(listening)

    def _start(self) -> None:
        self._tasks = [asyncio.create_task(self._accept_from(one), name="accept") for one in self._sockets]

    async def _accept_from(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for number in itertools.count(1):
            try:
                accepted, address = await loop.sock_accept(listening)
            except OSError as error:
                await self._take_breath(error)
                continue
            if self._accepted(accepted, address) or number % AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _take_breath(self, error: OSError) -> None:
        if error.errno not in _EXHAUSTED:  # the peer has left before it was accepted
            logger.debug("accept: %s", error)
            await asyncio.sleep(0)
            return
        self._throttled.log(logging.ERROR, "exhausted", "No connection can be accepted: %s", error.strerror or error)
        self._exhausted()
        await asyncio.sleep(RETRY_S)


def remove_socket(path: str) -> bool:
    """Remove a socket file that nobody listens on any more; whether the place is free.

    Raises OSError, for a file of another kind too: that one is left alone.
    """
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    except FileNotFoundError:
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            os.unlink(path)
            return True
    return False
