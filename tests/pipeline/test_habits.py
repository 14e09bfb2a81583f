"""What is prepared depends on what a client did lately, and nothing else of it is remembered."""

from __future__ import annotations

from wyoming_superwhisper.conversation.said import Said
from wyoming_superwhisper.pipeline.habits import MOST_CLIENTS, MOST_SENTENCES, SOON_S, TRIES, Habits
from wyoming_superwhisper.pipeline.speaking import SpeakOptions


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_client_that_answers_its_transcripts_is_expected_to_do_so_again() -> None:
    habits = Habits()
    assert habits.next_sentence("10.0.0.7:1", "encore", "fr", "") is None
    habits.transcript("10.0.0.7:2", "allume")
    habits.conversation("10.0.0.7:3", Said("allume", "fr", conversation="a", speakers=("salon-pi",)))
    expected = Said("encore", "fr", conversation="b", speakers=("salon-pi",))
    assert habits.next_sentence("10.0.0.7:4", "encore", "fr", "b") == expected
    assert habits.next_sentence("10.0.0.8:4", "encore", "fr", "b") is None


def test_another_language_is_not_asked_for_in_the_last_ones_tag() -> None:
    habits = Habits()
    habits.transcript("a:1", "allume")
    habits.conversation("a:2", Said("allume", "fr-FR"))
    for language, tag in (("fr", "fr-FR"), ("en", "en")):
        expected = habits.next_sentence("a:3", "x", language, "")
        assert expected is not None
        assert expected.language == tag


def test_a_sentence_that_was_not_transcribed_or_long_ago_is_no_habit() -> None:
    clock = Clock()
    habits = Habits(clock)
    habits.transcript("a:1", "allume")
    habits.conversation("a:2", Said("éteins"))
    assert habits.next_sentence("a:3", "x", "fr", "") is None
    clock.now_s = SOON_S + 1
    habits.conversation("a:4", Said("allume"))
    assert habits.next_sentence("a:5", "x", "fr", "") is None


def test_a_habit_is_lost_after_some_tries() -> None:
    habits = Habits()
    habits.transcript("a:1", "allume")
    habits.conversation("a:2", Said("allume"))
    prepared = 0
    for number in range(20):
        prepared += habits.next_sentence("a:3", "x", "fr", "") is not None
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
