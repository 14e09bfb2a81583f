"""The final audio ends 200 ms after the last voiced frame, and nothing else is trimmed."""

from hypothesis import given
from hypothesis import strategies as st

from wyoming_superwhisper.endpointing import (
    HANGOVER_SAMPLES,
    LEAST_VOICED_SAMPLES,
    VOICE_OFF,
    VOICE_ON,
    VoiceTracker,
    final_audio_samples,
    has_voice,
    silence_samples,
)
from wyoming_superwhisper.engines.base import FRAME_SAMPLES, VoiceState


def track(probabilities: list[float], rest: int = 0) -> VoiceState:
    tracker = VoiceTracker()
    for probability in probabilities:
        tracker.add(probability)
    return tracker.state(len(probabilities) * FRAME_SAMPLES + rest)


def test_no_frames_are_no_voice():
    assert track([], rest=100) == VoiceState(samples=100, voiced_start=None, voiced_end=0, speaking=False)


def test_voice_is_where_the_voiced_frames_are():
    state = track([0.1, 0.9, 0.9, 0.1, 0.9, 0.0])
    assert state.voiced_start == FRAME_SAMPLES
    assert state.voiced_end == 5 * FRAME_SAMPLES
    assert state.voiced_samples == 3 * FRAME_SAMPLES
    assert not state.speaking
    assert silence_samples(state) == FRAME_SAMPLES


def test_voice_goes_on_at_a_lower_probability_than_it_begins_at():
    between = (VOICE_ON + VOICE_OFF) / 2
    assert track([between, between]).voiced_start is None
    state = track([0.9, between, between])
    assert state.speaking
    assert state.voiced_end == 3 * FRAME_SAMPLES


def test_the_final_audio_ends_200_ms_after_the_last_voice():
    state = track([0.0, 0.9, 0.9] + [0.0] * 20)
    assert HANGOVER_SAMPLES == 3200
    assert final_audio_samples(state, state.samples) == 3 * FRAME_SAMPLES + 3200


def test_the_final_audio_is_never_more_than_there_is():
    state = track([0.9, 0.9], rest=17)
    assert final_audio_samples(state, state.samples) == 2 * FRAME_SAMPLES + 17


def test_no_voice_is_no_final_audio():
    state = track([0.0] * 50)
    assert final_audio_samples(state, state.samples) == 0
    assert not has_voice(state)


def test_a_click_is_not_an_utterance_and_the_shortest_word_is():
    frames = LEAST_VOICED_SAMPLES // FRAME_SAMPLES
    assert not has_voice(track([0.9] * (frames - 1) + [0.0] * 10))
    assert has_voice(track([0.9] * frames + [0.0] * 10))


@given(st.lists(st.floats(0, 1), max_size=60), st.integers(0, 40))
def test_silence_after_200_ms_changes_the_final_audio_no_more(probabilities, silent):
    """So that a guess made on it holds for the end."""
    state = track([*probabilities, *[0.0] * 7])  # 7 frames are more than 200 ms
    later = track([*probabilities, *[0.0] * (7 + silent)])
    assert final_audio_samples(state, state.samples) == final_audio_samples(later, later.samples)
    assert has_voice(state) == has_voice(later)
