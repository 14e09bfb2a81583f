"""The ears: everything the microphone hears passes here, is kept for a while, and goes to whoever listens.

A position is a number of bytes from the beginning of what was heard. Since the newest seconds are kept, a turn can
begin in the past, at the very end of the wake word, however long it took to be sure of it.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.satellite.microphone import Microphone
from wyoming_superwhisper.satellite.voice_activity import Utterance, make_judge
from wyoming_superwhisper.satellite.wake_word import Detection

KEPT_S = 4.0
"""What was heard last is kept for this long, in seconds."""
RECORDING_S = 60.0
"""What a recording holds that nobody reads; beyond that its oldest is dropped, in seconds."""


class WordListener(Protocol):
    """Listens for wake words in what it is fed."""

    @property
    def dozes(self) -> bool:
        """Whether nothing stirs in the room, so that nothing will be heard for a moment."""

    @property
    def heard_bytes(self) -> int:
        """How much it was fed."""

    def feed(self, chunk: bytes) -> Detection | None:
        """Take the next audio; the wake word that it completes, placed in all that was fed."""

    def reset(self) -> None:
        """Forget what was heard."""


class Recording:
    """What is heard from some moment on, until it is closed. Has the reading side of a microphone."""

    def __init__(self, finite: bool) -> None:
        self.finite = finite
        self._chunks: deque[bytes] = deque()
        self._held_bytes = 0
        self._more = asyncio.Event()
        self._ended = False

    async def read(self) -> bytes:
        """What comes next, a chunk of any length; b"": the sound has ended."""
        while not self._chunks:
            if self._ended:
                return b""
            self._more.clear()
            await self._more.wait()
        chunk = self._chunks.popleft()
        self._held_bytes -= len(chunk)
        return chunk

    def add(self, chunk: bytes) -> None:
        """It was heard."""
        if not chunk:
            return
        self._chunks.append(chunk)
        self._held_bytes += len(chunk)
        while not self.finite and self._held_bytes > SPEECH.bytes_of(RECORDING_S):
            self._held_bytes -= len(self._chunks.popleft())
        self._more.set()

    def end(self) -> None:
        """Nothing more will be heard."""
        self._ended = True
        self._more.set()


class Ears:
    """Passes on what the microphone hears."""

    def __init__(self, microphone: Microphone, words: WordListener | None) -> None:
        self.position = 0
        """How much was heard so far, in bytes."""
        self.on_word: Callable[[Detection], None] | None = None
        """Called for each wake word while words are listened for."""
        self.on_voice: Callable[[int], None] | None = None
        """Called with the position when somebody begins to speak, while voices are listened for."""
        self.on_sound: Callable[[bytes], None] | None = None
        """Called with everything that is heard."""
        self.without_echo: Callable[[bytes], bytes] | None = None
        """Takes out of what is heard what the satellite plays."""
        self._microphone = microphone
        self._words = words
        self._listening_for_words = False
        self._voice: Utterance | None = None
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._recordings: list[Recording] = []
        self._notches: list[Notch] = []
        self._notched_until = 0

    @property
    def finite(self) -> bool:
        """Whether there will be an end."""
        return self._microphone.finite

    def rewind(self) -> None:
        """Hear a recording from its beginning; what is live goes on."""
        self._microphone.rewind()

    async def run(self) -> None:
        """Pass on what is heard; returns when the microphone has ended."""
        while chunk := await self._microphone.read():
            self._hear(chunk)
        for recording in self._recordings:
            recording.end()

    def listen_for_words(self, listening: bool) -> None:
        """Begin or end to listen for wake words."""
        if self._words is None or listening == self._listening_for_words:
            return
        self._listening_for_words = listening
        if listening:
            self._words.reset()

    def listen_for_voice(self, listening: bool) -> None:
        """Begin or end to listen for anybody who speaks."""
        if not listening:
            self._voice = None
        elif self._voice is None:
            self._voice = Utterance(1.0, make_judge(dozes=True))

    def record(self, since: int) -> Recording:
        """What was heard since that position, as far as it is still kept, and what will be."""
        self._microphone.be_patient(False)
        recording = Recording(self.finite)
        start = self.position - self._kept_bytes
        for chunk in self._kept:
            recording.add(chunk[max(0, since - start) :] if since > start else chunk)
            start += len(chunk)
        self._recordings.append(recording)
        return recording

    def heard_since(self, position: int) -> bytes:
        """What was heard since that position, as far as it is still kept."""
        kept = b"".join(self._kept)
        return kept[max(0, position - (self.position - len(kept))) // 2 * 2 :]

    def heard_until(self, position: int) -> bytes:
        """What was heard up to that position, as far as it is still kept."""
        kept = b"".join(self._kept)
        return kept[: max(0, position - (self.position - len(kept))) // 2 * 2]

    def close(self, recording: Recording) -> None:
        """Add nothing more to it."""
        if recording in self._recordings:
            self._recordings.remove(recording)
        recording.end()

    def leave_out(self, tones: Sequence[float], seconds: float) -> None:
        """Take these tones, which the room is about to hear from us, out of what is heard for so long."""
        self._notches = [Notch(tone) for tone in tones]
        self._notched_until = self.position + SPEECH.bytes_of(seconds)

    # --- below: one task ---

    def _hear(self, chunk: bytes) -> None:
        if self.without_echo is not None:
            chunk = self.without_echo(chunk)
        if self._notches:
            chunk = self._without_tones(chunk)
        begin = self.position
        self.position += len(chunk)
        self._keep(chunk)
        for recording in self._recordings:
            recording.add(chunk)
        if self._words is not None and self._listening_for_words:
            self._feed_words(self._words, chunk, begin)
        if self._voice is not None:
            self._feed_voice(self._voice, chunk)
        if self.on_sound is not None:
            self.on_sound(chunk)
        self._microphone.be_patient(self._nothing_goes_on)

    @property
    def _nothing_goes_on(self) -> bool:
        words = self._words if self._listening_for_words else None
        listens = self._recordings or self._voice is not None or self.on_sound is not None
        return not listens and (words is None or words.dozes)

    def _feed_words(self, words: WordListener, chunk: bytes, begin: int) -> None:
        skipped = begin - words.heard_bytes  # what was heard while words were not listened for
        found = words.feed(chunk)
        if found is not None and self.on_word is not None:
            self.on_word(found.moved(skipped))

    def _feed_voice(self, voice: Utterance, chunk: bytes) -> None:
        voice.feed(chunk)
        if voice.begun:
            self._voice = None
            if self.on_voice is not None:
                self.on_voice(self.position)

    def _keep(self, chunk: bytes) -> None:
        self._kept.append(chunk)
        self._kept_bytes += len(chunk)
        while self._kept_bytes - len(self._kept[0]) >= SPEECH.bytes_of(KEPT_S):
            self._kept_bytes -= len(self._kept.popleft())

    def _without_tones(self, chunk: bytes) -> bytes:
        if self.position >= self._notched_until:
            self._notches = []
            return chunk
        samples = np.frombuffer(chunk, "<i2").astype(np.float64)
        for notch in self._notches:
            samples = notch.filter(samples)
        cleaned: bytes = np.rint(samples).clip(-32768, 32767).astype("<i2").tobytes()
        return cleaned


class Notch:
    """Takes one tone out of a stream and leaves what is beside it."""

    WIDTH_HZ = 60.0

    def __init__(self, tone: float) -> None:
        angle = 2 * math.pi * tone / SPEECH.rate
        radius = 1 - math.pi * self.WIDTH_HZ / SPEECH.rate
        turn = -2 * math.cos(angle)
        self._forward = (1.0, turn, 1.0)
        self._back = (turn * radius, radius * radius)
        self._memory = (0.0, 0.0, 0.0, 0.0)

    def filter(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The next of the stream without the tone. Sample by sample: it is only used for the length of a sound."""
        _, b1, b2 = self._forward
        a1, a2 = self._back
        x1, x2, y1, y2 = self._memory
        out = np.empty_like(samples)
        for at, x in enumerate(samples.tolist()):
            y = x + b1 * x1 + b2 * x2 - a1 * y1 - a2 * y2
            x2, x1, y2, y1 = x1, x, y1, y
            out[at] = y
        self._memory = (x1, x2, y1, y2)
        return out
