"""Voices by their small files, and which one speaks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wyoming_superwhisper.engines.base import VoiceInfo
from wyoming_superwhisper.errors import ModelError, UnknownVoice
from wyoming_superwhisper.models.voices import choose_voice, find_speaker, read_voices, speaker_ids

SIWIS = VoiceInfo("fr_FR-siwis-medium", ("fr_FR",), 22050)
LESSAC = VoiceInfo("en_US-lessac-medium", ("en_US",), 22050)
ALAN = VoiceInfo("en_GB-alan-medium", ("en_GB",), 22050)
UPMC = VoiceInfo("fr_FR-upmc-medium", ("fr_FR",), 22050, ("jessica", "pierre"))
VOICES = (SIWIS, LESSAC, ALAN, UPMC)


@pytest.mark.parametrize(
    ("name", "language", "chosen"),
    [
        ("fr_FR-upmc-medium", "en", UPMC),
        (None, "en", LESSAC),
        (None, "en_GB", ALAN),
        (None, "en-gb", ALAN),
        (None, "en-AU", LESSAC),
        (None, "fr", SIWIS),
        (None, "fr-CA", SIWIS),
        (None, "sv", SIWIS),
        (None, None, SIWIS),
        ("", "", SIWIS),
    ],
)
def test_a_name_goes_before_a_language_before_the_default(
    name: str | None, language: str | None, chosen: VoiceInfo
) -> None:
    assert choose_voice(VOICES, name=name, language=language, default=SIWIS.name) is chosen


def test_the_default_voice_goes_before_others_of_its_language() -> None:
    assert choose_voice(VOICES, language="fr_FR", default=UPMC.name) is UPMC
    assert choose_voice(VOICES) is SIWIS


@pytest.mark.parametrize("name", ["nobody", "../fr_FR-siwis-medium", "/etc/passwd", "FR_fr-siwis-medium"])
def test_a_name_that_is_not_offered_is_unknown(name: str) -> None:
    with pytest.raises(UnknownVoice, match="there are fr_FR-siwis-medium"):
        choose_voice(VOICES, name=name)


def test_speakers_are_those_of_the_voice() -> None:
    assert find_speaker(UPMC, "pierre") == "pierre"
    assert find_speaker(SIWIS, None) is None
    with pytest.raises(UnknownVoice, match="jessica, pierre"):
        find_speaker(UPMC, "paul")
    with pytest.raises(UnknownVoice, match="only one"):
        find_speaker(SIWIS, "paul")


def test_speakers_come_in_the_order_of_their_numbers_and_may_lack_names() -> None:
    assert list(speaker_ids({"num_speakers": 2, "speaker_id_map": {"b": 1, "a": 0}})) == ["a", "b"]
    assert speaker_ids({"num_speakers": 2, "speaker_id_map": {}}) == {"0": 0, "1": 1}
    assert speaker_ids({"num_speakers": 1, "speaker_id_map": {"a": 0}}) == {}


def test_a_voice_is_read_from_its_settings(tmp_path: Path) -> None:
    config = tmp_path / "fr_FR-x-low.onnx.json"
    config.write_text(
        json.dumps(
            {
                "dataset": "x",
                "audio": {"sample_rate": 16000, "quality": "low"},
                "language": {"code": "fr_FR", "name_english": "French"},
                "num_speakers": 2,
                "speaker_id_map": {"a": 0, "b": 1},
            }
        )
    )
    (voice,) = read_voices({"fr_FR-x-low": {"model": "unused", "config": str(config)}})
    assert (voice.name, voice.languages, voice.sample_rate) == ("fr_FR-x-low", ("fr_FR",), 16000)
    assert (voice.speakers, voice.description) == (("a", "b"), "x (low), French")
    assert voice.attribution_name


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"audio": 3, "espeak": {"voice": "fr"}}'])
def test_a_file_that_is_no_voices_is_named(tmp_path: Path, content: str) -> None:
    config = tmp_path / "v.onnx.json"
    config.write_text(content)
    with pytest.raises(ModelError, match=r"v\.onnx\.json"):
        read_voices({"v": {"model": "unused", "config": str(config)}})
