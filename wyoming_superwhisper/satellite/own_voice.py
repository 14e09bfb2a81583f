"""Knows which wake words the satellite says itself, so that it doesn't wake itself."""

from __future__ import annotations

import time

from wyoming_superwhisper.audio import AudioConverter, AudioFormat
from wyoming_superwhisper.satellite.wake_word import WakeWordListener


class OwnVoice:
    """Listens for wake words in what is played."""

    def __init__(self, words: WakeWordListener, within_s: float) -> None:
        self._words = words
        self._within_s = within_s
        self._converter: AudioConverter | None = None
        self._said: dict[str, float] = {}

    def play(self, audio: bytes, format: AudioFormat) -> None:
        """This is about to be played."""
        if self._converter is None or self._converter.source != format:
            self._converter = AudioConverter(format)
        found = self._words.feed(self._converter.feed(audio))
        if found is not None:
            self._said[found.name] = time.monotonic()

    def has_said(self, word: str) -> bool:
        """Whether it has said this word of late."""
        return time.monotonic() - self._said.get(word, -1e9) < self._within_s
