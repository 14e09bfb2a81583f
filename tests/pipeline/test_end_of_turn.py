"""The end of a turn: soon after a whole command, later where the words ask for more, never within a file."""

from __future__ import annotations

import pytest

from wyoming_superwhisper.engines.base import FRAME_SAMPLES, SAMPLE_RATE, VoiceState
from wyoming_superwhisper.pipeline.end_of_turn import SENSITIVITIES, EndOfTurn, asks_for_more

CHUNK_S = 0.01


def end_of(
    voiced_s: float, silence_s: float, *, pace: float = 1.0, head_start_s: float = 0.0, sensitivity: str | None = None,
    chunk_s: float = CHUNK_S, complete: bool | None = None, unfinished: bool = False,
) -> float | None:  # fmt: skip
    """After how much silence a turn ended that came at this pace; None: it did not."""
    turn = EndOfTurn(sensitivity, no_speech_s=8.0, longest_s=30.0, began_s=100.0)
    at_s = chunk_s
    while at_s <= voiced_s + silence_s:
        samples = int(at_s * SAMPLE_RATE)
        turn.hear(samples, 100.0 + max(0.0, at_s - head_start_s) / pace)
        if turn.over(voice(samples, voiced_s), complete=complete, unfinished=unfinished):
            return at_s - voiced_s
        at_s += chunk_s
    return None


def voice(samples: int, voiced_s: float) -> VoiceState:
    end = min(samples, int(voiced_s * SAMPLE_RATE)) // FRAME_SAMPLES * FRAME_SAMPLES
    started = 0 if end else None
    return VoiceState(samples, started, end, speaking=samples - end < FRAME_SAMPLES, voiced_samples=end)


@pytest.mark.parametrize("sensitivity", [None, "default", "relaxed", "aggressive", "unheard of"])
def test_a_command_ends_sooner_than_words_and_words_sooner_than_half_a_sentence(sensitivity: str | None) -> None:
    waits = SENSITIVITIES.get(sensitivity or "default", SENSITIVITIES["default"])
    command = end_of(1.5, 4, sensitivity=sensitivity, complete=True)
    words = end_of(1.5, 4, sensitivity=sensitivity)
    half = end_of(1.5, 4, sensitivity=sensitivity, unfinished=True)
    assert (command, words, half) == pytest.approx((waits.complete, waits.open, waits.unfinished), abs=0.05)


def test_relaxed_waits_longer_and_aggressive_less() -> None:
    relaxed, usual, aggressive = (SENSITIVITIES[name] for name in ("relaxed", "default", "aggressive"))
    for kind in ("complete", "open", "unfinished"):
        assert getattr(relaxed, kind) > getattr(usual, kind) > getattr(aggressive, kind)


def test_an_unfinished_command_is_no_command() -> None:
    assert end_of(1.5, 4, complete=True, unfinished=True) == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize("pace", [1.3, 2.0, 50.0])
def test_a_file_sent_faster_than_it_was_spoken_is_never_cut(pace: float) -> None:
    assert end_of(1.5, 20, pace=pace, complete=True) is None


@pytest.mark.parametrize("chunk_s", [0.01, 0.032, 0.1, 0.128])
def test_the_pace_may_vary_a_little_and_chunks_may_be_large(chunk_s: float) -> None:
    for pace in (0.8, 0.97, 1.03):
        ended = end_of(1.5, 4, pace=pace, chunk_s=chunk_s, complete=True)
        assert ended == pytest.approx(0.3, abs=2.1 * chunk_s + 0.03)


def test_audio_that_is_held_up_ends_when_it_would_have_ended() -> None:
    turn = EndOfTurn(None, no_speech_s=8.0, longest_s=30.0, began_s=100.0)
    for chunk in range(1, 400):
        samples, at_s = chunk * 160, chunk / 100
        if 1.4 < at_s < 1.7:
            at_s = 1.7  # the end of speech and half of the pause come together
        turn.hear(samples, 100.0 + at_s)
        if turn.over(voice(samples, 1.5), complete=True):
            break
    assert samples / SAMPLE_RATE - 1.5 == pytest.approx(0.3, abs=0.05)


def test_what_a_satellite_kept_from_before_may_come_at_once() -> None:
    assert end_of(3.5, 4, head_start_s=2.0, complete=True) == pytest.approx(0.3, abs=0.05)


def test_a_pause_that_came_at_once_is_none() -> None:
    """Within the head start everything looks like a file."""
    assert end_of(0.5, 1.4, head_start_s=2.0, complete=True) is None


def test_silence_alone_ends_after_a_while_and_no_turn_is_longer_than_the_longest() -> None:
    assert end_of(0.0, 40) == pytest.approx(8.0, abs=0.05)
    assert end_of(60.0, 1) == pytest.approx(30.0 - 60.0, abs=0.05)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("fr", "Allume la lumière de"),
        ("fr", "Allume la lumière de."),
        ("fr", "Mets un minuteur de…"),
        ("fr", "Allume l'"),
        ("fr", "Allume le salon et"),
        ("fr-FR", "Éteins la"),
        ("en", "Turn on the"),
        ("en", "Set a timer for"),
        ("en", "Turn on the kitchen and,"),
        ("es", "Enciende la luz de"),
    ],
)
def test_a_sentence_that_breaks_off_asks_for_more(language: str, text: str) -> None:
    assert asks_for_more(text, language)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("fr", "Allume la lumière du salon."),
        ("fr", "Quelle heure est-il ?"),
        ("fr", "Éteins tout"),
        ("fr", ""),
        ("en", "Turn it on."),
        ("en", "What time is it?"),
        ("es", "Enciende la luz."),
        ("de", "Mach das Licht an"),
    ],
)
def test_a_whole_sentence_does_not(language: str, text: str) -> None:
    assert not asks_for_more(text, language)
