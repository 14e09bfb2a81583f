"""Accepting connections: on every address, on a bad day too."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import WAIT_S, until
from wyoming_superwhisper.server.listener import Listener

_IPV6 = Path("/proc/net/if_inet6")
HAS_IPV6 = _IPV6.exists() and bool(_IPV6.read_text(encoding="ascii"))


class Doorman:
    """Takes whoever comes."""

    def __init__(self) -> None:
        self.taken: list[socket.socket] = []
        self.exhausted = 0
        self.came = asyncio.Event()
        self.full = asyncio.Event()

    def accepted(self, accepted: socket.socket, address: Any) -> bool:
        self.taken.append(accepted)
        self.came.set()
        return False

    def make_room(self) -> None:
        self.exhausted += 1
        self.full.set()

    def leave(self) -> None:
        for one in self.taken:
            one.close()


@contextmanager
def no_more_files() -> Iterator[None]:
    """Not one more file can be opened by this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = os.dup(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, hard))
    opened = [highest]
    try:
        while True:
            try:
                opened.append(os.dup(0))
            except OSError as error:
                assert error.errno == errno.EMFILE
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in opened:
            os.close(descriptor)


async def test_where_no_file_is_left_it_waits_says_so_once_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    doorman = Doorman()
    listener = Listener(doorman.accepted, doorman.make_room)
    await listener.listen_tcp("127.0.0.1", 0)
    with socket.socket() as caller, caplog.at_level(logging.INFO):
        caller.setblocking(False)
        began = time.monotonic()
        with no_more_files():
            await asyncio.get_running_loop().sock_connect(caller, ("127.0.0.1", listener.port))
            await asyncio.wait_for(doorman.full.wait(), WAIT_S)
            await until(lambda: doorman.exhausted >= 3)
            assert not doorman.taken
            waited_s = time.monotonic() - began
        await asyncio.wait_for(doorman.came.wait(), WAIT_S)
    assert doorman.exhausted <= 2 + 2 * (waited_s + 0.5), "twice a second, and no spinning"
    assert len([one for one in caplog.records if "No connection can be accepted" in one.message]) == 1
    listener.close()
    doorman.leave()


async def test_it_listens_on_every_address_of_a_name_with_one_port() -> None:
    doorman = Doorman()
    listener = Listener(doorman.accepted, doorman.make_room)
    await listener.listen_tcp("", 0)
    for address in ("127.0.0.1", "::1") if HAS_IPV6 else ("127.0.0.1",):
        doorman.came.clear()
        _, writer = await asyncio.open_connection(address, listener.port)
        await asyncio.wait_for(doorman.came.wait(), WAIT_S)
        writer.close()
    port = listener.port
    listener.close()
    doorman.leave()
    await asyncio.sleep(0)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_port_in_use_is_an_error_and_leaves_nothing_open() -> None:
    doorman = Doorman()
    first, second = (Listener(doorman.accepted, doorman.make_room) for _ in range(2))
    await first.listen_tcp("127.0.0.1", 0)
    with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        await second.listen_tcp("127.0.0.1", first.port)
    assert second.port == 0
    first.close()
