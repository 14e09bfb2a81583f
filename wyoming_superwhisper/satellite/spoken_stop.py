"""Hears "stop" said over a reply or a ringing timer, without a model of the word.

While the satellite speaks or rings, each short piece of speech that is more than its own echo goes to a server's speech
recognition. Where it was one of the phrases that end things, and nothing else, that is told. Nothing of it comes into a
turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Self

from wyoming_superwhisper import client
from wyoming_superwhisper.audio import SPEECH, AudioFormat
from wyoming_superwhisper.errors import SuperwhisperError
from wyoming_superwhisper.satellite.hearing import Ears
from wyoming_superwhisper.satellite.known_sound import KnownSound
from wyoming_superwhisper.satellite.news import Item
from wyoming_superwhisper.satellite.turn import plain
from wyoming_superwhisper.satellite.voice_activity import Utterance

logger = logging.getLogger(__name__)

OVER_S = 0.35
"""Silence that ends a piece of speech, in seconds."""
BEFORE_S = 0.5
"""What is sent of the time before a voice was sure, in seconds."""
SOFT_S = 0.1
"""A word begins softly: so much before something louder than the echo is part of it, in seconds."""
LONGEST_S = 2.0
"""A longer piece of speech is none of these phrases, in seconds."""
HELD_S = 0.2
"""What follows something louder than the echo counts as speech too, for this long, in seconds."""
KEPT_S = BEFORE_S + LONGEST_S + OVER_S + 1.0
"""What is remembered of what was heard, in seconds."""
ANSWER_S = 3.0
"""Longest wait for the words of one piece, in seconds."""

_WATCHED = frozenset({"speaking", "ringing"})
_OTHERS = frozenset({"idle", "listening", "thinking", "disconnected", "muted", "shutdown"})


class SpokenStop:
    """Listens while the satellite speaks or rings; a `Reader` of the news."""

    def __init__(
        self,
        phrases: Sequence[str],
        language: str,
        ears: Ears,
        server: Callable[[], str],
        stop: Callable[[], None],
    ) -> None:
        """`server`: the address of who recognises speech, "" while there is none; `stop` is called for each phrase."""
        self._phrases = {plain(phrase) for phrase in phrases}
        self._language = language
        self._ears = ears
        self._server = server
        self._stop = stop
        self._known = KnownSound()
        self._utterance: Utterance | None = None
        self._begun_at: int | None = None
        self._held_until = 0
        self._heard = bytearray()
        """What was heard last, silent where it was only the echo: a recogniser would find words in that."""
        self._soft: deque[bytes] = deque()
        """What was heard just now, with its echo."""
        self._asking: asyncio.Task[None] | None = None
        self._waiting: bytes | None = None
        """The newest piece that was said meanwhile."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        asking = self._asking
        self._end()
        if asking is not None:
            await asyncio.gather(asking, return_exceptions=True)

    def __call__(self, item: Item) -> None:
        """It has happened."""
        if item.kind in _WATCHED:
            self._begin()
        elif item.kind in _OTHERS:
            self._end()

    def play(self, audio: bytes, format: AudioFormat) -> None:
        """This is about to be heard in the room."""
        self._known.play(audio, format)

    # --- one piece of speech after another ---

    def _begin(self) -> None:
        self._listen_anew()
        self._ears.on_sound = self._hear

    def _end(self) -> None:
        self._ears.on_sound = None
        self._utterance = None
        self._waiting = None
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    def _listen_anew(self) -> None:
        self._utterance = Utterance(OVER_S)
        self._begun_at = None

    def _hear(self, chunk: bytes) -> None:
        if self._utterance is None:
            return
        position = self._ears.position
        if self._known.is_exceeded_by(chunk):
            self._unmute_soft()
            self._held_until = position + SPEECH.bytes_of(HELD_S)
        loud = chunk if position < self._held_until else bytes(len(chunk))
        self._remember(chunk, loud)
        self._utterance.feed(loud)
        if self._utterance.begun and self._begun_at is None:
            self._begun_at = position
        if self._utterance.over and self._begun_at is not None:
            begun_at = self._begun_at
            self._listen_anew()
            if position - begun_at <= SPEECH.bytes_of(LONGEST_S):
                since = begun_at - SPEECH.bytes_of(BEFORE_S)
                self._ask(bytes(self._heard[max(0, len(self._heard) - (position - since)) :]))

    def _remember(self, chunk: bytes, loud: bytes) -> None:
        self._heard += loud
        del self._heard[: -SPEECH.bytes_of(KEPT_S)]
        self._soft.append(chunk)
        while sum(map(len, self._soft)) - len(self._soft[0]) >= SPEECH.bytes_of(SOFT_S):
            self._soft.popleft()

    def _unmute_soft(self) -> None:
        soft = b"".join(self._soft)
        self._heard[max(0, len(self._heard) - len(soft)) :] = soft

    def _ask(self, audio: bytes) -> None:
        """Have the words of this piece found, once those of the one before are; of several that wait the newest."""
        server = self._server()
        if self._asking is not None:
            self._waiting = audio
        elif server:
            self._asking = asyncio.create_task(self._hear_words(server, audio), name="spoken stop")

    async def _hear_words(self, server: str, audio: bytes) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                words = await client.transcribe(server, audio, language=self._language or None, answer_s=ANSWER_S)
        except (SuperwhisperError, TimeoutError) as error:
            logger.debug("What was said over a reply was not recognised: %s", error)
            return
        finally:
            if self._asking is asyncio.current_task():
                self._asking = None
                waiting, self._waiting = self._waiting, None
                if waiting is not None:
                    self._ask(waiting)
        logger.debug("Said over a reply: %s", words)
        if plain(words) in self._phrases:
            logger.info("Stopped by: %s", words)
            self._stop()
