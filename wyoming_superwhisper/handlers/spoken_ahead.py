"""An answer's sound begun while the answer is sent, for a client that usually asks for it next."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from types import TracebackType
from typing import Self

from wyoming_superwhisper.conversation.answer import Part
from wyoming_superwhisper.errors import SuperwhisperError
from wyoming_superwhisper.handlers.base import Session
from wyoming_superwhisper.pipeline.rehearsal import SpeechRehearsal


class SpokenAhead:
    """Listens to one answer on its way to the client; leave it once the answer was sent, or could not be."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._rehearsal: SpeechRehearsal | None = None

    async def heard(self, parts: AsyncIterator[Part]) -> AsyncIterator[Part]:
        """The same parts, all of them."""
        text = ""
        async with aclosing(parts) as answer:  # type: ignore[type-var]
            async for part in answer:
                words = self._session.services.assistant.expected_words(part)
                text += words
                self._hear(words)
                yield part
        self._session.services.habits.answer(self._session.peer, text)
        if self._rehearsal is not None:
            self._rehearsal.finish()

    async def __aenter__(self) -> Self:
        services, peer = self._session.services, self._session.peer
        options = services.habits.next_speech(peer)
        if options is not None:
            self._rehearsal = SpeechRehearsal(services, options, peer)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._rehearsal is None:
            return
        if error is None:
            self._rehearsal.leave()
        else:
            await self._rehearsal.drop()

    def _hear(self, text: str) -> None:
        if self._rehearsal is not None:
            with contextlib.suppress(SuperwhisperError):  # too long to be spoken: that is said when it is asked for
                self._rehearsal.feed(text)
