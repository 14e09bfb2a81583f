"""Guessing the language of a short text by its commonest words and its letters: cheap, and good enough for a voice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_COMMON: Mapping[str, str] = {
    "fr": """le la les un une des du de et est il elle je tu nous vous on à au aux en dans sur pour pas que qui ne ce
        cette c'est avec mon ma mes ton ta son sa sont il y quel quelle bonjour merci oui non allume éteins mets heure
        fait très plus lumière cuisine salon chambre degrés s'il plaît d'accord bien été voici voilà être
        allumer éteindre ouvre ferme ouvrir fermer lance arrête démarre joue reprends coupe monte baisse règle active
        annule annuler ajoute rajoute enlève retire rappelle réveille répète laisse tomber lampe lampes lumières volets
        porte fenêtre chauffage musique chanson piste lecture suivant suivante précédent précédente muet minuteur
        minute minutes secondes heures liste courses météo demain aujourd'hui matin soir nuit bonne bonsoir tout toutes
        tous""",
    "en": """the a an of and is are was to in on at for it this that with you i my your we they be not do does have has
        what which how turn off light please thank thanks yes no hello good it's i'm there will can room set kitchen
        degrees o'clock minutes here done sorry
        lights lamp all everything open close switch start play playing next song track resume music some mute
        unmute louder quieter up down cancel never mind nevermind timer timers minute hour hours seconds remind
        wake activate run add put remove list shopping weather tomorrow today morning evening night where where's
        what's who and more less complete tell repeat again continue""",
    "es": """el la los las un una unos de del y es son está en por para que no con se lo su mi tu al muy más qué cómo
        hola gracias sí pero como este esta hay luz enciende apaga cocina salón grados hora buenos días ya""",
    "de": """der die das den dem ein eine einen und ist sind nicht ich du er sie es wir ihr zu mit auf für von im in an
        auch wie was bitte danke ja nein hallo guten licht schalte mach uhr grad wohnzimmer küche""",
    "it": """il lo la i gli le un uno una di del della e è sono non che per con si su in al alla come cosa ciao grazie
        sì no questo questa accendi spegni luce cucina soggiorno gradi ora buongiorno""",
    "pt": """o a os as um uma de do da dos das e é são não que com para por em no na se ao mais como olá obrigado sim
        este esta luz cozinha sala graus hora bom dia você está""",
    "nl": """de het een en is zijn niet ik je hij zij we wij van in op te met voor dat dit die wat hoe hallo dank ja nee
        licht zet aan uit keuken woonkamer graden uur goed""",
}
_WHISPER_CODES = {"nb": "no", "nn": "nn", "iw": "he", "jv": "jw", "fil": "tl", "cmn": "zh"}
"""Whisper's own codes, where others are usual."""
_LETTERS: Mapping[str, str] = {
    "fr": "éèêàâçùûôîïœëæ",
    "es": "ñ¿¡áéíóú",
    "de": "äöüß",
    "it": "àèéìòù",
    "pt": "ãõáéíóúâêôç",
}
_SCRIPTS: tuple[tuple[str, str], ...] = (
    ("ja", "[\u3040-\u30ff]"),
    ("zh", "[\u4e00-\u9fff]"),
    ("ko", "[\uac00-\ud7af]"),
    ("ru", "[\u0400-\u04ff]"),
    ("el", "[\u0370-\u03ff]"),
    ("ar", "[\u0600-\u06ff]"),
    ("he", "[\u0590-\u05ff]"),
    ("hi", "[\u0900-\u097f]"),
    ("th", "[\u0e00-\u0e7f]"),
)
_WORDS = {language: frozenset(words.split()) for language, words in _COMMON.items()}
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_READ_CHARACTERS = 500


def guess_language(text: str, candidates: Sequence[str], default: str) -> str:
    """The candidate ("fr", "fr_FR", …) whose language the text is most likely in.

    `default` where nothing tells them apart; it need not be among the candidates.
    """
    text = text[:_READ_CHARACTERS].lower().replace("’", "'")
    scores = _scores(text)
    best = max(candidates, key=lambda candidate: scores.get(_base(candidate), 0.0), default=default)
    return best if scores.get(_base(best), 0.0) > scores.get(_base(default), 0.0) else default


def whisper_code(language: str) -> str:
    """Whisper's code of a language: "fr" for "fr-CA" or "fr_FR"."""
    code = _base(language)
    return _WHISPER_CODES.get(code, code)


def _scores(text: str) -> dict[str, float]:
    found = {language: 1000.0 for language, letters in _SCRIPTS if re.search(letters, text)}
    if "ja" in found:
        found.pop("zh", None)  # Japanese is written with Chinese characters as well
    words = _WORD.findall(text)
    for language, common in _WORDS.items():
        known = sum((word in common) + _elided(word, language) for word in words)
        letters = sum(text.count(letter) for letter in _LETTERS.get(language, ""))
        found[language] = known + 0.5 * letters
    return found


def _elided(word: str, language: str) -> bool:
    """French and Italian run an article into the word: "l'heure", "dell'acqua"."""
    start, apostrophe, _ = word.partition("'")
    if not apostrophe:
        return False
    if language == "fr":
        return start in ("l", "d", "j", "n", "s", "c", "m", "t", "qu", "aujourd")
    return language == "it" and start in ("l", "un", "dell", "nell", "all", "dall", "sull", "c", "d")


def _base(language: str) -> str:
    return re.split(r"[-_]", language.lower())[0]
