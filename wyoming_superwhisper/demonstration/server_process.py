"""The server that is shown, as a process of its own, and the port that it takes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any

from wyoming_superwhisper import client, lifeline
from wyoming_superwhisper.demonstration.folder import folder
from wyoming_superwhisper.errors import Internal, SettingsError, SuperwhisperError

DEFAULT_PORT = 10300
READY_S = 180.0
"""Time that the server may take to be ready; the first start on a slow machine reads a lot from the disk."""
STOP_S = 10.0
"""Time that the server may take to stop before it is killed."""


class ServerProcess:
    """`serve --settings demo` as a process of its own, stopped at the end of the context."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.uri = f"tcp://127.0.0.1:{port}"
        self.log = folder() / "server.log"
        self.show_log = False
        """Whether what the server logs is shown as it comes."""
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ServerProcess:
        command = ["-m", "wyoming_superwhisper", "serve", "--settings", "demo", "--uri", f"tcp://0.0.0.0:{self.port}"]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # A group of its own: Ctrl-C reaches it through us, once.
            process_group=None if sys.platform == "win32" else 0,
            preexec_fn=None if sys.platform == "win32" else partial(_end_with, os.getpid()),
        )
        self._reader = asyncio.create_task(self._read_log(self._process), name="server log")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._reader is not None
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
        await self._reader

    async def wait_ready(self) -> tuple[float, float]:
        """Seconds until it listened, and until its models were loaded. Raises `SuperwhisperError` if it ended."""
        began = time.monotonic()
        await self._unless_ended(client.wait_listening(self.uri, READY_S))
        listening_s = time.monotonic() - began
        await self._unless_ended(client.wait_ready(self.uri, READY_S))
        return listening_s, time.monotonic() - began

    async def ended(self) -> int:
        """Wait for the server to end by itself, which it shouldn't; the exit status."""
        assert self._process is not None
        status = await self._process.wait()
        print(f"The server has ended with status {status}; its log: {self.log}", file=sys.stderr)
        return 1

    async def _unless_ended(self, waiting: Coroutine[Any, Any, Any]) -> None:
        assert self._process is not None
        ready = asyncio.create_task(waiting, name="wait for the server")
        ended = asyncio.create_task(self._process.wait(), name="server ended")
        try:
            await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                raise self._failure(ended.result())
            ready.result()
        finally:
            ready.cancel()
            ended.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)

    def _failure(self, status: int) -> SuperwhisperError:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if status == 2 and lines:  # its last line is the sentence that says what is wrong
            return SettingsError(lines[-1])
        return Internal(f"the server has ended with status {status}:\n" + "\n".join(lines[-10:]))

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with self.log.open("wb") as file:
            # By pieces, not lines: a line may be longer than a stream's limit.
            while piece := await process.stdout.read(65_536):
                file.write(piece)
                file.flush()
                if self.show_log:
                    print(piece.decode(errors="replace"), end="", file=sys.stderr)


def _end_with(parent: int) -> None:
    """In the new process: stop when the demonstration ends, also where that was killed."""
    if not lifeline.end_with(parent, signal.SIGTERM):
        os._exit(0)


def choose_port(wanted: int | None) -> int:
    """The port that was asked for, else the usual one, else any that is free. Raises `SettingsError`."""
    if wanted is not None:
        if not _is_free(wanted):
            raise SettingsError(f"Port {wanted} is taken by another program; choose another with --port.")
        return wanted
    if _is_free(DEFAULT_PORT):
        return DEFAULT_PORT
    print(f"Port {DEFAULT_PORT} is taken by another program; this server takes another one.")
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True
