"""The worker process: one engine, driven over a socket by the front process.

    python -m wyoming_superwhisper.engines.worker whisper|llama|piper|light --fd N

The frames are Wyoming events (`wire`), so nothing here needs pickle:

- front → worker: `configure` {engine, log, nice}, `call` {id, method, priority, data, credit, turn} with payload,
  `cancel` {id}, `credit` {id, n}, `promote` {id} (a guess has become a final), `log` {level, format};
- worker → front: `hello` {capacity, capabilities, pid, memory_bytes}, `load-failed` {code, text}, `part` {id, data}
  with payload, `done` {id, data} with payload, `fail` {id, code, text}, `leaving` {text} (it ends now, and why).

Every call ends in exactly one `done` or `fail`; a cancelled one in `fail` with the code `cancelled`, sent when the
engine can't be working on it any more. The main thread computes; the reading thread takes frames, sets cancel flags
and ends the process at once when the front is gone, whatever the main thread is in.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from wyoming.event import Event

from wyoming_superwhisper import lifeline, logs, wire
from wyoming_superwhisper.engines import faults, registry
from wyoming_superwhisper.engines.base import Engine, Priority
from wyoming_superwhisper.errors import Internal, ModelError, OutOfMemory, SuperwhisperError

logger = logging.getLogger("wyoming_superwhisper.engines.worker")  # __name__ is __main__ here

LIMITS = wire.Limits(header_bytes=65_536, data_bytes=64 * 2**20, payload_bytes=2**30, surrogates=True)
"""Both ends are ours: these only catch a fault before it takes all memory."""
CANCELLED = "cancelled"
"""Code of a `fail` that acknowledges a cancel."""
MODEL_ERROR = "model-error"
"""Code of a `load-failed` that the owner must mend: `errors.ModelError`."""
SECRET_VARIABLE = "WYOMING_SUPERWHISPER_WORKER_SECRET"
"""Environment variable with what a worker says first on a loopback connection."""


class Pipe:
    """The front's end of a blocking socket; `send` may be called from any thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._parser = wire.EventParser(LIMITS)
        self._sending = threading.Lock()

    def read(self) -> Event | None:
        """The next frame; None: the front is gone."""
        while (event := self._parser.next_event()) is None:
            try:
                chunk = self._socket.recv(4 * wire.CHUNK_BYTES)
            except OSError:
                return None
            if not chunk:
                return None
            self._parser.feed(chunk)
        return event

    def send(self, kind: str, data: Mapping[str, Any], payload: bytes = b"") -> None:
        """Send a frame. A front that is gone is the reading thread's business.

        Raises ValueError or TypeError for data that is not JSON; then nothing was sent.
        """
        event = Event(kind, dict(data), payload)
        head = wire.encode(event)
        with self._sending, contextlib.suppress(OSError):
            self._socket.sendall(head)
            if payload:
                self._socket.sendall(payload)


class WorkerCall:
    """One request, as the engine sees it (`engines.base.Call`)."""

    def __init__(self, pipe: Pipe, event: Event) -> None:
        fields = event.data
        self.id: int = fields["id"]
        self.method: str = fields["method"]
        self.data: Mapping[str, Any] = fields.get("data") or {}
        self.payload = event.payload or b""
        self.priority = Priority(fields.get("priority", Priority.FINAL))
        self.turn: str = fields.get("turn", "")
        self.cancelled_before_step = False
        """Whether the engine's last step began after the cancel: then it can't be working on this any more."""
        self._pipe = pipe
        self._credit: int = fields.get("credit", 1)
        self._changed = threading.Condition()
        self._cancelled = False
        self._finished = False

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    @property
    def finished(self) -> bool:
        return self._finished

    def part(self, data: Mapping[str, Any], payload: bytes = b"") -> None:
        with self._changed:
            while not self._credit and not self._cancelled:
                self._changed.wait()
            self._credit -= 1
        if not self._cancelled and not self._finished:
            self._pipe.send("part", {"id": self.id, "data": dict(data)}, payload)

    def done(self, data: Mapping[str, Any] | None = None, payload: bytes = b"") -> None:
        if self._cancelled:
            self.acknowledge_cancel()
        elif not self._finished:
            self._pipe.send("done", {"id": self.id, "data": dict(data or {})}, payload)
            self._finished = True

    def fail(self, error: Exception) -> None:
        if self._cancelled:
            self.acknowledge_cancel()
        elif not self._finished:
            code, text = describe(error)
            self._pipe.send("fail", {"id": self.id, "code": code, "text": text})
            self._finished = True

    def acknowledge_cancel(self) -> None:
        """Tell the front that the cancelled call takes no place any more."""
        if not self._finished:
            self._pipe.send("fail", {"id": self.id, "code": CANCELLED, "text": "cancelled"})
            self._finished = True

    def cancel(self) -> None:
        """From the reading thread: no answer is wanted any more."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()

    def add_credit(self, parts: int) -> None:
        """From the reading thread: the front has room for more parts."""
        with self._changed:
            self._credit += parts
            self._changed.notify_all()


class Worker:
    """Runs one engine for one front."""

    def __init__(self, pipe: Pipe, name: str) -> None:
        self._pipe = pipe
        self._name = name
        self._known: dict[
            int, WorkerCall
        ] = {}  # all that are not finished; the reading thread adds, the main one removes
        self._admitted: list[WorkerCall] = []  # those the engine has; main thread only
        self._arrived: queue.SimpleQueue[WorkerCall] = queue.SimpleQueue()

    def run(self) -> NoReturn:
        """Load the engine and serve until the front goes; never returns."""
        configuration = self._pipe.read()
        if configuration is None:
            _leave(0)
        logs.configure(**configuration.data.get("log") or {})
        _be_nice(configuration.data.get("nice", 0))
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        engine = self._load(configuration.data.get("engine") or {})
        while True:
            self._turn(engine)

    def _load(self, configuration: Mapping[str, Any]) -> Engine:
        started = time.monotonic()
        try:
            engine = registry.create(self._name, configuration)
            capabilities = engine.load()
            hello = {"capacity": engine.capacity, "capabilities": dict(capabilities), "pid": os.getpid()}
            self._pipe.send("hello", {**hello, "memory_bytes": memory_bytes()})
        except Exception as error:  # whatever a library raises while it loads is said to the front
            code, text = describe(error)
            self._pipe.send("load-failed", {"code": code, "text": text})
            _leave(1)
        logger.debug("%s is loaded after %.1f s", self._name, time.monotonic() - started)
        return engine

    def _turn(self, engine: Engine) -> None:
        """Admit what has come, let the engine do one piece of work, and clear up."""
        self._admit_arrived(engine)
        for call in self._admitted:
            call.cancelled_before_step = call.cancelled
        logs.turn.set("+".join(dict.fromkeys(call.turn for call in self._admitted if call.turn)))
        try:
            working = engine.step()
        except Exception as error:  # an engine's fault costs the calls that were in it, nothing else
            self._take_fault(error)
            working = False
        self._sweep(working)

    def _take_fault(self, error: Exception) -> None:
        """Fail what the engine was working on; where the card is gone nothing here will work again: end."""
        if faults.is_card_lost(error):
            logger.error("The graphics card does not answer any more: %s", faults.first_line(error))
            text = f"The graphics card of the {self._name} engine does not answer any more."
            self._pipe.send("leaving", {"text": text})
            _leave(1)
        out_of_memory = faults.is_out_of_memory(error)
        for call in self._admitted:
            call.fail(error)
            call.cancel()  # the engine may have it still: now it drops it
        if out_of_memory:
            del error  # with its traceback it holds what was being worked on
            faults.free_memory()

    def _admit_arrived(self, engine: Engine) -> None:
        """Blocks while the engine has nothing to do."""
        with contextlib.suppress(queue.Empty):
            while True:
                call = self._arrived.get(block=not self._admitted)
                if call.cancelled:
                    call.acknowledge_cancel()
                    del self._known[call.id]
                    continue
                self._admitted.append(call)
                try:
                    engine.admit(call)
                except Exception as error:  # costs this call only
                    call.fail(error)

    def _sweep(self, working: bool) -> None:
        """Forget what is finished, and say so of cancelled calls that have had a whole step to notice."""
        for call in self._admitted:
            if call.cancelled_before_step:
                call.acknowledge_cancel()
            elif not working and not call.cancelled:
                call.fail(Internal("The engine ended its work without an answer."))
            if call.finished:
                del self._known[call.id]
        self._admitted = [call for call in self._admitted if not call.finished]

    def _read(self) -> None:
        """The reading thread: ends the process when the front is gone, even inside a native call."""
        status = 1
        try:
            while (event := self._pipe.read()) is not None:
                self._take(event)
            status = 0
        except Exception:
            logger.exception("The front sent a frame that makes no sense")
        finally:
            _leave(status)

    def _take(self, event: Event) -> None:
        if event.type == "call":
            call = WorkerCall(self._pipe, event)
            self._known[call.id] = call
            self._arrived.put(call)
        elif event.type == "log":
            logs.configure(**event.data)
        elif (known := self._known.get(event.data["id"])) is None:
            return  # finished while the frame was on its way
        elif event.type == "cancel":
            known.cancel()
        elif event.type == "credit":
            known.add_credit(event.data["n"])
        elif event.type == "promote":
            known.priority = Priority.FINAL


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the process; never returns."""
    _ignore_signals()
    options = _parse(arguments)
    _die_with(options.parent)
    os.dup2(2, 1)  # the front's standard output may be a Wyoming connection (stdio://)
    Worker(Pipe(_connect(options)), options.name).run()


def describe(error: Exception) -> tuple[str, str]:
    """Code and sentence of an error for the front; one that is not ours is logged with its traceback."""
    if isinstance(error, ModelError):
        return MODEL_ERROR, str(error)
    if isinstance(error, SuperwhisperError):
        return error.code, str(error)
    if faults.is_out_of_memory(error):
        return OutOfMemory.code, f"The engine ran out of memory ({faults.first_line(error) or type(error).__name__})."
    logger.error("Fault in the engine", exc_info=error)
    return Internal.code, f"The engine had a fault: {type(error).__name__}: {str(error)[:300]}"


def memory_bytes() -> int:
    """Resident memory of this process; 0 where the system doesn't say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="wyoming_superwhisper.engines.worker", description="Run one engine. Started by the server, not by hand."
    )
    parser.add_argument("name", help="whisper, llama, piper, light, or package.module:Class")
    end = parser.add_mutually_exclusive_group(required=True)
    end.add_argument("--fd", type=int, help="number of the inherited socket")
    end.add_argument("--port", type=int, help="loopback port to connect to, where sockets can't be inherited")
    parser.add_argument("--parent", type=int, default=0, help="process id of the server")
    return parser.parse_args(arguments)


def _connect(options: argparse.Namespace) -> socket.socket:
    if options.fd is not None:
        return socket.socket(fileno=options.fd)
    sock = socket.create_connection(("127.0.0.1", options.port), timeout=10)
    sock.settimeout(None)
    sock.sendall(os.environ.pop(SECRET_VARIABLE).encode("ascii"))
    return sock


def _ignore_signals() -> None:
    """Only the front ends a worker: Ctrl-C and a service manager's SIGTERM reach whole groups of processes.

    If workers obeyed, the answers that the front still wants to finish would be lost.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _die_with(parent: int) -> None:
    """End when the front does: also in a native call that holds the GIL."""
    if not lifeline.end_with(parent, signal.SIGKILL):
        _leave(0)


def _be_nice(nice: int) -> None:
    if hasattr(os, "nice"):
        os.nice(nice)


def _leave(status: int) -> NoReturn:
    """End now: no destructors of native libraries, no waiting for the main thread."""
    with contextlib.suppress(Exception):
        sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
