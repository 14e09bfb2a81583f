"""What the demo Llama learns: conversations made up at random, each with the answer that is right in its home.

A conversation is a request as the engine gets it (`AnswerRequest`), so that the prompt of the training is the
prompt of the engine, written by the same code. Two-turn answers come from small closed sets.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from wyoming_superwhisper import config
from wyoming_superwhisper.engines.base import AnswerRequest, Exchange
from wyoming_superwhisper.engines.llm_calls import call_text, parse_calls
from wyoming_superwhisper.engines.llm_home import Home, HomeArea, HomeDevice, home_from, name_for_model
from wyoming_superwhisper.models.demo.domain import LANGUAGES, expand, load_domain, normalise_for_comparison
from wyoming_superwhisper.models.demo.llama_phrases import Phrases, Places, RoomWords, load_phrases, tidy

_NO_ANSWER = {
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
_JOKES = {
    "fr": (
        "Que fait un chat dans un ordinateur ? Il chasse la souris.",
        "Que dit un mur à un autre mur ? On se retrouve au coin.",
        "Pourquoi le jardinier parle-t-il toujours ? Il raconte des salades.",
        "Je ne connais pas d'autre blague.",
    ),
    "en": (
        "What does a cat do in a computer? It catches the mouse.",
        "What does a wall say to a wall? See you at the corner.",
        "Why is the book so sad? It has too many problems.",
        "I do not know another joke.",
    ),
}
_MORE_JOKES = {
    "fr": (
        "encore",
        "encore une",
        "une autre",
        "raconte-moi une autre blague",
        "une autre blague",
        "encore une blague",
    ),
    "en": ("another one", "one more", "another joke", "tell me another joke", "again", "tell me another one"),
}
_RIDDLES = {
    "fr": (
        ("Je suis jaune et je brille le jour. Qui suis-je ?", "C'est le soleil.", "le soleil"),
        ("Je suis blanche et je tombe en hiver. Qui suis-je ?", "C'est la neige.", "la neige"),
        ("Je brille la nuit dans le ciel. Qui suis-je ?", "C'est la lune.", "la lune"),
    ),
    "en": (
        ("I am yellow and I shine in the day. What am I?", "It is the sun.", "the sun"),
        ("I am white and I fall in winter. What am I?", "It is the snow.", "the snow"),
        ("I shine at night in the sky. What am I?", "It is the moon.", "the moon"),
    ),
}
_MORE_RIDDLES = {
    "fr": ("une autre devinette", "encore une devinette", "encore une", "une autre", "pose-moi une autre devinette"),
    "en": ("another riddle", "one more riddle", "another one", "one more", "tell me another riddle"),
}
_GIVE_UP = {
    "fr": (
        "je ne sais pas", "je donne ma langue au chat", "c'est quoi", "dis-moi", "donne-moi la réponse", "aucune idée",
        "quelle est la réponse", "la réponse", "alors", "je ne trouve pas", "dis-moi la réponse",
        "c'est quoi la réponse", "qu'est-ce que c'est", "qui es-tu", "j'abandonne",
    ),
    "en": (
        "I don't know", "I give up", "what is it", "tell me", "tell me the answer", "no idea", "what is the answer",
        "the answer", "so", "I can't guess", "I have no idea", "what are you", "I do not know",
    ),
}  # fmt: skip
_COLORS = {
    "fr": {"rouge": "le rouge", "bleu": "le bleu", "vert": "le vert", "jaune": "le jaune"},
    "en": {"red": "Red", "blue": "Blue", "green": "Green", "yellow": "Yellow"},
}
_ANIMALS = {
    "fr": {"chat": "chats", "chien": "chiens", "cheval": "chevaux"},
    "en": {"cat": "cats", "dog": "dogs", "horse": "horses"},
}
_TELL = {
    "fr": {
        "color": ("ma couleur préférée est le {}", "ma couleur préférée c'est le {}", "j'aime le {}",
                  "je préfère le {}", "le {} est ma couleur préférée", "j'adore la couleur {}"),
        "animal": ("mon animal préféré est le {}", "mon animal préféré c'est le {}", "le {} est mon animal préféré",
                   "je préfère le {}"),
    },
    "en": {
        "color": ("my favorite color is {}", "I like {}", "I love the color {}", "{} is my favorite color",
                  "I prefer {}", "I like the color {}"),
        "animal": ("my favorite animal is the {}", "the {} is my favorite animal", "I prefer the {}",
                   "my favorite animal is a {}"),
    },
}  # fmt: skip
_ASK = {
    "fr": {
        "color": ("quelle est ma couleur préférée", "c'est quoi ma couleur préférée", "quelle couleur j'aime",
                  "tu te souviens de ma couleur préférée", "dis-moi ma couleur préférée"),
        "animal": ("quel est mon animal préféré", "c'est quoi mon animal préféré", "quel animal j'aime",
                   "tu te souviens de mon animal préféré", "dis-moi mon animal préféré"),
    },
    "en": {
        "color": ("what is my favorite color", "what's my favorite color", "which color do I like",
                  "do you remember my favorite color", "tell me my favorite color"),
        "animal": ("what is my favorite animal", "what's my favorite animal", "which animal do I like",
                   "do you remember my favorite animal", "tell me my favorite animal"),
    },
}  # fmt: skip
_DONE = {
    "fr": ("Lumière allumée", "J'ai allumé la lumière", "C'est fait", "Lumières éteintes", "Température réglée",
           "Volume réglé", "Allumé", "Éteint", "Volets fermés", "D'accord"),
    "en": ("Turned on the light", "Turned on the lights", "Done", "Turned off the lights", "Temperature set",
           "Volume set", "Turned on", "Turned off", "Closed", "All right"),
}  # fmt: skip
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
_EXPANSIONS = (
    ("I'm ", "I am "), ("it's ", "it is "), ("can't", "cannot"), ("can't", "can not"), ("there's", "there is"),
    ("don't", "do not"), ("isn't", "is not"), ("we're", "we are"), ("I'd ", "I would "), ("I've ", "I have "),
    ("what's", "what is"),
)  # fmt: skip
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
_NEGATIVE = re.compile(r"\b(pas|plus|ne|n'\w+|no|not|n't|never|trop|too|moins|less|sans|without)\b|n't")


@dataclass(frozen=True)
class Sample:
    """A request and the whole answer to it, as the model writes it."""

    request: AnswerRequest
    answer: str


@lru_cache(maxsize=1)
def demo_home() -> Home:
    """The home of the demo settings."""
    path = Path(config.__file__).parent / "demo_home.yaml"
    return home_from(yaml.safe_load(path.read_text(encoding="utf-8")))


def random_home(rng: random.Random) -> Home:
    """The demo home, a part of it, or another one; sometimes none at all."""
    kind = rng.random()
    if kind < 0.5:
        return demo_home()
    if kind < 0.58:
        return _part_of(demo_home(), rng)
    return Home() if kind < 0.6 else _made_up_home(rng)


@lru_cache(maxsize=1)
def any_home() -> Home:
    """A home that has every room, under all its names, and the demo home's devices: for learning without a prompt."""
    areas = [HomeArea(key, names[0], names) for key in load_phrases("fr").rooms for names in [_all_names(key)]]
    ids = {area.id: found.id for area in demo_home().areas for found in areas if set(area.names) & set(found.names)}
    devices = [replace(device, area=ids.get(device.area, "")) for device in demo_home().devices]
    return Home(tuple(areas), tuple(devices))


def random_sample(rng: random.Random, home: Home, brief: bool = False) -> Sample:
    """A conversation in that home, in either language; `brief`: seldom with a clock, which is long."""
    language = rng.choice(LANGUAGES)
    history, text, answer = _made(load_phrases(language), home, rng)
    if not history and rng.random() < 0.15:
        history = _small_talk(load_phrases(language), rng)
    area = rng.choice(home.areas).id if home.areas and rng.random() < (0.2 if brief else 0.5) else None
    now = _some_time(rng) if rng.random() < (0.05 if brief else 0.7) else ""
    written = written_form(text, language, rng)
    tag = language if rng.random() < 0.8 else f"{language}-{language.upper()}"
    return Sample(AnswerRequest(written, tag, "", tuple(history), area, now), answer)


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


History = Sequence[Exchange]
Made = tuple[History, str, str]
"""The turns before, the sentence, the answer."""


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


def _loose(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """A complaint or wish that stands for a call, in a room of the home, in an unknown one, or in none."""
    groups = [one for one in phrases.section("loose") if parse_calls(call_text(one["call"]), home)]
    if not groups:
        return _unable(phrases, home, rng)  # the home has nothing that could help
    group = rng.choices(groups, [one["weight"] for one in groups])[0]
    template = rng.choice(group["say"])
    room = _room_to_name(phrases, home, rng, needed="{the}" in template or "{of}" in template or "{into}" in template)
    text = _with_room(phrases, template, room, rng)
    if rng.random() < 0.1:  # the same thing said twice
        text = f"{text}, {_with_room(phrases, rng.choice(_roomless(group['say'])), None, rng)}"
    elif rng.random() < 0.06:
        parts = [text, rng.choice(phrases.section("circumstances"))]
        text = ", ".join(rng.sample(parts, 2))
    text = _wrapped(phrases, text, rng, 0.3)
    return (), text, _answer_in_room(phrases.language, group["call"], room, home)


def _roomless(templates: Sequence[str]) -> list[str]:
    return [one for one in templates if not re.search(r"\{(the|of|into)\}", one)]


def _named(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """A device of the home, called by its name."""
    found = [(key, device) for device in home.devices if (key := _device_key(phrases, device))]
    if not found:
        return _unable(phrases, home, rng)
    key, device = rng.choice(found)
    group = rng.choice(phrases.section("named"))
    word = rng.choice(phrases.section("devices")[key][1:])
    room = _words_of_area(phrases, home.area_of_id(device.area), rng) if rng.random() < 0.5 else None
    text = _with_room(phrases, rng.choice(group["say"]), room, rng, device=_with_article(phrases, word))
    return (), _wrapped(phrases, text, rng, 0.15), _device_call(group["intent"], device, word, room, home)


def _watch(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """A wish to watch or hear something, which stands for a device."""
    key, templates = rng.choice(list(phrases.section("watch").items()))
    found = [device for device in home.devices if _device_key(phrases, device) == key]
    device = rng.choice(found) if found else None
    area = home.area_of_id(device.area) if device else None
    room = _words_of_area(phrases, area, rng) if rng.random() < 0.4 else None
    text = _with_room(phrases, rng.choice(templates), room, rng)
    if device is None:
        return (), text, _NO_ANSWER[phrases.language]["request"]
    word = phrases.section("devices")[key][1]
    return (), _wrapped(phrases, text, rng, 0.2), _device_call("HassTurnOn", device, word, room, home)


def _unable(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    text = _wrapped(phrases, phrases.say(rng.choice(phrases.section("request")), rng), rng, 0.2)
    return (), text, _NO_ANSWER[phrases.language]["request"]


def _plain(section: str) -> Callable[[Phrases, Home, random.Random], Made]:
    """Sentences that have nothing to do with the home."""

    def make(phrases: Phrases, home: Home, rng: random.Random) -> Made:
        text = phrases.say(rng.choice(phrases.section(section)), rng)
        if rng.random() < 0.12:
            text = _with_made_up_word(text, phrases, rng)
        return (), _wrapped(phrases, text, rng, 0.15), _NO_ANSWER[phrases.language][section]

    return make


def _talk(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """Anything else that people say, in many words: wishes, plans, opinions, what happened; no call."""
    section = rng.choices(("statement", "question", "request"), (65, 17, 18))[0]
    text = phrases.say(rng.choice(phrases.section("talk")[section]), rng)
    return (), _wrapped(phrases, text, rng, 0.15), _NO_ANSWER[phrases.language][section]


def _near(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """Talk of rooms, light, warmth, sound and doors that asks for nothing: what was, what others have, figures."""
    text = phrases.say(rng.choice(phrases.section("near")), rng)
    is_question = text.endswith("?")
    if not is_question and rng.random() < 0.15:
        text = phrases.say("{opinion} {text}", rng, {"text": text})
    kind = "question" if is_question else "statement"
    return (), _wrapped(phrases, text, rng, 0.1), _NO_ANSWER[phrases.language][kind]


def _spoilt(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """A sentence built like one that stands for a call, but of something else: the words decide, not the build."""
    language = phrases.language
    for _ in range(20):
        group = rng.choice(phrases.section("loose"))
        room = _room_to_name(phrases, home, rng, needed=True)
        text = _with_room(phrases, rng.choice(group["say"]), room, rng)
        spoilt = _DECIDING[language].sub(lambda found: _other_word(phrases, str(found.lastgroup), rng), text)
        if spoilt != text and not _TELLING[language].search(spoilt):
            kind = "request" if _ASKING[language].match(text) else "statement"
            return (), tidy(spoilt, language), _NO_ANSWER[language][kind]
    return _talk(phrases, home, rng)


def _other_word(phrases: Phrases, kind: str, rng: random.Random) -> str:
    """A word of that kind that decides nothing."""
    if kind == "thing":
        return phrases.word(rng.choice(("mass", "mass", "many")), rng)
    return phrases.word("quality", rng)


def _chat(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    reply, templates = rng.choice(list(phrases.section("chat").items()))
    text = phrases.say(rng.choice(templates), rng)
    return (), _wrapped(phrases, text, rng, 0.12), reply


@lru_cache(maxsize=4)
def _chat_answers(language: str) -> dict[str, str]:
    """What is answered to every small talk that its templates spell out whole."""
    answers: dict[str, str] = {}
    for reply, templates in load_phrases(language).section("chat").items():
        for template in templates:
            if "{" not in template:
                answers |= {_bare(text): reply for text in expand(template, {})}
    return answers


def _domain(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """Sentences of the demo domain; those of chit-chat are answered, those that rules should have known are not."""
    chat = _chat_answers(phrases.language)
    fixed = [one for one in load_domain().languages[phrases.language].fixed if _bare(one) in chat]
    if rng.random() < 0.75:
        sentence = rng.choice(fixed)
        return (), sentence, chat[_bare(sentence)]
    sentence = load_domain().sample(phrases.language, rng, 1, reserved=False, fixed=0.0)[0]
    return (), sentence, _domain_answer(phrases, sentence, home)


def _jokes(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """The next joke after those already told."""
    language = phrases.language
    jokes = _JOKES[language]
    told = rng.randint(1, len(jokes) - 1)
    first = phrases.say(rng.choice(phrases.section("chat")[jokes[0]]), rng)
    asked = [first, *(rng.choice(_MORE_JOKES[language]) for _ in range(told))]
    history = [Exchange(_sentence(ask), joke) for ask, joke in zip(asked[:told], jokes, strict=False)]
    return history, asked[-1] if rng.random() < 0.8 else first, jokes[told]


def _riddles(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """The answer to the riddle before, or the next riddle."""
    language = phrases.language
    riddles = _RIDDLES[language]
    index = rng.randrange(len(riddles))
    question, answer, _ = riddles[index]
    asked = phrases.say(rng.choice(phrases.section("chat")[riddles[0][0]]), rng)
    history = [Exchange(_sentence(asked), question)]
    if rng.random() < 0.25:
        return history, rng.choice(_MORE_RIDDLES[language]), riddles[(index + 1) % len(riddles)][0]
    guess = rng.choice(riddles)[2]
    return history, guess if rng.random() < 0.25 else rng.choice(_GIVE_UP[language]), answer


def _favourites(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """A favourite colour or animal, told, or asked for after it was told (or never)."""
    language = phrases.language
    kind = rng.choice(("color", "animal"))
    words = _COLORS[language] if kind == "color" else _ANIMALS[language]
    word = rng.choice(list(words))
    told = rng.choice(_TELL[language][kind]).format(word)
    if rng.random() < 0.35:
        return (), told, _taken_note(language, kind, words[word])
    history = [Exchange(_sentence(told), _taken_note(language, kind, words[word]))]
    if rng.random() < 0.3:
        history += _small_talk(phrases, rng)[:1]
    return history, rng.choice(_ASK[language][kind]), _remembered(language, kind, word)


_MAKERS: dict[Callable[[Phrases, Home, random.Random], Made], float] = {
    _loose: 54, _named: 3, _watch: 2, _chat: 18, _domain: 9, _jokes: 2, _riddles: 3, _favourites: 4,
    _plain("question"): 7, _plain("statement"): 16, _unable: 3, _plain("unsure"): 3, _talk: 26, _spoilt: 9, _near: 40,
}  # fmt: skip


def _taken_note(language: str, kind: str, word: str) -> str:
    if language == "fr":
        return f"{_sentence(word)[:-1]} est une belle couleur." if kind == "color" else f"J'aime aussi les {word}."
    return f"{word} is a beautiful color." if kind == "color" else f"I like {word} too."


def _remembered(language: str, kind: str, word: str) -> str:
    if language == "fr":
        thing = "Ta couleur préférée est le" if kind == "color" else "Ton animal préféré est le"
        return f"{thing} {word}."
    return f"Your favorite color is {word}." if kind == "color" else f"Your favorite animal is the {word}."


def _small_talk(phrases: Phrases, rng: random.Random) -> list[Exchange]:
    """One or two turns that have nothing to do with what comes after."""
    exchanges = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        if rng.random() < 0.4:
            group = rng.choice(phrases.section("loose"))
            room = phrases.some_room(rng)
            text = _with_room(phrases, rng.choice(group["say"]), room, rng)
            exchanges.append(Exchange(_sentence(text), rng.choice(_DONE[phrases.language])))
        else:
            _, text, answer = rng.choice((_chat, _plain("question"), _plain("statement")))(phrases, Home(), rng)
            if answer not in {*_JOKES[phrases.language], *(one[0] for one in _RIDDLES[phrases.language])}:
                exchanges.append(Exchange(_sentence(text), answer))
    return exchanges


def _answer_in_room(language: str, call: Mapping[str, Any], room: RoomWords | None, home: Home) -> str:
    """The call, aimed at the room that was named, if there is one and the home has it."""
    members: dict[str, Any] = {key: value for key, value in call.items() if key in ("intent", "domain", "device_class")}
    if room is not None:
        area = area_said(home, room)
        if area is None:
            return _NO_ANSWER[language]["room"]
        members["area"] = room.noun if room.noun in area.names else area.names[0]
    values = {key: value for key, value in call.items() if key not in members}
    return call_text({**members, **values})


def area_said(home: Home, room: RoomWords) -> HomeArea | None:
    """The area meant by a room as it is said: of that name, or of a name for the same room in either language."""
    names = [name_for_model(room.noun), *_all_names(room.key)]
    return next((area for name in names for area in home.areas if name in area.names), None)


@lru_cache(maxsize=64)
def _all_names(key: str) -> tuple[str, ...]:
    return tuple(words.noun for language in LANGUAGES for words in load_phrases(language).rooms[key])


def _device_call(intent: str, device: HomeDevice, word: str, room: RoomWords | None, home: Home) -> str:
    name = word if word in device.names else device.names[0]
    members: dict[str, Any] = {"intent": intent, "name": name}
    if room is not None and (area := area_said(home, room)) is not None:
        members["area"] = room.noun if room.noun in area.names else area.names[0]
    return call_text(members)


def _device_key(phrases: Phrases, device: HomeDevice) -> str:
    """Which entry of the phrase file's devices a device is, if any, in whatever language it is named."""
    if device.domain == "vacuum":
        return ""  # a vacuum cleaner isn't turned on
    for language in LANGUAGES:
        for key, (domain, *words) in load_phrases(language).section("devices").items():
            if domain == device.domain and set(words) & set(device.names):
                return str(key)
    return ""


def _with_article(phrases: Phrases, word: str) -> str:
    article = phrases.section("articles").get(word, "the" if phrases.language == "en" else "")
    return word if not article else f"{article}{word}" if article.endswith("'") else f"{article} {word}"


def _room_to_name(phrases: Phrases, home: Home, rng: random.Random, needed: bool) -> RoomWords | None:
    if not needed and rng.random() < 0.4:
        return None
    if rng.random() < 0.06 or not home.areas:
        return phrases.some_room(rng)
    known = [area for area in home.areas if set(area.names) & _demo_names()]
    area = rng.choice(known if known and rng.random() < 0.55 else home.areas)
    return _words_of_area(phrases, area, rng) or phrases.some_room(rng)


@lru_cache(maxsize=1)
def _demo_names() -> frozenset[str]:
    return frozenset(name for area in demo_home().areas for name in area.names)


def _words_of_area(phrases: Phrases, area: HomeArea | None, rng: random.Random) -> RoomWords | None:
    """The area as one says it in this language."""
    if area is None:
        return None
    found = [words for key in phrases.rooms for words in phrases.rooms[key] if set(_all_names(key)) & set(area.names)]
    exact = [words for words in found if words.noun in area.names]
    return rng.choice(exact or found) if found else None


def _with_room(phrases: Phrases, template: str, room: RoomWords | None, rng: random.Random, device: str = "") -> str:
    """The template with its room words filled in, the place now and then said first."""
    if room is None:
        here = rng.choice(phrases.section("here")) if rng.random() < 0.35 else ""
        return phrases.say(template, rng, {"in": here, "of": "", "device": device})
    inside = phrases.inside(room, rng)
    belonging = phrases.belonging(room)
    the = f"my {room.noun}" if room.said.startswith("the ") and rng.random() < 0.15 else room.said
    into = rng.choice(("to", "into", "down to", "up to")) + f" {room.said}"
    places: Places = {"in": inside, "of": belonging, "the": the, "into": into, "device": device}
    if "{in}" not in template or rng.random() < 0.85:
        if "{in}" in template and ("{the}" in template or "{of}" in template):
            places["in"] = ""
        text = phrases.say(template, rng, places)
        said = any(form in text for form in (inside, belonging, the, into))
        return text if said else f"{text} {inside}"
    rest = phrases.say(template, rng, {**places, "in": "", "of": ""})
    return f"{inside}{',' if rng.random() < 0.6 else ''} {rest}"


def _wrapped(phrases: Phrases, text: str, rng: random.Random, share: float) -> str:
    """The sentence with something polite, surprised or impatient around it."""
    before = rng.choice(phrases.section("before")) if rng.random() < share else ""
    after = rng.choice(phrases.section("after")) if rng.random() < share else ""
    return phrases.say("{before} {text} {after}", rng, {"before": before, "text": text, "after": after})


def _with_made_up_word(text: str, phrases: Phrases, rng: random.Random) -> str:
    words = text.split()
    words[rng.randrange(len(words))] = phrases.word("pseudo", rng)
    return " ".join(words)


def _without_a_word(text: str, rng: random.Random) -> str:
    words = text.split()
    if len(words) < 4 or _NEGATIVE.search(text):
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


def _domain_answer(phrases: Phrases, sentence: str, home: Home) -> str:
    """The call of a lamp sentence of the domain; for the rest, that it isn't possible or not known."""
    answers = _NO_ANSWER[phrases.language]
    if sentence.endswith("?") and not re.search(r"allum|étein|turn", sentence, re.IGNORECASE):
        return answers["weather" if re.search(r"météo|temps|pleuv|weather|rain", sentence) else "unsure"]
    intent = _switching(sentence)
    room = next((words for key in phrases.rooms for words in phrases.rooms[key] if words.noun in sentence), None)
    light = re.search(r"lumière|lampe|plafonnier|guirlande|light|lamp", sentence)
    if intent is None or light is None or room is None:
        return answers["request"]
    return _answer_in_room(phrases.language, {"intent": intent, "domain": "light"}, room, home)


def _switching(sentence: str) -> str | None:
    if re.search(r"\b(allum\w*|turn on|switch on)\b", sentence, re.IGNORECASE):
        return "HassTurnOn"
    return "HassTurnOff" if re.search(r"(étei\w*|turn off|switch off)", sentence, re.IGNORECASE) else None


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith(("?", "!", ".")) else f"{text}."


def _bare(text: str) -> str:
    return re.sub(r"[.,!?;]", "", text).lower().strip()


def _some_time(rng: random.Random) -> str:
    """The clock as the front may write it."""
    year, month, day = rng.randint(2024, 2032), rng.randint(1, 12), rng.randint(1, 28)
    clock = f"{rng.randrange(24):02}:{rng.randrange(60):02}"
    language = rng.choice(LANGUAGES)
    long = f"{rng.choice(_DAYS[language])} {day} {_MONTHS[language][month - 1]} {year}, {clock}"
    date = f"{year}-{month:02}-{day:02}"
    zone = rng.choice(("+00:00", "+01:00", "+02:00", "-05:00"))
    return rng.choices((f"{date} {clock}", f"{date} {clock}{zone}", f"{date}T{clock}:00", long), (6, 2, 1, 1))[0]


def _part_of(home: Home, rng: random.Random) -> Home:
    areas = [area for area in home.areas if rng.random() < 0.6]
    kept = {area.id for area in areas}
    devices = [device for device in home.devices if device.area in kept and rng.random() < 0.6]
    rng.shuffle(areas)
    return Home(tuple(areas), tuple(devices))


def _made_up_home(rng: random.Random) -> Home:
    """Rooms and devices named in one language, or in one with the other's names as aliases."""
    first, second = rng.sample(LANGUAGES, 2)
    both = rng.random() < 0.5
    keys = rng.sample(list(load_phrases(first).rooms), rng.randint(3, 14))
    areas = [_made_up_area(key, first, second if both else "", rng) for key in keys]
    devices = [
        _made_up_device(area.id, first, second if both else "", rng) for area in areas for _ in range(rng.randint(0, 3))
    ]
    lights = [HomeDevice("light", (rng.choice(load_phrases(first).section("devices")["lamp"][1:]),), "light", area.id)
              for area in areas if rng.random() < 0.7]  # fmt: skip
    return Home(tuple(areas), tuple(lights + devices) if rng.random() < 0.9 else ())


def _made_up_area(key: str, first: str, second: str, rng: random.Random) -> HomeArea:
    names = [words.noun for words in load_phrases(first).rooms[key]]
    names = names[: rng.randint(1, len(names))]
    if second:
        others = [words.noun for words in load_phrases(second).rooms[key]]
        names += others[: rng.randint(1, len(others))]
    return HomeArea(key, names[0], tuple(dict.fromkeys(names)))


def _made_up_device(area: str, first: str, second: str, rng: random.Random) -> HomeDevice:
    if rng.random() < 0.3:
        cover = rng.choice(list(load_phrases(first).section("covers"))).partition(" ")[2]
        return HomeDevice(cover, (cover,), "cover", area)
    key = rng.choice(list(load_phrases(first).section("devices")))
    domain, *names = load_phrases(first).section("devices")[key]
    names = names[: rng.randint(1, len(names))]
    if second:
        names += load_phrases(second).section("devices")[key][1:2]
    return HomeDevice(names[0], tuple(dict.fromkeys(names)), domain, area)
