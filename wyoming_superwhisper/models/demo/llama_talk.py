"""Talk that stands for no call, and its answers: small talk, everyday life, what is near a home's words."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from wyoming_superwhisper.engines.base import Exchange
from wyoming_superwhisper.engines.llm_home import Home
from wyoming_superwhisper.models.demo.domain import expand
from wyoming_superwhisper.models.demo.llama_phrases import Phrases, load_phrases, tidy
from wyoming_superwhisper.models.demo.llama_places import room_to_name, with_room
from wyoming_superwhisper.models.demo.llama_writing import bare, wrapped

NO_ANSWER = {
    "fr": {
        "question": "Je ne connais pas la réponse.", "statement": "C'est intéressant.",
        "request": "Je ne peux pas faire cela.", "unsure": "Je ne sais pas.",
        "room": "Je ne connais pas cette pièce.", "weather": "Je ne sais pas quel temps il fait.",
    },
    "en": {
        "question": "I do not know the answer.", "statement": "That is interesting.",
        "request": "I can not do that.", "unsure": "I do not know.", "room": "I do not know that room.",
        "weather": "I do not know what the weather is.",
    },
}  # fmt: skip


_AGREED = {"fr": "D'accord.", "en": "All right."}


_DECIDING = {
    "fr": re.compile(
        r"\b(?:(?P<thing>lumière|lumières|clarté|éclairage|chaleur|chauffage|bruit|musique|fraîcheur|air frais)|"
        r"(?P<quality>sombre|noir|noire|obscur|obscure|froid|froide|chaud|chaude|frais|clair|lumineux|lumineuse|"
        r"éclairé|éclairée|fort|forte|bruyant|bruyante|glacial|glaciale))\b"
    ),
    "en": re.compile(
        r"\b(?:(?P<thing>light|lights|heat|heating|noise|music|warmth|fresh air)|"
        r"(?P<quality>dark|dim|gloomy|cold|hot|warm|chilly|freezing|bright|loud|noisy|boiling|stuffy|warmer|cooler))\b"
    ),
}
"""The words that make a loose sentence what it is."""


_TELLING = {
    "fr": re.compile(
        r"\bvoi[rst]|voyai|\bvue\b|éclair|allum|étei|coup|ébloui|yeux|illumin|obscur|noir|pénombre|ténèbres|nuit|jour|"
        r"pôle|banquise|igloo|frigo|congel|glac|gel|grelott|caill|canard|four|sauna|étuve|cuit|fond|sue|sueur|transpir|"
        r"étouff|crève|degrés|réchauff|rafraîch|refroid|temp|oreill|enten|silence|calme|volume|\bson\b|télé|radio|"
        r"baisse|monte|volets|soleil|odeur|sent\b|fumée|aér|respir|lamp|ampoule|lust|inter|grotte|tunnel|cave sans"
    ),
    "en": re.compile(
        r"\bsee\b|\bseeing|black|pitch|shad|dusk|murk|lit\b|brighten|illumin|glare|glaring|blind|dazzl|harsh|eyes|turn|"
        r"switch|lamp|arctic|pole|siberia|antarct|igloo|fridge|freez|froz|ice|icy|icicle|shiver|trembl|goose|teeth|numb|"
        r"oven|sauna|furnace|sahara|desert|tropic|melt|sweat|boil|roast|bak|suffocat|burn|stifl|sweltering|cool|temp|"
        r"ears|hear|quiet|volume|sound|\btv\b|telev|radio|racket|din\b|shutter|sun|smell|stink|smok|air\b|breath|"
        r"cave|dungeon|tunnel|night|darkness|wasting|kill|cozy",
        re.IGNORECASE,
    ),
}
"""Words that would still say what is meant, or nearly."""


_ASKING = {
    "fr": re.compile(r"(?:peux-tu|tu p|pourr|est-ce|donne|mets|fais|apporte|envoie|il faut|merci de|veux-tu|on peut)"),
    "en": re.compile(r"(?:can|could|would|will|please|give|bring|get|make|let|put|hit|send|shine)\b"),
}


History = Sequence[Exchange]


Made = tuple[History, str, str]
"""The turns before, the sentence, the answer."""


def plain(section: str) -> Callable[[Phrases, Home, random.Random], Made]:
    """Sentences that have nothing to do with the home."""

    def make(phrases: Phrases, home: Home, rng: random.Random) -> Made:
        text = phrases.say(rng.choice(phrases.section(section)), rng)
        if rng.random() < 0.12:
            text = _with_made_up_word(text, phrases, rng)
        return (), wrapped(phrases, text, rng, 0.15), NO_ANSWER[phrases.language][section]

    return make


def talk(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """Anything else that people say, in many words: wishes, plans, opinions, what happened; no call."""
    section = rng.choices(("statement", "question", "request"), (65, 17, 18))[0]
    text = phrases.say(rng.choice(phrases.section("talk")[section]), rng)
    return (), wrapped(phrases, text, rng, 0.15), NO_ANSWER[phrases.language][section]


def everyday(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """Talk of anything but a home: health, work, food, travel, knowledge."""
    section = rng.choices(("statement", "question", "request"), (60, 25, 15))[0]
    text = phrases.say(rng.choice(phrases.section("everyday")[section]), rng)
    return (), wrapped(phrases, text, rng, 0.1), NO_ANSWER[phrases.language][section]


def near(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """Talk of rooms, light, warmth, sound and doors that asks for nothing: what was, what others have, figures."""
    text = phrases.say(rng.choice(phrases.section("near")), rng)
    is_question = text.endswith("?")
    if not is_question and rng.random() < 0.15:
        text = phrases.say("{opinion} {text}", rng, {"text": text})
    kind = "question" if is_question else "statement"
    return (), wrapped(phrases, text, rng, 0.1), NO_ANSWER[phrases.language][kind]


def framed(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """What would stand for a call, but told of another time, of a story, quoted, denied or only supposed."""
    template = rng.choice(phrases.section("frames"))
    complaint = _complaint(phrases, home, rng) if "{complaint}" in template else ""
    text = phrases.say(template, rng, {"complaint": complaint})
    kind = "question" if text.endswith("?") else "statement"
    return (), wrapped(phrases, text, rng, 0.08), NO_ANSWER[phrases.language][kind]


def _complaint(phrases: Phrases, home: Home, rng: random.Random) -> str:
    """Words that would stand for a call by themselves."""
    template = rng.choice(rng.choice(phrases.section("loose"))["say"])
    needed = any(place in template for place in ("{the}", "{of}", "{into}"))
    return with_room(phrases, template, room_to_name(phrases, home, rng, needed), rng)


def declined(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """That something shall be left as it is."""
    text = phrases.say(rng.choice(phrases.section("declined")), rng)
    return (), wrapped(phrases, text, rng, 0.1), _AGREED[phrases.language]


def spoilt(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """A sentence built like one that stands for a call, but of something else: the words decide, not the build."""
    language = phrases.language
    for _ in range(20):
        group = rng.choice(phrases.section("loose"))
        room = room_to_name(phrases, home, rng, needed=True)
        text = with_room(phrases, rng.choice(group["say"]), room, rng)
        spoilt = _DECIDING[language].sub(lambda found: _other_word(phrases, str(found.lastgroup), rng), text)
        if spoilt != text and not _TELLING[language].search(spoilt):
            kind = "request" if _ASKING[language].match(text) else "statement"
            return (), tidy(spoilt, language), NO_ANSWER[language][kind]
    return talk(phrases, home, rng)


def _other_word(phrases: Phrases, kind: str, rng: random.Random) -> str:
    """A word of that kind that decides nothing."""
    if kind == "thing":
        return phrases.word(rng.choice(("mass", "mass", "many")), rng)
    return phrases.word("quality", rng)


def unable(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """A request that no home can do."""
    text = wrapped(phrases, phrases.say(rng.choice(phrases.section("request")), rng), rng, 0.2)
    return (), text, NO_ANSWER[phrases.language]["request"]


def chat(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """Small talk that has a reply of its own."""
    reply, templates = rng.choice(list(phrases.section("chat").items()))
    text = phrases.say(rng.choice(templates), rng)
    return (), wrapped(phrases, text, rng, 0.12), reply


@lru_cache(maxsize=4)
def chat_answers(language: str) -> dict[str, str]:
    """What is answered to every small talk that its templates spell out whole."""
    answers: dict[str, str] = {}
    for reply, templates in load_phrases(language).section("chat").items():
        for template in templates:
            if "{" not in template:
                answers |= {bare(text): reply for text in expand(template, {})}
    return answers


def _with_made_up_word(text: str, phrases: Phrases, rng: random.Random) -> str:
    words = text.split()
    words[rng.randrange(len(words))] = phrases.word("pseudo", rng)
    return " ".join(words)
