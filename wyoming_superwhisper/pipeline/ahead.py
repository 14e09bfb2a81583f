"""Work done ahead of its request: guesses, and the shelf where they wait to be asked for.

A guess is an engine's answer to one exact request, begun before anybody knows whether that request will come. It is
found by exactly what makes it valid, and by nothing else. Whoever claims it has it alone; what nobody claims is
cancelled when its owner drops it, or a few seconds after its owner has let go of it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable
from contextlib import aclosing
from typing import Any, Generic, Protocol, TypeVar

from wyoming_superwhisper.engines.base import Promotes
from wyoming_superwhisper.errors import SuperwhisperError
from wyoming_superwhisper.observer import Observer

KEEP_S = 5.0
"""How long a guess that is nobody's any more waits to be claimed: Home Assistant asks within a few milliseconds."""
MOST_GUESSES = 64
"""Guesses on the shelf; the oldest makes room."""


Part = TypeVar("Part")


class Dropped(SuperwhisperError):
    """Ends a guess that nobody wants; only its reader sees it."""


class Guess(Generic[Part]):
    """One answer, read ahead at the priority of a guess; its parts are kept from the first one on."""

    def __init__(self, stage: str, parts: AsyncIterator[Part], promote: Callable[[], None] = lambda: None) -> None:
        """`promote` makes the work as urgent as that for a request."""
        self.stage = stage
        self._promote = promote
        self._parts: list[Part] = []
        self._ended = False
        self._error: SuperwhisperError | None = None
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._read(parts), name=f"guess {stage}")

    @property
    def failed(self) -> bool:
        """Whether it came to nothing."""
        return self._error is not None

    async def parts(self) -> AsyncGenerator[Part, None]:
        """Every part, those that are there at once. Raises what the engine raised."""
        given = 0
        while True:
            while given < len(self._parts):
                yield self._parts[given]
                given += 1
            if self._ended:
                break
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None:
            raise self._error

    async def only(self) -> Part:
        """The one part of an answer that has one. Raises as `parts`."""
        async with aclosing(self.parts()) as parts:
            async for part in parts:
                return part
        raise Dropped("There is no answer.")

    def promote(self) -> None:
        """It is wanted now."""
        if not self._ended:
            self._promote()

    def drop(self) -> None:
        """It is not wanted any more. Idempotent."""
        if not self._ended:
            self._error = Dropped("The guess was dropped.")
        self._task.cancel()

    async def gone(self) -> None:
        """Wait until nothing is at work for it."""
        await asyncio.wait([self._task])

    async def _read(self, parts: AsyncIterator[Part]) -> None:
        try:
            async with aclosing(parts) as read:  # type: ignore[type-var]
                async for part in read:
                    self._parts.append(part)
                    self._changed.set()
        except SuperwhisperError as error:
            self._error = error
        except asyncio.CancelledError:
            self._error = Dropped("The guess was dropped.")
            raise
        finally:
            self._ended = True
            self._changed.set()


class Owner(Protocol):
    """Who began guesses."""

    def stop(self) -> None:
        """Begin no more guesses: the request itself has come, or its time is over. May be called more than once."""

    async def stopped(self) -> None:
        """Wait until nothing is at work, after `stop`."""


class Shelf:
    """Guesses that wait to be claimed, by their keys."""

    def __init__(self, observer: Observer, keep_s: float = KEEP_S, most: int = MOST_GUESSES) -> None:
        self._observer = observer
        self._keep_s = keep_s
        self._most = most
        self._guesses: OrderedDict[Hashable, tuple[Guess[Any], Owner]] = OrderedDict()
        self._timers: dict[Owner, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._guesses)

    def put(self, key: Hashable, guess: Guess[Any], owner: Owner) -> None:
        """Let it wait until it is claimed or dropped; one that is there already with this key makes room."""
        self._throw_away(key)
        self._guesses[key] = (guess, owner)
        while len(self._guesses) > self._most:
            self._throw_away(next(iter(self._guesses)))

    def adopt(self, key: Hashable, owner: Owner) -> Guess[Any] | None:
        """The guess with this key, which goes on waiting, as this owner's from now on."""
        found = self._guesses.get(key)
        if found is None or found[0].failed:
            return None
        self._guesses[key] = (found[0], owner)
        return found[0]

    def claim(self, key: Hashable) -> Guess[Any] | None:
        """Take the guess with this key; it is the caller's alone, and urgent. None: there is none that can be used."""
        found = self._guesses.get(key)
        if found is None:
            return None
        guess, owner = found
        if guess.failed:
            self._throw_away(key)
            return None
        del self._guesses[key]
        self._observer.guess(guess.stage, kept=True)
        guess.promote()
        owner.stop()
        return guess

    def drop(self, owner: Owner) -> None:
        """Throw away everything of this owner. Idempotent."""
        if (timer := self._timers.pop(owner, None)) is not None:
            timer.cancel()
        for key in [key for key, (_, whose) in self._guesses.items() if whose is owner]:
            self._throw_away(key)

    def leave(self, owner: Owner) -> None:
        """Nobody looks after this owner any more; what it makes may be claimed for a few seconds yet."""
        if owner not in self._timers:
            self._timers[owner] = asyncio.get_running_loop().call_later(self._keep_s, self._expire, owner)

    def clear(self) -> None:
        """Throw everything away: what it was made from has changed."""
        for key in list(self._guesses):
            self._throw_away(key)

    async def close(self) -> None:
        """Throw everything away, and wait until nothing is at work."""
        owners = {*self._timers, *(owner for _, owner in self._guesses.values())}
        guesses = [guess for guess, _ in self._guesses.values()]
        self.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for owner in owners:
            owner.stop()
            await owner.stopped()
        for guess in guesses:
            await guess.gone()

    def _expire(self, owner: Owner) -> None:
        owner.stop()
        self.drop(owner)

    def _throw_away(self, key: Hashable) -> None:
        found = self._guesses.pop(key, None)
        if found is not None:
            self._observer.guess(found[0].stage, kept=False)
            found[0].drop()


async def at_once(answer: Awaitable[Part]) -> AsyncIterator[Part]:
    """An answer that comes all at once, as parts."""
    yield await answer


def promotion(engine: object, request: object) -> Callable[[], None]:
    """What makes the guess with this request urgent, where the engine can do that."""
    if isinstance(engine, Promotes):
        promote = engine.promote
        return lambda: promote(request)
    return lambda: None
