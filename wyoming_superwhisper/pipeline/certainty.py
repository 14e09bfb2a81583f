"""How certain the end of a guess must be for its sentence to count as said to its end.

A model that hears half a sentence likes to complete it ("allume la lampe de la" … cave). Where there are many ways to
go on it is not sure of the one that it chose; where there is only one ("la salle de" … bain) it is. So what is asked of
`Transcription.end_logprob` depends on how well the last word can be guessed from those before it, and on whether these
were the last thing spoken (`loss_without_end`). The figures come from 6,000 places where one can hesitate and 3,500
whole sentences, spoken by espeak-ng in 40 of its voices and heard by the packaged model, which is hardly ever surer
than -0.03.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from wyoming_superwhisper.engines.base import Transcription
from wyoming_superwhisper.intents_text import language_of

MANY_ENDS = -0.075
"""Of a command whose last word could have been another one …"""
PLACE_MAY_FOLLOW = -0.06
"""… that may be told its place yet ("turn on the radio" … "in the kitchen"), whose first word is easily missed …"""
ONE_END = -0.05
"""… and whose last word follows from those before it, or is what is counted by a number …"""
ONE_END_SPOKEN = -0.066
"""… where it is known that those before it were not the last thing spoken (`LITTLE_LOSS`)."""

LITTLE_LOSS = (-0.1, 0.03)
"""The words before the last one were not spoken at the end where `Transcription.loss_without_end` is in this range …"""
MUCH_LOSS = 0.2
"""… and may have been the last thing where it is more than this: then no less than `ONE_END` is asked of any end."""
PHRASE_LOSS = (-0.1, 0.06)
"""The range of `Transcription.loss_without_phrase` for the words before a phrase."""

SURELY_WHOLE = 0.78
LIKELY_WHOLE = 0.2
"""A sentence for the language model is whole where it believes this surely that nothing comes after its last word.
Half a sentence mostly gets less than a tenth of that; a whole one not much more now and then, since so much could be
added to it."""
SURE_TALK = -0.08
"""Of a sentence that only wants an answer, and that the model is sure is whole: nothing is switched by half of it."""
LIKELY_TALK = -0.06
"""Of one that is likely whole, or whose last word follows from those before it."""

_PLACE_IS_MISSED = frozenset({"en"})
"""Languages in which a place begins with a word so short ("in") that the model often doesn't hear it, and is sure."""
_ACTS = frozenset({"turn", "switch", "start", "stop", "open", "close", "put", "play", "set"})
"""How sentences begin there that no rule understands as long as their place is missing ("open the blinds")."""

_HOURS = frozenset({"heure", "heures", "clock"})
"""What is counted by hours of the day."""

_EXPRESSIONS = {
    "fr": ("pour cent", "liste de courses", "s il te plaît", "s il vous plaît", "salle de bain", "salle à manger"),
    "en": ("shopping list", "to do list", "living room", "dining room"),
    "es": ("por ciento", "por favor", "lista de la compra", "cuarto de baño"),
}
"""Words that come together in any house."""
_ADDITIONS = {"en": ("in the morning", "in the evening")}
"""Phrases of three words that are readily made up after less, with certainty."""


def looks_back(language: str | None) -> tuple[str, ...]:
    """What must be known of a transcription in this language; None: it isn't known yet."""
    if language is None or language_of(language) in _ADDITIONS:
        return ("loss_without_end", "loss_without_phrase")
    return ("loss_without_end",)


def asked_of_command(heard: Transcription, names: Sequence[str], *, place_may_follow: bool) -> float:
    """The least `end_logprob` of a whole command; infinite: none is enough. `names`: those of the home."""
    return max(_asked_of_sound(heard), _asked_of_command(heard, names, place_may_follow))


def _asked_of_command(heard: Transcription, names: Sequence[str], place_may_follow: bool) -> float:
    if ends_as_it_must(heard.text, heard.language, names):
        return ONE_END_SPOKEN if _within(LITTLE_LOSS, heard.loss_without_end) else ONE_END
    if not place_may_follow:
        return MANY_ENDS
    return math.inf if language_of(heard.language) in _PLACE_IS_MISSED else PLACE_MAY_FOLLOW


def asked_of_talk(heard: Transcription, names: Sequence[str], whole: float) -> float:
    """The least `end_logprob` of a sentence that only wants an answer; infinite: none is enough.

    `whole`: how likely it is whole by the language model.
    """
    if _place_may_follow(heard) or _minutes_may_follow(heard):
        return math.inf
    sure = whole >= SURELY_WHOLE and not ends_as_it_must(heard.text, heard.language, names)
    return max(_asked_of_sound(heard), SURE_TALK if sure else LIKELY_TALK)


def _asked_of_sound(heard: Transcription) -> float:
    """What is asked at least where the last words may have been made up."""
    if " ".join(_words(heard.text)).endswith(_ADDITIONS.get(language_of(heard.language), ())):
        return -math.inf if _within(PHRASE_LOSS, heard.loss_without_phrase) else math.inf
    return ONE_END if heard.loss_without_end > MUCH_LOSS else -math.inf


def _within(limits: tuple[float, float], loss: float) -> bool:
    return limits[0] <= loss <= limits[1]


def _minutes_may_follow(heard: Transcription) -> bool:
    """Whether it ends with a full hour: "à 16 heures" … "30"."""
    last = _words(heard.text)[-1:]
    return bool(last) and (last[0].isdigit() or last[0] in _HOURS)


def _place_may_follow(heard: Transcription) -> bool:
    """Whether a place may have been begun that wasn't heard."""
    return language_of(heard.language) in _PLACE_IS_MISSED and not _ACTS.isdisjoint(_words(heard.text)[:1])


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
