"""What is left of a wake word is no command, and of a command nothing is taken."""

from __future__ import annotations

import numpy as np
import pytest

from tests.satellite.test_hearing import CHUNK, say
from tests.speech import sound
from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.satellite.hearing import Recording
from wyoming_superwhisper.satellite.word_tail import WithoutTail

COMMANDS = ["Quelle heure est-il ?", "Allume la lumière du salon.", "Éteins la cuisine.", "Stop.", "Oui.", "Annule."]


async def heard_after(word: bytes, audio: bytes) -> bytes:
    recording = Recording(finite=True)
    for at in range(0, len(audio), CHUNK):
        recording.add(audio[at : at + CHUNK])
    recording.end()
    hearing, heard = WithoutTail(recording, word), b""
    while chunk := await hearing.read():
        heard += chunk
    return heard


@pytest.mark.parametrize("early_s", [0.0, 0.05, 0.1, 0.15])
@pytest.mark.parametrize("voice", ["en-us", "en", "fr"])
async def test_nothing_is_left_of_a_word_with_nothing_after_it(voice: str, early_s: float) -> None:
    word = say("okay nabu", voice)
    at = len(word) - SPEECH.bytes_of(early_s)
    heard = await heard_after(word[:at], word[at:] + SPEECH.silence(1.0))
    assert np.abs(np.frombuffer(heard, "<i2").astype(int)).max() < 0.25 * np.abs(np.frombuffer(word, "<i2")).max()
    assert len(heard) >= SPEECH.bytes_of(1.0)


@pytest.mark.parametrize("voice", ["en+f2", "en-us+belinda"])
async def test_nothing_is_left_of_what_fades_into_a_pause(voice: str) -> None:
    word = say("okay nabu", voice)
    at = len(word) - SPEECH.bytes_of(0.05)
    heard = await heard_after(word[:at], word[at:] + SPEECH.silence(0.3) + say("Éteins la cuisine.", "fr"))
    before = np.frombuffer(heard[: SPEECH.bytes_of(0.25)], "<i2").astype(int)
    assert np.abs(before).max() < 0.05 * np.abs(np.frombuffer(word, "<i2")).max()


@pytest.mark.parametrize("gap_s", [0.0, 0.05, 0.15, 0.4])
@pytest.mark.parametrize("command", COMMANDS)
async def test_nothing_is_taken_of_a_command(command: str, gap_s: float) -> None:
    after = SPEECH.silence(gap_s) + say(command, "fr") + SPEECH.silence(0.5)
    assert await heard_after(say("alexa"), after) == after


async def test_in_noise_nothing_is_held_back_for_long() -> None:
    recording = Recording(finite=False)
    word = np.frombuffer(say("alexa"), "<i2")
    noise = np.frombuffer(sound("pink", 3.0, level_db=-20), "<i2")
    hearing = WithoutTail(recording, (word // 4 + noise[: len(word)]).astype("<i2").tobytes())
    recording.add(noise[: SPEECH.bytes_of(0.36) // 2].tobytes())
    assert await hearing.read()
