"""How written tokens are said: units, abbreviations, signs, times, addresses and markdown marks, by language.

A *token* is what stands between two spaces. Everything here looks at one token and the one before it, so that text
that arrives in pieces is said as it would be in one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Words:
    """What one language says for signs and shortenings."""

    units: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Unit after a number → singular and plural."""
    shortenings: Mapping[str, str] = field(default_factory=dict)
    """Shortening with its dots → the words it stands for."""
    signs: Mapping[str, str] = field(default_factory=dict)
    """A sign that stands alone, or is glued to a number → its name."""
    minus: str = ""
    to: str = ""
    """Between the ends of a range of numbers."""
    hours: str = ""
    """Between hours and minutes; "" where the minutes simply follow."""
    times: str = ""
    at: str = ""
    dot: str = ""
    link: str = ""
    """For an address that can't be said."""
    code: str = ""
    """For a block of code."""
    groups_by_space: bool = False
    """Whether thousands are written "10 000"."""


def words_of(language: str) -> Words:
    """The words of a language code such as "fr" or "fr_FR"; bare ones for a language that isn't known here."""
    return _LANGUAGES.get(re.split(r"[-_]", language.lower())[0], _UNKNOWN)


def say_token(token: str, before: str, words: Words) -> list[str]:
    """The words a token is said as; none for emoji, markup and the like.

    `before` is the last word said so far ("" at the start). A token that begins with a letter gives words, the first
    beginning with a letter of the same case; one that begins with a digit, words that begin with a digit.
    """
    token = _LINK_TARGET.sub("]", unicodedata.normalize("NFC", token))
    token = _strip_marks(_ADDRESS.sub(lambda match: _say_address(match, words), token))
    bare = token.lstrip(_OPENING)
    core, tail = _split_tail(bare)
    said = _say_core(core, tail, before.lstrip(_OPENING), words) if core else bare
    return _NOT_SAID.sub(" ", token[: len(token) - len(bare)] + said).split()


def continues_number(before: str, token: str, words: Words) -> bool:
    """Whether a token is the next three digits of the number before it ("10" "000")."""
    return words.groups_by_space and bool(_GROUP.match(token)) and bool(_LEADING_GROUPS.fullmatch(before))


def is_said(word: str) -> bool:
    """Whether a word has anything to pronounce."""
    return any(character.isalnum() for character in word)


_NUMBER = re.compile(r"[-−+]?\d+(?:[.,]\d+)*")
_GROUP = re.compile(r"\d{3}(?!\d)")
_LEADING_GROUPS = re.compile(r"[1-9]\d{0,2}(?:\d{3})*")
_TAIL = re.compile(r"[.,;:!?…»”’\"')\]]+$")
_OPENING = "(«“„‘\"'¿¡"
_NOT_SAID = re.compile(r"[/\\~^{}|\[\]]+")  # espeak-ng would name them
_DIMENSION = re.compile(r"(\d+(?:[.,]\d+)*)([^\d\s.,:;!?].*)")

_ADDRESS = re.compile(r"(?:https?://|www\.)[^\s<>()\[\]\"«»]*[^\s<>()\[\]\"«».,;:!?'…]", re.IGNORECASE)
_MAIL = re.compile(r"([\w.+-]+)@([\w-]+(?:\.[\w-]+)+)")
_TAG = re.compile(
    r"</?(?:a|b|br|code|div|em|h[1-6]|hr|i|img|li|ol|p|pre|s|span|speak|strong|sub|sup|table|td|th|tr|u|ul)(?:\s*/)?>",
    re.IGNORECASE,
)
_LINK_TARGET = re.compile(r"\]\([^)\s]*\)")
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&nbsp;": " ", "&quot;": '"', "&#39;": "'"}


def _strip_marks(token: str) -> str:
    for entity, sign in _ENTITIES.items():
        token = token.replace(entity, sign)
    token = _TAG.sub(" ", token)
    token = re.sub(r"!\[|[\[\]`]|~~|\\(?=[^\w\s])", "", token)
    token = re.sub(r"(?<=\d)\*(?=\d)", "×", token).replace("*", "")
    token = re.sub(r"(?<![^\W_])_+|_+(?![^\W_])", "", token).replace("_", " ")
    token = re.sub(r"^#+(?=\w)", "", token).replace("|", " ")
    return "".join(character for character in token if not _is_silent(character)).strip()


def _is_silent(character: str) -> bool:
    """Emoji, control characters, joiners, private and broken characters."""
    category = unicodedata.category(character)
    if category in ("Cc", "Cf", "Cs", "Co", "Cn", "Me", "Sk"):
        return not character.isspace()
    if category == "So":
        return character not in "°№"
    return "\ufe00" <= character <= "\ufe0f" or character in "→←↑↓⇒⇐↔➡"


def _split_tail(token: str) -> tuple[str, str]:
    match = _TAIL.search(token)
    return (token[: match.start()], match[0]) if match else (token, "")


def _say_core(core: str, tail: str, before: str, words: Words) -> str:
    if core in words.units and _NUMBER.fullmatch(before):
        return _with_unit("", core, before, words).strip() + tail
    if (full := _in_full(core, tail, words)) is not None:
        return full
    for pattern, say in _PATTERNS:
        if match := pattern.fullmatch(core):
            return say(match, words).rstrip() + tail
    return words.signs.get(core, core) + tail


def _with_unit(number: str, unit: str, counted: str, words: Words) -> str:
    singular, plural = words.units[unit]
    return f"{number} {singular if counted.lstrip('-−+') in ('1', '1,0', '1.0') else plural}"


def _in_full(core: str, tail: str, words: Words) -> str | None:
    """A shortening said in full, which takes its dot; None for any other word."""
    for end in range(len(tail), -1, -1):
        head = core + tail[:end]
        full = words.shortenings.get(head)
        if full is None and head[0].isupper():
            full = words.shortenings.get(head[0].lower() + head[1:])
            full = full[0].upper() + full[1:] if full else None
        if full is not None:
            return full + tail[end:]
    return None


def _say_address(match: re.Match[str], words: Words) -> str:
    """An address by its host alone: "https://www.example.org/a?b" is "example point org"."""
    host = re.sub(r"^(?:https?://)?(?:www\.)?", "", match[0], flags=re.IGNORECASE)
    host = re.split(r"[/?#:]", host)[0].rpartition("@")[2]
    said = f" {words.dot} ".join(part for part in host.split(".") if part)
    upper = match[0][0].isupper()
    said = said if re.match(r"[^\W\d_]", said) else words.link or "link"
    return said[:1].upper() + said[1:] if upper else said[:1].lower() + said[1:]


def _say_mail(match: re.Match[str], words: Words) -> str:
    name, host = (f" {words.dot} ".join(part.split(".")) for part in (match[1], match[2]))
    return f"{name} {words.at} {host}"


def _say_dimension(match: re.Match[str], words: Words) -> str:
    """A number with its unit or sign glued on."""
    number, unit = match[1], match[2]
    return _with_unit(number, unit, number, words) if unit in words.units else match[0]


def _say_money(match: re.Match[str], words: Words) -> str:
    sign, number = match[1], match[2]
    return _with_unit(number, sign, number, words) if sign in words.units else match[0]


def _say_negative(match: re.Match[str], words: Words) -> str:
    if not words.minus:
        return match[0]
    dimension = _DIMENSION.fullmatch(match[1])
    return f"{words.minus} {_say_dimension(dimension, words) if dimension else match[1]}"


def _say_range(match: re.Match[str], words: Words) -> str:
    if not words.to:
        return match[0]
    dimension = _DIMENSION.fullmatch(match[2])
    return f"{match[1]} {words.to} {_say_dimension(dimension, words) if dimension else match[2]}"


def _say_time(match: re.Match[str], words: Words) -> str:
    minutes = int(match[2])
    return f"{int(match[1])} {words.hours} {minutes or ''}"


def _say_clock(match: re.Match[str], words: Words) -> str:
    if int(match[1]) > 24 or int(match[2]) > 59:
        return match[0]
    return _say_time(match, words) if words.hours else match[0]


def _say_date(match: re.Match[str], _: Words) -> str:
    return re.sub(r"[/-]", " ", match[0])


def _say_product(match: re.Match[str], words: Words) -> str:
    return f"{match[1]} {words.times} {match[2]}"


def _say_numbered(match: re.Match[str], words: Words) -> str:
    return f"{words.signs.get('№', match[1])} {match[2]}"


_PATTERNS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], Words], str]], ...] = (
    (_MAIL, _say_mail),
    (re.compile(r"\d{1,4}[/-]\d{1,2}[/-]\d{1,4}"), _say_date),
    (re.compile(r"(\d{1,2})h(\d{2})"), _say_time),
    (re.compile(r"(\d{1,2}):(\d{2})"), _say_clock),
    (re.compile(r"(\d{1,4}(?:[.,]\d+)?)[-–](\d{1,4}(?:[.,]\d+)?[^\d\s-]*)"), _say_range),
    (re.compile(r"[-−–](\d.*)"), _say_negative),
    (re.compile(r"(\d+)[×x](\d+)"), _say_product),
    (re.compile(r"([$€£])(\d+(?:[.,]\d+)*)"), _say_money),
    (re.compile(r"([nN]°|№)(\d+)"), _say_numbered),
    (_DIMENSION, _say_dimension),
)

_FRENCH = Words(
    units={
        "°C": ("degré", "degrés"), "°": ("degré", "degrés"), "°F": ("degré Fahrenheit", "degrés Fahrenheit"),
        "%": ("pour cent", "pour cent"), "‰": ("pour mille", "pour mille"), "€": ("euro", "euros"),
        "$": ("dollar", "dollars"), "£": ("livre", "livres"), "h": ("heure", "heures"), "min": ("minute", "minutes"),
        "mn": ("minute", "minutes"), "s": ("seconde", "secondes"), "sec": ("seconde", "secondes"),
        "ms": ("milliseconde", "millisecondes"), "mm": ("millimètre", "millimètres"),
        "cm": ("centimètre", "centimètres"), "m": ("mètre", "mètres"), "km": ("kilomètre", "kilomètres"),
        "m²": ("mètre carré", "mètres carrés"), "m³": ("mètre cube", "mètres cubes"),
        "km/h": ("kilomètre par heure", "kilomètres par heure"), "m/s": ("mètre par seconde", "mètres par seconde"),
        "mg": ("milligramme", "milligrammes"), "g": ("gramme", "grammes"), "kg": ("kilo", "kilos"),
        "ml": ("millilitre", "millilitres"), "cl": ("centilitre", "centilitres"), "l": ("litre", "litres"),
        "L": ("litre", "litres"), "W": ("watt", "watts"), "kW": ("kilowatt", "kilowatts"),
        "kWh": ("kilowattheure", "kilowattheures"), "V": ("volt", "volts"), "A": ("ampère", "ampères"),
        "Hz": ("hertz", "hertz"), "dB": ("décibel", "décibels"), "hPa": ("hectopascal", "hectopascals"),
        "Ko": ("kilo-octet", "kilo-octets"), "Mo": ("mégaoctet", "mégaoctets"), "Go": ("gigaoctet", "gigaoctets"),
    },
    shortenings={
        "M.": "Monsieur", "MM.": "Messieurs", "Mme": "Madame", "Mmes": "Mesdames", "Mlle": "Mademoiselle",
        "Dr": "Docteur", "Dr.": "Docteur", "Pr": "Professeur", "St": "Saint", "Ste": "Sainte",
        "av.": "avenue", "bd": "boulevard", "bd.": "boulevard", "boul.": "boulevard", "pl.": "place",
        "env.": "environ", "p.ex.": "par exemple", "c.-à-d.": "c'est-à-dire", "càd": "c'est-à-dire",
        "janv.": "janvier", "févr.": "février", "avr.": "avril", "juil.": "juillet",
        "oct.": "octobre", "nov.": "novembre", "déc.": "décembre", "tél.": "téléphone", "max.": "maximum",
        "min.": "minimum", "n°": "numéro", "N°": "Numéro", "svp": "s'il vous plaît", "stp": "s'il te plaît",
    },
    signs={
        "&": "et", "+": "plus", "=": "égale", "×": "fois", "÷": "divisé par", "%": "pour cent", "@": "arobase",
        "≈": "environ", "±": "plus ou moins", "<": "inférieur à", ">": "supérieur à", "№": "numéro", "€": "euros",
        "°C": "degrés", "−": "moins",
    },
    minus="moins", to="à", hours="heures", times="fois", at="arobase", dot="point", link="lien", code="bloc de code",
    groups_by_space=True,
)  # fmt: skip

_ENGLISH = Words(
    units={
        "°C": ("degree", "degrees"), "°": ("degree", "degrees"), "°F": ("degree Fahrenheit", "degrees Fahrenheit"),
        "%": ("percent", "percent"), "€": ("euro", "euros"), "$": ("dollar", "dollars"), "£": ("pound", "pounds"),
        "h": ("hour", "hours"), "hr": ("hour", "hours"), "hrs": ("hour", "hours"), "min": ("minute", "minutes"),
        "mins": ("minute", "minutes"), "s": ("second", "seconds"), "sec": ("second", "seconds"),
        "ms": ("millisecond", "milliseconds"), "mm": ("millimeter", "millimeters"),
        "cm": ("centimeter", "centimeters"), "m": ("meter", "meters"), "km": ("kilometer", "kilometers"),
        "m²": ("square meter", "square meters"), "m³": ("cubic meter", "cubic meters"),
        "km/h": ("kilometer per hour", "kilometers per hour"), "m/s": ("meter per second", "meters per second"),
        "mph": ("mile per hour", "miles per hour"), "mi": ("mile", "miles"), "ft": ("foot", "feet"),
        "lb": ("pound", "pounds"), "lbs": ("pound", "pounds"), "oz": ("ounce", "ounces"),
        "mg": ("milligram", "milligrams"), "g": ("gram", "grams"), "kg": ("kilogram", "kilograms"),
        "ml": ("milliliter", "milliliters"), "l": ("liter", "liters"), "L": ("liter", "liters"),
        "W": ("watt", "watts"), "kW": ("kilowatt", "kilowatts"), "kWh": ("kilowatt hour", "kilowatt hours"),
        "V": ("volt", "volts"), "A": ("amp", "amps"), "Hz": ("hertz", "hertz"), "dB": ("decibel", "decibels"),
        "hPa": ("hectopascal", "hectopascals"), "KB": ("kilobyte", "kilobytes"), "MB": ("megabyte", "megabytes"),
        "GB": ("gigabyte", "gigabytes"),
    },
    shortenings={
        "Mr.": "Mister", "Mr": "Mister", "Mrs.": "Missus", "Mrs": "Missus", "Ms.": "Miss", "Ms": "Miss",
        "Dr.": "Doctor", "Dr": "Doctor", "Prof.": "Professor", "vs.": "versus", "vs": "versus", "e.g.": "for example",
        "i.e.": "that is", "approx.": "approximately", "Ave.": "Avenue", "Blvd.": "Boulevard", "dept.": "department",
        "Jan.": "January", "Feb.": "February", "Aug.": "August", "Sept.": "September", "Oct.": "October",
        "Nov.": "November", "Dec.": "December", "tel.": "telephone", "max.": "maximum", "min.": "minimum",
    },
    signs={
        "&": "and", "+": "plus", "=": "equals", "×": "times", "÷": "divided by", "%": "percent", "@": "at",
        "≈": "about", "±": "plus or minus", "<": "less than", ">": "greater than", "№": "number", "€": "euros",
        "°C": "degrees", "−": "minus",
    },
    minus="minus", to="to", times="times", at="at", dot="dot", link="link", code="code block",
)  # fmt: skip

_SPANISH = Words(
    units={
        "°C": ("grado", "grados"), "°": ("grado", "grados"), "°F": ("grado Fahrenheit", "grados Fahrenheit"),
        "%": ("por ciento", "por ciento"), "€": ("euro", "euros"), "$": ("dólar", "dólares"),
        "£": ("libra", "libras"), "h": ("hora", "horas"), "min": ("minuto", "minutos"), "s": ("segundo", "segundos"),
        "ms": ("milisegundo", "milisegundos"), "mm": ("milímetro", "milímetros"), "cm": ("centímetro", "centímetros"),
        "m": ("metro", "metros"), "km": ("kilómetro", "kilómetros"), "m²": ("metro cuadrado", "metros cuadrados"),
        "m³": ("metro cúbico", "metros cúbicos"), "km/h": ("kilómetro por hora", "kilómetros por hora"),
        "m/s": ("metro por segundo", "metros por segundo"), "mg": ("miligramo", "miligramos"), "g": ("gramo", "gramos"),
        "kg": ("kilo", "kilos"), "ml": ("mililitro", "mililitros"), "l": ("litro", "litros"), "L": ("litro", "litros"),
        "W": ("vatio", "vatios"), "kW": ("kilovatio", "kilovatios"), "kWh": ("kilovatio hora", "kilovatios hora"),
        "V": ("voltio", "voltios"), "A": ("amperio", "amperios"), "Hz": ("hercio", "hercios"),
        "dB": ("decibelio", "decibelios"), "hPa": ("hectopascal", "hectopascales"), "MB": ("megabyte", "megabytes"),
        "GB": ("gigabyte", "gigabytes"),
    },
    shortenings={
        "Sr.": "Señor", "Sra.": "Señora", "Srta.": "Señorita", "Dr.": "Doctor", "Dra.": "Doctora", "av.": "avenida",
        "avda.": "avenida", "Ud.": "Usted", "Uds.": "Ustedes", "p.ej.": "por ejemplo", "aprox.": "aproximadamente",
        "pág.": "página", "tel.": "teléfono", "núm.": "número", "n.º": "número", "máx.": "máximo", "mín.": "mínimo",
    },
    signs={
        "&": "y", "+": "más", "=": "igual a", "×": "por", "÷": "entre", "%": "por ciento", "@": "arroba",
        "≈": "aproximadamente", "±": "más o menos", "<": "menor que", ">": "mayor que", "№": "número", "€": "euros",
        "°C": "grados", "−": "menos",
    },
    minus="menos", to="a", times="por", at="arroba", dot="punto", link="enlace", code="bloque de código",
    groups_by_space=True,
)  # fmt: skip

_UNKNOWN = Words()
_LANGUAGES = {"fr": _FRENCH, "en": _ENGLISH, "es": _SPANISH}
