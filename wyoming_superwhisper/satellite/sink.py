"""Where the sound of a loudspeaker goes: what each kind of device does with it."""

from __future__ import annotations

from typing import Protocol

from wyoming_superwhisper.audio import AudioFormat

AHEAD_S = 1.0
"""Sound that a device takes ahead of what is heard, in seconds; more waits."""


class Sink(Protocol):
    """Where sound goes. One reply after another: `begin`, `write`…, then `finish` or `abort`."""

    format: AudioFormat

    async def begin(self) -> None:
        """Get ready for a reply. Raises OSError where the device can't be opened now."""

    async def write(self, audio: bytes) -> None:
        """Take the next of the reply; waits while enough is ahead. Raises OSError where the device is gone."""

    async def finish(self) -> None:
        """Return when the last sample has left. Raises OSError where the device is gone."""

    async def abort(self) -> None:
        """Be silent at once; what was not heard yet is dropped."""

    async def close(self) -> None:
        """Let the device go."""


class NoSink:
    """Nobody listens."""

    def __init__(self, format: AudioFormat) -> None:
        self.format = format

    async def begin(self) -> None:
        """See `Sink`."""

    async def write(self, audio: bytes) -> None:
        """See `Sink`."""

    async def finish(self) -> None:
        """See `Sink`."""

    async def abort(self) -> None:
        """See `Sink`."""

    async def close(self) -> None:
        """See `Sink`."""
