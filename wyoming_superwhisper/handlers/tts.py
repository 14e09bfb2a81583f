"""Speech synthesis: `synthesize`, whole or streamed, in; audio out."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Mapping

from wyoming.event import Event
from wyoming.tts import SynthesizeStopped

from wyoming_superwhisper.errors import BadEvent, NoText, NotSupported
from wyoming_superwhisper.handlers import fields
from wyoming_superwhisper.handlers.audio_out import AudioOut
from wyoming_superwhisper.handlers.base import EventMethod, Session
from wyoming_superwhisper.pipeline.speaking import Speaking, SpeakOptions, check_language

_TAG = re.compile(r"<[^<>]*>")


class TtsHandler:
    """Speaks texts, one after the other. Inside a stream `synthesize` repeats the text for old servers: ignored."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stream: Speaking | None = None
        self._stream_options = SpeakOptions()
        self._stream_is_ssml = False
        self._streamed: asyncio.Future[bool] | None = None

    @property
    def events(self) -> Mapping[str, EventMethod]:
        return {
            "synthesize": self._synthesize,
            "synthesize-start": self._start,
            "synthesize-chunk": self._chunk,
            "synthesize-stop": self._stop,
        }

    async def close(self) -> None:
        self._stream = None

    async def _synthesize(self, event: Event) -> None:
        text = fields.text(event, self._session.services.settings.limits.text_chars)
        if self._stream is not None:
            self._session.services.habits.speech(self._session.peer, text, self._stream_options)
            return
        self._session.require("tts")
        options = self._options(event)
        speaking = self._speaking(options)
        if _is_ssml(event):
            text = _plain(text)
        if not text.strip():
            raise NoText("'synthesize' came without any text.")
        self._session.services.habits.speech(self._session.peer, text, options)
        await speaking.feed_whole(text)
        speaking.finish()
        await self._speak(speaking)

    async def _start(self, event: Event) -> None:
        if self._stream is not None:
            raise BadEvent("'synthesize-start' came before 'synthesize-stop' of the stream before.")
        self._session.require("tts")
        self._stream_is_ssml = _is_ssml(event)
        self._stream_options = self._options(event)
        self._stream = self._speaking(self._stream_options)
        self._streamed = asyncio.get_running_loop().create_future()
        self._session.spawn(self._speak_stream(self._stream, self._streamed), "synthesize-stream")

    async def _chunk(self, event: Event) -> None:
        text = fields.text(event, self._session.services.settings.limits.text_chars)
        if self._stream is None:
            raise BadEvent("'synthesize-chunk' came without 'synthesize-start'.")
        await self._stream.feed_whole(_plain(text) if self._stream_is_ssml else text)

    async def _stop(self, event: Event) -> None:
        if self._stream is None or self._streamed is None:
            raise BadEvent("'synthesize-stop' came without 'synthesize-start'.")
        try:
            self._stream.finish()
            spoken = await self._streamed
        finally:
            self._stream = self._streamed = None
        if spoken:  # else its error has been told
            await self._session.send(SynthesizeStopped())

    async def _speak_stream(self, speaking: Speaking, done: asyncio.Future[bool]) -> None:
        spoken = False
        try:
            await self._speak(speaking)
            spoken = True
        finally:
            if not done.done():
                done.set_result(spoken)

    async def _speak(self, speaking: Speaking) -> None:
        out = AudioOut(self._session)
        await speaking.run(out.send)
        await out.stop()

    def _options(self, event: Event) -> SpeakOptions:
        """Who is to speak. Raises `BadData`, `UnknownLanguage`."""
        voice = fields.mapping(event, "voice")
        fields.mapping(event, "context")
        options = SpeakOptions(
            voice=fields.name_in(event, voice, "name"),
            language=fields.name_in(event, voice, "language"),
            speaker=fields.name_in(event, voice, "speaker"),
        )
        check_language(self._session.services, options)
        return options

    def _speaking(self, options: SpeakOptions) -> Speaking:
        return Speaking(self._session.services, options, self._session.peer)


def _is_ssml(event: Event) -> bool:
    text_format = fields.name(event, "text_format") or "text"
    if text_format not in ("text", "ssml"):
        raise NotSupported(f"The text format '{text_format}' is not supported; 'text' and 'ssml' are.")
    return text_format == "ssml"


def _plain(ssml: str) -> str:
    """The words of SSML; its marks are not followed."""
    return html.unescape(_TAG.sub(" ", ssml))
