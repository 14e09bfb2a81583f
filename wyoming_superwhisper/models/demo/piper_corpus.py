"""The texts that the demo Piper voices learn from: the demo domain, numbers, and words made up of syllables.

Reserved sentences of the domain are left out. The made-up words bring every neighbourhood of sounds, so that a
voice can say texts that nobody thought of here.
"""

from __future__ import annotations

import random

from wyoming_superwhisper.models.demo.domain import load_domain

_OPENINGS = {
    "fr": "b c d f g j l m n p r s t v ch gn br cr dr fr gr pr tr bl cl fl gl pl qu st sp",
    "en": "b c d f g h j l m n p r s t v w y z ch sh th br cr dr fr gr pr tr bl cl fl gl pl sl sp st str wh qu",
}
_MIDDLES = {
    "fr": "a e i o u é è ou oi an en in on un eu ai au eau ui ien ier oin",
    "en": "a e i o u ee ea oo ai ay oa ow ou igh oi oy ar er ir or ur air ear",
}
_ENDINGS = {
    "fr": ["", "", "", "s", "t", "r", "l", "lle", "tte", "me", "ne", "re", "che", "ge", "que", "sse", "ve", "tion"],
    "en": ["", "", "n", "t", "d", "s", "m", "l", "ck", "p", "b", "g", "f", "ng", "st", "nd", "sh", "tch", "th", "ly"],
}
_LINKS = {
    "fr": ["le", "la", "les", "un", "une", "de", "du", "et", "à", "pour", "avec", "dans", "je", "il", "elle", "nous"],
    "en": ["the", "a", "an", "of", "and", "to", "for", "with", "in", "I", "he", "she", "we", "it", "that", "is"],
}
_PHRASES = {
    "fr": (
        "C'est fait.", "Je ne sais pas.", "Voilà, la lumière est allumée.", "Je n'ai pas compris.", "Bien sûr !",
        "Il est {a} heures {b}.", "Il fait {a} degrés dans la chambre.", "Nous sommes le {a} juillet.",
        "Le minuteur de {a} minutes est lancé.", "Pourquoi les plongeurs plongent-ils toujours en arrière ?",
        "Le ciel est bleu, l'herbe est verte et le feu est rouge.", "Est-ce que tu peux répéter, s'il te plaît ?",
        "Huit grands oiseaux jaunes volent au-dessus du vieux moulin.", "Bonjour, je suis votre assistant.",
        "Un bon vin blanc vaut bien quelques efforts.", "Aujourd'hui, {a} janvier, il neigera dans les montagnes.",
        "Le chien aboie, le chat miaule, la vache meugle.", "Désolé, aucune pièce ne porte ce nom.",
        "La batterie est à {b} pour cent.", "Ajouté à la liste : {a} oignons et {b} yaourts.",
        "Elle gagne souvent, mais jamais sans avoir travaillé.", "Quelqu'un a sonné à la porte du jardin.",
        "J'ai éteint toutes les lampes.", "La porte du garage est ouverte depuis {a} minutes.",
    ),
    "en": (
        "Done.", "I don't know.", "There you go, the light is on.", "I did not understand.", "Of course!",
        "It is {a} minutes past {b}.", "It is {a} degrees in the bedroom.", "Today is the {a}th of July.",
        "The timer for {a} minutes has started.", "Why did the chicken cross the road?",
        "The sky is blue, the grass is green and fire is red.", "Could you say that again, please?",
        "Five yellow birds were flying over the old mill.", "Good morning, I am your assistant.",
        "Their brother bought another thick leather jacket.", "On the {a}th of January it will snow in the mountains.",
        "The dog barks, the cat purrs, and the cow says nothing.", "Sorry, there is no room called that.",
        "The battery is at {b} percent.", "Added to the list: {a} onions and {b} yoghurts.",
        "She usually wins, but never without hard work.", "Somebody rang the bell at the garden gate.",
        "I have turned off all the lamps.", "The garage door has been open for {a} minutes.",
    ),
}  # fmt: skip


def training_texts(language: str, count: int, seed: int) -> list[str]:
    """`count` different sentences, of which about half are of the domain; the same for the same arguments."""
    rng = random.Random(f"{language} {seed}")
    domain = load_domain()
    texts = dict.fromkeys(phrase.format(a=7, b=15) for phrase in _PHRASES[language])
    while len(texts) < count:
        kind = rng.random()
        if kind < 0.5:
            text = domain.sample(language, rng, 1, reserved=False)[0]
        elif kind < 0.62:
            text = rng.choice(_PHRASES[language]).format(a=rng.randint(2, 99), b=rng.randint(2, 999))
        else:
            text = _made_up(language, rng)
        if not domain.is_reserved(text):
            texts[text] = None
    return list(texts)[:count]


def _made_up(language: str, rng: random.Random) -> str:
    words = [
        rng.choice(_LINKS[language]) if rng.random() < 0.3 else _word(language, rng) for _ in range(rng.randint(2, 8))
    ]
    if len(words) > 4 and rng.random() < 0.5:
        words[rng.randint(1, 3)] += rng.choice([",", ",", ";", ":"])
    text = " ".join(words)
    return text[:1].upper() + text[1:] + rng.choice([".", ".", ".", "?", "!"])


def _word(language: str, rng: random.Random) -> str:
    syllables = rng.choice([1, 1, 2, 2, 3])
    return "".join(
        rng.choice(_OPENINGS[language].split()) + rng.choice(_MIDDLES[language].split()) for _ in range(syllables)
    ) + rng.choice(_ENDINGS[language])
