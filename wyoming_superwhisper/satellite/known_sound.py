"""What the satellite plays itself comes back through the microphone; who speaks over it is louder than that."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np

from wyoming_superwhisper.audio import AudioFormat

HEARD_WITHIN_S = 1.6
"""What is given to the loudspeaker is heard in the room within this time, in seconds."""
LOUDER = 2.0
"""Speech over an echo is louder than the echo by this factor (6 dB)."""
ECHOES = 100
"""The echo is judged by so many of the newest chunks that were heard while something was played."""
LEAST_ECHOES = 10
"""Before there are so many nothing is known of the echo, and nothing counts as more than it."""
ECHO_SHARE = 0.75
"""Of those chunks this share is no louder than the echo; the rest may be somebody who speaks."""


class KnownSound:
    """Learns how loud the echo of what is played is, and tells what is heard over it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._played: deque[tuple[float, float]] = deque()
        """When something was given to the loudspeaker, and how loud it is."""
        self._echoes: deque[float] = deque(maxlen=ECHOES)
        """Loudness of what was heard as a share of the loudest that was played just before."""

    def play(self, audio: bytes, format: AudioFormat) -> None:
        """This is about to be heard in the room; 16-bit samples."""
        if audio:
            self._played.append((self._clock(), _loudness(audio)))

    def is_exceeded_by(self, heard: bytes) -> bool:
        """Whether this chunk of what is heard is more than the echo of what was played."""
        now = self._clock()
        while self._played and now - self._played[0][0] > HEARD_WITHIN_S:
            self._played.popleft()
        loudest = max((loudness for _, loudness in self._played), default=0.0)
        if loudest < 1.0:
            return True
        loudness = _loudness(heard)
        self._echoes.append(loudness / loudest)
        if len(self._echoes) < LEAST_ECHOES:
            return False
        return loudness > LOUDER * loudest * float(np.quantile(self._echoes, ECHO_SHARE))


def _loudness(audio: bytes) -> float:
    samples = np.frombuffer(audio[: len(audio) // 2 * 2], "<i2").astype(np.float32)
    return float(np.sqrt(np.mean(samples**2))) if len(samples) else 0.0
