"""Where a wake word ends, and that nothing of a command that follows at once is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pymicro_wakeword import MicroWakeWordFeatures

from tests.satellite.test_hearing import CHUNK, say
from tests.speech import speech
from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.config.satellite_settings import WakeWordSettings
from wyoming_superwhisper.models.demo.word_end_sounds import WORDS
from wyoming_superwhisper.models.demo.word_end_training import Network, write
from wyoming_superwhisper.satellite.noise_floor import NoiseFloor
from wyoming_superwhisper.satellite.wake_word import Detection, WakeWordListener
from wyoming_superwhisper.satellite.word_end import WordEnds, load

VOICES = ("en-us", "en", "fr", "en-us+f2", "en+m7", "fr+f3")
COMMANDS = (("Allume la lumière du salon.", "fr"), ("Quelle heure est-il ?", "fr"), ("Stop the music.", "en-us"))
FADES_IN_S = 0.02
"""What of a command may be cut off, in seconds: that much of it is fading in."""
NO_COMMAND_S = 0.2
"""What may be left of a word, in seconds: some of these voices have an echo, which is quiet and no word."""


def detections(listener: WakeWordListener, audio: bytes) -> list[Detection]:
    return [found for at in range(0, len(audio), CHUNK) if (found := listener.feed(audio[at : at + CHUNK]))]


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("word", ["okay_nabu", "alexa"])
def test_a_command_right_behind_a_wake_word_begins_whole(word: str, voice: str) -> None:
    for command, speaker in COMMANDS:
        listener = WakeWordListener(WakeWordSettings(words=("okay_nabu", "alexa")))
        before = SPEECH.silence(1.0) + say(WORDS[word], voice)
        found = detections(listener, before + say(command, speaker) + SPEECH.silence(0.5))
        assert [one.name for one in found] == [word], command
        assert -NO_COMMAND_S <= SPEECH.seconds(found[0].end - len(before)) <= FADES_IN_S, command


@pytest.mark.parametrize("word", WORDS)
def test_a_word_has_ended_once_it_is_over_and_not_before(word: str) -> None:
    ends, spoken = WordEnds(MicroWakeWordFeatures()), SPEECH.silence(1.0) + say(WORDS[word])
    command = say("Ouvre la porte.", "fr")[: SPEECH.bytes_of(0.15)]
    assert ends.find(NoiseFloor().under(spoken + command), word).certainty > 0.9
    half = SPEECH.silence(1.5) + say(WORDS[word])[: SPEECH.bytes_of(0.25)]
    assert ends.find(NoiseFloor().under(half), word).certainty < 0.5


def test_in_other_words_none_has_ended() -> None:
    ends = WordEnds(MicroWakeWordFeatures())
    for text, voice in (("Il est huit heures du matin.", "fr"), ("Turn on the light in the kitchen.", "en-us")):
        audio = NoiseFloor().under(speech(text, voice))
        for word in WORDS:
            assert ends.find(audio, word).certainty < 0.5, (text, word)


def test_what_was_taught_is_what_the_satellite_computes(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network, rng = Network(40), np.random.default_rng(1)
    mean, scale = rng.normal(5, 1, 40).astype(np.float32), rng.uniform(1, 3, 40).astype(np.float32)
    for parameter in network.parameters():
        parameter.data = parameter.data.half().float()  # as precise as what is written
    write(network, mean, scale, tmp_path / "ends.npz")
    features = rng.uniform(0, 20, (40, 120)).astype(np.float32)
    with torch.no_grad():
        taught = network(torch.from_numpy((features - mean[:, None]) / scale[:, None])[None])[0, :, 1:]
    computed = load(tmp_path / "ends.npz").scores(features)
    assert computed.shape == (len(WORDS), 120)
    assert np.allclose(computed, taught.numpy(), atol=1e-3)


def test_a_word_that_only_its_own_model_hears_is_doubtful() -> None:
    """Its model is as certain as it asks for; that is no word, and the network knows it."""
    listener = WakeWordListener(WakeWordSettings(words=("okay_nabu",)))
    assert detections(listener, speech("Allume la lumière du salon.", "fr", rate=150, before_s=0.2)) == []
