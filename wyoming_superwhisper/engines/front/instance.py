"""One process of a worker: spawned, loaded, spoken to over a socket, ended. Why and when is `supervisor`'s business."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wyoming.event import Event

from wyoming_superwhisper import wire
from wyoming_superwhisper.engines import worker
from wyoming_superwhisper.engines.front.jobs import Job
from wyoming_superwhisper.errors import EngineUnavailable, ModelError, SuperwhisperError

CLOSE_S = 2.0
"""Time a process has to end by itself when it is closed."""
CONNECT_S = 60.0
"""Time it has to connect back where it can't inherit a socket."""

BASE_ENVIRONMENT = {
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    "CUDA_VISIBLE_DEVICES": "",  # no card, unless the caller names one
    "OMP_WAIT_POLICY": "passive",  # threads that wait must not spin: the other engines need the cores
    "GOMP_SPINCOUNT": "0",
    "OPENBLAS_NUM_THREADS": "1",  # what is computed with numpy is too small to be shared out
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and how."""

    engine: str
    """As the registry names it."""
    configuration: Mapping[str, Any]
    """JSON for the engine."""
    environment: Mapping[str, str]
    """Added to ours (CUDA_VISIBLE_DEVICES, thread counts)."""
    log: Mapping[str, str]
    """`level` and `format`."""
    nice: int
    python: str
    loopback: bool
    """Have it connect back rather than inherit a socket."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a process says of itself once it has loaded its engine."""

    capacity: int = 0
    """Calls that it takes at a time."""
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    memory_bytes: int = 0
    """Resident memory after loading."""


class LoadFailed(Exception):
    """A process could not be started, or its engine not be loaded."""

    def __init__(self, error: SuperwhisperError) -> None:
        """`error`: `ModelError` for what the owner must mend, else `EngineUnavailable` or what forbade the load."""
        super().__init__(error)
        self.error = error


@dataclass(eq=False)
class Instance:
    """A process that was started, until it has ended."""

    process: asyncio.subprocess.Process
    reader: wire.EventReader
    writer: asyncio.StreamWriter
    generation: int = 0
    """Set when it begins to serve."""
    loaded: bool = False
    running: dict[int, Job] = field(default_factory=dict)
    """The calls in it."""
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it has been replaced and its last call has left it."""
    serving: asyncio.Task[None] | None = None

    @classmethod
    async def spawn(cls, program: Program) -> Instance:
        """Start a process and connect to it. Raises `LoadFailed`."""
        try:
            return await (_spawn_on_loopback(program) if program.loopback else _spawn_on_socket_pair(program))
        except OSError as error:
            raise LoadFailed(EngineUnavailable(f"its process could not be started: {error}")) from error

    @property
    def pid(self) -> int:
        return self.process.pid

    async def load(self, program: Program, within_s: float) -> Hello:
        """Have it load its engine. Raises `LoadFailed`, and TypeError, ValueError for what is not JSON."""
        self.send("configure", {"engine": dict(program.configuration), "log": dict(program.log), "nice": program.nice})
        try:
            async with asyncio.timeout(within_s):
                answer = await self.reader.read()
        except TimeoutError:
            raise LoadFailed(EngineUnavailable(f"it took longer than {within_s:g} s to load")) from None
        except (OSError, SuperwhisperError):
            answer = None
        if answer is None:
            raise LoadFailed(EngineUnavailable(f"it died while it loaded ({await self.exit_status()})"))
        if answer.type != "hello":
            kind = ModelError if answer.data["code"] == worker.MODEL_ERROR else EngineUnavailable
            raise LoadFailed(kind(answer.data["text"]))
        self.loaded = True
        return Hello(answer.data["capacity"], answer.data["capabilities"], answer.data["memory_bytes"])

    def send(self, kind: str, data: Mapping[str, Any], payload: bytes = b"") -> None:
        """Without waiting: what is on its way is bounded by the worker's capacity. A loss is noticed by the reader."""
        if self.writer.transport.is_closing():
            return
        self.writer.write(wire.encode(Event(kind, dict(data), payload)))
        if payload:
            self.writer.write(payload)

    def kill(self) -> None:
        """End it now."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    def leave(self) -> None:
        """Let it end by itself, as it does at the end of its stream, if it has come so far as to read it."""
        if not self.loaded:
            self.kill()  # nothing to lose, and while Python starts nobody there sees the end of the stream
        self.writer.close()

    async def end(self, *, patient: bool) -> None:
        """Wait for its end, not for long, and leave none behind. `patient`: it was told to leave."""
        self.writer.close()
        try:
            if patient:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CLOSE_S):
                        await self.process.wait()
        finally:
            self.kill()
            await self.process.wait()

    async def exit_status(self) -> str:
        """How it ended, in words."""
        try:
            async with asyncio.timeout(CLOSE_S):
                status = await self.process.wait()
        except TimeoutError:
            return "still running"
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"


async def _spawn_on_socket_pair(program: Program) -> Instance:
    ours, theirs = socket.socketpair()
    try:
        reader, writer = await asyncio.open_connection(sock=ours)
    except BaseException:
        ours.close()
        theirs.close()
        raise
    try:
        process = await _start(program, ["--fd", str(theirs.fileno())], pass_fds=[theirs.fileno()])
    except BaseException:
        writer.close()
        raise
    finally:
        theirs.close()  # else the end of the process would not be the end of the stream
    return Instance(process, wire.EventReader(reader, worker.LIMITS), writer)


async def _spawn_on_loopback(program: Program) -> Instance:
    """Where sockets can't be inherited the worker connects back and proves who it is by a secret."""
    secret = secrets.token_hex(32)
    connected: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    connected = asyncio.get_running_loop().create_future()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            async with asyncio.timeout(CONNECT_S):
                said = await reader.readexactly(len(secret))
            if secrets.compare_digest(said, secret.encode("ascii")) and not connected.done():
                connected.set_result((reader, writer))
                return
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        process = await _start(program, ["--port", str(port)], environment={worker.SECRET_VARIABLE: secret})
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await connected
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
    finally:
        server.close()
    return Instance(process, wire.EventReader(reader, worker.LIMITS), writer)


async def _start(
    program: Program, end: Sequence[str], *, pass_fds: Sequence[int] = (), environment: Mapping[str, str] | None = None
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(program.python, "-m", worker.__name__, program.engine, *end, "--parent", str(os.getpid())),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=sys.__stderr__.fileno() if sys.__stderr__ is not None else asyncio.subprocess.DEVNULL,
        pass_fds=pass_fds,
        env={**_inherited_environment(), **BASE_ENVIRONMENT, **program.environment, **(environment or {})},
        start_new_session=True,  # Ctrl-C in a terminal goes to the front alone, also while Python still starts
    )


def _inherited_environment() -> dict[str, str]:
    """The front's environment without its own settings: a token has no business in a worker."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WYOMING_SUPERWHISPER_")}
