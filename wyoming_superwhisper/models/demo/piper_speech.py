"""What the demo Piper voices imitate: espeak-ng speech, measured frame by frame and aligned to Piper's phonemes.

Each text is spoken twice: on one note, where the spectral envelope and the voicing can be read off exactly, and with
its melody, from which the pitch is taken.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wyoming_superwhisper.models.demo.espeak import Speech, speak_timed

SAMPLE_RATE = 22050
HOP = 256
"""Samples between frames; frame `i` is centred at sample `(i + 0.5) * HOP`."""

BAND_CENTRES_HZ = np.concatenate([np.linspace(90, 990, 11), np.geomspace(1100, 10500, 31)])
"""Where the spectral envelope is measured, and between which it is interpolated."""
VOICING_EDGES_HZ = np.array([0.0, 700, 1400, 2100, 2900, 4000, 5500, 7500, 11025])
"""Edges of the bands that have one degree of voicing each."""
BANDS, VOICING_BANDS = len(BAND_CENTRES_HZ), len(VOICING_EDGES_HZ) - 1

PAUSES = frozenset(".,:;!?")
SILENT_MARKS = frozenset("ˈˌː-'^~ ") | frozenset("\u0303\u0329\u032a\u0361\u02b2\u02b0\u02d0\u0306")
"""Phonemes of Piper that take no time of their own."""

_LEAD_S, _TAIL_S = 0.03, 0.16
_FLOOR = 1e-9
_RATE, _PITCH = 155, 45

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Utterance:
    """One spoken text as the acoustic model sees it."""

    phonemes: tuple[str, ...]
    """Piper's phonemes with "^" before and "$" after."""
    durations: Floats
    """Frames (not whole ones) of each phoneme."""
    envelope: Floats
    """(frames, BANDS) natural logarithm of the power at BAND_CENTRES_HZ."""
    voicing: Floats
    """(frames, VOICING_BANDS) share of harmonic sound, 0 to 1."""
    pitch: Floats
    """(frames,) natural logarithm of the pitch in Hz, interpolated where there is none."""


class Misaligned(ValueError):
    """espeak-ng's spoken phonemes are not the ones that Piper writes for the text."""


def observe(text: str, voice: str, phonemes: Sequence[str]) -> Utterance:
    """Speak and measure one sentence whose phonemes Piper gave. Raises Misaligned."""
    flat = speak_timed(text, voice, _RATE, _PITCH, 0)
    melodic = speak_timed(text, voice, _RATE, _PITCH, 55)
    starts = _align(flat, phonemes)
    lead, tail = int(_LEAD_S * SAMPLE_RATE), int(_TAIL_S * SAMPLE_RATE)
    sound = np.pad(flat.samples.astype(np.float64) / 32768, (lead, tail))
    bounds = np.concatenate([[0], np.asarray(starts) + lead, [len(flat.samples) + lead, len(sound)]])
    durations = np.diff(bounds) / HOP
    frames = int(np.ceil(durations.sum() - 0.5))
    note = _note(sound)
    envelope, voicing = _envelope(sound, frames, note), _voicing(sound, frames, note)
    pitch = _melody(flat, melodic, lead, frames)
    return Utterance(
        ("^", *phonemes, "$"), *(part.astype(np.float32) for part in (durations, envelope, voicing, pitch))
    )


def takes_time(phoneme: str) -> bool:
    """Whether a phoneme of Piper has a duration (marks of stress, length and nasality have none)."""
    return phoneme == "^" or (phoneme not in SILENT_MARKS and not unicodedata.combining(phoneme[0]))


def _align(speech: Speech, phonemes: Sequence[str]) -> list[int]:
    """First sample of each phoneme; one without time of its own begins where the next one does."""
    length = len(speech.samples)
    spoken = [(start, name) for start, name in speech.phonemes if not name.startswith("(")]  # "(en)": another language
    ends = [start for start, _ in spoken[1:]] + [length]
    starts: list[int] = []
    at = 0
    for (start, name), end in zip(spoken, ends, strict=True):
        wanted = unicodedata.normalize("NFD", name)
        if not wanted:
            at = _take_pause(phonemes, at, start, starts)
            continue
        while at < len(phonemes) and phonemes[at] != wanted[0] and (phonemes[at] == " " or phonemes[at] in PAUSES):
            starts.append(start)
            at += 1
        if "".join(phonemes[at : at + len(wanted)]) != wanted:
            raise Misaligned(f"{name!r} is not at {at} of {''.join(phonemes)!r}")
        starts += _share(wanted, start, end)
        at += len(wanted)
    if any(one not in PAUSES and one != " " for one in phonemes[at:]):
        raise Misaligned(f"{''.join(phonemes[at:])!r} was not spoken")
    return starts + [length] * (len(phonemes) - at)


def _take_pause(phonemes: Sequence[str], at: int, start: int, starts: list[int]) -> int:
    """A pause belongs to the punctuation that comes next; without any, it lengthens the sound before."""
    if at < len(phonemes) and phonemes[at] in PAUSES:
        starts.append(start)
        return at + 1
    return at


def _share(wanted: str, start: int, end: int) -> list[int]:
    """Starts of the parts of one spoken phoneme: the parts that take time share it evenly."""
    sounding = [takes_time(part) for part in wanted]
    count = max(1, sum(sounding))
    starts, passed = [], 0
    for sounds in sounding:
        starts.append(start + (end - start) * passed // count)
        passed += sounds
    return starts


def _frames(sound: npt.NDArray[np.float64], count: int, size: int, shift: float = 0.0) -> npt.NDArray[np.float64]:
    """(count, size) Hann-windowed frames, their centres moved by `shift` samples."""
    margin = 2 * size
    padded = np.pad(sound, (margin, margin + HOP))
    first = np.round((np.arange(count) + 0.5) * HOP + shift).astype(int) - size // 2 + margin
    return padded[first[:, None] + np.arange(size)] * np.hanning(size + 1)[:size]


def _note(sound: npt.NDArray[np.float64]) -> float:
    """The period in samples of a sound on one note."""
    spectrum = np.fft.rfft(sound, 2 * len(sound))
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)
    lags = np.arange(90, 420)
    return float(lags[np.argmax(correlation[lags])])


def _envelope(sound: npt.NDArray[np.float64], count: int, period: float) -> npt.NDArray[np.float64]:
    """(count, BANDS) log power at the band centres: the power between two half harmonics, then interpolated."""
    size = 768
    transform = 4096
    frames = _frames(sound, count, size)
    power = np.abs(np.fft.rfft(frames, transform)) ** 2 / np.sum(np.hanning(size + 1)[:size] ** 2)
    spacing = transform / period
    harmonics = np.arange(1, int(transform / 2 / spacing))
    total = np.concatenate([np.zeros((count, 1)), np.cumsum(power, axis=1)], axis=1)
    low = np.round((harmonics - 0.5) * spacing).astype(int)
    high = np.round((harmonics + 0.5) * spacing).astype(int)
    mean = (total[:, high] - total[:, low]) / (high - low)
    at = harmonics * SAMPLE_RATE / period
    return np.stack([np.interp(BAND_CENTRES_HZ, at, row) for row in np.log(mean + _FLOOR)])


def _voicing(sound: npt.NDArray[np.float64], count: int, period: float) -> npt.NDArray[np.float64]:
    """(count, VOICING_BANDS): how alike two stretches of sound one period apart are."""
    size = 512
    before = np.fft.rfft(_frames(sound, count, size, -period / 2))
    after = np.fft.rfft(_frames(sound, count, size, period / 2))
    hz = np.arange(size // 2 + 1) * SAMPLE_RATE / size
    bands = []
    for low, high in itertools.pairwise(VOICING_EDGES_HZ):
        inside = (hz >= max(low, 60)) & (hz < high)
        a, b = before[:, inside], after[:, inside]
        energy = np.sqrt(np.sum(np.abs(a) ** 2, 1) * np.sum(np.abs(b) ** 2, 1))
        alike = np.abs(np.sum(a * np.conj(b), 1)) / (energy + 1e-7)
        bands.append(np.clip((alike - 0.45) / 0.45, 0, 1))
    return _close_gaps(np.stack(bands, axis=1))


def _close_gaps(voicing: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Between two harmonic bands a quiet one measures as noise: close such gaps."""
    return -_widen(-_widen(voicing))


def _widen(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    padded = np.pad(values, ((0, 0), (1, 1)), mode="edge")
    return np.maximum(np.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])


def _melody(flat: Speech, melodic: Speech, lead: int, count: int) -> npt.NDArray[np.float64]:
    """(count,) log pitch of the melodic speech, at the moments of the flat one."""
    if len(flat.phonemes) != len(melodic.phonemes):
        raise Misaligned("the two ways of speaking differ")
    centres = (np.arange(count) + 0.5) * HOP - lead
    moments = np.interp(
        centres,
        [start for start, _ in flat.phonemes] + [len(flat.samples)],
        [start for start, _ in melodic.phonemes] + [len(melodic.samples)],
    )
    size = 1024
    sound = np.pad(melodic.samples.astype(np.float64), (size, 2 * size))
    first = np.clip(moments.astype(int) - size // 2 + size, 0, len(sound) - size)
    frames = sound[first[:, None] + np.arange(size)] * np.hanning(size)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 2 * size)) ** 2)
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(size), 2 * size)) ** 2)
    lags = np.arange(110, 330)
    normal = correlation[:, lags] / window[lags] * window[0] / (correlation[:, :1] + 1e3)
    best = np.argmax(normal, axis=1)
    voiced = (normal[np.arange(count), best] > 0.6) & (frames.std(axis=1) > 200)
    if voiced.sum() < 3:
        raise Misaligned("no pitch")
    found = np.log(SAMPLE_RATE / lags[best])
    return _smooth(np.interp(np.arange(count), np.flatnonzero(voiced), found[voiced]))


def _smooth(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    padded = np.pad(values, 2, mode="edge")
    median = np.median(np.stack([padded[i : i + len(values)] for i in range(5)]), axis=0)
    padded = np.pad(median, 1, mode="edge")
    return (padded[:-2] + padded[1:-1] + padded[2:]) / 3
