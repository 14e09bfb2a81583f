"""Knows when somebody speaks and when the utterance is over, on the satellite itself (pymicro-vad and loudness)."""

from __future__ import annotations

import importlib
import weakref
from collections import deque
from typing import Any, Protocol

import numpy as np

from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.satellite.stillness import Stillness

FRAME_S = 0.01
"""Length of the frames that are judged, in seconds."""
SPEECH_ABOVE = 0.6
"""Probability from which on a frame counts as speech."""
SILENCE_BELOW = 0.3
"""Probability below which a frame counts as silence; between the two it counts as what came before."""
BEGINS_AFTER_S = 0.15
"""Speech in a row that makes the beginning of an utterance, in seconds."""

_FRAME_BYTES = SPEECH.bytes_of(FRAME_S)


class Judge(Protocol):
    """Tells how likely it is that somebody speaks, frame by frame."""

    lag_s: float
    """How long after the end of speech it still says speech, in seconds."""

    def judge(self, frame: bytes) -> float:
        """Probability of speech from 0 to 1, with this frame of 10 ms heard."""


class Utterance:
    """Follows one utterance: whether it has begun, and whether it is over."""

    def __init__(self, silence_s: float, judge: Judge | None = None) -> None:
        """`silence_s`: silence after speech that ends the utterance."""
        self.begun = False
        """Whether somebody has spoken."""
        self.over = False
        """Whether somebody has spoken and then been silent long enough."""
        self._judge = judge or make_judge()
        self._silence_s = max(silence_s - self._judge.lag_s, FRAME_S)
        self._rest = b""
        self._speaking = False
        self._speech_s = 0.0
        self._quiet_s = 0.0

    def feed(self, audio: bytes) -> None:
        """Take the next audio, 16 kHz mono."""
        audio = self._rest + audio
        whole = len(audio) - len(audio) % _FRAME_BYTES
        self._rest = audio[whole:]
        for at in range(0, whole, _FRAME_BYTES):
            self._take(self._judge.judge(audio[at : at + _FRAME_BYTES]))

    def _take(self, probability: float) -> None:
        if probability >= SPEECH_ABOVE:
            self._speaking = True
        elif probability < SILENCE_BELOW:
            self._speaking = False
        self._speech_s = self._speech_s + FRAME_S if self._speaking else 0.0
        self._quiet_s = 0.0 if self._speaking else self._quiet_s + FRAME_S
        # Half a frame of tolerance: sums of 0.01 are not exact.
        self.begun = self.begun or self._speech_s > BEGINS_AFTER_S - FRAME_S / 2
        self.over = self.over or (self.begun and self._quiet_s > self._silence_s - FRAME_S / 2)


class SpeechGate:
    """Lets a voice pass, with what was heard just before it and a while after it; holds silence back."""

    AFTER_S = 1.5
    """How long after a voice the sound still passes, in seconds."""

    def __init__(self, before_s: float, judge: Judge | None = None) -> None:
        self._judge = judge or make_judge(dozes=True)
        self._before_bytes = SPEECH.bytes_of(before_s)
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._rest = b""
        self._open_s = 0.0

    def feed(self, audio: bytes) -> list[bytes]:
        """Take the next audio; what passes."""
        judged = self._rest + audio
        whole = len(judged) - len(judged) % _FRAME_BYTES
        self._rest = judged[whole:]
        for at in range(0, whole, _FRAME_BYTES):
            loud = self._judge.judge(judged[at : at + _FRAME_BYTES]) >= SPEECH_ABOVE
            self._open_s = self.AFTER_S if loud else self._open_s - FRAME_S
        self._held.append(audio)
        self._held_bytes += len(audio)
        if self._open_s > 0:
            passes = list(self._held)
            self._held.clear()
            self._held_bytes = 0
            return passes
        while self._held_bytes > self._before_bytes:
            self._held_bytes -= len(self._held.popleft())
        return []


def make_judge(dozes: bool = False) -> Judge:
    """pymicro-vad and loudness together where there is a build of the former, else loudness alone.

    `dozes`: it listens for hours, and is to cost nearly nothing while the room is still.
    """
    try:
        network: Judge = MicroVadJudge()
    except (ImportError, OSError):  # there is none for Windows
        return LoudnessJudge()
    return EitherJudge(DozingJudge(network) if dozes else network, LoudnessJudge())


class DozingJudge:
    """Asks a judge that costs much only while something stirs; of a still room it keeps what that would remember."""

    HELD_S = 1.0
    """What the judge hears first of all when something stirs, in seconds."""

    def __init__(self, judge: Judge) -> None:
        self.lag_s = judge.lag_s
        self._judge = judge
        self._stillness = Stillness()
        self._held: deque[bytes] = deque(maxlen=round(self.HELD_S / FRAME_S))

    def judge(self, frame: bytes) -> float:
        """See `Judge`."""
        self._held.append(frame)
        if not self._stillness.feed(frame):
            return 0.0
        probability = 0.0
        while self._held:
            probability = self._judge.judge(self._held.popleft())
        return probability


_IDLE: list[Any] = []
"""Detectors that nobody uses: pymicro-vad never frees one (11 KB each), so they are used again."""


class MicroVadJudge:
    """pymicro-vad: a small neural network, whose answer is a mean over the last third of a second."""

    lag_s = 0.3
    WARM_UP_S = 1.0
    """It gives no answer before it has heard this much: silence, so that a first word is not missed."""

    def __init__(self) -> None:
        """Raises ImportError or OSError where there is no build of it."""
        self._vad = _IDLE.pop() if _IDLE else importlib.import_module("pymicro_vad").MicroVad()
        self._vad.reset()
        weakref.finalize(self, _IDLE.append, self._vad)
        for _ in range(round(self.WARM_UP_S / FRAME_S)):
            self._vad.process_10ms(bytes(_FRAME_BYTES))

    def judge(self, frame: bytes) -> float:
        """See `Judge`."""
        return float(self._vad.process_10ms(frame))


class EitherJudge:
    """Speech is what one of several takes for it: pymicro-vad misses words as short as "Oui."."""

    def __init__(self, *judges: Judge) -> None:
        self._judges = judges
        self.lag_s = max(judge.lag_s for judge in judges)

    def judge(self, frame: bytes) -> float:
        """See `Judge`."""
        return max([judge.judge(frame) for judge in self._judges])


class LoudnessJudge:
    """Takes for speech what is much louder than the quietest of late."""

    lag_s = 0.0
    ABOVE_FLOOR = 4.0
    """Factor over the noise floor (12 dB)."""
    LEAST_RMS = 120.0
    """What is quieter than this is never speech (16-bit units)."""
    FLOOR_RISES = 1.002
    """The floor follows louder noise by this factor a frame: twice as loud after 3.5 s."""

    def __init__(self) -> None:
        self._floor = 0.0

    def judge(self, frame: bytes) -> float:
        """See `Judge`."""
        samples = np.frombuffer(frame, "<i2").astype(np.float32)
        rms = float(np.sqrt(np.mean(samples**2)))
        self._floor = max(1.0, min(rms, self._floor * self.FLOOR_RISES) if self._floor else rms)
        return 1.0 if rms > max(self._floor * self.ABOVE_FLOOR, self.LEAST_RMS) else 0.0
