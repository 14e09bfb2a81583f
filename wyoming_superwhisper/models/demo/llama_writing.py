"""How a sentence of the demo Llama is written: as recognition or a keyboard has it, tidy, bare or with a slip."""

from __future__ import annotations

import random
import re

from wyoming_superwhisper.models.demo.llama_phrases import Phrases

_EXPANSIONS = (
    ("I'm ", "I am "), ("it's ", "it is "), ("can't", "cannot"), ("can't", "can not"), ("there's", "there is"),
    ("don't", "do not"), ("isn't", "is not"), ("we're", "we are"), ("I'd ", "I would "), ("I've ", "I have "),
    ("what's", "what is"),
)  # fmt: skip
_TURNING = re.compile(
    r"\b(?:pas|plus|ne|n'\w+|ni|no|not|nor|never|trop|too|moins|less|sans|without|si|s'il|if|quand|when|"
    r"was|were|had|been|eu|fit|chez|said|dit)\b|n't|[«:']\s"
)
"""Where a word lost may turn the meaning round: what denies, supposes, or tells of another time or somebody else."""


def written_form(text: str, language: str, rng: random.Random) -> str:
    """The sentence as recognition or a keyboard writes it: mostly tidy, sometimes bare, seldom with a slip."""
    if language == "en" and rng.random() < 0.5:
        for short, long in rng.sample(_EXPANSIONS, len(_EXPANSIONS)):
            text = text.replace(short, long)
    if rng.random() < 0.05:
        text = _without_a_word(text, rng)
    if rng.random() < 0.04:
        text = _with_a_slip(text, rng)
    if rng.random() < 0.75:
        text = text[:1].upper() + text[1:]
    if rng.random() < 0.8 and not text.endswith(("?", "!", ".")):
        text += rng.choices(".!?", (90, 8, 2))[0]
    elif rng.random() < 0.2:
        text = text.rstrip("?!. ")
    return text.lower() if rng.random() < 0.05 else text


def wrapped(phrases: Phrases, text: str, rng: random.Random, share: float) -> str:
    """The sentence with something polite, surprised or impatient around it."""
    before = rng.choice(phrases.section("before")) if rng.random() < share else ""
    after = rng.choice(phrases.section("after")) if rng.random() < share else ""
    return phrases.say("{before} {text} {after}", rng, {"before": before, "text": text, "after": after})


def as_sentence(text: str) -> str:
    """The text with a capital and a final mark."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith(("?", "!", ".")) else f"{text}."


def bare(text: str) -> str:
    """The text without capitals and marks, to compare it."""
    return re.sub(r"[.,!?;]", "", text).lower().strip()


def _without_a_word(text: str, rng: random.Random) -> str:
    words = text.split()
    if len(words) < 4 or _TURNING.search(text):
        return text
    short = [index for index, word in enumerate(words) if len(word) <= 3]
    if short:
        del words[rng.choice(short)]
    return " ".join(words)


def _with_a_slip(text: str, rng: random.Random) -> str:
    if len(text) < 8:
        return text
    at = rng.randrange(1, len(text) - 2)
    lost, doubled = text[:at] + text[at + 1 :], text[:at] + text[at] + text[at:]
    return rng.choice((lost, doubled, text[:at] + text[at + 1] + text[at] + text[at + 2 :]))
