"""Voice is heard quiet and noisy, and nothing else is taken for it; chunks change nothing."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.speech import sound, speech
from wyoming_superwhisper import errors
from wyoming_superwhisper.endpointing import has_voice
from wyoming_superwhisper.engines import silero
from wyoming_superwhisper.engines.base import FRAME_SAMPLES, VoiceState
from wyoming_superwhisper.engines.silero import DetectorPool, SileroVoice

SENTENCES = [
    ("Allume la lumière de la cuisine.", "fr"), ("Quelle heure est-il ?", "fr+f3"), ("Oui.", "fr+m5"),
    ("Turn on the kitchen light.", "en-us"), ("What time is it?", "en-gb-x-rp"), ("Stop.", "en-us+f2"),
]  # fmt: skip


@pytest.fixture(scope="module")
def pool() -> DetectorPool:
    return DetectorPool()


def listen(pool: DetectorPool, audio: bytes, chunk: int = 0) -> VoiceState:
    voice = SileroVoice(pool)
    state = voice.feed(b"")
    for at in range(0, len(audio), chunk or len(audio)):
        state = voice.feed(audio[at : at + (chunk or len(audio))])
    voice.close()
    return state


@pytest.mark.parametrize(("text", "voice"), SENTENCES)
@pytest.mark.parametrize("gain_db", [0, -26])
def test_speech_is_heard_where_it_is(pool, text, voice, gain_db):
    audio = speech(text, voice, gain_db=gain_db, after_s=1)
    state = listen(pool, audio)
    assert has_voice(state)
    assert not state.speaking
    assert abs(state.voiced_start - 8000) < 3000
    assert abs(state.voiced_end - (len(audio) // 2 - 16000)) < 6000


@pytest.mark.parametrize("noise", ["white", "pink", "brown"])
@pytest.mark.parametrize(("text", "voice"), SENTENCES[::2])
def test_speech_is_heard_in_noise(pool, text, voice, noise):
    assert has_voice(listen(pool, speech(text, voice, noise=noise, snr_db=8)))


@pytest.mark.parametrize("kind", ["silence", "white", "pink", "brown", "hum50", "hum60", "tone", "chord", "clicks"])
@pytest.mark.parametrize("level_db", [-12, -40])
def test_what_has_no_voice_is_not_taken_for_it(pool, kind, level_db):
    assert not has_voice(listen(pool, sound(kind, 3, level_db)))


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 24000), max_size=10))
def test_chunks_change_nothing(cuts):
    pool = DetectorPool()
    audio = speech("Oui.", "fr", before_s=0.4, after_s=0.8)[:48000]
    edges = [0, *sorted(2 * cut for cut in cuts), len(audio)]
    voice = SileroVoice(pool)
    for start, end in itertools.pairwise(edges):
        state = voice.feed(audio[start:end])
    assert state == listen(pool, audio)
    assert has_voice(state)


def test_a_used_detector_hears_like_a_new_one():
    pool = DetectorPool()
    audio = speech("Oui.", "fr")
    first = listen(pool, audio)
    listen(pool, sound("white"))
    assert listen(pool, audio) == first


def test_silence_never_reaches_silero():
    pool = DetectorPool()
    voice = SileroVoice(pool)
    voice.feed(bytes(2 * 16000) + (np.arange(16000) % 7).astype("<i2").tobytes())
    assert voice._detector is None


def test_detectors_are_bounded(monkeypatch):
    monkeypatch.setattr(silero, "MOST_DETECTORS", 1)
    pool = DetectorPool()
    one, two = SileroVoice(pool), SileroVoice(pool)
    noise = sound("white", 0.1)
    one.feed(noise)
    with pytest.raises(errors.Busy):
        two.feed(noise)
    one.close()
    one.close()
    assert two.feed(noise).samples >= FRAME_SAMPLES
