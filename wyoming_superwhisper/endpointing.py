"""When somebody speaks: from voice probabilities to voiced frames, and from those to an utterance's final audio.

Pure logic, no model. Frames are 512 samples, counted from the first sample of the stream; a frame that is not whole
yet has no say. The final audio is the one rule everything else hangs on: guesses, answers and the tests that compare
with plain `generate` all use `final_audio_samples`.
"""

from __future__ import annotations

from dataclasses import dataclass

from wyoming_superwhisper.engines.base import FRAME_SAMPLES, SAMPLE_RATE, VoiceState

HANGOVER_SAMPLES = SAMPLE_RATE // 5
"""What the final audio keeps after the last voiced frame: 200 ms, for the end of the last consonant."""

VOICE_ON = 0.5
"""Probability from which a silent stream counts as voiced. Silero's own default threshold."""

VOICE_OFF = 0.35
"""Probability below which a voiced stream counts as silent. Silero's own: its threshold less 0.15."""

LEAST_VOICED_SAMPLES = 3 * FRAME_SAMPLES
"""Less voice than this (96 ms) in a whole utterance is a click or a cough: the shortest "oui" has twice as much."""


class VoiceTracker:
    """Turns the voice probabilities of one stream's frames, in order, into a `VoiceState`."""

    def __init__(self) -> None:
        self._frames = 0
        self._voiced_frames = 0
        self._first: int | None = None
        self._end = 0
        self._speaking = False

    def add(self, probability: float) -> None:
        """Take the next frame."""
        self._speaking = probability >= (VOICE_OFF if self._speaking else VOICE_ON)
        if self._speaking:
            if self._first is None:
                self._first = self._frames * FRAME_SAMPLES
            self._voiced_frames += 1
            self._end = (self._frames + 1) * FRAME_SAMPLES
        self._frames += 1

    def state(self, samples: int) -> VoiceState:
        """Where things stand after `samples` samples, of which only whole frames were judged."""
        return VoiceState(
            samples=samples,
            voiced_start=self._first,
            voiced_end=self._end,
            speaking=self._speaking,
            voiced_samples=self._voiced_frames * FRAME_SAMPLES,
        )


@dataclass(frozen=True, slots=True)
class FinalAudio:
    """What reaches the model of one utterance."""

    audio: bytes
    """s16le mono 16 kHz; nothing where `empty`."""
    empty: bool
    """Nobody spoke: the answer is an empty transcript, the model is not asked."""


def has_voice(state: VoiceState) -> bool:
    """Whether there was enough voice for an utterance that is not empty."""
    return state.voiced_samples >= LEAST_VOICED_SAMPLES


def final_audio_samples(state: VoiceState, total: int) -> int:
    """How many of an utterance's `total` samples are its final audio: up to 200 ms after the last voiced frame.

    Nothing else is trimmed, at the start least of all. No voice at all: none.
    """
    if state.voiced_start is None:
        return 0
    return min(total, state.voiced_end + HANGOVER_SAMPLES)


def silence_samples(state: VoiceState) -> int:
    """How long it has been silent since the last voiced frame, in samples."""
    return state.samples - state.voiced_end
