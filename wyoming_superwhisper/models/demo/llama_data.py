"""What the demo Llama learns: conversations made up at random, each with the answer that is right in its home.

A conversation is a request as the engine gets it (`AnswerRequest`), so that the prompt of the training is the
prompt of the engine, written by the same code. Two-turn answers come from small closed sets.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache

from wyoming_superwhisper.engines.base import AnswerRequest
from wyoming_superwhisper.engines.llm_home import Home
from wyoming_superwhisper.models.demo.domain import LANGUAGES, load_domain, normalise_for_comparison
from wyoming_superwhisper.models.demo.llama_exchanges import favourites, jokes, riddles, small_talk
from wyoming_superwhisper.models.demo.llama_phrases import Phrases, load_phrases
from wyoming_superwhisper.models.demo.llama_talk import (
    Made,
    chat,
    declined,
    everyday,
    framed,
    near,
    plain,
    spoilt,
    talk,
    unable,
)
from wyoming_superwhisper.models.demo.llama_wishes import loose, named, of_the_domain, watch
from wyoming_superwhisper.models.demo.llama_writing import bare, written_form

_DAYS = {
    "fr": ["lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"],
    "en": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
}


_MONTHS = {
    "fr": [
        "janvier",
        "février",
        "mars",
        "avril",
        "mai",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
    ],
    "en": [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ],
}


@dataclass(frozen=True)
class Sample:
    """A request and the whole answer to it, as the model writes it."""

    request: AnswerRequest
    answer: str


def random_sample(
    rng: random.Random, home: Home, brief: bool = False, without: Collection[str] = frozenset()
) -> Sample:
    """A conversation in that home, in either language; `brief`: seldom with a clock, which is long.

    `without`: bare sentences that are kept to judge by, and are never what is said.
    """
    while bare((sample := _any_sample(rng, home, brief)).request.text) in without:
        pass
    return sample


def _any_sample(rng: random.Random, home: Home, brief: bool) -> Sample:
    language = rng.choice(LANGUAGES)
    history, text, answer = _made(load_phrases(language), home, rng)
    if not history and rng.random() < 0.15:
        history = small_talk(load_phrases(language), rng)
    area = rng.choice(home.areas).id if home.areas and rng.random() < (0.2 if brief else 0.5) else None
    now = _some_time(rng) if rng.random() < (0.05 if brief else 0.7) else ""
    written = written_form(text, language, rng)
    tag = language if rng.random() < 0.8 else f"{language}-{language.upper()}"
    return Sample(AnswerRequest(written, tag, "", tuple(history), area, now), answer)


def _made(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """A conversation of some kind, its sentence none of those that the domain reserves for tests."""
    makers = list(_MAKERS.items())
    while True:
        make = rng.choices([one for one, _ in makers], [weight for _, weight in makers])[0]
        made = make(phrases, home, rng)
        if normalise_for_comparison(made[1], phrases.language) not in _reserved(phrases.language):
            return made


@lru_cache(maxsize=4)
def _reserved(language: str) -> frozenset[str]:
    domain = load_domain()
    reserved = (one for one in domain.sentences(language) if domain.is_reserved(one))
    return frozenset(normalise_for_comparison(one, language) for one in reserved)


_MAKERS: dict[Callable[[Phrases, Home, random.Random], Made], float] = {
    loose: 84, named: 3, watch: 3, chat: 18, of_the_domain: 9, jokes: 2, riddles: 3, favourites: 4,
    plain("question"): 7, plain("statement"): 16, unable: 3, plain("unsure"): 3, talk: 26, spoilt: 9, near: 36,
    framed: 26, everyday: 16, declined: 3,
}  # fmt: skip


def _some_time(rng: random.Random) -> str:
    """The clock as the front may write it."""
    year, month, day = rng.randint(2024, 2032), rng.randint(1, 12), rng.randint(1, 28)
    clock = f"{rng.randrange(24):02}:{rng.randrange(60):02}"
    language = rng.choice(LANGUAGES)
    long = f"{rng.choice(_DAYS[language])} {day} {_MONTHS[language][month - 1]} {year}, {clock}"
    date = f"{year}-{month:02}-{day:02}"
    zone = rng.choice(("+00:00", "+01:00", "+02:00", "-05:00"))
    return rng.choices((f"{date} {clock}", f"{date} {clock}{zone}", f"{date}T{clock}:00", long), (6, 2, 1, 1))[0]
