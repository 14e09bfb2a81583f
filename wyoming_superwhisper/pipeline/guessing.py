"""Guessing what was said, at each short pause, before anybody knows whether it is the end.

A guess is made on the utterance's final audio, as if it ended there. It holds as long as nobody speaks on; then it is
the answer, since the same audio would only be transcribed once more. When somebody speaks on it is thrown away, and
all that was made of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wyoming_superwhisper.endpointing import HANGOVER_SAMPLES, FinalAudio
from wyoming_superwhisper.engines.base import Priority, SpeechRecognizer, TranscribeRequest, Transcription
from wyoming_superwhisper.errors import SuperwhisperError
from wyoming_superwhisper.observer import Observer
from wyoming_superwhisper.pipeline.ahead import Guess, at_once, promotion
from wyoming_superwhisper.pipeline.rehearsal import Rehearsal
from wyoming_superwhisper.utterance import Utterance

Follow = Callable[[Transcription], Rehearsal | None]
"""What is to be made of a guessed transcript."""


class Guesser:
    """Guesses one utterance. One guess at a time: the newest."""

    def __init__(
        self,
        recognizer: SpeechRecognizer,
        observer: Observer,
        request: Callable[[bytes], TranscribeRequest],
        follow: Follow,
    ) -> None:
        """`request` makes the request for a final audio."""
        self._recognizer = recognizer
        self._observer = observer
        self._request = request
        self._follow = follow
        self._guess: _Guessed | None = None

    @property
    def heard(self) -> Transcription | None:
        """What was heard so far, where nobody has spoken on."""
        return None if self._guess is None else self._guess.heard

    @property
    def pending(self) -> bool:
        """Whether a guess is being made."""
        return self._guess is not None and self._guess.heard is None

    @property
    def complete(self) -> bool | None:
        """Whether that is a whole command; None: not known."""
        rehearsal = None if self._guess is None else self._guess.rehearsal
        return None if rehearsal is None else rehearsal.complete

    @property
    def place_may_follow(self) -> bool:
        """Whether that is a command that could still be told where it is meant."""
        rehearsal = None if self._guess is None else self._guess.rehearsal
        return rehearsal is not None and rehearsal.place_may_follow

    @property
    def whole(self) -> float:
        """How likely that is a whole sentence for the language model, as far as is known."""
        rehearsal = None if self._guess is None else self._guess.rehearsal
        return 0.0 if rehearsal is None else rehearsal.whole

    async def hear(self, utterance: Utterance, *, pausing: bool) -> None:
        """The utterance has grown: throw a guess away that doesn't hold any more, begin one at a pause."""
        voice = utterance.voice
        if self._guess is not None and (voice.speaking or voice.voiced_end != self._guess.voiced_end):
            await self.close()
        whole = utterance.samples >= voice.voiced_end + HANGOVER_SAMPLES  # sooner it would not be the final audio
        if self._guess is None and pausing and whole:
            request = self._request(utterance.final_audio().audio)
            self._guess = _Guessed(self._recognizer, request, voice.voiced_end, self._follow)

    async def final(self, final: FinalAudio) -> tuple[Transcription | None, Rehearsal | None]:
        """What was guessed of this final audio, and what was made of it, which is the caller's from now on.

        None: there is no guess that holds. Raises nothing but cancellation.
        """
        guess = self._guess
        if guess is None or guess.request.audio != final.audio:
            await self.close()
            return None, None
        guess.settle()
        try:
            heard = await guess.result()
        except SuperwhisperError:  # it may go better when it is asked for
            await self.close()
            return None, None
        self._guess = None
        self._observer.guess("asr", kept=True)
        return heard, guess.rehearsal

    async def close(self) -> None:
        """Throw away what there is. Idempotent."""
        guess, self._guess = self._guess, None
        if guess is not None:
            self._observer.guess("asr", kept=False)
            await guess.drop()


class _Guessed:
    """One guess, and what follows from it."""

    def __init__(
        self, recognizer: SpeechRecognizer, request: TranscribeRequest, voiced_end: int, follow: Follow
    ) -> None:
        self.request = request
        self.voiced_end = voiced_end
        self.heard: Transcription | None = None
        self.rehearsal: Rehearsal | None = None
        answer = at_once(recognizer.transcribe(request, Priority.GUESS))
        self._transcription = Guess("asr", answer, promotion(recognizer, request))
        self._follows = follow
        self._following = asyncio.create_task(self._run(), name="guess")

    def settle(self) -> None:
        """It holds and is urgent; what doesn't follow from it yet is the turn's own to do."""
        self._following.cancel()
        self._transcription.promote()

    async def result(self) -> Transcription:
        """What was heard. Raises as `SpeechRecognizer.transcribe`."""
        return await self._transcription.only()

    async def drop(self) -> None:
        """Throw it away with all that follows from it."""
        self._following.cancel()
        self._transcription.drop()
        await asyncio.wait([self._following])
        await self._transcription.gone()
        if self.rehearsal is not None:
            await self.rehearsal.drop()

    async def _run(self) -> None:
        try:
            self.heard = await self._transcription.only()
        except SuperwhisperError:
            return
        if self.heard.text:
            self.rehearsal = self._follows(self.heard)
