"""How certain an end must be: the more, the better it can be guessed from the words before it."""

from __future__ import annotations

import math

import pytest

from wyoming_superwhisper.engines.base import Transcription
from wyoming_superwhisper.pipeline.certainty import (
    LIKELY_TALK,
    LITTLE_LOSS,
    MANY_ENDS,
    MUCH_LOSS,
    ONE_END,
    ONE_END_SPOKEN,
    PHRASE_LOSS,
    PLACE_MAY_FOLLOW,
    SURE_TALK,
    asked_of_command,
    asked_of_talk,
    ends_as_it_must,
    looks_back,
)

NAMES = ("Salle de bains", "Lampe de chevet", "Lampe de travail", "Desk lamp", "Cave")


def heard(text: str, language: str, loss: float = 0.0) -> Transcription:
    return Transcription(text, language, loss_without_end=loss)


@pytest.mark.parametrize(("text", "language"), [
    ("Allume la salle de bain.", "fr"), ("Allume la salle de bains.", "fr"), ("Mets la lampe à 50 pour cent.", "fr"),
    ("Ajoute du lait à la liste de courses.", "fr"), ("Aide-moi, s'il te plaît.", "fr-FR"),
    ("Mets un minuteur de 52 minutes.", "fr"), ("Turn on the desk lamp.", "en"),
    ("Add milk to the shopping list.", "en"),
])  # fmt: skip
def test_what_can_only_end_so(text: str, language: str) -> None:
    assert ends_as_it_must(text, language, NAMES)
    for loss in (LITTLE_LOSS[0] - 0.001, LITTLE_LOSS[1] + 0.001):
        assert asked_of_command(heard(text, language, loss), NAMES, place_may_follow=True) == ONE_END
    spoken = heard(text, language, LITTLE_LOSS[1])
    assert asked_of_command(spoken, NAMES, place_may_follow=True) == ONE_END_SPOKEN
    assert asked_of_talk(spoken, NAMES, 0.99) == (math.inf if text.startswith("Turn") else LIKELY_TALK)


@pytest.mark.parametrize(("text", "language"), [
    ("Allume la cave.", "fr"), ("Allume la lampe de chevet.", "fr"), ("Allume la salle de bain du haut.", "fr"),
    ("Add milk to the shopping list.", "fr"), ("Wake me up in the morning.", "fr"), ("", "fr"),
])  # fmt: skip
def test_what_could_have_ended_otherwise(text: str, language: str) -> None:
    assert not ends_as_it_must(text, language, NAMES)
    one = heard(text, language)
    assert asked_of_command(one, NAMES, place_may_follow=False) == MANY_ENDS
    assert asked_of_command(one, NAMES, place_may_follow=True) == PLACE_MAY_FOLLOW
    assert asked_of_talk(one, NAMES, 0.99) == SURE_TALK
    assert asked_of_talk(one, NAMES, 0.5) == LIKELY_TALK


@pytest.mark.parametrize("language", ["en", "en-GB"])
def test_a_place_may_have_been_begun_where_its_first_word_is_easily_missed(language: str) -> None:
    radio, blinds, hello = (heard(text, language) for text in ("Turn on the radio.", "Open the blinds.", "Hello."))
    assert asked_of_command(radio, NAMES, place_may_follow=True) == math.inf
    assert asked_of_command(radio, NAMES, place_may_follow=False) == MANY_ENDS
    assert asked_of_talk(blinds, NAMES, 0.99) == math.inf
    assert asked_of_talk(hello, NAMES, 0.99) == SURE_TALK


@pytest.mark.parametrize(("text", "language"), [
    ("Réveille-moi mercredi à 16 heures.", "fr"), ("Wake me up at 7.", "en"), ("Wake me up at 7 o'clock.", "en"),
])  # fmt: skip
def test_minutes_may_follow_an_hour(text: str, language: str) -> None:
    assert asked_of_talk(heard(text, language), NAMES, 0.99) == math.inf


@pytest.mark.parametrize("loss", [1.01 * MUCH_LOSS, math.inf])
def test_where_the_last_word_may_be_made_up_more_is_asked(loss: float) -> None:
    cave, hello = heard("Allume la cave.", "fr", loss), heard("Hello.", "en", loss)
    assert asked_of_command(cave, NAMES, place_may_follow=False) == ONE_END
    assert asked_of_talk(hello, NAMES, 0.99) == ONE_END


@pytest.mark.parametrize(("loss", "asked"), [(PHRASE_LOSS[1], SURE_TALK), (PHRASE_LOSS[1] + 0.001, math.inf)])
def test_a_phrase_that_is_readily_added_must_have_been_spoken(loss: float, asked: float) -> None:
    alarm = Transcription("Wake me up at 7 in the evening.", "en", loss_without_end=0.0, loss_without_phrase=loss)
    assert asked_of_talk(alarm, NAMES, 0.99) == asked


def test_phrases_are_looked_back_on_only_where_the_language_has_such() -> None:
    assert looks_back("fr") == ("loss_without_end",)
    assert looks_back("en-GB") == looks_back(None) == ("loss_without_end", "loss_without_phrase")


def test_more_certainty_is_never_asked_of_a_freer_end() -> None:
    assert 0 > ONE_END > PLACE_MAY_FOLLOW >= ONE_END_SPOKEN > MANY_ENDS
    assert LIKELY_TALK > SURE_TALK
