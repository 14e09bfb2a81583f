"""Tells systemd how the server is (sd_notify): ready, stopping, reloading, and that its loop still turns.

A few lines over a datagram socket whose address is in NOTIFY_SOCKET; where there is none, nothing is sent.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Mapping

logger = logging.getLogger(__name__)

ADDRESS = "NOTIFY_SOCKET"
WATCHDOG = "WATCHDOG_USEC"
WATCHDOG_PROCESS = "WATCHDOG_PID"


class ServiceManager:
    """The manager that started us, if any."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get(ADDRESS, "")
        self._watchdog_s = _watchdog_s(environment)

    def ready(self, status: str = "") -> None:
        """The server listens, or has reloaded its settings."""
        self.send("READY=1", *_status(status))

    def status(self, text: str) -> None:
        """What `systemctl status` shows."""
        self.send(*_status(text))

    def reloading(self) -> None:
        """The settings are being read again; `ready` ends it."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The server has begun to stop."""
        self.send("STOPPING=1", *_status("stopping"))

    async def keep_alive(self) -> None:
        """Show the watchdog that the loop turns, twice as often as it asks; returns at once where it doesn't."""
        while self._watchdog_s:
            self.send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)

    def send(self, *lines: str) -> None:
        """Send lines of the protocol. A manager that can't be reached is no reason to fail."""
        if not self._address:
            return
        # "@" stands for the zero byte of Linux's abstract addresses.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
                datagrams.setblocking(False)
                datagrams.sendto("\n".join(lines).encode(), address)
        except (OSError, AttributeError) as error:  # AttributeError: a system without such sockets
            logger.debug("the service manager could not be told: %s", error)


def _status(text: str) -> tuple[str, ...]:
    return (f"STATUS={' '.join(text.split())}",) if text else ()


def _watchdog_s(environment: Mapping[str, str]) -> float:
    """Seconds between signs of life that the watchdog allows; 0: none watches this process."""
    if environment.get(WATCHDOG_PROCESS, str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return max(0.0, int(environment.get(WATCHDOG, "0")) / 1e6)
    except ValueError:
        return 0.0
