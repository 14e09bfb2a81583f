"""A turn played through before it has ended: what was guessed is understood, answered, and its first piece spoken.

Nothing is executed, sent or remembered. What comes of it waits on the shelf for the turn itself, which finds it if it
asks the very same; the turn's first question takes over, and the rehearsal then begins nothing more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing

from wyoming_superwhisper.conversation.answer import Part
from wyoming_superwhisper.conversation.said import Said, Understood
from wyoming_superwhisper.engines.base import AnswerPart, AnswerRequest, LanguageModel, Priority
from wyoming_superwhisper.errors import SuperwhisperError
from wyoming_superwhisper.pipeline.services import Services
from wyoming_superwhisper.pipeline.speaking import Speaking, SpeakOptions

logger = logging.getLogger(__name__)


class Rehearsal:
    """Understands a sentence ahead and, where that is wanted, answers it and begins to speak. Owns its guesses."""

    def __init__(
        self,
        services: Services,
        said: Said,
        client: str,
        *,
        answers: bool = True,
        speech: SpeakOptions | None = None,
        otherwise: Sequence[Said] = (),
    ) -> None:
        """`answers`: whether to go beyond understanding; else the language model only reads what no rule understands,
        and says how likely it is whole. `speech`: how the answer will be spoken; None: it won't be.

        `otherwise`: how else it may be asked, the likeliest first: played through after it.
        """
        self._services = services
        self._said = said
        self._otherwise = otherwise
        self._client = client
        self._answers = answers
        self._speech = speech
        self.understood: Understood | None = None
        """What the rules make of it, once that is known."""
        self.whole = 0.0
        """How likely the sentence is whole, by the language model that answers it."""
        self._task = asyncio.create_task(self._run(), name=f"rehearsal {client}")

    @property
    def complete(self) -> bool | None:
        """Whether the sentence is a whole command; None: not known yet."""
        if self.understood is None:
            return None
        return self._services.assistant.is_complete(self._said, self.understood)

    @property
    def place_may_follow(self) -> bool:
        """Whether a command could still be told where it is meant."""
        return self.understood is not None and self._services.assistant.place_may_follow(self.understood)

    def stop(self) -> None:
        """See `Owner`."""
        self._task.cancel()

    async def stopped(self) -> None:
        """See `Owner`."""
        await asyncio.wait([self._task])

    def leave(self) -> None:
        """It goes on by itself; what it makes may be claimed for some seconds."""
        self._services.prepared.shelf.leave(self)

    async def drop(self) -> None:
        """Throw everything away. Idempotent."""
        self.stop()
        self._services.prepared.shelf.drop(self)
        await self.stopped()

    async def _run(self) -> None:
        try:
            self.understood = await self._understand(self._said)
            if not self._answers:
                await self._read(self._said, self.understood)
            else:
                await self._answer(self._said, self.understood, self._note_whole)
                for said in self._otherwise:
                    await self._answer(said, await self._understand(said))
        except SuperwhisperError as error:
            logger.debug("[%s] rehearsal ended: %s", self._client, error)
        except Exception:  # whatever it is, the turn itself has not failed
            logger.exception("[%s] rehearsal failed", self._client)

    async def _understand(self, said: Said) -> Understood:
        prepared = self._services.prepared
        return await self._services.assistant.understand(said, intents=prepared.intents.ahead(self))

    async def _answer(
        self, said: Said, understood: Understood, note_whole: Callable[[float], None] = lambda probability: None
    ) -> None:
        prepared, assistant = self._services.prepared, self._services.assistant
        llm = None if prepared.llm is None else _Reader(prepared.llm.ahead(self), note_whole)
        async with aclosing(assistant.rehearse(said, understood, llm)) as parts:  # type: ignore[type-var]
            if self._speech is None:
                async for _ in parts:
                    pass
            else:
                await self._begin_speech(parts, self._speech)

    async def _read(self, said: Said, understood: Understood) -> None:
        if self._services.prepared.llm is not None:
            llm = _Reader(self._services.prepared.llm, self._note_whole, no_more=True)
            async with aclosing(self._services.assistant.rehearse(said, understood, llm)) as parts:  # type: ignore[type-var]
                async for _ in parts:
                    pass

    def _note_whole(self, probability: float) -> None:
        self.whole = probability

    async def _begin_speech(self, parts: AsyncIterator[Part], options: SpeakOptions) -> None:
        synthesizer = self._services.prepared.synthesizer.ahead(self)
        speaking = Speaking(self._services, options, self._client, synthesizer)
        first_piece = asyncio.create_task(speaking.begin(), name=f"rehearsed speech {self._client}")
        try:
            async for part in parts:
                speaking.feed(self._services.assistant.expected_words(part))
            speaking.finish()
            await first_piece
        finally:
            first_piece.cancel()
            await asyncio.wait([first_piece])


class _Reader:
    """A language model that also tells how likely the sentence it answers is whole."""

    def __init__(self, llm: LanguageModel, note: Callable[[float], None], *, no_more: bool = False) -> None:
        """`no_more`: it answers nothing."""
        self._llm = llm
        self._note = note
        self._no_more = no_more

    async def answer(self, request: AnswerRequest, priority: Priority = Priority.GUESS) -> AsyncIterator[AnswerPart]:
        async with aclosing(self._llm.answer(request, priority)) as parts:  # type: ignore[type-var]
            async for part in parts:
                if part.whole is not None:
                    self._note(part.whole)
                if self._no_more:
                    return
                yield part


class SpeechRehearsal:
    """An answer's first piece spoken while the answer is still written, for a client that asks for its sound later."""

    def __init__(self, services: Services, options: SpeakOptions, client: str) -> None:
        self._shelf = services.prepared.shelf
        self._speaking = Speaking(services, options, client, services.prepared.synthesizer.ahead(self))
        self._task = asyncio.create_task(self._run(client), name=f"rehearsed speech {client}")

    def feed(self, text: str) -> None:
        """Add text of the answer."""
        self._speaking.feed(text)

    def finish(self) -> None:
        """The answer is whole."""
        self._speaking.finish()

    def leave(self) -> None:
        """The answer was sent: its sound may be asked for within some seconds."""
        self._shelf.leave(self)

    def stop(self) -> None:
        """See `Owner`."""
        self._task.cancel()

    async def stopped(self) -> None:
        """See `Owner`."""
        await asyncio.wait([self._task])

    async def drop(self) -> None:
        """Throw it away. Idempotent."""
        self.stop()
        self._shelf.drop(self)
        await self.stopped()

    async def _run(self, client: str) -> None:
        try:
            await self._speaking.begin()
        except SuperwhisperError as error:
            logger.debug("[%s] speech was not made ahead: %s", client, error)
