"""Clips to train Whisper on: clean speech at 16 kHz with its text and timed phonemes, kept in shards on disk."""

from __future__ import annotations

import json
import logging
import multiprocessing
import random
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

from wyoming_superwhisper.models.demo import espeak
from wyoming_superwhisper.models.demo.domain import FOLDER, LANGUAGES, load_domain, load_extra, load_replies
from wyoming_superwhisper.models.demo.whisper_sounds import make_sound
from wyoming_superwhisper.models.demo.whisper_voices import choose_manner, prepare_data_folder, trained_variants
from wyoming_superwhisper.speech_text import speakable

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000
FRAME_SAMPLES = 320  # one position of Whisper's encoder
SHARD_CLIPS = 500
UNKNOWN_PHONEME = "?"
LONGEST_S = 6.2  # leaves room in the 8 s window for the silence around

PIPER_VOICES = FOLDER / "weights" / "piper"

# How much of what is said are extra sentences, and replies of the language model; the rest is the domain.
_USUAL, _ONLY_REPLIES, _FOR_PIPER = (0.17, 0.05), (0.75, 0.25), (0.35, 0.1)
_VOICE_GROUPS = 4
_STRESS = re.compile(r"[ˈˌ\-ː]")

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Clip:
    """What was said, and a phoneme for each 20 ms ("" is silence, "?" not known)."""

    samples: Samples
    text: str
    language: str
    phonemes: tuple[str, ...]


class SentenceChooser:
    """Draws what is said: the domain, other sentences (`extra`) and the language model's replies; nothing reserved."""

    def __init__(self, extra: float, replies: float) -> None:
        self._domain, self._extra, self._replies = load_domain(), load_extra(), load_replies()
        self._extra_share, self._reply_share = extra, replies

    def choose(self, rng: random.Random, language: str) -> str:
        """One sentence, as it is written."""
        kind = rng.random()
        replies = self._replies[language]
        if replies and kind < self._reply_share:
            return rng.choice(replies)
        if kind < self._extra_share + self._reply_share:
            return self._extra.sample(language, rng, 1, reserved=False, fixed=0.3)[0]
        return self._domain.sample(language, rng, 1, reserved=False)[0]


def make_shards(work: Path, counts: dict[str, int], seed: int, processes: int = 2) -> None:
    """Make the shards of each kind that are not there yet, each in a fresh process."""
    writers = {
        "sound": write_sound_shard,
        "speech": write_speech_shard,
        "reply": write_reply_shard,
        "piper": write_piper_shard,
    }
    if not list(PIPER_VOICES.glob("*.onnx")):
        logger.warning("the demo Piper voices are not made yet: Whisper won't know them")
        counts = {**counts, "piper": 0}
    missing = [
        (writers[kind], number)
        for kind, count in counts.items()
        for number in range(count)
        if not _stem(work, kind, number).with_suffix(".json").exists()
    ]
    if not missing:
        return
    for group in range(_VOICE_GROUPS):
        prepare_data_folder(work / f"voices-{group}", seed + group)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, max_tasks_per_child=1) as pool:
        for job in [pool.submit(write, work, number, seed) for write, number in missing]:
            job.result()


def write_speech_shard(work: Path, number: int, seed: int) -> Path:
    """Write a shard of espeak speech, each clip in its own voice.

    To be called once in a process: each group of shards has made-up voices of its own.
    """
    rng = random.Random(f"{seed} speech {number}")
    return write_shard(_stem(work, "speech", number), list(_speech_clips(work, number, seed, rng, _USUAL)))


def write_reply_shard(work: Path, number: int, seed: int) -> Path:
    """As a shard of speech, but of replies alone."""
    rng = random.Random(f"{seed} reply {number}")
    return write_shard(_stem(work, "reply", number), list(_speech_clips(work, number, seed, rng, _ONLY_REPLIES)))


def write_sound_shard(work: Path, number: int, seed: int) -> Path:
    """Write a shard of sounds that hold no words."""
    return write_shard(_stem(work, "sound", number), list(_sound_clips(np.random.default_rng([seed, number]))))


def write_piper_shard(work: Path, number: int, seed: int) -> Path:
    """Write a shard of speech in the demo Piper voices (where they are made), of any length and liveliness.

    To be called in a process of its own: Piper phonemises with the espeak-ng that other clips are spoken by.
    """
    return write_shard(_stem(work, "piper", number), list(_piper_clips(random.Random(f"{seed} piper {number}"))))


def read_shard(stem: Path) -> list[Clip]:
    """The clips of one shard."""
    header = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    samples = np.load(stem.with_suffix(".npy"))
    return [
        Clip(samples[start:end], text, language, tuple(phonemes)) for start, end, text, language, phonemes in header
    ]


def list_shards(work: Path, kind: str) -> list[Path]:
    """The complete shards of a kind, by number."""
    return sorted(path.with_suffix("") for path in (work / "clips").glob(f"{kind}-*.json"))


def write_shard(stem: Path, clips: list[Clip]) -> Path:
    """Write a shard; its .json file appears last, when the shard is complete."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    ends = np.cumsum([len(clip.samples) for clip in clips]).tolist()
    np.save(stem.with_suffix(".npy"), np.concatenate([clip.samples for clip in clips]))
    header = [
        (end - len(clip.samples), end, clip.text, clip.language, clip.phonemes)
        for clip, end in zip(clips, ends, strict=True)
    ]
    unfinished = stem.with_suffix(".part")
    unfinished.write_text(json.dumps(header, ensure_ascii=False), encoding="utf-8")
    unfinished.rename(stem.with_suffix(".json"))
    return stem


def frame_phonemes(timed: tuple[tuple[int, str], ...], length: int) -> tuple[str, ...]:
    """The phoneme in the middle of each encoder frame, from where each begins (in 16 kHz samples)."""
    middles = np.arange(0, length, FRAME_SAMPLES) + FRAME_SAMPLES // 2
    starts = [start for start, _ in timed]
    names = ["", *(_STRESS.sub("", name) for _, name in timed)]
    return tuple(names[at] for at in np.searchsorted(starts, middles, side="right"))


def _stem(work: Path, kind: str, number: int) -> Path:
    return work / "clips" / f"{kind}-{number:04d}"


def _speech_clips(
    work: Path, number: int, seed: int, rng: random.Random, shares: tuple[float, float]
) -> Iterator[Clip]:
    group = number % _VOICE_GROUPS
    data, made = prepare_data_folder(work / f"voices-{group}", seed + group)
    espeak.use_data_folder(data)
    chooser, plain = SentenceChooser(*shares), trained_variants()
    made_clips = 0
    while made_clips < SHARD_CLIPS:
        language = rng.choice(LANGUAGES)
        text = chooser.choose(rng, language)
        manner = choose_manner(rng, language, made, plain)
        speech = espeak.speak_timed(
            _as_said(rng, text, language), manner.voice, manner.rate, manner.pitch, manner.pitch_range
        )
        clip = _as_clip(speech, text, language)
        if FRAME_SAMPLES < len(clip.samples) < LONGEST_S * SAMPLE_RATE:
            made_clips += 1
            yield clip


def _as_said(rng: random.Random, text: str, language: str) -> str:
    # The server writes numbers and signs out for Piper ("14:05"); other programs leave that to espeak-ng.
    return speakable(text, language) if rng.random() < 0.5 else text


def _as_clip(speech: espeak.Speech, text: str, language: str) -> Clip:
    loud = np.flatnonzero(np.abs(speech.samples.astype(np.int32)) > 30)
    spoken = speech.samples[: loud[-1] + 1] if len(loud) else speech.samples[:0]
    samples = as_16_khz(spoken, espeak.SAMPLE_RATE)
    scale = SAMPLE_RATE / espeak.SAMPLE_RATE
    timed = tuple((int(start * scale), name) for start, name in speech.phonemes)
    return Clip(samples, text, language, frame_phonemes(timed, len(samples)))


def as_16_khz(samples: npt.NDArray[np.int16], rate: int) -> Samples:
    """Resample, levelled to a peak of half of full scale (voices differ a lot in level)."""
    if not len(samples):
        return samples
    resampled = soxr.resample(samples.astype(np.float32), rate, SAMPLE_RATE, quality="HQ")
    peak = float(np.abs(resampled).max()) or 1.0
    return (resampled * (16384 / peak)).astype(np.int16)


def _piper_clips(rng: random.Random) -> Iterator[Clip]:
    from piper import PiperVoice, SynthesisConfig  # loads onnxruntime

    voices = {
        language: [PiperVoice.load(path) for path in sorted(PIPER_VOICES.glob(f"{language}_*.onnx"))]
        for language in LANGUAGES
    }
    chooser, made = SentenceChooser(*_FOR_PIPER), 0
    while made < SHARD_CLIPS:
        language = rng.choice(LANGUAGES)
        text = chooser.choose(rng, language)
        manner = SynthesisConfig(
            length_scale=rng.uniform(0.75, 1.35),
            noise_scale=rng.choice([0.0, 0.333, 0.667]),
            noise_w_scale=rng.choice([0.0, 0.333, 0.8]),
        )
        chunks = list(rng.choice(voices[language]).synthesize(_as_said(rng, text, language), manner))
        samples = as_16_khz(np.concatenate([chunk.audio_int16_array for chunk in chunks]), chunks[0].sample_rate)
        if len(samples) < LONGEST_S * SAMPLE_RATE:
            made += 1
            yield Clip(samples, text, language, (UNKNOWN_PHONEME,) * -(-len(samples) // FRAME_SAMPLES))


def _sound_clips(rng: np.random.Generator) -> Iterator[Clip]:
    for _ in range(SHARD_CLIPS):
        samples = make_sound(rng, float(rng.uniform(0.6, 5.0)))
        peak = float(np.abs(samples).max()) or 1.0
        frames = -(-len(samples) // FRAME_SAMPLES)
        yield Clip((samples * (16384 / peak)).astype(np.int16), "", "", ("",) * frames)
