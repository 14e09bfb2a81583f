"""The button: Enter on the terminal, or SIGUSR1, starts a turn or ends the one that is going on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from types import TracebackType
from typing import Self


class Button:
    """Can be pressed while the context is open."""

    def __init__(self) -> None:
        self.on_terminal = False
        """Whether Enter is listened to."""
        self._pressed = asyncio.Event()

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError, AttributeError):  # Windows
            loop.add_signal_handler(signal.SIGUSR1, self.press)
        if _terminal_is_ours():
            with contextlib.suppress(NotImplementedError, OSError):
                loop.add_reader(sys.stdin.fileno(), self._read_line)
                self.on_terminal = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError, AttributeError):
            loop.remove_signal_handler(signal.SIGUSR1)
        self._leave_terminal()

    def press(self) -> None:
        """Press it."""
        self._pressed.set()

    async def pressed(self) -> None:
        """Return when it is pressed next, or was since the last time."""
        await self._pressed.wait()
        self._pressed.clear()

    def forget(self) -> None:
        """Forget that it was pressed."""
        self._pressed.clear()

    def _read_line(self) -> None:
        try:
            line = os.read(sys.stdin.fileno(), 4096)
        except OSError:
            line = b""
        if not line:  # the terminal is gone, or Ctrl-D
            self._leave_terminal()
            return
        self.press()

    def _leave_terminal(self) -> None:
        if self.on_terminal:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.on_terminal = False


def _terminal_is_ours() -> bool:
    """Whether standard input is a terminal and this process may read from it (it is not in the background)."""
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (AttributeError, OSError, ValueError):
        return False
