"""The demo domain: what it expands to, what is reserved, how texts compare."""

from __future__ import annotations

import hashlib
import random

import pytest

from wyoming_superwhisper.models.demo import domain
from wyoming_superwhisper.models.demo.domain import LANGUAGES, expand, load_domain, load_extra

LISTS = {"x": ("a", "b"), "n": ("1", "2", "3")}


def test_a_template_expands_to_every_choice() -> None:
    assert expand("(go|stop) {x} [now]", LISTS) == [
        f"{verb} {thing} {when}" for verb in ("go", "stop") for thing in ("a", "b") for when in ("", "now")
    ]
    assert expand("{n}", LISTS) == ["1", "2", "3"]
    assert expand("a ({x}|c {x})!", LISTS) == ["a a!", "a b!", "a c a!", "a c b!"]


@pytest.mark.parametrize("template", ["(a|b", "a)", "[a", "a (b|c] d"])
def test_a_template_with_a_bracket_missing_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="brackets"):
        expand(template, LISTS)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("éteins la radio", "Éteins la radio."),
        ("il fait combien  dehors ?", "Il fait combien dehors ?"),
        ("Oui.", "Oui."),
    ],
)
def test_a_sentence_has_a_capital_and_a_final_mark(text: str, sentence: str) -> None:
    assert domain.as_sentence(text) == sentence


def test_all_sentences_of_both_languages_are_there_once() -> None:
    counts = {language: load_domain().sentences(language) for language in LANGUAGES}
    assert {language: len(sentences) for language, sentences in counts.items()} == {"fr": 6104, "en": 5507}
    assert all(len(set(sentences)) == len(sentences) for sentences in counts.values())
    assert "Mets le chauffage du salon à 19 degrés." in counts["fr"]
    assert "Turn on the living room ceiling light." in counts["en"]
    assert "Quelle est la température dans la cave ?" in counts["fr"]


def test_reserved_sentences_follow_the_rule_and_fixed_ones_are_never_reserved() -> None:
    demo = load_domain()
    for language in LANGUAGES:
        for sentence in demo.sentences(language):
            expected = (
                hashlib.md5(sentence.encode()).digest()[0] < 26 and sentence not in demo.languages[language].fixed
            )
            assert demo.is_reserved(sentence) == expected


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("load", [load_domain, load_extra])
def test_a_sample_holds_only_what_was_asked_for(language: str, load: object) -> None:
    demo = load()  # type: ignore[operator]
    assert all(demo.is_reserved(one) for one in demo.sample(language, random.Random(1), 200, reserved=True))
    trainable = demo.sample(language, random.Random(1), 200, reserved=False)
    assert not any(demo.is_reserved(one) for one in trainable)
    assert demo.sample(language, random.Random(1), 200, reserved=False) == trainable
    assert set(demo.sample(language, random.Random(2), 400)) & set(demo.languages[language].fixed)


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("fr", "Mets la lampe à 20 %.", "mets la lampe à 20 pour cent"),
        ("fr", "Ajoute des œufs à la liste, s’il te plaît !", "ajoute des oeufs à la liste s'il te plaît"),
        ("en", "Set it to 20%", "set it to 20 percent."),
        ("fr", "Lave-vaisselle", "lave vaisselle"),
        ("en", "It is 9:30 PM.", "it is 9 30 pm"),
    ],
)
def test_texts_compare_without_what_does_not_count(language: str, one: str, other: str) -> None:
    assert load_domain().canonical(one, language) == load_domain().canonical(other, language)


def test_numbers_and_accents_count() -> None:
    assert load_domain().canonical("30", "fr") != load_domain().canonical("37", "fr")
    assert load_domain().canonical("règle", "fr") != load_domain().canonical("regle", "fr")


def test_voices_that_are_reserved_are_not_trained_on() -> None:
    from wyoming_superwhisper.models.demo.espeak import variants
    from wyoming_superwhisper.models.demo.whisper_voices import DEV_VARIANTS, trained_variants

    assert len(load_domain().reserved_voices) == 10
    assert set(load_domain().reserved_voices) <= set(variants())
    assert not set(trained_variants()) & {*load_domain().reserved_voices, *DEV_VARIANTS}
    assert len(trained_variants()) > 50
