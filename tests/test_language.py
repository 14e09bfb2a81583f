"""The language of a short text."""

from __future__ import annotations

from pathlib import Path

import pytest

from wyoming_superwhisper.language import guess_language

ALL = ["de", "en", "es", "fr", "it", "nl", "pt"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Allume la lumière de la cuisine.", "fr"),
        ("Il est 8 heures 30.", "fr"),
        ("C'est fait !", "fr"),
        ("Bonjour !", "fr"),
        ("J’ai éteint la lampe du salon.", "fr"),
        ("Turned on the light.", "en"),
        ("It's 8 o'clock.", "en"),
        ("Hello, what can I do for you?", "en"),
        ("He encendido la luz de la cocina.", "es"),
        ("¿Qué hora es?", "es"),
        ("Das Licht ist an.", "de"),
        ("Ho acceso la luce in cucina.", "it"),
        ("A luz da cozinha está acesa, obrigado.", "pt"),
        ("Het licht in de keuken is aan.", "nl"),
    ],
)
def test_common_sentences_are_told_apart(text: str, language: str) -> None:
    assert guess_language(text, ALL, "fr") == language
    assert guess_language(text, ALL, "en") == language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Lights on", "en"),
        ("Cancel all timers", "en"),
        ("Never mind", "en"),
        ("Next song", "en"),
        ("Play Adele", "en"),
        ("Unmute", "en"),
        ("Minuteur 3 minutes", "fr"),
        ("Annule", "fr"),
        ("Chanson suivante", "fr"),
        ("Laisse tomber", "fr"),
        ("Bonne nuit", "fr"),
        ("Muet", "fr"),
    ],
)
def test_a_command_of_a_word_or_two_is_told_too(text: str, language: str) -> None:
    for default in ("fr", "en"):
        assert guess_language(text, ["fr", "en"], default) == language


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("default", ["fr", "en"])
def test_nearly_all_commands_are_told_whatever_the_default(language: str, default: str) -> None:
    source = Path(__file__).parent / "home_assistant" / "agreement" / f"sentences_{language}.txt"
    lines = source.read_text(encoding="utf-8").splitlines()
    texts = [line.partition(" @ ")[0] for line in lines if line.strip() and not line.startswith("#")]
    wrong = [text for text in texts if guess_language(text, ["fr", "en"], default) != language]
    assert len(wrong) <= len(texts) // 50, wrong


def test_a_language_may_carry_its_region() -> None:
    assert guess_language("Le chat est sur la table", ["en_US", "fr_FR"], "en_US") == "fr_FR"


@pytest.mark.parametrize("text", ["", "42", "OK", "Zanzibar!"])
def test_the_default_stands_where_nothing_tells(text: str) -> None:
    assert guess_language(text, ["en", "fr"], "fr") == "fr"
    assert guess_language(text, [], "xx") == "xx"


def test_scripts_tell_languages_that_share_no_letters() -> None:
    assert guess_language("こんにちは、元気ですか", ["zh", "ja", "en"], "en") == "ja"
    assert guess_language("今天天气很好", ["zh", "ja", "en"], "en") == "zh"
    assert guess_language("Включи свет", ["ru", "en"], "en") == "ru"


def test_only_candidates_are_guessed() -> None:
    assert guess_language("Das Licht ist an", ["en", "fr"], "fr") in ("en", "fr")
