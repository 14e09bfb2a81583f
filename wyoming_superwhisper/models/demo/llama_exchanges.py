"""Conversations of two turns and more, from small closed sets: jokes, riddles, favourites."""

from __future__ import annotations

import random

from wyoming_superwhisper.engines.base import Exchange
from wyoming_superwhisper.engines.llm_home import Home
from wyoming_superwhisper.models.demo.llama_phrases import Phrases
from wyoming_superwhisper.models.demo.llama_places import with_room
from wyoming_superwhisper.models.demo.llama_talk import Made, chat, plain
from wyoming_superwhisper.models.demo.llama_writing import as_sentence

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


def jokes(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """The next joke after those already told."""
    language = phrases.language
    jokes = _JOKES[language]
    told = rng.randint(1, len(jokes) - 1)
    first = phrases.say(rng.choice(phrases.section("chat")[jokes[0]]), rng)
    asked = [first, *(rng.choice(_MORE_JOKES[language]) for _ in range(told))]
    history = [Exchange(as_sentence(ask), joke) for ask, joke in zip(asked[:told], jokes, strict=False)]
    return history, asked[-1] if rng.random() < 0.8 else first, jokes[told]


def riddles(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """The answer to the riddle before, or the next riddle."""
    language = phrases.language
    riddles = _RIDDLES[language]
    index = rng.randrange(len(riddles))
    question, answer, _ = riddles[index]
    asked = phrases.say(rng.choice(phrases.section("chat")[riddles[0][0]]), rng)
    history = [Exchange(as_sentence(asked), question)]
    if rng.random() < 0.25:
        return history, rng.choice(_MORE_RIDDLES[language]), riddles[(index + 1) % len(riddles)][0]
    guess = rng.choice(riddles)[2]
    return history, guess if rng.random() < 0.25 else rng.choice(_GIVE_UP[language]), answer


def favourites(phrases: Phrases, home: Home, rng: random.Random) -> Made:
    """A favourite colour or animal, told, or asked for after it was told (or never)."""
    language = phrases.language
    kind = rng.choice(("color", "animal"))
    words = _COLORS[language] if kind == "color" else _ANIMALS[language]
    word = rng.choice(list(words))
    told = rng.choice(_TELL[language][kind]).format(word)
    if rng.random() < 0.35:
        return (), told, _taken_note(language, kind, words[word])
    history = [Exchange(as_sentence(told), _taken_note(language, kind, words[word]))]
    if rng.random() < 0.3:
        history += small_talk(phrases, rng)[:1]
    return history, rng.choice(_ASK[language][kind]), _remembered(language, kind, word)


def _taken_note(language: str, kind: str, word: str) -> str:
    if language == "fr":
        return f"{as_sentence(word)[:-1]} est une belle couleur." if kind == "color" else f"J'aime aussi les {word}."
    return f"{word} is a beautiful color." if kind == "color" else f"I like {word} too."


def _remembered(language: str, kind: str, word: str) -> str:
    if language == "fr":
        thing = "Ta couleur préférée est le" if kind == "color" else "Ton animal préféré est le"
        return f"{thing} {word}."
    return f"Your favorite color is {word}." if kind == "color" else f"Your favorite animal is the {word}."


def small_talk(phrases: Phrases, rng: random.Random) -> list[Exchange]:
    """One or two turns that have nothing to do with what comes after."""
    exchanges = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        if rng.random() < 0.4:
            group = rng.choice(phrases.section("loose"))
            room = phrases.some_room(rng)
            text = with_room(phrases, rng.choice(group["say"]), room, rng)
            exchanges.append(Exchange(as_sentence(text), rng.choice(_DONE[phrases.language])))
        else:
            _, text, answer = rng.choice((chat, plain("question"), plain("statement")))(phrases, Home(), rng)
            if answer not in {*_JOKES[phrases.language], *(one[0] for one in _RIDDLES[phrases.language])}:
                exchanges.append(Exchange(as_sentence(text), answer))
    return exchanges
