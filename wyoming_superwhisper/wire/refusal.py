"""The last word to a peer: what is wrong, said such that it can be read."""

from __future__ import annotations

import asyncio

from wyoming.error import Error as ErrorEvent
from wyoming.event import Event

from wyoming_superwhisper.errors import SuperwhisperError
from wyoming_superwhisper.wire.reader import CHUNK_BYTES
from wyoming_superwhisper.wire.writer import EventWriter

LINGER_S = 1.5
"""How long a refused peer may be silent before it is cut: while it sends, a reset would overtake the error."""
LINGER_MOST_S = 15.0
"""How long a refused peer that goes on sending is listened to at most."""


async def refuse(
    reader: asyncio.StreamReader,
    writer: EventWriter,
    error: SuperwhisperError,
    *,
    linger_s: float = LINGER_S,
    most_s: float = LINGER_MOST_S,
) -> None:
    """Tell the peer what is wrong and close, such that it can read it. Never raises for a peer that is gone.

    The sending side is closed first, and what the peer still sends is read and dropped until it has been silent for
    `linger_s`, for `most_s` at most: bytes that nobody read would make the kernel reset the connection, and the
    error would be lost with it.
    """
    try:
        async with asyncio.timeout(most_s):
            async with asyncio.timeout(linger_s) as silence:
                await writer.write(error_event(error))
                if writer.stream.can_write_eof():
                    writer.stream.write_eof()
                while await reader.read(CHUNK_BYTES):
                    silence.reschedule(asyncio.get_running_loop().time() + linger_s)
    except (OSError, RuntimeError):
        pass  # gone, or lingered long enough (TimeoutError is an OSError)
    finally:
        await writer.close()


def error_event(error: SuperwhisperError) -> Event:
    """The `error` event that says what is wrong."""
    event: Event = ErrorEvent(text=str(error), code=error.code).event()
    return event
