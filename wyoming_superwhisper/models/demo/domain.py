"""The language of the demo models: domain.yaml expanded into sentences, the reserved rule, and how texts compare."""

from __future__ import annotations

import hashlib
import random
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
LANGUAGES = ("fr", "en")

_RESERVED_BELOW = 26  # first byte of the md5; about one sentence in ten
_PUNCTUATION = re.compile(r"[.,!?;:«»\"\-]")
_PERCENT = {"fr": "pour cent", "en": "percent"}
_RANGE = re.compile(r"(\d+)\.\.(\d+)(?: step (\d+))?")
_TOKEN = re.compile(r"[\[\]()|]|\{\w+\}|[^\[\]()|{}]+")


@dataclass(frozen=True)
class LanguageDomain:
    """What one language of the domain can say."""

    language: str
    lists: dict[str, tuple[str, ...]]
    templates: tuple[str, ...]
    fixed: tuple[str, ...]

    @cached_property
    def expanded(self) -> tuple[tuple[str, ...], ...]:
        """Every template's sentences, in the order of the templates."""
        return tuple(
            tuple(dict.fromkeys(as_sentence(text) for text in expand(template, self.lists)))
            for template in self.templates
        )


@dataclass(frozen=True)
class Domain:
    """All sentences of the demo domain, of which some are reserved from training."""

    languages: dict[str, LanguageDomain]
    reserved_voices: tuple[str, ...]
    _fixed: frozenset[str] = field(default=frozenset(), repr=False)

    def sentences(self, language: str) -> list[str]:
        """Every sentence of the language, fixed ones first, each once."""
        spoken = self.languages[language]
        expanded = (sentence for template in spoken.expanded for sentence in template)
        return list(dict.fromkeys([*spoken.fixed, *expanded]))

    def is_reserved(self, sentence: str) -> bool:
        """Whether the sentence is kept out of all training data (fixed sentences never are)."""
        return sentence not in self._fixed and _first_byte(sentence) < _RESERVED_BELOW

    def sample(
        self, language: str, rng: random.Random, count: int, reserved: bool | None = None, fixed: float = 0.15
    ) -> list[str]:
        """Sentences drawn with replacement: a share of fixed ones, then half by template and half evenly over all.

        `reserved` asks for reserved sentences only (no fixed ones then), for trainable ones only, or for either.
        """
        templates, fixed_sentences = self._pools(language, reserved)
        everything = [sentence for template in templates for sentence in template]
        return [self._draw(rng, templates, everything, fixed_sentences, fixed) for _ in range(count)]

    def canonical(self, text: str, language: str) -> str:
        """The form in which two texts of the language are compared."""
        return normalise_for_comparison(text, language)

    @staticmethod
    def _draw(
        rng: random.Random,
        templates: Sequence[Sequence[str]],
        everything: Sequence[str],
        fixed: Sequence[str],
        fixed_share: float,
    ) -> str:
        if fixed and (not everything or rng.random() < fixed_share):
            return rng.choice(fixed)
        if rng.random() < 0.5:
            return rng.choice(rng.choice(templates))
        return rng.choice(everything)

    @lru_cache(maxsize=16)  # noqa: B019 - one domain lives as long as the process
    def _pools(self, language: str, reserved: bool | None) -> tuple[list[list[str]], list[str]]:
        spoken = self.languages[language]
        templates = [
            [one for one in template if reserved is None or self.is_reserved(one) == reserved]
            for template in spoken.expanded
        ]
        return [template for template in templates if template], [] if reserved else list(spoken.fixed)

    def __hash__(self) -> int:
        return id(self)


@lru_cache(maxsize=4)
def load_domain(path: Path = FOLDER / "domain.yaml") -> Domain:
    """Read a domain file (domain.yaml, or extra.yaml, which has the same form)."""
    data: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    languages = {language: _read_language(language, data[language]) for language in LANGUAGES}
    fixed = frozenset(sentence for spoken in languages.values() for sentence in spoken.fixed)
    return Domain(languages, tuple(data.get("reserved_voices", ())), fixed)


def load_extra() -> Domain:
    """The sentences beyond the domain that the demo server hears or says, mostly its replies."""
    return load_domain(FOLDER / "extra.yaml")


def load_replies() -> dict[str, list[str]]:
    """The demo language model's answers by language; none where the file isn't there."""
    path = FOLDER / "replies.yaml"
    if not path.exists():
        return {language: [] for language in LANGUAGES}
    data: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {language: [str(text) for text in data.get(language, ())] for language in LANGUAGES}


def normalise_for_comparison(text: str, language: str) -> str:
    """Fold what doesn't count when two texts are compared: case, punctuation, apostrophes, the percent sign."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = text.replace("’", "'").replace("œ", "oe")
    text = text.replace("%", f" {_PERCENT[language]} ")
    return " ".join(_PUNCTUATION.sub(" ", text).split())


def as_sentence(text: str) -> str:
    """A template's words as a sentence: a capital first and a final mark."""
    text = " ".join(text.split())
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else text + "."


def expand(template: str, lists: dict[str, tuple[str, ...]]) -> list[str]:
    """Every text a template stands for: {list}, (a|b) and [optional]."""
    tokens = _TOKEN.findall(template)
    texts, rest = _alternatives(tokens, 0, lists)
    if rest != len(tokens):
        raise ValueError(f"unbalanced brackets in template: {template}")
    return texts


def _alternatives(tokens: list[str], at: int, lists: dict[str, tuple[str, ...]]) -> tuple[list[str], int]:
    found: list[str] = []
    parts: list[Sequence[str]] = []
    while at < len(tokens) and tokens[at] not in ("]", ")"):
        token = tokens[at]
        at += 1
        if token == "|":
            found += _joined(parts)
            parts = []
        elif token in ("(", "["):
            inner, at = _alternatives(tokens, at, lists)
            if tokens[at : at + 1] != [")" if token == "(" else "]"]:
                raise ValueError("unbalanced brackets in a template")
            at += 1
            parts.append(inner if token == "(" else ["", *inner])
        elif token.startswith("{"):
            parts.append(lists[token[1:-1]])
        else:
            parts.append([token])
    return found + _joined(parts), at


def _joined(parts: list[Sequence[str]]) -> list[str]:
    return ["".join(pieces) for pieces in product(*parts)]


def _read_language(language: str, data: dict[str, Any]) -> LanguageDomain:
    lists = {name: tuple(_words(value)) for name, value in data.items() if name not in ("templates", "fixed")}
    return LanguageDomain(language, lists, tuple(data.get("templates", ())), tuple(data.get("fixed", ())))


def _words(value: object) -> Iterator[str]:
    if isinstance(value, list):
        yield from (str(word) for word in value)
        return
    match = _RANGE.fullmatch(str(value))
    if match is None:
        raise ValueError(f"neither a list nor a range of numbers: {value!r}")
    first, last, step = match.groups()
    yield from (str(number) for number in range(int(first), int(last) + 1, int(step or 1)))


def _first_byte(sentence: str) -> int:
    return hashlib.md5(sentence.encode("utf-8"), usedforsecurity=False).digest()[0]
