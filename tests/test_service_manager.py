"""sd_notify, with a real datagram socket in the service manager's place."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import WAIT_S
from wyoming_superwhisper.service_manager import ServiceManager


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(WAIT_S)
        yield manager


def test_each_step_is_told(systemd: socket.socket) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": systemd.getsockname()})
    manager.ready("starting")
    manager.status("two\nlines")
    manager.reloading()
    manager.stopping()
    said = [systemd.recv(1000).decode() for _ in range(4)]
    assert said[0] == "READY=1\nSTATUS=starting"
    assert said[1] == "STATUS=two lines"
    assert said[2].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert int(said[2].partition("USEC=")[2]) > 0
    assert said[3] == "STOPPING=1\nSTATUS=stopping"


def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0superwhisper-test-{os.getpid()}")
        manager.settimeout(WAIT_S)
        ServiceManager({"NOTIFY_SOCKET": f"@superwhisper-test-{os.getpid()}"}).ready()
        assert manager.recv(100) == b"READY=1"


async def test_the_watchdog_sees_the_loop_turn_twice_as_often_as_it_asks(systemd: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "100000", "WATCHDOG_PID": str(os.getpid())}
    alive = asyncio.create_task(ServiceManager(environment).keep_alive())
    began = asyncio.get_running_loop().time()
    for _ in range(4):
        assert await asyncio.to_thread(systemd.recv, 100) == b"WATCHDOG=1"
    assert asyncio.get_running_loop().time() - began >= 0.15
    alive.cancel()


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": "100", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"NOTIFY_SOCKET": "/no/such/place"}],
)
async def test_where_nobody_asks_or_listens_nothing_happens(environment: dict[str, str]) -> None:
    manager = ServiceManager(environment)
    manager.ready()
    await asyncio.wait_for(manager.keep_alive(), WAIT_S)
