"""Wyoming events on a stream of bytes: one bounded, strict parser, used for clients and for our own workers.

An event is a line of JSON (`type`, and optionally `data`, `data_length`, `payload_length`), then `data_length`
bytes of JSON that are merged over `data`, then `payload_length` bytes. `EventParser` does no input or output
itself; `EventReader` and `EventWriter` put it on asyncio streams with time limits.

What is wrong with an event is raised as `BadJson`, `BadEvent`, `BadData`, `TooLarge` or `Timeout` of `errors`.
Where `error.framing_lost` is set nothing more can be read and the connection must be refused; else the event was
skipped whole and the next one can be read. A peer that is gone raises `Disconnected`, which is no error of ours.
"""

from __future__ import annotations

from wyoming_superwhisper.wire.errors import Disconnected, TruncatedEvent
from wyoming_superwhisper.wire.limits import Limits
from wyoming_superwhisper.wire.parser import VALUE_BYTES, EventParser
from wyoming_superwhisper.wire.reader import CHUNK_BYTES, LATE_S, EventReader
from wyoming_superwhisper.wire.refusal import LINGER_MOST_S, LINGER_S, error_event, refuse
from wyoming_superwhisper.wire.writer import EventWriter, encode

__all__ = [
    "CHUNK_BYTES",
    "LATE_S",
    "LINGER_MOST_S",
    "LINGER_S",
    "VALUE_BYTES",
    "Disconnected",
    "EventParser",
    "EventReader",
    "EventWriter",
    "Limits",
    "TruncatedEvent",
    "encode",
    "error_event",
    "refuse",
]
