"""The packaged demo voices: stock Piper speaks with them, and the script that makes them works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wyoming_superwhisper.models.demo import piper_training

VOICES = [voice.name for voice in piper_training.VOICES]
TEXTS = {
    "fr_FR-demo-medium": "Quelle heure est-il ? Il est vingt-deux heures trente, bonne nuit.",
    "en_US-demo-medium": "What time is it? It is half past ten, good night.",
}


@pytest.fixture(params=VOICES)
def voice(request: pytest.FixtureRequest) -> Any:
    from piper import PiperVoice

    return PiperVoice.load(piper_training.WEIGHTS / f"{request.param}.onnx")


def speak(voice: Any, text: str, **options: float) -> np.ndarray:
    from piper import SynthesisConfig

    config = SynthesisConfig(normalize_audio=False, **{"noise_scale": 0.0, "noise_w_scale": 0.0, **options})
    return np.concatenate([chunk.audio_float_array for chunk in voice.synthesize(text, config)])


def text_for(voice: Any) -> str:
    return TEXTS["fr_FR-demo-medium" if voice.config.espeak_voice == "fr" else "en_US-demo-medium"]


def test_a_voice_is_small() -> None:
    for name in VOICES:
        assert (piper_training.WEIGHTS / f"{name}.onnx").stat().st_size < 1_500_000


def test_it_speaks_loud_enough_and_never_clips(voice: Any) -> None:
    sound = speak(voice, text_for(voice))
    assert 2.5 < len(sound) / voice.config.sample_rate < 6
    assert 0.3 < np.abs(sound).max() < 0.95
    assert np.isfinite(sound).all()


def test_without_noise_two_runs_agree_and_with_noise_they_differ(voice: Any) -> None:
    text = text_for(voice)
    assert np.array_equal(speak(voice, text), speak(voice, text))
    first, second = (speak(voice, text, noise_scale=0.667) for _ in range(2))
    assert first.shape == second.shape
    assert not np.array_equal(first, second)


def test_the_scales_are_honoured(voice: Any) -> None:
    text = text_for(voice)
    length = len(speak(voice, text))
    assert len(speak(voice, text, length_scale=2.0)) == pytest.approx(2 * length, rel=0.02)
    assert {len(speak(voice, text, noise_w_scale=0.8)) for _ in range(3)} != {length}


def test_every_phoneme_of_piper_makes_a_finite_sound(voice: Any) -> None:
    from piper import SynthesisConfig

    ids = list(range(1, voice.config.num_symbols))
    sound = voice.phoneme_ids_to_audio(ids, SynthesisConfig(noise_scale=0, noise_w_scale=0))
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() < 0.981


def test_silence_surrounds_speech_and_speech_is_no_silence(voice: Any) -> None:
    sound = speak(voice, text_for(voice))
    edge = sound[-voice.config.sample_rate // 20 :]
    assert np.abs(edge).max() < 0.02
    assert sound.std() > 0.03


def test_the_settings_hold_pipers_own_phoneme_ids() -> None:
    from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP

    for name in VOICES:
        config = json.loads((piper_training.WEIGHTS / f"{name}.onnx.json").read_text("utf-8"))
        assert config["phoneme_id_map"] == DEFAULT_PHONEME_ID_MAP
        assert config["num_symbols"] == 1 + max(ids[0] for ids in DEFAULT_PHONEME_ID_MAP.values())


def test_the_script_makes_a_voice_and_goes_on_where_it_stood(tmp_path: Path) -> None:
    from piper import PiperVoice

    def make(output: str, steps: int) -> bytes:
        options = ["--texts", "3", "--steps", str(steps), "--language", "fr", "--work", str(tmp_path / "work")]
        # A process of its own: in this one Piper phonemises, and espeak-ng can't speak beside it.
        command = [sys.executable, "-m", "wyoming_superwhisper.models.demo", "piper", *options]
        command += ["--output", str(tmp_path / output)]
        told.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return (tmp_path / output / "fr_FR-demo-medium.onnx").read_bytes()

    told: list[str] = []
    first = make("one", 2)
    assert "2 of 2" in told[0]
    spoken = speak(PiperVoice.load(tmp_path / "one" / "fr_FR-demo-medium.onnx"), "Bonjour.")
    assert len(spoken) > 1000
    assert make("two", 2) == first  # from what was kept
