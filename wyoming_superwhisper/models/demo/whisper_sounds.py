"""Sounds without words, from which Whisper learns to stay silent: noises, hum, tones, chords, music, clicks, knocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16000

Signal = npt.NDArray[np.float32]


def make_sound(rng: np.random.Generator, seconds: float, kind: str = "") -> Signal:
    """A sound of a kind (one of SOUNDS); with none given any kind, sometimes two at once. Peak about 1."""
    length = int(seconds * SAMPLE_RATE)
    if kind:
        return _faded(rng, SOUNDS[kind][0](rng, length))
    sound = _one(rng, length)
    if rng.random() < 0.25:
        sound = sound + 10 ** rng.uniform(-1.5, 0) * _one(rng, length)
    return sound.astype(np.float32)


def make_noise(rng: np.random.Generator, seconds: float) -> Signal:
    """A steady noise to lay under speech: coloured noise, hum, sometimes both."""
    length = int(seconds * SAMPLE_RATE)
    noise = coloured_noise(rng, length, rng.uniform(-0.2, 2.2))
    if rng.random() < 0.3:
        noise = noise + rng.uniform(0.2, 2.0) * hum(rng, length)
    return _levelled(noise)


def coloured_noise(rng: np.random.Generator, length: int, slope: float) -> Signal:
    """Noise whose power falls with frequency to this power: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequencies = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    spectrum *= np.maximum(frequencies, 20.0) ** (-slope / 2)
    return _levelled(np.fft.irfft(spectrum, length))


def hum(rng: np.random.Generator, length: int) -> Signal:
    """Mains hum: 50 or 60 Hz, or a motor elsewhere, with harmonics."""
    base = float(rng.choice([50.0, 60.0, rng.uniform(35, 180)])) * rng.uniform(0.995, 1.005)
    time = np.arange(length) / SAMPLE_RATE
    fall = rng.uniform(0.3, 1.8)
    harmonics = range(1, int(rng.integers(1, 25)) + 1)
    waves = (
        rng.uniform(0.2, 1) * k**-fall * np.sin(2 * np.pi * base * k * time + rng.uniform(0, 6.3)) for k in harmonics
    )
    return _levelled(sum(waves, np.zeros(length)))


def tone(rng: np.random.Generator, length: int) -> Signal:
    """One steady tone, plain or rich, perhaps trembling, sliding or beeping."""
    frequency = float(np.exp(rng.uniform(np.log(60), np.log(6000))))
    sound = _note(rng, frequency, length, glide=rng.random() < 0.25)
    if rng.random() < 0.35:
        period = int(rng.uniform(0.08, 0.8) * SAMPLE_RATE)
        sound *= (np.arange(length) % period) < period * rng.uniform(0.2, 0.8)
    return _levelled(sound)


def chord(rng: np.random.Generator, length: int) -> Signal:
    """Several tones together, held or fading."""
    root = float(np.exp(rng.uniform(np.log(80), np.log(900))))
    steps = rng.choice([0, 3, 4, 5, 7, 9, 10, 11, 12, 16, 19], int(rng.integers(2, 6)), replace=False)
    return _levelled(_chord_of(rng, root, steps, length))


def music(rng: np.random.Generator, length: int) -> Signal:
    """A melody, arpeggio or row of chords, perhaps with a bass and drums."""
    beat = int(rng.uniform(0.1, 0.7) * SAMPLE_RATE)
    root = float(np.exp(rng.uniform(np.log(90), np.log(600))))
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16] if rng.random() < 0.5 else [0, 2, 3, 5, 7, 8, 10, 12, 14, 15])
    chords = rng.random() < 0.35
    style = int(rng.integers(1 << 30))
    sound = np.zeros(length)
    for start in range(0, length, beat):
        span = min(beat if rng.random() < 0.7 else 2 * beat, length - start)
        steps = rng.choice(scale, 3 if chords else 1, replace=False)
        # The same instrument for the whole tune.
        sound[start : start + span] += _chord_of(np.random.default_rng(style), root, steps, span, fading=True)
    if rng.random() < 0.4:
        sound += rng.uniform(0.2, 0.8) * knocks(rng, length, beat * int(rng.integers(1, 4)))
    if rng.random() < 0.3:
        sound += 0.5 * _note(rng, root / 2, length)
    return _levelled(sound)


def clicks(rng: np.random.Generator, length: int) -> Signal:
    """Single clicks, at random or evenly."""
    sound = np.zeros(length)
    count = int(rng.integers(1, 20))
    places = rng.integers(0, length, count) if rng.random() < 0.6 else np.arange(count) * length // count
    sound[places] = rng.uniform(0.2, 1, count) * rng.choice([-1, 1], count)
    if rng.random() < 0.6:
        ring = np.exp(-np.arange(400) / rng.uniform(5, 80)) * rng.standard_normal(400)
        sound = np.convolve(sound, ring)[:length]
    return _levelled(sound)


def knocks(rng: np.random.Generator, length: int, period: int = 0) -> Signal:
    """Knocks, steps or drums: short bursts with a dull ring."""
    sound = np.zeros(length)
    period = period or int(rng.uniform(0.12, 1.0) * SAMPLE_RATE)
    span = int(0.25 * SAMPLE_RATE)
    time = np.arange(span) / SAMPLE_RATE
    for start in range(int(rng.integers(0, period)), length, period):
        ring = np.sin(2 * np.pi * rng.uniform(50, 900) * time) + rng.uniform(0, 1) * rng.standard_normal(span)
        hit = ring * np.exp(-time / rng.uniform(0.008, 0.08))
        end = min(start + span, length)
        sound[start:end] += hit[: end - start]
    return _levelled(sound)


def bursts(rng: np.random.Generator, length: int) -> Signal:
    """Noise that comes and goes: wind, breath, rustling, a passing car."""
    points = rng.uniform(0, 1, int(rng.integers(3, 30))) ** 3
    envelope = np.interp(np.linspace(0, len(points) - 1, length), np.arange(len(points)), points)
    return _levelled(envelope * coloured_noise(rng, length, rng.uniform(0, 2)))


def silence(rng: np.random.Generator, length: int) -> Signal:
    """Nothing, or next to nothing: the noise floor of a microphone."""
    return np.zeros(length, np.float32) if rng.random() < 0.5 else _levelled(rng.standard_normal(length)) * 1e-3


def plain_noise(rng: np.random.Generator, length: int) -> Signal:
    """White, pink or brown noise."""
    return coloured_noise(rng, length, float(rng.choice([0.0, 1.0, 2.0])))


def odd_noise(rng: np.random.Generator, length: int) -> Signal:
    """Noise of any colour."""
    return coloured_noise(rng, length, rng.uniform(-0.3, 2.3))


# Each kind of sound, and how often it is made.
SOUNDS: dict[str, tuple[Callable[[np.random.Generator, int], Signal], float]] = {
    "silence": (silence, 0.05),
    "plain noise": (plain_noise, 0.12),
    "odd noise": (odd_noise, 0.06),
    "hum": (hum, 0.15),
    "tone": (tone, 0.16),
    "chord": (chord, 0.14),
    "music": (music, 0.18),
    "clicks": (clicks, 0.05),
    "knocks": (knocks, 0.05),
    "bursts": (bursts, 0.04),
}


def _one(rng: np.random.Generator, length: int) -> Signal:
    weights = np.array([weight for _, weight in SOUNDS.values()])
    kind = list(SOUNDS)[int(rng.choice(len(SOUNDS), p=weights / weights.sum()))]
    return _faded(rng, SOUNDS[kind][0](rng, length))


def _faded(rng: np.random.Generator, sound: Signal) -> Signal:
    if rng.random() < 0.4:
        fade = np.minimum(1.0, np.arange(len(sound)) / (rng.uniform(0.005, 0.5) * SAMPLE_RATE))
        sound = sound * fade * fade[::-1]
    return sound.astype(np.float32)


def _chord_of(
    rng: np.random.Generator, root: float, steps: npt.NDArray[np.int64], length: int, fading: bool = False
) -> npt.NDArray[np.float64]:
    fades = fading or rng.random() < 0.4
    fall_s = rng.uniform(0.05, 1.0)
    state = int(rng.integers(1 << 30))
    sound = np.zeros(length)
    for step in steps:
        sound += _note(np.random.default_rng(state), root * 2 ** (int(step) / 12), length)
    if fades:
        sound *= np.exp(-np.arange(length) / SAMPLE_RATE / fall_s)
    return sound


def _note(rng: np.random.Generator, frequency: float, length: int, glide: bool = False) -> npt.NDArray[np.float64]:
    time = np.arange(length) / SAMPLE_RATE
    pitch = np.full(length, frequency)
    if glide:
        pitch = frequency * 2 ** np.linspace(0, rng.uniform(-2, 2), length)
    if rng.random() < 0.25:
        pitch = pitch * (1 + rng.uniform(0.002, 0.02) * np.sin(2 * np.pi * rng.uniform(3, 8) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    shape = rng.random()
    if shape < 0.4:
        return np.sin(phase)
    if shape < 0.5:
        return np.sign(np.sin(phase)) * 0.5
    fall = rng.uniform(0.5, 2.5)
    count = max(1, min(int(rng.integers(2, 12)), int(7000 / max(frequency, 1.0))))
    return np.asarray(
        sum((k**-fall * np.sin(k * phase + rng.uniform(0, 6.3)) for k in range(1, count + 1)), np.zeros(length))
    )


def _levelled(sound: npt.NDArray[np.float64] | Signal) -> Signal:
    peak = float(np.abs(sound).max()) if len(sound) else 0.0
    return (sound / (peak or 1.0)).astype(np.float32)
