"""How loud a microphone is: a level meter, and the noise of a room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.satellite.microphone import Microphone

FLOOR_DB = -90.0
STEP_S = 0.1
"""The meter moves so often, in seconds."""


@dataclass(frozen=True, slots=True)
class Level:
    """What was heard of a room."""

    audio: bytes
    floor_db: float
    """The noise: what a tenth of the time is quieter than, in dB below full scale."""
    peak_db: float
    """The loudest moment."""
    clipped: bool
    """Whether something was too loud for the microphone."""


async def listen(microphone: Microphone, seconds: float, show: Callable[[float], None] = lambda level: None) -> Level:
    """Listen for a while; `show` is told the level of each step. Raises TimeoutError where nothing comes."""
    audio = bytearray()
    shown = 0
    step = SPEECH.bytes_of(STEP_S)
    while len(audio) < SPEECH.bytes_of(seconds):
        async with asyncio.timeout(3.0):
            chunk = await microphone.read()
        if not chunk:
            break
        audio += chunk
        while len(audio) - shown >= step:
            show(decibels(bytes(audio[shown : shown + step])))
            shown += step
    samples = np.frombuffer(bytes(audio), "<i2").astype(float)
    frames = samples[: len(samples) // 480 * 480].reshape(-1, 480)
    levels = (
        20 * np.log10(np.sqrt((frames**2).mean(axis=1)) / 32768 + 10 ** (FLOOR_DB / 20)) if len(frames) else [FLOOR_DB]
    )
    clipped = bool((np.abs(samples) >= 32767).sum() > 3)
    return Level(bytes(audio), float(np.percentile(levels, 10)), float(np.max(levels)), clipped)


def decibels(audio: bytes) -> float:
    """Level in dB below full scale."""
    samples = np.frombuffer(audio, "<i2").astype(float)
    return float(20 * np.log10(np.sqrt((samples**2).mean()) / 32768 + 10 ** (FLOOR_DB / 20)))


def bar(level_db: float, width: int = 40) -> str:
    """A level as a bar."""
    filled = round(width * min(max(1 + level_db / -FLOOR_DB, 0), 1))
    return "#" * filled + "." * (width - filled) + f" {level_db:4.0f} dB"
