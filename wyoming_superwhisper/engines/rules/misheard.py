"""Names that recognition got slightly wrong: put right only where one name of the home is near and no other is.

Words of the language's own commands are no misheard names: "le volume du salon" is nearly "le volet du salon", and "the
lights" nearly "path lights", but who says them means them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Set
from dataclasses import dataclass

from rapidfuzz import fuzz, process

from wyoming_superwhisper.home import Home, fold

NEAR = 85.0
"""Likeness in percent from which a long word is taken for a name; short words need more."""

NEAR_SHORT = 90.0
SHORT = 6
"""Up to this many letters a name counts as short."""

LEAD = 12.0
"""By how much the best name must be more like what was said than any name that means something else."""

_WORD = re.compile(r"[^\s']+'?")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class _Target:
    name: str
    means: frozenset[str]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words that a language's commands are made of, as `sounds` writes them."""

    words: Set[str] = frozenset()
    """Verbs, kinds of device, states: whatever a sentence of the language may hold beside names."""
    articles: Set[str] = frozenset()
    """Those of them that come and go before a name."""

    def mishears(self, said: str, name: str) -> bool:
        """Whether `said` may be `name` misheard, rather than words of a command that happen to be like it."""
        heard, meant = said.split(), name.split()
        instead = [word for word in heard if word not in meant and not self._is_article(word)]
        missing = [word for word in meant if word not in heard and not self._is_article(word)]
        if bool(instead) != bool(missing) or all(word in self.words or self._is_article(word) for word in heard):
            return False
        numbers = {_singular(word) for word in missing}
        return not any(word in self.words and _singular(word) not in numbers for word in instead)

    def _is_article(self, word: str) -> bool:
        return len(word) == 1 or word in self.articles


class NameRepair:
    """Finds the run of words that is nearly, but not exactly, a name of the home."""

    def __init__(self, home: Home) -> None:
        means: dict[str, set[str]] = {}
        shown: dict[str, str] = {}
        for kind, items in (
            ("area", home.settings.areas),
            ("floor", home.settings.floors),
            ("device", home.settings.devices),
        ):
            for item in items:
                for name in (item.name, *item.aliases):
                    if len(key := sounds(name)) >= 4:
                        means.setdefault(key, set()).add(
                            f"{kind}:{item.name}" if kind == "device" else f"{kind}:{item.id}"
                        )
                        shown.setdefault(key, name)
        self._targets = {key: _Target(shown[key], frozenset(found)) for key, found in means.items()}
        self._keys = list(self._targets)
        self._exact = {fold(target.name) for target in self._targets.values()}
        self._longest = max((len(_WORD.findall(key)) for key in self._keys), default=0)

    def repair(self, text: str, vocabulary: Vocabulary) -> str | None:
        """The sentence with the nearest name in place of the words that sound like it.

        None: no name is near enough, or anywhere two are that mean different things.
        """
        words = [match.span() for match in _WORD.finditer(text)]
        best: tuple[float, int, int, str] | None = None
        for first in range(len(words)):
            for last in range(first, min(len(words), first + self._longest + 1)):
                start, end = words[first][0], words[last][1]
                found = self._nearest(text[start:end], vocabulary)
                if found is _AMBIGUOUS:
                    return None
                if found and (best is None or (found[0], end - start) > (best[0], best[2] - best[1])):
                    best = (found[0], start, end, found[1])
        if best is None:
            return None
        _, start, end, name = best
        return f"{text[:start]}{name}{text[end:]}"

    def _nearest(self, words: str, vocabulary: Vocabulary) -> tuple[float, str] | None:
        said = sounds(words)
        if len(said) < 4 or fold(words) in self._exact:
            return None
        needed = NEAR_SHORT if len(said) <= SHORT else NEAR
        found = process.extract(said, self._keys, scorer=fuzz.ratio, limit=4, score_cutoff=needed - LEAD)
        if not found or found[0][1] < needed or not vocabulary.mishears(said, found[0][0]):
            return None
        if _DIGITS.findall(said) != _DIGITS.findall(found[0][0]):
            return _AMBIGUOUS
        target = self._targets[found[0][0]]
        near = [key for key, score, _ in found[1:] if score > found[0][1] - LEAD]
        if any(not self._targets[key].means <= target.means for key in near):
            return _AMBIGUOUS
        return found[0][1], target.name


_AMBIGUOUS = (0.0, "")
"""Two names are as near as each other."""


def _singular(word: str) -> str:
    return word.rstrip("sx")


def sounds(name: str) -> str:
    """A name as it is compared by likeness: without case, accents, hyphens and apostrophes."""
    decomposed = unicodedata.normalize("NFKD", name.casefold().replace("œ", "oe"))
    letters = "".join(char for char in decomposed if not unicodedata.combining(char))
    return " ".join(re.sub(r"[-'’_.,]", " ", letters).split())
