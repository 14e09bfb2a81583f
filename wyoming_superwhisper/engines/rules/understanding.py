"""One request to the rules: the ways to understand it, tried from the surest to the boldest."""

from __future__ import annotations

from collections.abc import Sequence

from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.engines.rules.follow_ups import FollowUps
from wyoming_superwhisper.engines.rules.pack import SentencePack
from wyoming_superwhisper.engines.rules.reader import CATCH_ALL, Reader
from wyoming_superwhisper.intents_text import normalise, parts

MAX_COMMANDS = 4
"""Commands looked for in one sentence."""

LONGEST_RUN = 4
"""Pieces between joining words that may be one command: "ajoute du lait, du beurre et du pain à la liste"."""


class Understanding:
    """One request: the ways to understand it, tried from the surest to the boldest."""

    def __init__(self, reader: Reader, pack: SentencePack, area: str | None, previous: tuple[IntentCall, ...]) -> None:
        self._reader = reader
        self._pack = pack
        self._area = area
        self._previous = previous
        self._follow_ups = FollowUps(pack.language, reader.home)

    def of(self, text: str) -> list[IntentCall]:
        """The intents said, in order."""
        loose: list[IntentCall] = []
        if self._reader.literal(self._pack, text, self._area) is None:
            loose, every_word = self._reader.loosely(self._pack, text, self._area, self._previous)
            if loose and every_word:
                return loose
        whole = self._reader.read(self._pack, text, self._area)
        if whole and (not whole.wildcards or (loose and whole.call.name not in CATCH_ALL)):
            return [whole.call]
        if loose:
            return loose
        if calls := self._several(text, strict=whole is not None):
            return calls
        if calls := self._pointing_back(text, self._previous):
            return calls
        if whole:
            return [whole.call]
        return self._misheard(text)

    def _several(self, text: str, strict: bool) -> list[IntentCall]:
        """Several commands joined in a sentence; `strict` where it also has a reading as one (with free text)."""
        pieces = parts(text, self._pack.language)
        if not 1 < len(pieces) <= MAX_COMMANDS * 2 or sum(map(_ends_a_sentence, pieces)) >= MAX_COMMANDS:
            return []
        if calls := self._each(pieces):
            return calls
        first = 0
        while first < len(pieces) and len(calls) < MAX_COMMANDS:
            last, found = self._longest(pieces, first, calls, strict)
            if not found:
                return []
            calls += found
            first = last
        return calls if len(calls) > 1 and first == len(pieces) else []

    def _each(self, pieces: list[tuple[str, str]]) -> list[IntentCall]:
        """The commands where every piece is one by itself, which is usual and quick to see."""
        calls = []
        for _, piece in pieces[:MAX_COMMANDS]:
            reading = self._reader.read(self._pack, piece, self._area)
            if reading is None or reading.wildcards:
                return []
            calls.append(reading.call)
        return calls if len(calls) == len(pieces) else []

    def _longest(
        self, pieces: list[tuple[str, str]], first: int, before: list[IntentCall], strict: bool
    ) -> tuple[int, list[IntentCall]]:
        """The longest run of pieces that is one command; a piece that only names a target repeats the one before."""
        for last in range(_end_of_run(pieces, first), first, -1):
            if first == 0 and last == len(pieces):
                continue
            text = _joined(pieces[first:last])
            reading = self._reader.read(self._pack, text, self._area)
            if reading and not (strict and first > 0 and reading.wildcards):
                return last, [reading.call]
        if not before:
            return first, []
        _, piece = pieces[first]
        found = self._pronoun(before[-1:], piece) or self._of_that_kind(before[-1], piece)
        if not found and not strict:
            found = self._again(before[-1:], piece)
        return first + 1, found

    def _of_that_kind(self, before: IntentCall, piece: str) -> list[IntentCall]:
        """The sentence with the kind of thing that was named before in the place of "celle", "the one"."""
        sentence = self._follow_ups.with_kind(normalise(piece, self._pack.language), before)
        reading = self._reader.read(self._pack, sentence, self._area) if sentence else None
        return [reading.call] if reading and not reading.wildcards else []

    def _pointing_back(self, text: str, previous: Sequence[IntentCall]) -> list[IntentCall]:
        if not previous:
            return []
        words = normalise(text, self._pack.language)
        return (
            self._pronoun(previous, words)
            or self._of_that_kind(previous[-1], words)
            or self._again(previous, self._follow_ups.only_target(words))
        )

    def _pronoun(self, previous: Sequence[IntentCall], words: str) -> list[IntentCall]:
        """The sentence with what was meant last in the place of "it"."""
        calls: list[IntentCall] = []
        for call in previous:
            for sentence in self._follow_ups.with_target(normalise(words, self._pack.language), call):
                reading = self._reader.read(self._pack, sentence, self._area)
                if reading and not reading.wildcards:
                    calls.append(reading.call)
                    break
            else:
                return []
        return calls

    def _again(self, previous: Sequence[IntentCall], words: str) -> list[IntentCall]:
        """The last command for another target."""
        if not words or not previous:
            return []
        slots = self._follow_ups.for_target(previous[-1], words)
        if slots is None:
            return []
        text, template = self._pack.reply_like(previous[-1], slots, self._follow_ups.domain(slots))
        return [IntentCall(previous[-1].name, slots, text, template)]

    def _misheard(self, text: str) -> list[IntentCall]:
        better = self._reader.repaired(self._pack, normalise(text, self._pack.language))
        if better is None:
            return []
        reading = self._reader.read(self._pack, better, self._area)
        if reading and not reading.wildcards:
            return [reading.call]
        return self._several(better, strict=False) or self._pointing_back(better, self._previous)


def _ends_a_sentence(piece: tuple[str, str]) -> bool:
    """Whether a piece begins after a mark that ends sentences."""
    return any(mark in piece[0] for mark in ".!?;")


def _end_of_run(pieces: list[tuple[str, str]], first: int) -> int:
    """How far one command may reach: not beyond its sentence, nor over more than a few joining words."""
    end = first + 1
    while end < len(pieces) and end - first < LONGEST_RUN and not _ends_a_sentence(pieces[end]):
        end += 1
    return end


def _joined(pieces: list[tuple[str, str]]) -> str:
    return " ".join((pieces[0][1], *(f"{join} {piece}" for join, piece in pieces[1:])))
