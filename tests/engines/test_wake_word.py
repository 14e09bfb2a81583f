"""Wake words spoken by espeak-ng are heard once each, by both engines, whatever the chunks."""

import subprocess
import sys

import pytest

from tests.speech import sound, speech
from wyoming_superwhisper import errors
from wyoming_superwhisper.engines.wake_word import WakeWords, builtin_words, choose_words, plain_name


def say(text: str, voice: str = "en-us") -> bytes:
    return speech(text, voice, rate=140, before_s=1.5, after_s=1.5)


def names(detections) -> list[str]:
    return [detection.name for detection in detections]


@pytest.mark.parametrize("engine", ["micro", "open"])
@pytest.mark.parametrize(
    ("name", "text"), [("alexa", "Alexa"), ("okay_nabu", "Okay Nabu"), ("hey_mycroft", "Hey my croft")]
)
def test_a_word_is_heard_once_and_by_its_name(engine, name, text):
    words = WakeWords(choose_words(engine, ["alexa", "okay_nabu", "hey_mycroft"]))
    detections = words.feed(say(text))
    assert names(detections) == [name]
    assert 1.5 * 16000 < detections[0].sample < 3.5 * 16000


@pytest.mark.parametrize(("engine", "times"), [("micro", 2), ("open", 1)])
def test_chunks_change_nothing(engine, times):
    audio = say("Alexa") * times
    chosen = choose_words(engine, ["alexa"])
    whole = WakeWords(chosen).feed(audio)
    assert names(whole) == ["alexa"] * times
    words = WakeWords(chosen)
    assert [one for at in range(0, len(audio), 1234) for one in words.feed(audio[at : at + 1234])] == whole


@pytest.mark.parametrize("kind", ["silence", "white", "tone"])
def test_noise_is_no_wake_word(kind):
    assert WakeWords(builtin_words("micro")).feed(sound(kind, 4)) == []


def test_other_speech_is_no_wake_word():
    assert WakeWords(builtin_words("micro")).feed(say("Allume la lumière de la cuisine.", "fr")) == []


def test_only_the_words_asked_for_are_heard():
    assert WakeWords(choose_words("micro", ["hey_jarvis"])).feed(say("Alexa")) == []


@pytest.mark.parametrize("name", ["okay_nabu", "Okay Nabu", "ok-nabu", "ok_nabu_v0.1", " OK NABU "])
def test_names_are_taken_as_clients_write_them(name):
    assert plain_name(name) == "okay_nabu"


def test_unknown_words_and_engines_are_refused():
    with pytest.raises(errors.UnknownModel, match="no wake word 'computer'; there are: okay_nabu"):
        choose_words("micro", ["computer"])
    with pytest.raises(errors.SettingsError, match="allowed: micro, open"):
        builtin_words("porcupine")


def test_the_words_are_known_without_loading_anything():
    code = (
        "import sys; from wyoming_superwhisper.engines.wake_word import builtin_words; builtin_words('micro');"
        "sys.exit('pymicro_wakeword' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(("engine", "package"), [("micro", "pymicro_wakeword"), ("open", "pyopen_wakeword")])
def test_the_words_are_those_that_the_package_carries(engine, package):
    carried = {model.value for model in __import__(package).Model}
    assert {word.name for word in builtin_words(engine)} == carried
