"""What is prepared depends on what a client did lately, and nothing else of it is remembered."""

from __future__ import annotations

from dataclasses import replace

from wyoming_superwhisper.conversation.said import Said
from wyoming_superwhisper.pipeline.habits import (
    MOST_CLIENTS,
    MOST_CONVERSATIONS,
    MOST_SENTENCES,
    SOON_S,
    TRIES,
    Habits,
)
from wyoming_superwhisper.pipeline.speaking import SpeakOptions


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_client_that_answers_its_transcripts_is_expected_to_do_so_again() -> None:
    habits = Habits()
    assert not habits.next_sentences("10.0.0.7:1", "encore", "fr")
    habits.transcript("10.0.0.7:2", "allume")
    habits.conversation("10.0.0.7:3", Said("allume", "fr", conversation="a", speakers=("salon-pi",)))
    going_on = Said("encore", "fr", conversation="a", speakers=("salon-pi",))
    assert habits.next_sentences("10.0.0.7:4", "encore", "fr") == [going_on, replace(going_on, conversation="")]
    assert not habits.next_sentences("10.0.0.8:4", "encore", "fr")


def expected(*conversations: str) -> list[str]:
    """The conversations that are expected of a client after sentences in these; "": a new one."""
    habits = Habits()
    for conversation in conversations:
        habits.transcript("a:1", "allume")
        habits.conversation("a:2", Said("allume", conversation=conversation))
    return [said.conversation for said in habits.next_sentences("a:3", "x", "fr")]


def test_who_goes_on_or_begins_anew_is_expected_to_do_so_again_and_nothing_else_after_a_while() -> None:
    assert expected("a") == ["a", ""]
    assert expected("a", "a") == ["a", ""]
    assert expected("a", "b") == ["", "b", "a"]
    assert expected("a", *["a"] * TRIES) == ["a"]
    assert expected("a", "b", *(str(number) for number in range(TRIES))) == [""]
    assert expected("a", *["a"] * TRIES, "b") == ["", "b", "a"], "who surprises is no longer sure"


def test_who_names_no_conversation_is_asked_for_a_new_one_only() -> None:
    assert expected("") == expected("", "") == [""]


def test_of_two_rooms_that_talk_in_turn_both_conversations_are_expected() -> None:
    for turns in range(2, 12):
        assert set(expected(*(("a", "b")[number % 2] for number in range(turns)))) == {"a", "b", ""}


def test_of_many_conversations_the_newest_are_expected() -> None:
    found = expected(*"abcdefgh", "h", "g")
    assert {"g", "h"} <= set(found)
    assert len(found) <= MOST_CONVERSATIONS + 1


def test_another_language_is_not_asked_for_in_the_last_ones_tag() -> None:
    habits = Habits()
    habits.transcript("a:1", "allume")
    habits.conversation("a:2", Said("allume", "fr-FR"))
    for language, tag in (("fr", "fr-FR"), ("en", "en")):
        assert [said.language for said in habits.next_sentences("a:3", "x", language)] == [tag]


def test_a_sentence_that_was_not_transcribed_or_long_ago_is_no_habit() -> None:
    clock = Clock()
    habits = Habits(clock)
    habits.transcript("a:1", "allume")
    habits.conversation("a:2", Said("éteins"))
    assert not habits.next_sentences("a:3", "x", "fr")
    clock.now_s = SOON_S + 1
    habits.conversation("a:4", Said("allume"))
    assert not habits.next_sentences("a:5", "x", "fr")


def test_a_habit_is_lost_after_some_tries() -> None:
    habits = Habits()
    habits.transcript("a:1", "allume")
    habits.conversation("a:2", Said("allume"))
    prepared = 0
    for number in range(20):
        prepared += len(habits.next_sentences("a:3", "x", "fr"))
        habits.transcript("a:3", f"{number}")
    assert prepared <= TRIES + 1


def test_the_voice_is_expected_to_be_the_last_one() -> None:
    habits = Habits()
    assert habits.next_speech("a:1") is None
    habits.answer("a:1", " Bonjour. ")
    habits.speech("a:2", "Bonjour.", SpeakOptions(voice="fr_FR-demo-low"))
    assert habits.next_speech("a:3") == SpeakOptions(voice="fr_FR-demo-low")


def test_a_sentence_said_twice_is_whole_until_somebody_goes_on_from_it() -> None:
    habits = Habits()
    habits.ended("Raconte-moi une blague.")
    assert not habits.is_whole("Raconte-moi une blague.")
    habits.ended("raconte-moi une blague")
    assert habits.is_whole("Raconte-moi une blague.")
    habits.went_on("Raconte-moi une blague.")
    assert not habits.is_whole("Raconte-moi une blague.")
    for _ in range(3):
        habits.ended("Allume.")
    assert not habits.is_whole("Allume."), "a single word is the beginning of many sentences"


def test_it_is_bounded() -> None:
    habits = Habits()
    for number in range(10 * MOST_CLIENTS):
        habits.transcript(f"10.0.{number}.1:5", "x")
        habits.ended(f"Sentence {number}")
    assert len(habits._clients) == MOST_CLIENTS
    assert len(habits._whole) == MOST_SENTENCES
