"""Standard input and output as a client's two ends (stdio://)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import sys
import threading
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class Ends:
    """What a client sends, and where to write to it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    written: threading.Thread | None
    """Ends when all that was written is out, where a thread does that."""


async def open_stdio(limit_bytes: int) -> Ends | None:
    """The two ends; None: they were closed before we were started. Raises OSError.

    Standard output is for events alone from then on: whatever else prints goes to standard error.
    """
    if sys.stdin is None or sys.stdout is None:
        return None
    return await open_ends(sys.stdin.buffer, _claim_stdout(), limit_bytes)


async def open_ends(source: BinaryIO, sink: BinaryIO, limit_bytes: int) -> Ends:
    """Any two files as a client's ends. Files are read and written by threads, since asyncio takes only pipes."""
    pipe_in, _ = _pipe_from(source)
    pipe_out, written = _pipe_to(sink)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit_bytes)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe_in)
    transport, protocol = await loop.connect_write_pipe(lambda: asyncio.streams.FlowControlMixin(loop=loop), pipe_out)
    return Ends(reader, asyncio.StreamWriter(transport, protocol, None, loop), written)


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
