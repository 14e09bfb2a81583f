"""Speaking: the text of one reply becomes sound, piece by piece, the next piece made while this one is sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wyoming_superwhisper.engines.base import SpeakRequest, Speech, SpeechSynthesizer, VoiceInfo
from wyoming_superwhisper.errors import EngineUnavailable, TooLong, UnknownLanguage
from wyoming_superwhisper.language import guess_language
from wyoming_superwhisper.models.voices import choose_voice, find_speaker
from wyoming_superwhisper.speech_text import Splitter

if TYPE_CHECKING:
    from wyoming_superwhisper.pipeline.services import Services

logger = logging.getLogger(__name__)

_READ_AT_ONCE = 200
SILENCE_S = 0.1
"""What is sent for a text in which there is nothing to say (an emoji): a client still needs a sound."""


@dataclass(frozen=True, slots=True)
class SpeakOptions:
    """Whose voice to speak with; every field may be None."""

    voice: str | None = None
    language: str | None = None
    speaker: str | None = None


def check_language(services: Services, options: SpeakOptions) -> None:
    """For a client that names a language and no voice. Raises `UnknownLanguage` where no voice speaks it."""
    spoken = sorted({language for voice in services.synthesizer.voices for language in voice.languages})
    if options.language and not options.voice and _base(options.language) not in map(_base, spoken):
        raise UnknownLanguage(f"No voice here speaks '{options.language}'; there are voices for {', '.join(spoken)}.")


class Speaking:
    """One reply. Feed it text, finish it, and run it beside; every sound goes to the sink, in order."""

    def __init__(
        self, services: Services, options: SpeakOptions, client: str, synthesizer: SpeechSynthesizer | None = None
    ) -> None:
        """`synthesizer`: who speaks, if not the server's own. Raises `UnknownVoice` for one that is not advertised."""
        self._services = services
        self._synthesizer = synthesizer or services.synthesizer
        self._options = options
        self._client = client
        self._voice: VoiceInfo | None = None
        self._speaker = options.speaker
        self._level: float | None = None
        self._chars = 0
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()  # bounded by text_chars
        self._cutter = _Cutter(self._known_language(), self._guess, services.default_language)

    def feed(self, text: str) -> None:
        """Add text as it is written. Raises `TooLong` past the configured length."""
        self._chars += len(text)
        limit = self._services.settings.limits.text_chars
        if self._chars > limit:
            raise TooLong(f"The text to speak is longer than {limit} characters.")
        self._put(self._cutter.feed(text))

    async def feed_whole(self, text: str) -> None:
        """As `feed`, for a text that is there already. A long one takes a tenth of a second to read: that is done in
        pieces, one of all clients' in a turn of the loop, and others have theirs in between."""
        for at in range(0, len(text), _READ_AT_ONCE):
            async with self._services.reading:
                self.feed(text[at : at + _READ_AT_ONCE])
                await asyncio.sleep(0)

    def finish(self) -> None:
        """The text is complete."""
        self._put(self._cutter.finish())
        self._pieces.put_nowait(None)

    async def run(self, sink: Callable[[Speech], Awaitable[None]]) -> None:
        """Speak everything into the sink. Raises as `SpeechSynthesizer.speak`, and whatever the sink raises."""
        ahead = asyncio.create_task(self._next(), name="speak")
        try:
            while (speech := await ahead) is not None:
                ahead = asyncio.create_task(self._next(), name="speak")
                await sink(speech)
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    async def begin(self) -> None:
        """Speak the first piece and give it to nobody."""
        await self._next()

    async def _next(self) -> Speech | None:
        piece = await self._pieces.get()
        if piece is not None:
            speech = await self._speak(piece)
            self._level = speech.level
            return speech
        if self._level is not None:
            return None
        self._level = 1.0
        self._pieces.put_nowait(None)  # so that the next call ends
        return _silence(self._chosen_voice().sample_rate)

    async def _speak(self, piece: str) -> Speech:
        """The piece in the chosen voice; where that can't be had, the whole reply in another one of its language."""
        try:
            return await self._synthesizer.speak(self._request(piece))
        except EngineUnavailable as error:
            other = self._stand_in() if self._level is None else None
            if other is None:
                raise
            logger.warning("%s speaks instead of %s: %s", other.name, self._chosen_voice().name, error)
            self._voice, self._speaker = other, None
        return await self._synthesizer.speak(self._request(piece))

    def _stand_in(self) -> VoiceInfo | None:
        """The best other voice of the chosen one's language: the default voice, if it speaks it, else the first."""
        failed = self._chosen_voice()
        language = _base(failed.languages[0])
        others = [
            voice
            for voice in self._services.synthesizer.voices
            if voice is not failed and any(_base(spoken) == language for spoken in voice.languages)
        ]
        default = [voice for voice in others if voice.name == self._services.default_voice]
        return next(iter(default or others), None)

    def _request(self, piece: str) -> SpeakRequest:
        tts = self._services.settings.tts
        return SpeakRequest(
            text=piece,
            voice=self._chosen_voice().name,
            speaker=self._speaker,
            length_scale=tts.length_scale,
            noise_scale=tts.noise_scale,
            noise_w=tts.noise_w,
            level=self._level,
            client=self._client,
        )

    def _known_language(self) -> str | None:
        options = self._options
        if options.voice is None and options.language is None:
            return None
        self._voice = self._choose(options.language)
        return _base(self._voice.languages[0])

    def _chosen_voice(self) -> VoiceInfo:
        if self._voice is None:
            self._voice = self._choose(self._cutter.language)
        return self._voice

    def _choose(self, language: str | None) -> VoiceInfo:
        voice = choose_voice(
            self._services.synthesizer.voices,
            name=self._options.voice,
            language=language,
            default=self._services.default_voice,
        )
        find_speaker(voice, self._options.speaker)
        return voice

    def _guess(self, text: str) -> str:
        spoken = {_base(language) for voice in self._services.synthesizer.voices for language in voice.languages}
        return guess_language(text, sorted(spoken), self._services.default_language)

    def _put(self, pieces: list[str]) -> None:
        for piece in pieces:
            self._pieces.put_nowait(piece)


class _Cutter:
    """Cuts a text that arrives in chunks; where its language is not known, the first piece tells it.

    So the result depends on the text alone, whether it comes whole or word by word.
    """

    def __init__(self, language: str | None, guess: Callable[[str], str], default: str) -> None:
        self.language = language
        self._guess = guess
        self._splitter = Splitter(language or default)
        self._raw = ""

    def feed(self, text: str) -> list[str]:
        pieces = self._splitter.feed(text)
        if self.language is not None:
            return pieces
        self._raw += text
        return self._settle(pieces[0]) if pieces else []

    def finish(self) -> list[str]:
        pieces = self._splitter.finish()
        if self.language is not None:
            return pieces
        return self._settle(pieces[0] if pieces else "") + self._splitter.finish()

    def _settle(self, first_piece: str) -> list[str]:
        self.language = self._guess(first_piece)
        raw, self._raw = self._raw, ""
        self._splitter = Splitter(self.language)
        return self._splitter.feed(raw)


def _base(language: str) -> str:
    return language.replace("_", "-").partition("-")[0].lower()


def _silence(sample_rate: int) -> Speech:
    return Speech(audio=bytes(2 * int(SILENCE_S * sample_rate)), sample_rate=sample_rate, level=1.0)
