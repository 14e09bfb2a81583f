"""How certain the end of a guess must be for its sentence to count as said to its end.

A model that hears half a sentence likes to complete it ("allume la lampe de la" … cave). Where there are many ways to
go on it is not sure of the one that it chose; where there is only one ("la salle de" … bain) it is. So what is asked of
`Transcription.end_logprob` depends on how well the last word can be guessed from those before it. The figures come from
3,300 places where one can hesitate and 2,300 whole sentences, spoken by espeak-ng in 15 of its voices and heard by the
packaged model, which is hardly ever surer than -0.03.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from wyoming_superwhisper.intents_text import language_of

MANY_ENDS = -0.075
"""Of a command whose last word could have been another one …"""
PLACE_MAY_FOLLOW = -0.06
"""… that may be told its place yet ("turn on the radio" … "in the kitchen"), whose first word is easily missed …"""
ONE_END = -0.05
"""… and whose last word follows from those before it, or is what is counted by a number."""

SURELY_WHOLE = 0.78
LIKELY_WHOLE = 0.2
"""A sentence for the language model is whole where it believes this surely that nothing comes after its last word.
Half a sentence mostly gets less than a tenth of that; a whole one not much more now and then, since so much could be
added to it."""
SURE_TALK = -0.08
"""Of a sentence that only wants an answer, and that the model is sure is whole: nothing is switched by half of it."""
LIKELY_TALK = -0.06
"""Of one that is likely whole, or whose last word follows from those before it."""

_EXPRESSIONS = {
    "fr": ("pour cent", "liste de courses", "s il te plaît", "s il vous plaît", "salle de bain", "salle à manger"),
    "en": ("shopping list", "to do list", "living room", "dining room"),
    "es": ("por ciento", "por favor", "lista de la compra", "cuarto de baño"),
}
"""Words that come together in any house."""


def asked_of_command(text: str, language: str, names: Sequence[str], *, place_may_follow: bool) -> float:
    """The least `end_logprob` of a whole command. `names`: those of the home."""
    if ends_as_it_must(text, language, names):
        return ONE_END
    return PLACE_MAY_FOLLOW if place_may_follow else MANY_ENDS


def asked_of_talk(text: str, language: str, names: Sequence[str], whole: float) -> float:
    """The least `end_logprob` of a sentence that only wants an answer and is whole with this probability."""
    if whole < SURELY_WHOLE or ends_as_it_must(text, language, names):
        return LIKELY_TALK
    return SURE_TALK


def ends_as_it_must(text: str, language: str, names: Sequence[str]) -> bool:
    """Whether the words before the last one begin a name or an expression that can only end so, or end in a number.

    Numbers are of few things: minutes, degrees, hours.
    """
    words, ends = _words(text), _ends((*_EXPRESSIONS.get(language_of(language), ()), *names))
    if len(words) > 1 and words[-2].isdigit():
        return True
    return any(ends.get(words[at:-1]) == {_singular(words[-1])} for at in range(len(words) - 1))


@lru_cache(maxsize=8)
def _ends(expressions: tuple[str, ...]) -> dict[tuple[str, ...], set[str]]:
    """How what begins with these words ends."""
    ends: dict[tuple[str, ...], set[str]] = {}
    for words in map(_words, expressions):
        if len(words) > 1:
            ends.setdefault(words[:-1], set()).add(_singular(words[-1]))
    return ends


def _singular(word: str) -> str:
    """Near enough: a room has both names, "salle de bain" and "salle de bains"."""
    return word.rstrip("s")


def _words(text: str) -> tuple[str, ...]:
    return tuple("".join(one if one.isalnum() else " " for one in text.casefold()).split())
