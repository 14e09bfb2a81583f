"""The button of a satellite that runs already, pressed from outside."""

from __future__ import annotations

import asyncio

from wyoming.event import Event

from wyoming_superwhisper import client
from wyoming_superwhisper.satellite.seat import DEFAULT_PORT

HERE = f"tcp://127.0.0.1:{DEFAULT_PORT}"
"""Where a satellite on this machine listens."""
ANSWER_S = 5.0
"""Time for the satellite to answer, in seconds."""


def run(uri: str) -> int:
    """Press it; the exit status. Raises `Unreachable`, `Timeout` and what the satellite answers with."""
    asyncio.run(press(uri))
    return 0


async def press(uri: str) -> None:
    """See `run`."""
    async with await client.Connection.open(uri, ANSWER_S, ANSWER_S) as connection:
        await connection.send(Event("trigger"))
        while (await connection.receive()).type != "triggered":
            pass
