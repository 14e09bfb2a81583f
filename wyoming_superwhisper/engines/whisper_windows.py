"""Cutting an utterance that is longer than the model's window: at the quietest point, never losing a sample.

Whisper's own long form (`generate`) needs timestamp tokens to know where to go on, which commands are not decoded
with. Each window here is transcribed by itself, with no text carried over, and the texts are joined.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_QUIET_SAMPLES = 1600
"""A cut lies in the middle of the quietest 100 ms."""

_HOP_SAMPLES = 160


def split_into_windows(samples: npt.NDArray[np.int16], window: int) -> list[npt.NDArray[np.int16]]:
    """Consecutive pieces of at most `window` samples; together they are `samples`."""
    pieces = []
    while len(samples) > window:
        # Not before half a window, and leaving enough for the last piece to be more than a scrap.
        cut = _quietest(samples, window // 2, min(window, len(samples) - window // 5))
        pieces.append(samples[:cut])
        samples = samples[cut:]
    return [*pieces, samples]


def _quietest(samples: npt.NDArray[np.int16], start: int, end: int) -> int:
    """The middle of the quietest 100 ms between two samples; the latest of those that are equal."""
    energies = np.concatenate([[0.0], np.cumsum(samples[start:end].astype(np.float64) ** 2)])
    starts = np.arange(0, max(1, end - start - _QUIET_SAMPLES), _HOP_SAMPLES)
    ends = np.minimum(starts + _QUIET_SAMPLES, end - start)
    quiet = energies[ends] - energies[starts]
    latest = len(quiet) - 1 - int(np.argmin(quiet[::-1]))
    return start + int(starts[latest] + ends[latest]) // 2
