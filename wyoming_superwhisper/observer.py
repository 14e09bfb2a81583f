"""What may be counted about the server: an observer that does nothing, which `metrics` fills.

Whoever has something to tell is given an `Observer` and calls it; nobody asks whether anybody listens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What became of a call of an engine."""

    engine: str
    code: str
    """"" if it was answered, "cancelled", else the code of its error."""
    ran_s: float
    """In the worker."""
    waited_s: float = 0.0
    """In the queue."""
    turn: str = ""
    """Id of the turn it belongs to."""
    batch: int = 0
    """Calls it was worked on with, itself included, where the engine says."""
    audio_s: float = 0.0
    """Audio that went in or came out."""
    tokens: int = 0
    """Tokens that a language model wrote."""


class Observer:
    """Told of what happens, in the front process. Its methods are quick and never raise."""

    def connection(self, result: str) -> None:
        """Somebody connected: "accepted", or the code of the refusal."""

    def connection_opened(self) -> None:
        """A connection begins to be served."""

    def connection_closed(self) -> None:
        """A connection has ended."""

    def connection_evicted(self) -> None:
        """An idle connection was closed to make room."""

    def event(self, kind: str, result: str) -> None:
        """An event of a client was done with. `kind`: its type, "invalid" for none.

        `result`: "ok", the code of its error, or "left" where its client left before it was handled.
        """

    def error(self, code: str) -> None:
        """An `error` event was sent to a client."""

    def request(self, service: str, result: str, seconds: float | None, turn: str) -> None:
        """A request has ended, after this time as its client saw it (None: there was no answer to wait for)."""

    def stage(self, stage: str, seconds: float, turn: str) -> None:
        """A stage of a turn was reached, this long after the speaker had ended."""

    def guess(self, stage: str, kept: bool) -> None:
        """Work ahead of the end of an utterance turned out to be of use, or was thrown away."""

    def job(self, record: JobRecord) -> None:
        """A call of an engine has ended."""


NOBODY = Observer()
"""Watches nothing."""


@dataclass(frozen=True, slots=True)
class CardFigures:
    """What the card says of itself."""

    utilization: float
    """0 to 1."""
    temperature_c: float
    memory_used_bytes: int
    memory_total_bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Memory that the engines take."""

    memory_bytes: Mapping[str, int]
    """Resident memory by engine, of all its processes."""
    gpu_memory_bytes: Mapping[str, int]
    """Video memory by engine, where the card says."""
    card: CardFigures | None = None
