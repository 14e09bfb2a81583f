"""A wake word that runs straight into the command: is it there, and where does it end, if what follows is thought away?

The models were taught on words with a pause after them, and some ("alexa") are never sure of one that is spoken on
without. They do begin to suspect it. Then what was heard last is cut off where the word may have ended, a pause is put
in the place of the rest, and a second copy of the model judges that by its own full measure. The cut that it likes best
is also the best guess at the word's end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.satellite.noise_floor import NoiseFloor

CUTS_S = (0.0, 0.05, 0.08, 0.11, 0.14, 0.17, 0.2)
"""How long before a suspicion the word may have ended, in seconds: each is tried."""
END_CUTS_S = (0.0, 0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.21, 0.24, 0.27, 0.3)
"""How long before its estimated end a word that was heard may have ended, in seconds."""
BEFORE_S = 1.6
"""What is judged again of what was heard before the cut, in seconds: the word, and what was before it. With less of
that the model takes the middle of other speech for the word."""
AS_GOOD = 0.01
"""A cut is as good as the best one when its certainty is at most this much lower."""
PAUSE_S = 0.24
"""Length of the pause that is imagined, in seconds."""
REST_S = 0.12
"""Audio between two trials, in seconds: a suspicion lasts for several steps of the model."""


class StreamingModel(Protocol):
    """What is needed of pymicro-wakeword's model."""

    def process_streaming_prob(self, features: Any) -> float | None:
        """Mean certainty of the last steps."""

    def reset(self) -> None:
        """Forget what was heard."""


class ImaginedPause:
    """Tries whether a suspected word was spoken. Keeps no audio."""

    def __init__(self, model: StreamingModel, features: Any, cutoff: float) -> None:
        """A model and a feature generator of its own, and the mean certainty that the model asks for."""
        self._model = model
        self._features = features
        self._cutoff = cutoff
        self._rests_until = 0

    def find(self, heard: bytes, position: int) -> int | None:
        """How many bytes before the end of `heard` a suspected word ended, or None: it was not spoken.

        `position`: where that end is in the stream, in bytes; trials that come too close together are left out.
        """
        if position < self._rests_until:
            return None
        self._rests_until = position + SPEECH.bytes_of(REST_S)
        certainties = self._certainties(heard, [SPEECH.bytes_of(cut_s) for cut_s in CUTS_S])
        if sorted(certainties.values())[-2] <= self._cutoff:  # a word is in more than one cut, a chance likeness in one
            return None
        return _earliest_of_the_best(certainties)

    def find_end(self, heard: bytes, estimate: int) -> int:
        """How many bytes before the end of `heard` a word ended of which it is known that it was spoken.

        `estimate`: about where, in bytes before that end.
        """
        cuts = [max(0, estimate + SPEECH.frame_bytes * round(cut_s * SPEECH.rate)) for cut_s in END_CUTS_S]
        return _earliest_of_the_best(self._certainties(heard, cuts))

    def _certainties(self, heard: bytes, cuts: Sequence[int]) -> dict[int, float]:
        return {cut: self._certainty(heard[: len(heard) - cut]) for cut in cuts}

    def _certainty(self, heard: bytes) -> float:
        """The model's greatest certainty in a pause after this."""
        self._features.reset()
        self._model.reset()
        for features in self._features.process_streaming(heard[-SPEECH.bytes_of(BEFORE_S) :]):
            self._model.process_streaming_prob(features)
        pause = self._features.process_streaming(NoiseFloor().under(SPEECH.silence(PAUSE_S)))
        return max((self._model.process_streaming_prob(features) or 0.0 for features in pause), default=0.0)


def _earliest_of_the_best(certainties: Mapping[int, float]) -> int:
    """A little of the word before the command does less harm than a command without its beginning."""
    best = max(certainties.values())
    return max(cut for cut, certainty in certainties.items() if certainty >= best - AS_GOOD)
