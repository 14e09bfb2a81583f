"""Gain, noise suppression and automatic gain do what they are set to."""

from __future__ import annotations

import numpy as np
import pytest

from tests.speech import sound
from wyoming_superwhisper.config.satellite_settings import MicSettings
from wyoming_superwhisper.satellite.cleaning import make_cleaner


def loudness(audio: bytes) -> float:
    return float(np.sqrt(np.mean(np.frombuffer(audio, "<i2").astype(float) ** 2)))


def cleaned(audio: bytes, settings: MicSettings) -> bytes:
    cleaner = make_cleaner(settings)
    assert cleaner is not None
    return b"".join(cleaner.feed(audio[at : at + 962]) for at in range(0, len(audio), 962))


def test_without_settings_nothing_is_done() -> None:
    assert make_cleaner(MicSettings()) is None


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_gain_is_a_factor(gain: float) -> None:
    audio = sound("tone", 1.0, -20)
    assert loudness(cleaned(audio, MicSettings(gain=gain))) == pytest.approx(gain * loudness(audio), rel=0.01)


def test_noise_suppression_makes_noise_quieter() -> None:
    noise = sound("white", 3.0, -30)
    assert loudness(cleaned(noise, MicSettings(noise_suppression=4))[-32000:]) < 0.5 * loudness(noise)


def test_automatic_gain_makes_what_is_quiet_louder() -> None:
    quiet = sound("chord", 4.0, -45)
    assert loudness(cleaned(quiet, MicSettings(auto_gain=9))[-32000:]) > 1.5 * loudness(quiet)
