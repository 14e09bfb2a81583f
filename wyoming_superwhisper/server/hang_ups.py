"""Notices that a peer has stopped sending while nothing is read from it.

A connection whose queue is full reads nothing, and the end of a stream lies behind all that was sent before it: a
client that left would be found out only once all it had asked for is done. The kernel knows at once. Its word is
had by epoll (Linux); elsewhere the end is noticed when there is room again.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class HangUps:
    """Watches sockets for the end of what their peers send. One for a server."""

    def __init__(self) -> None:
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextmanager
    def watching(self, descriptor: int, callback: Callable[[], None]) -> Iterator[None]:
        """While the context is open, call back once if the peer of this socket stops sending."""
        if self._epoll is None or descriptor < 0:
            yield
            return
        self._listen(self._epoll)
        self._callbacks[descriptor] = callback
        self._epoll.register(descriptor, select.EPOLLRDHUP | select.EPOLLONESHOT)
        try:
            yield
        finally:
            del self._callbacks[descriptor]
            try:
                self._epoll.unregister(descriptor)
            except OSError:
                pass  # closed meanwhile, which unregisters it

    def close(self) -> None:
        """Stop watching."""
        if self._epoll is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _listen(self, epoll: select.epoll) -> None:
        if self._loop is None:  # an epoll can itself be waited for
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(epoll.fileno(), self._take)

    def _take(self) -> None:
        assert self._epoll is not None
        for descriptor, _ in self._epoll.poll(0):
            if (callback := self._callbacks.get(descriptor)) is not None:
                callback()
