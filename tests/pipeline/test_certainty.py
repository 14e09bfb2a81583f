"""How certain an end must be: the more, the better it can be guessed from the words before it."""

from __future__ import annotations

import pytest

from wyoming_superwhisper.pipeline.certainty import (
    LIKELY_TALK,
    MANY_ENDS,
    ONE_END,
    PLACE_MAY_FOLLOW,
    SURE_TALK,
    asked_of_command,
    asked_of_talk,
    ends_as_it_must,
)

NAMES = ("Salle de bains", "Lampe de chevet", "Lampe de travail", "Desk lamp", "Cave")


@pytest.mark.parametrize(("text", "language"), [
    ("Allume la salle de bain.", "fr"), ("Allume la salle de bains.", "fr"), ("Mets la lampe à 50 pour cent.", "fr"),
    ("Ajoute du lait à la liste de courses.", "fr"), ("Aide-moi, s'il te plaît.", "fr-FR"),
    ("Mets un minuteur de 52 minutes.", "fr"), ("Turn on the desk lamp.", "en"),
    ("Add milk to the shopping list.", "en"),
])  # fmt: skip
def test_what_can_only_end_so(text: str, language: str) -> None:
    assert ends_as_it_must(text, language, NAMES)
    assert asked_of_command(text, language, NAMES, place_may_follow=True) == ONE_END
    assert asked_of_talk(text, language, NAMES, 0.99) == LIKELY_TALK


@pytest.mark.parametrize(("text", "language"), [
    ("Allume la cave.", "fr"), ("Allume la lampe de chevet.", "fr"), ("Allume la salle de bain du haut.", "fr"),
    ("Add milk to the shopping list.", "fr"), ("Stop.", "en"), ("", "fr"),
])  # fmt: skip
def test_what_could_have_ended_otherwise(text: str, language: str) -> None:
    assert not ends_as_it_must(text, language, NAMES)
    assert asked_of_command(text, language, NAMES, place_may_follow=False) == MANY_ENDS
    assert asked_of_command(text, language, NAMES, place_may_follow=True) == PLACE_MAY_FOLLOW
    assert asked_of_talk(text, language, NAMES, 0.99) == SURE_TALK
    assert asked_of_talk(text, language, NAMES, 0.5) == LIKELY_TALK


def test_more_certainty_is_never_asked_of_a_freer_end() -> None:
    assert 0 > ONE_END > PLACE_MAY_FOLLOW > MANY_ENDS
    assert LIKELY_TALK > SURE_TALK
