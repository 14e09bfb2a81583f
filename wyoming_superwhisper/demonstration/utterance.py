"""What is said to the server: sentences spoken on the spot, or a recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wyoming_superwhisper.audio import AudioFormat, read_wav
from wyoming_superwhisper.errors import BadFormat, Internal, SettingsError
from wyoming_superwhisper.models.demo import espeak

PAUSE_S = 0.3
"""Silence around a sentence, as a microphone would have it."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """Something to say, and who ought to answer it."""

    text: str
    answered_by: str
    """How the answer's `answered_by` must begin."""


SENTENCES = {
    "fr": (
        Sentence("Quelle heure est-il ?", "intent:HassGetCurrentTime"),
        Sentence("Allume la lumière de la cuisine.", "intent:HassTurnOn"),
        Sentence("Raconte-moi une blague.", "llm:"),
    ),
    "en": (
        Sentence("What time is it?", "intent:HassGetCurrentTime"),
        Sentence("Turn on the kitchen light.", "intent:HassTurnOn"),
        Sentence("Tell me a joke.", "llm:"),
    ),
}


@dataclass(frozen=True, slots=True)
class Utterance:
    """What is said to the server."""

    audio: bytes
    format: AudioFormat
    spoken_by: str
    sentence: Sentence | None = None
    """What it says, where we know."""

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.format.seconds(len(self.audio))


def speak(sentence: Sentence, language: str) -> Utterance:
    """The sentence spoken on the spot. Raises `Internal` without espeak-ng."""
    try:
        samples = espeak.speak(sentence.text, espeak.DEFAULT_VOICES[language])
    except espeak.EspeakError as error:
        raise Internal(f"Nothing can be said: {error}. Give a recording by --wav.") from error
    format = AudioFormat(espeak.SAMPLE_RATE, 2, 1)
    pause = format.silence(PAUSE_S)
    return Utterance(pause + samples.astype("<i2").tobytes() + pause, format, "spoken by espeak-ng", sentence)


def recording(path: Path) -> Utterance:
    """Raises `SettingsError` for a file that is no WAV file."""
    try:
        format, audio = read_wav(path)
    except BadFormat as error:
        raise SettingsError(str(error)) from error
    return Utterance(audio, format, str(path))
