"""Knows whether anything stirs in a room, so that what costs much listens only then."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.satellite.wake_word import Detection, WakeWordListener

Powers = np.ndarray[Any, np.dtype[np.float64]]

WINDOW_S = 0.06
"""Sound is judged in pieces of this length, in seconds: shorter ones of the same noise differ too much."""
BANDS_HZ = (200, 600, 1200, 2400, 7800)
"""Bounds of the bands that are followed each for itself: a word rises out of noise in some of them first, in Hz."""
SMOOTH = 0.3
"""By how much of the difference the level of a band follows the newest window."""
LOUDER = 1.5
"""A band with this much more power than the noise of late stirs (1.8 dB)."""
LEAST_POWER = 1.0
"""Power in a band that never counts (16-bit units, squared): the last bit of a microphone."""
STIRS_ON_S = 1.5
"""How long after the last thing that stirred a room still counts as stirring: a word and its pauses, in seconds."""
FOLLOWS, FALLS, RISES = 0.05, 0.3, 0.02
"""By how much of the difference the noise of late follows a level near it, one far below it, and one that stirs."""
HELD_S = 2.0
"""What a listener that dozed hears first of all when something stirs: all that a model remembers, in seconds."""

_WINDOW_BYTES = SPEECH.bytes_of(WINDOW_S)
_LENGTH = _WINDOW_BYTES // SPEECH.frame_bytes
_SHAPE = np.hanning(_LENGTH)
_BOUNDS = np.rint(np.array(BANDS_HZ) * _LENGTH / SPEECH.rate).astype(int)
_SCALE = 2.0 / _LENGTH / float(np.dot(_SHAPE, _SHAPE))


class Stillness:
    """Follows the noise that is always there, and tells what rises out of it."""

    def __init__(self) -> None:
        self._rest = b""
        self._level: Powers | None = None
        self._noise: Powers = np.zeros(len(BANDS_HZ) - 1)
        self._stirs_s = STIRS_ON_S

    def feed(self, audio: bytes) -> bool:
        """Take the next audio, 16 kHz mono; whether something stirs, or did so just before."""
        audio = self._rest + audio
        whole = len(audio) - len(audio) % _WINDOW_BYTES
        self._rest = audio[whole:]
        for at in range(0, whole, _WINDOW_BYTES):
            self._judge(_powers(audio[at : at + _WINDOW_BYTES]))
        return self._stirs_s > 0

    def _judge(self, powers: Powers) -> None:
        if self._level is None:
            self._level, self._noise = powers, powers
        self._level = self._level + SMOOTH * (powers - self._level)
        stirs = bool((self._level > LOUDER * self._noise + LEAST_POWER).any())
        self._stirs_s = STIRS_ON_S if stirs else max(0.0, self._stirs_s - WINDOW_S)
        follows = np.where(self._level * LOUDER < self._noise, FALLS, RISES if stirs else FOLLOWS)
        self._noise = self._noise + follows * (self._level - self._noise)


def _powers(window: bytes) -> Powers:
    """Power in each band."""
    spectrum = np.fft.rfft(np.frombuffer(window, "<i2") * _SHAPE)
    powers: Powers = np.add.reduceat(spectrum.real**2 + spectrum.imag**2, _BOUNDS)[:-1] * _SCALE
    return powers


class DozingListener:
    """Listens for wake words while something stirs; of a still room it only keeps what its models would remember."""

    def __init__(self, words: WakeWordListener) -> None:
        self.dozes = False
        """Whether the room is still."""
        self._words = words
        self._stillness = Stillness()
        self._held: deque[bytes] = deque()
        self._held_bytes = 0

    @property
    def heard_bytes(self) -> int:
        """How much it has heard, or slept through."""
        return self._words.heard_bytes + self._held_bytes

    def feed(self, chunk: bytes) -> Detection | None:
        """Take the next audio; the wake word that it completes."""
        for at in range(0, len(chunk), _WINDOW_BYTES):  # where a word ends is counted in such pieces
            self._held.append(chunk[at : at + _WINDOW_BYTES])
        self._held_bytes += len(chunk)
        self.dozes = not self._stillness.feed(chunk)
        if not self.dozes:
            return self._listen()
        while self._held_bytes - len(self._held[0]) >= SPEECH.bytes_of(HELD_S):
            self._sleep_through(self._held.popleft())
        return None

    def reset(self) -> None:
        """Forget what was heard, so that listening begins anew after a turn."""
        while self._held:
            self._sleep_through(self._held.popleft())
        self._words.reset()

    def _listen(self) -> Detection | None:
        """Hear what was held."""
        found: Detection | None = None
        while self._held:
            chunk = self._held.popleft()
            self._held_bytes -= len(chunk)
            found = self._words.feed(chunk) or found
        return found

    def _sleep_through(self, chunk: bytes) -> None:
        self._held_bytes -= len(chunk)
        self._words.heard_bytes += len(chunk)
