"""The reply of a pipeline run: written and spoken at the same time, sentence by sentence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from wyoming.handle import Handled, HandledChunk, HandledStart, HandledStop
from wyoming.handle import NotHandled as NotHandledEvent
from wyoming.intent import NotRecognized as NotRecognizedEvent
from wyoming.tts import Synthesize

from wyoming_superwhisper.conversation.answer import Answer, Intents, NotHandled, NotRecognized, Part
from wyoming_superwhisper.conversation.said import Said
from wyoming_superwhisper.engines.base import Priority
from wyoming_superwhisper.handlers.audio_out import AudioOut
from wyoming_superwhisper.handlers.base import Session
from wyoming_superwhisper.handlers.reply import intent_events
from wyoming_superwhisper.pipeline.speaking import Speaking, SpeakOptions


class TurnReply:
    """Asks the assistant and sends what it says, as text and, where `speaks`, as sound."""

    def __init__(self, session: Session, context: Mapping[str, Any], *, speaks: bool, voice: str | None = None) -> None:
        """`voice`: who speaks; None: the house's voice for the language."""
        self._session = session
        self._context = dict(context)
        self._speaks = speaks
        self._voice = voice
        self._text = ""
        self._started = False

    async def run(self, said: Said) -> None:
        """Answer the sentence. Raises what the engines raise."""
        assistant = self._session.services.assistant
        speaking = self._speaking(assistant.language(said)) if self._speaks else None
        sound = asyncio.create_task(self._send_sound(speaking), name="sound") if speaking else None
        try:
            understood = await assistant.understand(said, Priority.FINAL)
            if said.conversation:
                self._context.setdefault("conversation_id", said.conversation)
            await self._send_parts(assistant.respond(said, understood), speaking)
            if speaking and sound:
                speaking.finish()
                await sound
        finally:
            if sound:
                sound.cancel()
                await asyncio.gather(sound, return_exceptions=True)

    async def speak(self, text: str, language: str | None = None) -> None:
        """Speak a text that is there already; its language is found from it where none is named."""
        speaking = self._speaking(language)
        await speaking.feed_whole(text)
        speaking.finish()
        await self._send_sound(speaking)

    async def _send_parts(self, parts: AsyncIterator[Part], speaking: Speaking | None) -> None:
        async with aclosing(parts) as reply:  # type: ignore[type-var]
            async for part in reply:
                if speaking and not isinstance(part, Intents):
                    speaking.feed(part.text)
                await self._send_part(part)
        if self._started:
            await self._session.send(HandledStop())
            await self._send_spoken_text(self._text)
            await self._session.send(Handled(text=self._text.strip(), context=self._context))

    async def _send_part(self, part: Part) -> None:
        self._context["answered_by"] = part.by
        if isinstance(part, Answer):
            await self._send_answer(part)
        elif isinstance(part, Intents):
            for event in intent_events(part.calls, self._context):
                await self._session.send(event)
        elif isinstance(part, NotHandled):
            await self._send_spoken_text(part.text)
            await self._session.send(NotHandledEvent(text=part.text, context=self._context))
        elif isinstance(part, NotRecognized):
            await self._send_spoken_text(part.text)
            await self._session.send(NotRecognizedEvent(text=part.text, context=self._context))

    async def _send_answer(self, answer: Answer) -> None:
        if answer.action:
            self._context["action"] = answer.action
        if not self._started:
            self._started = True
            await self._session.send(HandledStart(context=self._context))
        if answer.text:
            self._text += answer.text
            await self._session.send(HandledChunk(text=answer.text))

    async def _send_spoken_text(self, text: str) -> None:
        if self._speaks:
            await self._session.send(Synthesize(text=text.strip()))

    async def _send_sound(self, speaking: Speaking) -> None:
        async with self._session.sound:
            out = AudioOut(self._session)
            await speaking.run(out.send)
            await out.stop()

    def _speaking(self, language: str | None) -> Speaking:
        return Speaking(self._session.services, SpeakOptions(self._voice, language), self._session.peer)
