"""Where the sound of a microphone comes from: what each kind of device does to deliver it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from wyoming_superwhisper.audio import AudioFormat

CHUNK_S = 0.03
"""Length of the pieces that a capture delivers, in seconds."""

Deliver = Callable[[bytes], None]


class Capture(Protocol):
    """Where sound comes from."""

    format: AudioFormat
    finite: bool
    """Whether the sound has an end of its own, as that of a file has."""
    patient: bool
    """Whether nobody is in a hurry: it may deliver more at once and less often, so as to cost less."""

    async def run(self, deliver: Deliver) -> None:
        """Deliver mono audio of `format` until cancelled; returns at the end of a file, or when the device is gone.

        Raises OSError where the device can't be opened now.
        """


def pick_channel(audio: bytes, channels: int, channel: int) -> bytes:
    """One channel of interleaved 16-bit audio, counted from 0."""
    if channels == 1:
        return audio
    picked: bytes = np.frombuffer(audio, "<i2").reshape(-1, channels)[:, channel].tobytes()
    return picked
