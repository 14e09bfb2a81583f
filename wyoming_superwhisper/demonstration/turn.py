"""One turn: the utterance said at the pace of speech, what comes back and when, and whether that is right."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from wyoming_superwhisper import client
from wyoming_superwhisper.audio import AudioFormat
from wyoming_superwhisper.demonstration.utterance import Utterance
from wyoming_superwhisper.errors import NoText, SuperwhisperError
from wyoming_superwhisper.models.demo import domain

TURN_S = 60.0
"""Time that one turn may take."""
AUDIBLE_DB = -45.0
"""Loudness (RMS, relative to full scale) from which on an answer counts as audible."""


@dataclass(slots=True)
class Turn:
    """What came of an utterance; times in seconds from its end."""

    utterance: Utterance
    heard: str = ""
    reply: str = ""
    answered_by: str = ""
    audio: bytes = b""
    format: AudioFormat | None = None
    times: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether everything was as it ought to be."""
        return not self.problems

    @property
    def loudness_db(self) -> float:
        """RMS of the answer, relative to full scale."""
        samples = np.frombuffer(self.audio, "<i2").astype(np.float64)
        rms = math.sqrt(float(np.mean(samples**2))) if len(samples) else 0.0
        return 20 * math.log10(max(rms, 1e-3) / 32768)


Tell = Callable[[str, str], None]
"""Takes what came, as it comes: a label and a text."""


async def run_turn(uri: str, utterance: Utterance, language: str, tell: Tell) -> Turn:
    """Say the utterance and look at what came back; what went wrong is among the turn's problems."""
    turn = Turn(utterance)
    try:
        async with asyncio.timeout(TURN_S):
            await _converse(uri, turn, language, tell)
    except TimeoutError:
        turn.problems.append(f"not over after {TURN_S:g} s")
    except NoText:
        pass  # nothing was heard: `_check` says so
    except SuperwhisperError as error:
        turn.problems.append(f"{error.code}: {error}")
    turn.problems += _check(turn, language)
    return turn


async def _converse(uri: str, turn: Turn, language: str, tell: Tell) -> None:
    """Say the utterance at the pace of speech and note what comes back, and when."""
    ended = time.monotonic() + turn.utterance.seconds

    def note(stage: str) -> None:
        turn.times.setdefault(stage, time.monotonic() - ended)

    utterance = turn.utterance
    async for event in client.run_pipeline(uri, utterance.audio, utterance.format, language, realtime=True):
        data = event.data or {}
        if event.type == "transcript":
            note("heard")
            turn.heard = str(data.get("text") or "")
            tell("heard", turn.heard or "(nothing)")
        elif event.type in client.ANSWERS:
            note("answered")
            turn.reply = str(data.get("text") or "")
            turn.answered_by = str((data.get("context") or {}).get("answered_by") or event.type)
            tell("answered by", turn.answered_by.replace(":", " ", 1))
            tell("reply", turn.reply or "(nothing)")
        elif event.type == "audio-chunk":
            note("first sound")
            turn.format = turn.format or client.chunk_format(event)
            turn.audio += event.payload or b""
    note("whole answer")


def _check(turn: Turn, language: str) -> list[str]:
    """What is wrong with the turn, in words."""
    problems = []
    expected = turn.utterance.sentence
    if expected is None:
        if not turn.heard:
            problems.append("nothing was heard in the recording")
    elif not _same(turn.heard, expected.text, language):
        problems.append(f'it was said "{expected.text}", but heard "{turn.heard}"')
    elif not turn.answered_by.startswith(expected.answered_by):
        problems.append(f"{expected.answered_by.rstrip(':')} should have answered")
    if turn.heard and not turn.reply:
        problems.append("there is no reply")
    if turn.reply and (turn.format is None or turn.format.width != 2 or turn.loudness_db < AUDIBLE_DB):
        problems.append("the answer can't be heard")
    return problems


def _same(heard: str, said: str, language: str) -> bool:
    return domain.normalise_for_comparison(heard, language) == domain.normalise_for_comparison(said, language)
