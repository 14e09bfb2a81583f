"""Wake words and the end of an utterance, heard in real speech by espeak-ng."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import psutil
import pytest

from tests.speech import speech
from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.config.satellite_settings import WakeWordSettings
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.satellite.voice_activity import DozingJudge, Judge, LoudnessJudge, Utterance, make_judge
from wyoming_superwhisper.satellite.wake_word import WakeWordListener, known_words

TALK = [
    *((text, "fr") for text in (
        "Allume la lumière du salon.", "Quelle température fait-il ici ?", "Ferme les volets de la cuisine.",
        "Elle a acheté de l'électricité.", "Le lexique est sur la table.", "Au quai, il n'y a plus de bateau.",
    )),
    *((text, "en-us") for text in (
        "What should I cook tonight?", "Turn on the kitchen light.", "I'd like to elect a new chairman.",
        "Okay, maybe tomorrow.", "Relax a bit.", "The election is on Sunday.",
    )),
]  # fmt: skip

CHUNK = SPEECH.bytes_of(0.03)


def say(text: str, voice: str = "en-us") -> bytes:
    """The text spoken, 16 kHz mono, with the silence at its ends cut off."""
    samples = np.frombuffer(speech(text, voice, before_s=0.0, after_s=0.0), "<i2")
    loud = np.nonzero(np.abs(samples.astype(int)) > 300)[0]
    return samples[loud[0] : loud[-1]].tobytes()


def heard(listener: WakeWordListener, audio: bytes) -> list[tuple[str, float]]:
    """Every detection, with the time at which it was known."""
    found = []
    for at in range(0, len(audio), CHUNK):
        detection = listener.feed(audio[at : at + CHUNK])
        if detection is not None:
            found.append((detection.name, SPEECH.seconds(at + CHUNK)))
    return found


@pytest.mark.parametrize(("word", "text"), [("okay_nabu", "okay nabu"), ("alexa", "alexa")])
def test_a_wake_word_is_heard_once_and_soon(word: str, text: str) -> None:
    listener = WakeWordListener(WakeWordSettings(words=("okay_nabu", "alexa")))
    spoken = say(text)
    detections = heard(listener, SPEECH.silence(1.0) + spoken + SPEECH.silence(1.5))
    assert [name for name, _ in detections] == [word]
    assert detections[0][1] < 1.0 + SPEECH.seconds(len(spoken)) + 0.4


def test_other_speech_is_no_wake_word() -> None:
    listener = WakeWordListener(WakeWordSettings(words=tuple(known_words())))
    talk = say("Turn on the light in the kitchen, please.") + say("Allume la lumière du salon.", "fr")
    assert heard(listener, SPEECH.silence(0.5) + talk + SPEECH.silence(0.5)) == []


def test_a_wake_word_is_heard_again_after_a_reset() -> None:
    listener = WakeWordListener(WakeWordSettings(words=("okay_nabu",)))
    audio = SPEECH.silence(1.0) + say("okay nabu") + SPEECH.silence(1.0)
    assert len(heard(listener, audio)) == 1
    listener.reset()
    assert len(heard(listener, audio)) == 1


@pytest.mark.parametrize("voice", ["en-us", "fr"])
@pytest.mark.parametrize(("word", "text"), [("okay_nabu", "okay nabu"), ("alexa", "alexa")])
def test_where_a_wake_word_ends_is_known_within_a_tenth_of_a_second(word: str, text: str, voice: str) -> None:
    listener = WakeWordListener(WakeWordSettings(words=(word,)))
    audio = SPEECH.silence(1.0) + say(text, voice)
    end = len(audio)
    audio += SPEECH.silence(0.3) + say("Quelle heure est-il ?", "fr") + SPEECH.silence(0.5)
    detections = [found for at in range(0, len(audio), CHUNK) if (found := listener.feed(audio[at : at + CHUNK]))]
    assert len(detections) == 1
    assert abs(SPEECH.seconds(detections[0].end - end)) <= 0.1


@pytest.mark.parametrize("command", ["Quelle heure est-il ?", "Allume la lumière du salon.", "Éteins la cuisine."])
@pytest.mark.parametrize(("word", "text"), [("okay_nabu", "okay nabu"), ("alexa", "alexa")])
def test_a_wake_word_is_heard_where_the_command_follows_without_a_pause(word: str, text: str, command: str) -> None:
    listener = WakeWordListener(WakeWordSettings(words=("okay_nabu", "alexa")))
    audio = SPEECH.silence(1.0) + say(text)
    end = len(audio)
    audio += say(command, "fr") + SPEECH.silence(0.5)
    detections = [found for at in range(0, len(audio), CHUNK) if (found := listener.feed(audio[at : at + CHUNK]))]
    assert [detection.name for detection in detections] == [word]
    assert SPEECH.seconds(detections[0].end - end) <= 0.1


@pytest.mark.parametrize("word", ["okay_nabu", "alexa"])
def test_talk_about_the_home_is_no_wake_word(word: str) -> None:
    listener = WakeWordListener(WakeWordSettings(words=(word,)))
    for number, (sentence, voice) in enumerate(TALK):
        talk = SPEECH.silence(0.2) + speech(sentence, voice, rate=140 + 10 * (number % 5))
        assert heard(listener, talk) == [], sentence


def test_the_loudness_of_a_wake_word_is_told_over_the_noise_of_the_room() -> None:
    noise = np.random.default_rng(1).normal(0, 60, 16000 * 4).astype("<i2")
    loudness = []
    for factor in (1.0, 0.25):
        listener = WakeWordListener(WakeWordSettings(words=("okay_nabu",)))
        audio = np.frombuffer(SPEECH.silence(2.0) + say("okay nabu") + SPEECH.silence(1.0), "<i2") * factor
        mixed = (audio + noise[: len(audio)]).clip(-32768, 32767).astype("<i2").tobytes()
        found = [one for at in range(0, len(mixed), CHUNK) if (one := listener.feed(mixed[at : at + CHUNK]))]
        loudness.append(found[0].loudness_db)
    assert 8 < loudness[0] - loudness[1] < 16


def test_an_unknown_wake_word_is_a_wrong_setting_that_lists_the_known() -> None:
    with pytest.raises(SettingsError, match="okay_nabu"):
        WakeWordListener(WakeWordSettings(words=("abracadabra",)))


DOZING = partial(make_judge, dozes=True)


@pytest.mark.parametrize("judge", [make_judge, DOZING, LoudnessJudge])
def test_an_utterance_begins_with_speech_and_is_over_after_silence(judge: Callable[[], Judge]) -> None:
    utterance = Utterance(0.6, judge())
    utterance.feed(SPEECH.silence(0.5))
    assert not utterance.begun
    utterance.feed(say("Turn on the light in the kitchen, please."))
    assert utterance.begun
    assert not utterance.over
    utterance.feed(SPEECH.silence(0.4))
    assert not utterance.over
    utterance.feed(SPEECH.silence(0.6))
    assert utterance.over


@pytest.mark.parametrize("judge", [make_judge, DOZING, LoudnessJudge])
def test_noise_is_no_utterance(judge: Callable[[], Judge]) -> None:
    noise = np.random.default_rng(1).normal(0, 300, 16000 * 3).astype("<i2").tobytes()
    utterance = Utterance(0.6, judge())
    utterance.feed(noise)
    assert not utterance.begun


class Counting:
    """A judge that takes everything for speech, and counts what it was asked."""

    lag_s = 0.0

    def __init__(self) -> None:
        self.asked = 0

    def judge(self, frame: bytes) -> float:
        self.asked += 1
        return 1.0


def test_a_still_room_costs_no_judgement_and_a_quiet_voice_wakes_the_judge() -> None:
    noise = np.random.default_rng(1).normal(0, 30, 16000 * 10).astype("<i2")
    costly = Counting()
    judge = DozingJudge(costly)
    for at in range(0, len(noise), 160):
        judge.judge(noise[at : at + 160].tobytes())
    assert costly.asked < 200  # its first second and a half, of ten
    voice = np.frombuffer(say("Hello."), "<i2") // 8
    spoken = noise[: len(voice)] + voice
    before = costly.asked
    for at in range(0, len(spoken) - 160, 160):
        judge.judge(spoken[at : at + 160].tobytes())
    assert costly.asked - before > len(spoken) // 160


@pytest.mark.parametrize("quieter", [1, 8])
def test_a_judge_that_dozed_hears_the_beginning_of_an_utterance_when_one_that_was_awake_does(quieter: int) -> None:
    noise = np.random.default_rng(1).normal(0, 20, 16000 * 6).astype("<i2")
    voice = np.frombuffer(say("Quelle heure est-il ?", "fr"), "<i2") // quieter
    heard = np.concatenate([noise, noise[: len(voice)] + voice]).tobytes()
    begun = []
    for judge in (make_judge(), make_judge(dozes=True)):
        utterance = Utterance(0.6, judge)
        at = 0
        while not utterance.begun:
            utterance.feed(heard[at : at + 320])
            at += 320
        begun.append(at)
    assert begun[1] <= begun[0] + SPEECH.bytes_of(0.06)


@pytest.mark.parametrize(("text", "voice"), [("Stop.", "en-us"), ("Oui.", "fr"), ("Merci.", "fr")])
def test_a_short_word_said_at_once_is_an_utterance(text: str, voice: str) -> None:
    utterance = Utterance(0.6)
    utterance.feed(SPEECH.silence(0.02) + say(text, voice) + SPEECH.silence(1.3))
    assert utterance.over


def test_judges_that_are_made_one_after_another_need_no_more_memory_and_judge_alike() -> None:
    judge = make_judge()
    spoken = SPEECH.silence(0.5) + say("Hello.")
    frames = [spoken[at : at + 320] for at in range(0, len(spoken) - 320, 320)]
    first = [judge.judge(frame) for frame in frames]
    process = psutil.Process()
    before = process.memory_info().rss
    for _ in range(300):
        judge = make_judge()
    assert process.memory_info().rss - before < 1_000_000
    assert [judge.judge(frame) for frame in frames] == first


def test_the_chunks_change_nothing() -> None:
    audio = SPEECH.silence(0.2) + say("Hello.") + SPEECH.silence(0.7)
    ends = []
    for size in (2, 514, 960, len(audio)):
        utterance = Utterance(0.5)
        for at in range(0, len(audio), size):
            utterance.feed(audio[at : at + size])
            if utterance.over:
                break
        ends.append(utterance.over)
    assert ends == [True] * 4
