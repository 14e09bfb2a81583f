"""What the satellite plays is taken out of what it hears, and nothing else is."""

from __future__ import annotations

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest

from tests.speech import speech
from wyoming_superwhisper.audio import SPEECH, AudioFormat, convert
from wyoming_superwhisper.satellite.echo_canceller import EchoCanceller

TALE = "Il était une fois une petite fille qui vivait dans une grande maison. Elle aimait le matin."
VOICE = AudioFormat(22_050, 2, 1)
CHUNK = SPEECH.bytes_of(0.03)
AHEAD_S = 0.5
KNOWN_S = 3.0
"""By then the echo is known, in seconds."""

Signal = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def reply() -> bytes:
    return speech(TALE, "fr")


def samples(audio: bytes) -> Signal:
    return np.frombuffer(audio, "<i2").astype(float)


def echo_of(reply: Signal, late_s: float, level_db: float) -> Signal:
    """By a loudspeaker in a room: late, with the echoes of its walls."""
    time = np.arange(800) / SPEECH.rate
    walls = 0.3 * np.random.default_rng(1).standard_normal(800) * np.exp(-time / 0.01)
    walls[0] = 1.0
    late = np.zeros(int(late_s * SPEECH.rate))
    return 10 ** (level_db / 20) * np.concatenate([late, np.convolve(reply, walls)])[: len(reply)]


def cleaned(canceller: EchoCanceller, reply: bytes, heard: Signal, chunk: int = CHUNK) -> Signal:
    """What is left, where the reply is given to the loudspeaker half a second ahead."""
    microphone = np.rint(heard).clip(-32768, 32767).astype("<i2").tobytes()
    at_voice, voice = 0, convert(reply, SPEECH, VOICE)
    left = b""
    for at in range(0, len(microphone), chunk):
        while at_voice < min(len(voice), VOICE.bytes_of(SPEECH.seconds(at) + AHEAD_S)):
            canceller.play(voice[at_voice : at_voice + 2048], VOICE)
            at_voice += 2048
        left += canceller.clean(microphone[at : at + chunk])
    return samples(left)


def level_db(left: Signal, of: Signal) -> float:
    return float(10 * np.log10(np.mean(left**2) / np.mean(of**2)))


def after(signal: Signal, seconds: float) -> Signal:
    return signal[int(seconds * SPEECH.rate) :]


@pytest.mark.parametrize(("late_s", "chunk"), [(0.04, CHUNK), (0.35, CHUNK), (0.15, 4 * CHUNK)])
def test_the_echo_of_a_reply_is_taken_out(reply: bytes, late_s: float, chunk: int) -> None:
    heard = echo_of(samples(reply), late_s, -10) + np.random.default_rng(2).normal(0, 8, len(reply) // 2)
    left = cleaned(EchoCanceller(), reply, heard, chunk)
    assert level_db(after(left, KNOWN_S), after(heard, KNOWN_S)) < -15


def test_who_speaks_over_it_is_left_and_the_echo_is_not(reply: bytes) -> None:
    said = samples(speech("Stop.", "en-us", before_s=0.0, after_s=0.0)) / 4
    begin = int(3.5 * SPEECH.rate)
    echo = echo_of(samples(reply), 0.1, -10)
    heard = echo.copy()
    heard[begin : begin + len(said)] += said
    left = cleaned(EchoCanceller(), reply, heard)
    assert level_db((left - heard + echo)[begin : begin + len(said)], said) < -10
    assert level_db(left[begin + len(said) :], echo[begin + len(said) :]) < -15


def test_where_nothing_of_it_is_heard_nothing_is_changed(reply: bytes) -> None:
    heard = samples(speech("Quelle heure est-il ? Allume la lumière du salon, et ferme les volets.", "fr+m3"))
    assert np.array_equal(cleaned(EchoCanceller(), reply, heard), heard)


def test_nothing_is_taken_out_of_what_follows_a_reply_that_was_cut_off(reply: bytes) -> None:
    canceller = EchoCanceller()
    cleaned(canceller, reply, echo_of(samples(reply), 0.1, -10))
    canceller.end()
    said = speech("Allume la lumière du salon.", "fr")
    assert b"".join(canceller.clean(said[at : at + CHUNK]) for at in range(0, len(said), CHUNK)) == said


def test_a_reply_that_comes_back_later_than_the_one_before_is_found_again(reply: bytes) -> None:
    canceller = EchoCanceller()
    for late_s in (0.05, 0.2):
        canceller.end()
        echo = echo_of(samples(reply), late_s, -6)
        left = cleaned(canceller, reply, echo)
        assert level_db(after(left, KNOWN_S), after(echo, KNOWN_S)) < -15


def test_a_loudspeaker_that_was_late_for_once_loses_little(reply: bytes) -> None:
    echo = echo_of(samples(reply), 0.1, -10)
    at = int(2.6 * SPEECH.rate)
    echo = np.concatenate([echo[:at], np.zeros(1000), echo[at:]])[: len(echo)]
    left = cleaned(EchoCanceller(), reply, echo)
    assert level_db(after(left, KNOWN_S + 0.8), after(echo, KNOWN_S + 0.8)) < -15


def test_a_long_reply_needs_no_more_memory(reply: bytes) -> None:
    canceller, echo = EchoCanceller(), echo_of(samples(reply), 0.05, -10)
    tracemalloc.start()
    held = []
    for _ in range(6):
        cleaned(canceller, reply, echo)
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[-1] - held[1] < 500_000
