"""When has a speaker finished? The longer a sentence can go on from here, the longer is waited for it.

Only audio that comes at the pace it is spoken is ever ended: of a file that is sent as fast as it goes, the silence
between two sentences says nothing about its end.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from wyoming_superwhisper.endpointing import has_voice
from wyoming_superwhisper.engines.base import SAMPLE_RATE, VoiceState
from wyoming_superwhisper.intents_text import language_of

REAL_PACE = 0.9
"""Audio that came in less than this share of the time it lasts was not spoken just now …"""
PACE_SLACK_S = 0.02
"""… give or take what a network does …"""
HEAD_START_S = 2.5
"""… and what a satellite had kept from before, which comes at once."""
LONGEST_CHUNK_S = 0.15
"""Audio is sent in chunks of this length at most by whoever sends it as it is spoken."""
_KEPT_ARRIVALS = 2_000

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Waits:
    """How long it must be silent before a turn is over, in seconds."""

    complete: float
    """After a whole command."""
    open: float
    """After words that may be the end or not."""
    unfinished: float
    """After words that ask for more ("allume la lumière de …")."""


SENSITIVITIES = {
    "aggressive": Waits(complete=0.25, open=0.5, unfinished=0.9),
    DEFAULT: Waits(complete=0.3, open=0.8, unfinished=1.5),
    "relaxed": Waits(complete=0.6, open=1.3, unfinished=2.2),
}
"""By Home Assistant's names for how quickly it takes silence for the end."""

_UNFINISHED_WORDS = {
    "fr": """à ai au aux avec car ce ces cet cette chez comme d dans de depuis des donc dont du elle en entre est et euh
    heu il ils je jusqu jusque l la le les leur leurs ma mais mes mon ne ni nos notre on ou où par pendant pour puis qu
    quand que quel quelle quelles quels qui s sa sans se ses si son sont sous sur ta tes ton tu un une vers vos
    votre""",
    "en": """a an and are as at because but by for from his if in into is its my of or our than that the their then
    these this those to uh um until was were what when where which while who whose with your""",
    "es": """a al aquel aquella como con cuál cuando de del desde donde durante e el en entre es esa ese esta este
    hasta la las los mi mis o para pero por porque que qué si sin sobre son su sus tu tus u un una y""",
}
_UNFINISHED = {language: frozenset(words.split()) for language, words in _UNFINISHED_WORDS.items()}
"""Words that no sentence ends with."""


def asks_for_more(text: str, language: str) -> bool:
    """Whether a text breaks off where its sentence must go on."""
    text = text.rstrip()
    if text.endswith(("…", "...", ",", "-", "'", "’", ":")):
        return True
    words = text.casefold().replace("’", "'").rstrip(" .!?").replace("'", " ").split()
    # What hangs on by a hyphen ends a sentence well: "quelle heure est-il", "allume-la".
    return bool(words) and words[-1] in _UNFINISHED.get(language_of(language), frozenset())


class EndOfTurn:
    """Follows one utterance and says when it is over."""

    def __init__(self, sensitivity: str | None, no_speech_s: float, longest_s: float, began_s: float) -> None:
        """`began_s`: when it began, by the clock that `hear` is told."""
        self._waits = SENSITIVITIES.get(sensitivity or DEFAULT, SENSITIVITIES[DEFAULT])
        self._no_speech_s = no_speech_s
        self._longest_s = longest_s
        self._began_s = began_s
        self._now_s = began_s
        self._samples = 0
        self._arrivals: deque[_Arrival] = deque(maxlen=_KEPT_ARRIVALS)

    def hear(self, samples: int, now_s: float) -> None:
        """The utterance has so many samples by now."""
        self._samples, self._now_s = samples, now_s
        spoken_s = now_s - samples / SAMPLE_RATE
        if self._arrivals:
            spoken_s = min(spoken_s, self._arrivals[-1].earliest_s)
        self._arrivals.append(_Arrival(samples, now_s, spoken_s))

    def pausing(self, voice: VoiceState) -> bool:
        """Whether somebody has spoken and is silent now: it is worth guessing."""
        return self._live and has_voice(voice) and not voice.speaking and self._lasted(voice.voiced_end, 0)

    def over(self, voice: VoiceState, *, complete: bool | None = None, unfinished: bool = False) -> bool:
        """Whether it has ended. `complete`, `unfinished`: what is known of the words so far."""
        if not self._live:
            return False
        elapsed_s = self._now_s - self._began_s
        if elapsed_s >= self._longest_s:
            return True
        if not has_voice(voice):
            return elapsed_s >= self._no_speech_s
        if voice.speaking:
            return False
        return self._lasted(voice.voiced_end, self._wait_s(complete, unfinished))

    @property
    def _live(self) -> bool:
        """Whether the audio comes as it is spoken."""
        return self._samples / SAMPLE_RATE <= (self._now_s - self._began_s) / REAL_PACE + HEAD_START_S

    def _wait_s(self, complete: bool | None, unfinished: bool) -> float:
        if unfinished:
            return self._waits.unfinished
        return self._waits.complete if complete else self._waits.open

    def _lasted(self, since: int, wait_s: float) -> bool:
        """Whether there has been so much audio since a sample, and it took as long to come."""
        if self._samples - since < wait_s * SAMPLE_RATE:
            return False
        first, earliest_s = _Arrival(self._samples, self._now_s, self._now_s), None
        for arrival in reversed(self._arrivals):
            if arrival.samples < since:
                earliest_s = arrival.earliest_s
                break
            first = arrival
        lasts_s = (self._samples - since) / SAMPLE_RATE
        chunk_s = min((first.samples - since) / SAMPLE_RATE, LONGEST_CHUNK_S)  # came before the chunk was full
        slack_s = (1 - REAL_PACE) * lasts_s + PACE_SLACK_S
        if self._now_s - first.at_s >= lasts_s - chunk_s - slack_s:
            return True
        # What was held up on its way comes late and then all at once, but never before it was spoken.
        return earliest_s is not None and self._now_s - self._samples / SAMPLE_RATE >= earliest_s - slack_s


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A chunk has come."""

    samples: int
    """Up to here."""
    at_s: float
    earliest_s: float
    """When the first sample was spoken at the latest, by this chunk and all before it."""
