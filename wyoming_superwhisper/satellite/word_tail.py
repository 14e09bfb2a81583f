"""The rest of a wake word that is still heard after its model was sure of it: it belongs to no command.

A recogniser would find words in it ("Annule" in the end of "okay nabu"), and a turn in which nobody said anything would
be answered.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.satellite.turn import Hearing

TAIL_S = 0.2
"""What sounds for longer after the end of a wake word is no rest of it, in seconds."""
PAUSE_S = 0.15
"""A pause of this length is behind a word, not within one, in seconds."""
QUIET = 0.25
"""A pause is quieter than this share of the loudest moment of the word."""
FADED = 0.03
"""What fades into a pause is over below this share."""
FRAME_S = 0.01
WORD_S = 0.5
"""The last of a word, in which its loudest moment is looked for, in seconds."""


class WithoutTail:
    """What is heard after a wake word without the rest of the word; at most 0.35 s are held back for that."""

    def __init__(self, hearing: Hearing, word: bytes) -> None:
        """`word`: what was heard up to the end that is known of the word, 16 kHz mono."""
        self.finite = hearing.finite
        self._hearing = hearing
        self._loudest = float(_loudness(word[-SPEECH.bytes_of(WORD_S) :]).max(initial=0.0))
        self._held: bytes | None = b""
        """What came so far; None: the rest of the word is over."""

    async def read(self) -> bytes:
        """What comes next, a chunk of any length; b"": the sound has ended."""
        while self._held is not None:
            chunk = await self._hearing.read()
            held = self._held + chunk
            tail = tail_bytes(held, self._loudest) if chunk else 0
            self._held = held if tail is None else None
            if tail is not None and held[tail:]:
                return held[tail:]
        return await self._hearing.read()


def tail_bytes(audio: bytes, loudest: float) -> int | None:
    """How much at the beginning of this is the rest of a word whose loudest moment is given; None: not known yet."""
    loudness = _loudness(audio)
    quiet = loudness < QUIET * loudest
    pause, sounded = round(PAUSE_S / FRAME_S), 0
    for at, still in enumerate(quiet):
        if not still:
            sounded = at + 1
        elif at + 1 - sounded >= pause:
            faded = np.nonzero(loudness[sounded : at + 1] < FADED * loudest)[0]
            return (sounded + int(faded[0] if len(faded) else 0)) * SPEECH.bytes_of(FRAME_S)
        if sounded * FRAME_S > TAIL_S:
            return 0
    return None


def _loudness(audio: bytes) -> np.ndarray[Any, Any]:
    """Root mean square of each frame."""
    step = round(FRAME_S * SPEECH.rate)
    samples = np.frombuffer(audio[: len(audio) // 2 * 2], "<i2").astype(np.float32)
    frames = samples[: len(samples) // step * step].reshape(-1, step)
    loudness: np.ndarray[Any, Any] = np.sqrt((frames**2).mean(axis=1))
    return loudness
