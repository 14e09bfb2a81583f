"""Sentences for the demo Llama, drawn at random from its phrase files (`llama_phrases_fr.yaml`, `llama_talk_fr.yaml`,
`llama_everyday_fr.yaml`, `llama_near_fr.yaml`, `llama_frames_fr.yaml` and those of English)."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import yaml

from wyoming_superwhisper.models.demo.domain import FOLDER

_KINDS = ("phrases", "talk", "everyday", "near", "frames")
_TOKEN = re.compile(r"[\[\]()|]|\{\w+\}|[^\[\]()|{}]+")
_ELIDED = re.compile(
    r"\b([qQ]u|[dD]|[nN]|[lL]|[jJ])e (?=(?:il|elle|on|un|une|en|a|aérer|éclairer|allumer|éteindre|ouvrir|augmenter|"
    r"arrêter|illuminer)\b)"
)
_SYLLABLES = {
    "fr": [
        "ba", "bo", "bri", "ca", "cho", "cla", "da", "dro", "fa", "fio", "gla", "gou", "ja", "ka", "lan", "lo",
        "ma", "mi", "mou", "na", "no", "pa", "pli", "ra", "ri", "rou", "sa", "so", "ta", "tro", "va", "vi", "zo",
    ],
    "en": [
        "ba", "bor", "bri", "ca", "chu", "cla", "da", "dro", "fen", "fi", "gla", "gru", "ja", "ka", "lan", "lo",
        "ma", "mor", "na", "no", "pa", "pli", "ra", "rim", "sa", "sho", "ta", "tri", "va", "wen", "zo",
    ],
}  # fmt: skip
_ENDS = {
    "fr": ["rd", "n", "tte", "lle", "x", "nt", "r", "s", "que", "gne", "le", "ne", "che", "t"],
    "en": ["rd", "n", "tt", "ll", "x", "nt", "r", "ck", "sh", "ng", "le", "ne", "ter", "t"],
}
_ON = {"jardin": "au", "terrasse": "sur", "balcon": "sur", "porche": "sous", "mezzanine": "sur"}
_ON_EN = {"the terrace", "the patio", "the porch", "the balcony", "the mezzanine"}

Places = dict[str, str]
"""What the room words of a template stand for: in, of, the, into, theroom, inroom."""


@dataclass(frozen=True)
class RoomWords:
    """A room as it is said: its key, and article and noun ("la cuisine")."""

    key: str
    said: str

    @property
    def noun(self) -> str:
        """The bare noun, as a home names the room."""
        return re.sub(r"^(le |la |les |l'|the )", "", self.said).lower()


@dataclass(frozen=True)
class Phrases:
    """The phrase file of one language."""

    language: str
    data: Mapping[str, Any]

    @cached_property
    def rooms(self) -> dict[str, list[RoomWords]]:
        """Every room by key, with its ways to be said."""
        return {key: [RoomWords(key, said) for said in words] for key, words in self.data["rooms"].items()}

    def section(self, name: str) -> Any:
        """A part of the phrase file."""
        return self.data[name]

    def say(self, template: str, rng: random.Random, places: Places | None = None) -> str:
        """One sentence of the template, without capital and final mark."""
        tokens = _tokens(template)
        text, _ = self._alternative(tokens, 0, rng, places or {})
        return tidy(text, self.language)

    def word(self, name: str, rng: random.Random, places: Places | None = None) -> str:
        """One word of a list of the phrase file, or a made-up one for `pseudo`."""
        if name == "pseudo":
            return pseudo_word(self.language, rng)
        return self.say(rng.choice(self.data["lists"][name]), rng, places)

    def inside(self, room: RoomWords, rng: random.Random) -> str:
        """Where: "dans la cuisine", "au salon", "in the kitchen"."""
        return _inside_fr(room, rng) if self.language == "fr" else _inside_en(room, rng)

    def belonging(self, room: RoomWords) -> str:
        """Of the room: "de la cuisine", "of the kitchen"."""
        return _contracted("de", room.said) if self.language == "fr" else f"of {room.said}"

    def some_room(self, rng: random.Random) -> RoomWords:
        """Any room at all."""
        return rng.choice(rng.choice(list(self.rooms.values())))

    def _alternative(self, tokens: Sequence[str], at: int, rng: random.Random, places: Places) -> tuple[str, int]:
        """One of the alternatives up to the closing bracket, and where that bracket stands."""
        spans = _alternatives(tokens, at)
        start, end = rng.choice(spans)
        return self._sequence(tokens, start, end, rng, places), spans[-1][1]

    def _sequence(self, tokens: Sequence[str], at: int, end: int, rng: random.Random, places: Places) -> str:
        pieces = []
        while at < end:
            token = tokens[at]
            at += 1
            if token in ("(", "["):
                inner, at = self._alternative(tokens, at, rng, places)
                at += 1
                pieces.append(inner if token == "(" or rng.random() < 0.5 else "")
            elif token.startswith("{"):
                pieces.append(self._placed(token[1:-1], rng, places))
            else:
                pieces.append(token)
        return "".join(pieces)

    def _placed(self, name: str, rng: random.Random, places: Places) -> str:
        if name in places:
            return places[name]
        if name == "inroom":
            return self.inside(self.some_room(rng), rng)
        if name == "theroom":
            return self.some_room(rng).said
        return self.word(name, rng, places)


@lru_cache(maxsize=4)
def load_phrases(language: str) -> Phrases:
    """The phrase files of a language."""
    files = [yaml.safe_load((FOLDER / f"llama_{kind}_{language}.yaml").read_text(encoding="utf-8")) for kind in _KINDS]
    lists = {name: words for file in files for name, words in file["lists"].items()}
    return Phrases(language, {name: part for file in files for name, part in file.items()} | {"lists": lists})


def pseudo_word(language: str, rng: random.Random) -> str:
    """A word that doesn't exist, so that unknown words are nothing new to the model."""
    word = "".join(rng.choice(_SYLLABLES[language]) for _ in range(rng.randint(1, 3)))
    return word + (rng.choice(_ENDS[language]) if rng.random() < 0.6 else "")


def tidy(text: str, language: str) -> str:
    """Spaces and French elisions in order."""
    text = " ".join(text.split()).replace(" ,", ",").strip(" ,")
    if language == "fr":
        text = _ELIDED.sub(r"\1'", text)
    else:
        text = text.replace(" ?", "?")
    return text


@lru_cache(maxsize=4096)
def _tokens(template: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(template))


@lru_cache(maxsize=65536)
def _alternatives(tokens: tuple[str, ...], at: int) -> tuple[tuple[int, int], ...]:
    """The spans of the alternatives that begin at a position; the last one ends where the bracket closes."""
    spans, start, depth = [], at, 0
    while at < len(tokens) and not (depth == 0 and tokens[at] in (")", "]")):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(tokens[at], 0)
        if tokens[at] == "|" and depth == 0:
            spans.append((start, at))
            start = at + 1
        at += 1
    return (*spans, (start, at))


def _inside_fr(room: RoomWords, rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.25:
        return _contracted("à", room.said)
    if kind < 0.4 and room.key in _ON and _ON[room.key] != "au":
        return f"{_ON[room.key]} {room.said}"
    if kind < 0.45:
        return f"dans {_my_fr(room)}"
    return f"dans {room.said}"


def _inside_en(room: RoomWords, rng: random.Random) -> str:
    preposition = "on" if room.said in _ON_EN and rng.random() < 0.7 else "in"
    article = rng.choice(("my", "our", "this")) if rng.random() < 0.12 else "the"
    if rng.random() < 0.06:
        preposition = rng.choice(("inside", "down in", "up in", "out in", "at"))
    return f"{preposition} {article} {room.noun}" if room.said.startswith("the ") else f"{preposition} {room.said}"


def _my_fr(room: RoomWords) -> str:
    feminine = room.said.startswith("la ") and room.noun[0] not in "aeiouéè"
    return ("ma " if feminine else "mes " if room.said.startswith("les ") else "mon ") + room.noun


def _contracted(preposition: str, said: str) -> str:
    """De or à with its article: du, de la, de l', des; au, à la, à l', aux."""
    masculine, plural = {"de": ("du", "des"), "à": ("au", "aux")}[preposition]
    if said.startswith("le "):
        return f"{masculine} {said[3:]}"
    return f"{plural} {said[4:]}" if said.startswith("les ") else f"{preposition} {said}"
