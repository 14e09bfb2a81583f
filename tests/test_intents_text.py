"""The plainer form of a sentence, and where it may be cut."""

from __future__ import annotations

import pytest

from wyoming_superwhisper.intents_text import is_no_title, language_of, normalise, parts, plain


@pytest.mark.parametrize(
    ("language", "said", "expected"),
    [
        ("fr", "Allume, la lumière du salon.", "Allume la lumière du salon"),
        ("fr", "Allume la lumière du salon, s’il te plaît !", "Allume la lumière du salon"),
        ("fr", "S'il te plaît, peux-tu éteindre la cuisine ?", "éteindre la cuisine"),
        ("fr", "Est-ce que tu peux allumer le salon ?", "allumer le salon"),
        ("fr", "Mets la lumière à 5 pour cent", "Mets la lumière à 5%"),
        ("fr", "Mets la lumière à 5 %", "Mets la lumière à 5%"),
        ("fr", "Mets le chauffage à 21,5 degrés.", "Mets le chauffage à 21,5 degrés"),
        ("fr", "Rallume la lumière", "allume la lumière"),
        ("fr", "Allume-moi le salon", "Allume le salon"),
        ("fr", "Mets un minuteur d'une heure et demie", "Mets un minuteur de 1 heure 30 minutes"),
        ("fr", "Ajoute des œufs à la liste", "Ajoute des oeufs à la liste"),
        ("fr", "Merci.", "Merci"),
        ("fr", "«\u202fAllume le salon\u202f»", "Allume le salon"),
        ("fr", "", ""),
        ("en", "Could you please turn on the kitchen lights?", "turn on the kitchen lights"),
        ("en", "Okay, turn it back on again, thanks.", "turn it on"),
        ("en", "Set it to 50%", "Set it to 50 percent"),
        ("en", "Please.", "Please"),
        ("es", "¿Puedes encender la luz, por favor?", "encender la luz"),
        ("de", "Schalte das Licht an.", "Schalte das Licht an"),
    ],
)
def test_a_sentence_is_brought_to_its_plain_form(language: str, said: str, expected: str) -> None:
    assert normalise(said, language) == expected


def test_the_plain_text_keeps_the_words() -> None:
    assert plain("  L’entrée…  est-elle  ouverte ? ") == "L'entrée est-elle ouverte"


@pytest.mark.parametrize(
    ("language", "said", "expected"),
    [
        ("fr", "Allume la cuisine et éteins le salon.", ["Allume la cuisine", "éteins le salon"]),
        ("fr", "Allume la cuisine, puis éteins le salon", ["Allume la cuisine", "éteins le salon"]),
        ("fr", "Mets le chauffage à 21,5 degrés", ["Mets le chauffage à 21,5 degrés"]),
        ("en", "Turn on the light and then open the blinds", ["Turn on the light", "open the blinds"]),
        ("de", "Licht an und Tür zu", ["Licht an und Tür zu"]),
    ],
)
def test_a_sentence_is_cut_where_commands_may_be_joined(language: str, said: str, expected: list[str]) -> None:
    assert [part for _, part in parts(said, language)] == expected


def test_lamps_and_alarms_are_no_titles() -> None:
    assert is_no_title("une alarme à sept heures", "fr")
    assert is_no_title("la lumière du salon en rouge", "fr")
    assert not is_no_title("La lampe-tempête", "de")
    assert not is_no_title("du jazz", "fr")
    assert is_no_title("an alarm at seven", "en")


@pytest.mark.parametrize(
    ("language", "free_text"),
    [
        ("fr", "un peu de clarté"), ("fr", "ton manteau avant de sortir"), ("fr", "les assiettes sur la table"),
        ("fr", "aux cartes avec Paul"), ("fr", "avec moi"), ("fr", "une bonne journée"),
        ("en", "your shoes"), ("en", "a warm sweater"), ("en", "cards with Paul"), ("en", "with the dog"),
        ("en", "fair"),
    ],
)  # fmt: skip
def test_what_is_put_on_or_played_with_somebody_is_no_title(language: str, free_text: str) -> None:
    assert is_no_title(free_text, language)


@pytest.mark.parametrize(
    ("language", "title"),
    [
        ("fr", "ta playlist préférée"), ("fr", "Aux Champs-Élysées"), ("fr", "du jazz"),
        ("fr", "Je suis malade"), ("en", "your favourite song"), ("en", "With or Without You"),
        ("en", "It Must Have Been Love"), ("en", "Chess the musical"), ("en", "some jazz"),
    ],
)  # fmt: skip
def test_titles_stay_titles(language: str, title: str) -> None:
    assert not is_no_title(title, language)


def test_the_bare_language_of_a_tag() -> None:
    assert [language_of(tag) for tag in ("fr", "fr-CA", "fr_FR", "EN")] == ["fr", "fr", "fr", "en"]
