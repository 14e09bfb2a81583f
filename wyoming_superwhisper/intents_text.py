"""Sentences as people and recognisers say them, brought to the form that sentence packs and names are written in."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

MAX_CHARS = 300
"""Longer texts are no commands; matching them would only take time."""


@dataclass(frozen=True, slots=True)
class SpokenLanguage:
    """How a language wraps a command: politeness, joining words, articles, and words that point back."""

    polite: tuple[str, ...] = ()
    """Words around a command that change nothing (regular expressions)."""
    rewrites: tuple[tuple[str, str], ...] = ()
    """Forms that no pack knows → the form that packs know (regular expressions)."""
    joins: str = r"and|,|;"
    """What stands between two commands."""
    also_before: str = r"(?!)"
    """Words that open a sentence that only names another target ("et", "and")."""
    also_after: str = r"(?!)"
    """Words that close it ("aussi", "too")."""
    articles: str = r"(?!)"
    """Prepositions and articles before a name."""
    that_kind: str = r"(?!)"
    """What stands for the kind of thing that was just named ("celle de la cuisine", "the one in the kitchen")."""
    lights: str = r"(?!)"
    """The plain word for lights."""
    no_media: str = r"(?!)"
    """How free text begins that is no title to play, whatever a pack says: lamps, clothes, games, with whom."""
    talk: str = r"(?!)"
    """How a sentence begins that talks to somebody with a player's verb ("écoute, …"), whatever a pack says."""
    orders: str = r""
    """How a command begins that may be meant for later, whoever knows it: "le train part dans dix minutes" has none."""
    somewhere: str = r""
    """What must stand in a question for people at a place: "qui est le maire" is about no place."""
    places: str = r"(?!)"
    """Places that people are asked for without such a word, too."""
    pronouns: tuple[tuple[str, str], ...] = ()
    """Patterns with a pronoun → the same sentence with {target} in its place."""
    phrases: dict[str, str] = field(default_factory=dict)
    """Kind of target (a domain, a device class, "temperature") → how it is said with {area}."""


def plain(text: str) -> str:
    """The same text with one kind of apostrophe, ligature, space and quote, without the final mark."""
    text = unicodedata.normalize("NFKC", text.translate(_CHARACTERS))
    text = _SPACES.sub(" ", text).strip()
    return _ENDS.sub("", text).strip()


def normalise(text: str, language: str) -> str:
    """A sentence as the packs' templates expect it; "" stays "" and politeness alone stays as it is."""
    words = plain(text)
    rules = _compiled(language_of(language))
    words = _LOOSE_COMMA.sub(" ", words)
    for pattern, replacement in rules.rewrites:
        words = pattern.sub(replacement, words)
    bare = _strip_polite(words, rules)
    words = bare or words
    return _SPACES.sub(" ", words).strip()


def parts(text: str, language: str) -> list[tuple[str, str]]:
    """A sentence cut at everything that may join two commands: (joining word before, part); the first has none."""
    pieces = _compiled(language_of(language)).joins.split(plain(text))
    found = [("", pieces[0].strip())]
    found += [(pieces[i].strip(), pieces[i + 1].strip()) for i in range(1, len(pieces) - 1, 2)]
    return [(join, piece) for join, piece in found if piece]


def is_no_title(text: str, language: str) -> bool:
    """Whether free text is no title to play: a lamp, an alarm, a coat to put on, a game to play with somebody."""
    return bool(_compiled(language_of(language)).no_media.match(text))


def is_talk(text: str, language: str) -> bool:
    """Whether a sentence with a player's verb talks to somebody and plays nothing."""
    return bool(_compiled(language_of(language)).talk.match(text))


def is_order(text: str, language: str) -> bool:
    """Whether words begin as a command does."""
    return bool(_compiled(language_of(language)).orders.match(text))


def names_a_place(text: str, place: str, language: str) -> bool:
    """Whether a question for people has a word in it that makes the rest a place, or `place` is a usual one."""
    rules = _compiled(language_of(language))
    return bool(rules.somewhere.search(text) or rules.places.fullmatch(place.strip()))


def spoken_language(language: str) -> SpokenLanguage:
    """The table of a language; an unknown one has an empty table."""
    return SPOKEN.get(language_of(language), _UNKNOWN)


def language_of(tag: str) -> str:
    """The bare language of a tag: "fr-CA" and "fr_FR" are "fr"."""
    return re.split(r"[-_]", tag.strip().lower(), maxsplit=1)[0]


# --- tables ----------------------------------------------------------------------------------------------------------

_FR = SpokenLanguage(
    polite=(
        r"s'il (?:te|vous) pla[iî]t",
        r"stp",
        r"svp",
        r"merci(?: beaucoup| bien)?",
        r"(?:est[- ]ce que )?tu (?:peux|pourrais|veux bien)",
        r"(?:est[- ]ce que )?vous (?:pouvez|pourriez)",
        r"peux[- ]tu",
        r"pourrais[- ]tu",
        r"pouvez[- ]vous",
        r"pourriez[- ]vous",
        r"veux[- ]tu(?: bien)?",
        r"je (?:veux|voudrais|souhaite)(?: que tu)?",
        r"j'aimerais(?: bien)?(?: que tu)?",
        r"il faut(?: que tu)?",
        r"il faudrait",
        r"dis",
        r"hé",
        r"hey",
        r"ok(?:ay)?",
        r"bon",
        r"alors",
        r"euh+",
        r"donc",
        r"tout de suite",
        r"maintenant",
        r"vas[- ]y",
        r"non",
        r"bonjour",
        r"salut",
    ),
    rewrites=(
        (r"\br(?:é)?(allum|ouvr|éteign|étein|éteind|ferm|mont|baiss|mets|mett)", r"\1"),
        (r"\bre(allum|ouvr|éteign|étein|éteind|ferm|mont|baiss|mets|mett)", r"\1"),
        (r"\b(?:éteigne[zr]?|éteignons)\b", "éteins"),
        (r"\b(allum|ferm|lanc|démarr|baiss|mont|coup|arrêt|jou|ajout|activ|désactiv|annul)ez\b", r"\1e"),
        (r"\b(allum|ferm|ouvr|lanc|démarr|baiss|mont|arrêt|ajout|activ|désactiv|annul)es\b", r"\1e"),
        (r"\béteignes\b", "éteins"),
        (r"^est[- ]ce qu'il y a\b", "il y a"),
        (r"\bmettes\b", "mets"),
        (r"\bouvrez\b", "ouvre"),
        (r"\bmettez\b", "mets"),
        (r"\bréglez\b", "règle"),
        (
            r"\b(allume|éteins|ouvre|ferme|mets|lance|démarre|baisse|monte|règle|coupe|joue|ajoute|rajoute)"
            r"[- ](?:moi|nous)\b",
            r"\1",
        ),
        (r"\b(\d+) ?(?:pour ?cents?|%)", r"\1%"),
        (r"\b(\d+) ?h(?:eures?)? et demie\b", r"\1 heure 30 minutes"),
        (r"\bune heure et demie\b", "1 heure 30 minutes"),
        (r"\b(\d+) minutes? et demie?\b", r"\1 minutes 30 secondes"),
        (r"\bune minute et demie\b", "1 minute 30 secondes"),
        (r"\b(?:une )?demi[- ]heure\b", "30 minutes"),
        (r"\b(?:un )?quart d'heure\b", "15 minutes"),
        (r"\btrois quarts d'heure\b", "45 minutes"),
        (r"\bune (heure|minute|seconde)\b", r"1 \1"),
        (r"\bd'(?=\d)", "de "),
        (r"\bà fond\b", "à 100%"),
        (r"\bà (?:la )?moitié\b", "à 50%"),
        (r"\bau (?:maximum|max)\b", "à 100%"),
    ),
    joins=r"\s*(?:;|,(?!\d)|[.!?](?!\S))\s*(?:et |puis )*|\s+(?:et puis|et ensuite|et aussi|et|puis|ensuite)\s+",
    also_before=r"(?:et|pareil pour|idem pour|même chose pour|la même chose pour|aussi)",
    also_after=r"(?:aussi|également|pareil|idem|non plus)",
    articles=r"(?:dans|du|de|des|à|au|aux|sur|pour|le|la|les|l'|d'|celle|celles|celui|ceux|mon|ma|mes)",
    that_kind=r"(?<!\w)(?:celles?|celui|ceux)(?=\s+(?:d[ue]s?|d'|à|au|aux|dans|en)(?!\w))",
    somewhere=r"(?<!\w)(?:à|au|aux|dans|en|chez)(?! c(?:e|et|ette|es) |\w)",
    places=r"(?:travail|boulot|école|collège|lycée|fac|crèche|maison|bureau|gare|gym)",
    lights=r"(?:lumières?|lampes?|éclairages?|ampoules?)",
    no_media=r"(?:(?:une?|les?|la|l'|mon|ma|mes|du|de la)\s*)?(?:minut(?:eur|erie)s?|alarmes?|réveils?|rappels?"
    r"|lumières?|lampes?|luminosité|températures?|chauffages?|thermostats?|volets?|stores?|rideaux|portail|portes?"
    r"|fenêtres?)(?!\w)"
    r"|un peu (?:plus )?(?:de |d')(?:lumière|clarté|chaleur|air|fraîcheur|ordre|sel|sucre|eau)(?!\w)"
    # what is laid on a table, put on, wished
    r"|(?:(?:une?|les?|la|l'|mon|ma|mes|des|du|de la|de l')\s*)?(?:table|couverts?|nappe|assiettes?|verres?|sel|poivre"
    r"|sucre|beurre|poubelles?|bonnet|manteau|pull|veste|écharpe|chapeau|casquette|gants|chaussures|chaussettes|bottes"
    r"|lunettes|robe|pantalon|pyjama|ceinture)(?!\w)"
    r"|(?:ton|ta|tes|votre|vos) (?!chanson|musique|playlist|liste|morceau|titre|album|disque|radio)"
    r"|une? bon(?:ne)? (?:journée|soirée|nuit|après-midi|week-end|semaine)(?!\w)"
    # games, and with whom
    r"|(?:aux? |à |la |le )?(?:cartes|échecs|dames|dominos|billes|fléchettes|foot(?:ball)?|ballon|tennis|ping-pong"
    r"|poker|loto|docteur|cache-cache|balle|poupée|marelle)(?: (?:avec|dans|chez|au|à) .*)?$"
    r"|(?:tout seul|toute seule|dehors)(?!\w)"
    r"|avec (?:moi|toi|nous|lui|elle|eux|le|la|les|l'|mon|ma|mes|ton|ta|tes)(?!\w)",
    talk=r"écoutez?(?:,|-|"
    r"\s+(?:moi|nous|toi|bien|donc|ceci|ce qu\w*|ça|je|j'|tu|il|elle|on|vous|ils|elles|c'est|si)(?!\w))",
    orders=r"(?:r?allum|étei|ouvr|ferm|m[ae]t|remet|mont|baiss|lanc|démarr|arrêt|(?:dés)?activ|augment|diminu|coup|jou|règl"
    r"|(?:dé)?verrouill|nettoy|ajout|rappel|réveil|préve?n|dis\b|dire\b|annonc|appel|pass|chauff|fais\b|faire\b|stopp"
    r"|repren|envo|cherch|donn|(?:est-ce que )?tu (?:peux|pourrais)|peux|pourr|pouvez|il (?:faut|faudrait)"
    r"|je (?:veux|voudrais)|j'aimerais)",
    pronouns=(
        (r"^(\w+)-(?:la|le|les)\b(.*)$", r"\1 {target}\2"),
        (r"^(?:l'|les |la |le )(\w+(?:er|ir|re))\b(.*)$", r"\1 {target}\2"),
        (r"^(\w+) (?:ça|tout ça)\b(.*)$", r"\1 {target}\2"),
    ),
    phrases={
        "light": "les lumières {area}",
        "fan": "les ventilateurs {area}",
        "temperature": "la température {area}",
        "cover": "les volets {area}",
        "blind": "le store {area}",
        "shade": "le store {area}",
        "awning": "l'auvent {area}",
        "curtain": "le rideau {area}",
        "door": "la porte {area}",
        "garage": "la porte de garage {area}",
        "gate": "le portail {area}",
        "shutter": "les volets {area}",
        "window": "la fenêtre {area}",
    },
)

_EN = SpokenLanguage(
    polite=(
        r"please",
        r"thanks?(?: you)?(?: very much| a lot)?",
        r"can you",
        r"could you",
        r"would you",
        r"will you",
        r"would you mind",
        r"i(?:'d| would) like (?:you )?to",
        r"i want (?:you )?to",
        r"i need you to",
        r"go ahead and",
        r"hey",
        r"ok(?:ay)?",
        r"so",
        r"um+",
        r"uh+",
        r"for me",
        r"right now",
        r"just",
        r"kindly",
        r"no",
        r"hello",
        r"hi",
    ),
    rewrites=(
        (r"\b(turn|switch) of\b", r"\1 off"),
        (r"\b(turn|switch)(ing)? back\b", r"\1"),
        (r"\bturn (it|them) back\b", r"turn \1"),
        (r"\bre(open|close)\b", r"\1"),
        (r"\bagain\b", ""),
        (r"\b(?:power|put) (on|off)\b(?= the (?!shopping|list))", r"turn \1"),
        (r"\b(\d+) ?(?:per ?cent|%)", r"\1 percent"),
        (r"\bhalf an hour\b", "30 minutes"),
        (r"\ban? hour and a half\b", "1 hour 30 minutes"),
        (r"\b(?:a )?quarter of an hour\b", "15 minutes"),
        (r"\ba minute and a half\b", "1 minute 30 seconds"),
        (r"\b(?:an|one) hour\b", "1 hour"),
        (r"\b(?:a|one) minute\b", "1 minute"),
        (r"\bfull brightness\b", "100 percent"),
        (r"\b(?:to |at )half\b", "to 50 percent"),
    ),
    joins=r"\s*(?:;|,(?!\d)|[.!?](?!\S))\s*(?:and |then )*|\s+(?:and then|and also|and|then)\s+",
    also_before=r"(?:and|also|same for|the same for|now|same in|what about|how about)",
    also_after=r"(?:too|also|as well|either|please)",
    articles=r"(?:in|on|at|of|for|the|my|our|to|those|ones|one)",
    that_kind=r"(?<!\w)(?:the )?ones?(?=\s+(?:in|on|at|of)(?!\w))",
    somewhere=r"(?<!\w)(?:at|in|on|here|there|home)(?! th(?:is|at|ese|ose) |\w)",
    places=r"(?:work|school|college|university|kindergarten|nursery|home|(?:the )?(?:office|gym|station))",
    lights=r"(?:lights?|lamps?|lighting)",
    no_media=r"(?:(?:an?|the|my)\s+)?(?:timers?|alarms?|reminders?|lights?|lamps?"
    r"|temperature|heating|thermostat|shutters?|blinds?)(?!\w)"
    r"|(?:an?|the|my|some) (?:warm )?(?:sweater|jumper|coat|hat|scarf|jacket|dress|shirt|tie|apron|seat ?belt|kettle"
    r"|clothes|shoes|boots|gloves|glasses|make-?up|weight)(?!\w)"
    r"|your (?!favou?rite|song|music|playlist|album|record|radio)"
    # games, and with whom
    r"|(?:chess|cards|football|soccer|tennis|poker|tag|catch|checkers|hide and seek|(?:a|the) ball|a game|games|fair"
    r"|nice|dead|dumb|it (?:again|safe|cool|by ear))(?: (?:with|to|in|at|tonight|tomorrow) .*)?$"
    r"|(?:outside|me|us|with (?:me|us|him|her|them|it|the|your|my|each other))(?!\w)",
    orders=r"(?:(?:please|and|then) )*(?:turn|switch|open|close|shut|set|put|play|stop|start|pause|resume|lock|unlock"
    r"|raise|lower|dim|brighten|increase|decrease|mute|unmute|clean|vacuum|add|remind|wake|alert|tell|call|announce"
    r"|broadcast|run|activate|deactivate|enable|disable|make|bring|warm|cool|heat|send|give|show|ask|check"
    r"|let me|can|could|would|will|i want|i'd like|i would like|you (?:can|should))\b",
    pronouns=((r"^(.*\b)(?:it|them|that|those)\b(.*)$", r"\1{target}\2"),),
    phrases={
        "light": "the {area} lights",
        "fan": "the {area} fans",
        "temperature": "the {area} temperature",
        "cover": "the {area} shutters",
        "blind": "the {area} blinds",
        "shade": "the {area} shades",
        "awning": "the {area} awning",
        "curtain": "the {area} curtains",
        "door": "the {area} door",
        "garage": "the {area} garage door",
        "gate": "the {area} gate",
        "shutter": "the {area} shutters",
        "window": "the {area} windows",
    },
)

_ES = SpokenLanguage(
    polite=(
        r"por favor",
        r"gracias",
        r"puedes",
        r"podrías",
        r"puede",
        r"oye",
        r"hola",
        r"quiero que",
        r"me gustaría que",
        r"vale",
    ),
    rewrites=(
        (r"\bmedia hora\b", "30 minutos"),
        (r"\bun cuarto de hora\b", "15 minutos"),
        (r"\b(\d+) ?(?:por ?ciento|%)", r"\1%"),
    ),
    joins=r"\s*(?:;|,(?!\d)|[.!?](?!\S))\s*(?:y |luego )*|\s+(?:y luego|y después|y|e|luego)\s+",
    also_before=r"(?:y|también|lo mismo para|igual para)",
    also_after=r"(?:también|igual|tampoco)",
    articles=r"(?:en|de|del|a|al|el|la|los|las|para|mi|mis)",
    somewhere=r"(?<!\w)(?:en|a|al)(?!\w)",
    lights=r"(?:luz|luces|lámparas?)",
    pronouns=(
        (r"^apág[au]el?[ao]s?\b(.*)$", r"apaga {target}\1"),
        (r"^apága(?:la|lo|las|los)\b(.*)$", r"apaga {target}\1"),
        (r"^(?:enciénde|encende)(?:la|lo|las|los)\b(.*)$", r"enciende {target}\1"),
        (r"^ábre(?:la|lo|las|los)\b(.*)$", r"abre {target}\1"),
        (r"^ciérra(?:la|lo|las|los)\b(.*)$", r"cierra {target}\1"),
    ),
    phrases={
        "light": "las luces de {area}",
        "cover": "las persianas de {area}",
        "shutter": "las persianas de {area}",
        "temperature": "la temperatura de {area}",
    },
)

SPOKEN = {"fr": _FR, "en": _EN, "es": _ES}
_UNKNOWN = SpokenLanguage()

_CHARACTERS = str.maketrans(
    {
        "’": "'",
        "ʼ": "'",
        "`": "'",
        "´": "'",
        "œ": "oe",
        "Œ": "Oe",
        "æ": "ae",
        "Æ": "Ae",
        "«": " ",
        "»": " ",
        "“": " ",
        "”": " ",
        '"': " ",
        "…": " ",
    }
)
_SPACES = re.compile(r"\s+")
_ENDS = re.compile(r"^[\s¿¡.,;:!?-]+|[\s.,;:!?-]+$")
_LOOSE_COMMA = re.compile(r"\s*(?:[;!?]|:(?!\d)|,(?!\d)|(?<!\d),|\.(?!\S))\s*")


@dataclass(frozen=True, slots=True)
class _Rules:
    polite_start: re.Pattern[str]
    polite_end: re.Pattern[str]
    rewrites: tuple[tuple[re.Pattern[str], str], ...]
    joins: re.Pattern[str]
    no_media: re.Pattern[str]
    talk: re.Pattern[str]
    orders: re.Pattern[str]
    somewhere: re.Pattern[str]
    places: re.Pattern[str]


def _rules(spoken: SpokenLanguage) -> _Rules:
    polite = "|".join(sorted(spoken.polite, key=len, reverse=True)) or r"(?!)"
    return _Rules(
        polite_start=re.compile(rf"^(?:{polite})(?!\w)[\s,]*", re.IGNORECASE),
        polite_end=re.compile(rf"[\s,]*(?<!\w)(?:{polite})$", re.IGNORECASE),
        rewrites=tuple((re.compile(pattern, re.IGNORECASE), new) for pattern, new in spoken.rewrites),
        joins=re.compile(f"({spoken.joins})", re.IGNORECASE),
        no_media=re.compile(spoken.no_media, re.IGNORECASE),
        talk=re.compile(spoken.talk, re.IGNORECASE),
        orders=re.compile(spoken.orders, re.IGNORECASE),
        somewhere=re.compile(spoken.somewhere, re.IGNORECASE),
        places=re.compile(spoken.places, re.IGNORECASE),
    )


_RULES = {language: _rules(spoken) for language, spoken in SPOKEN.items()}
_UNKNOWN_RULES = _rules(_UNKNOWN)


def _compiled(language: str) -> _Rules:
    return _RULES.get(language, _UNKNOWN_RULES)


def _strip_polite(words: str, rules: _Rules) -> str:
    while True:
        shorter = rules.polite_end.sub("", rules.polite_start.sub("", words)).strip(" ,")
        if shorter == words:
            return words
        words = shorter
