"""Names of rooms and devices as a home gives them to the recogniser, for prompts in training."""

from __future__ import annotations

import random
from functools import lru_cache

from wyoming_superwhisper.models.demo.domain import LANGUAGES, load_domain, load_extra

MOST_NAMES = 60

_ARTICLES = ("la ", "le ", "les ", "l'", "the ")
_SYLLABLES = [first + last for first in "bdfgklmnprstvz" for last in "aio"]


def choose_names(rng: random.Random, language: str, text: str, count: int) -> list[str]:
    """So many names, some said in the text and some not."""
    known = _known_names(language)
    said = [name for name in known if name.lower() in text.lower()]
    names = rng.sample(said, min(len(said), count)) if rng.random() < 0.6 else []
    # A home may be named in one language and spoken to in another, or have aliases in both.
    foreign = rng.choice([0.0, 0.0, 0.3, 0.5, 1.0])
    other = next(one for one in LANGUAGES if one != language)
    while len(names) < count:
        spoken = other if rng.random() < foreign else language
        names.append(_choose(rng, spoken, _known_names(spoken)))
    rng.shuffle(names)
    return names


def _choose(rng: random.Random, language: str, known: tuple[str, ...]) -> str:
    kind = rng.random()
    if kind < 0.65:
        name = rng.choice(known)
    elif kind < 0.93:
        name = rng.choice(load_extra().languages[language].lists["home_name"])
    else:
        name = "".join(rng.choices(_SYLLABLES, k=rng.randint(2, 4))).capitalize()
    return name if rng.random() < 0.7 else name.lower()


@lru_cache(maxsize=2)
def _known_names(language: str) -> tuple[str, ...]:
    lists = load_domain().languages[language].lists
    things = [*lists["room"], *lists["light"], *lists["device"], *lists["cover"]]
    places = lists["of_room"] if language == "fr" else lists["bare_room"]
    bare = [_bare(thing) for thing in things]
    joined = [
        f"{_bare(light)} {place}" if language == "fr" else f"{place} {light}"
        for light in lists["light"]
        for place in places
    ]
    names = [*bare, *bare, *joined]
    return tuple(name[:1].upper() + name[1:] for name in names)


def _bare(thing: str) -> str:
    return next((thing.removeprefix(article) for article in _ARTICLES if thing.startswith(article)), thing)
