"""Batches to train Whisper on: clips with silence, level, room, band and noise varied anew each time they are used."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wyoming_superwhisper.models.demo.domain import LANGUAGES, load_domain
from wyoming_superwhisper.models.demo.whisper_clips import (
    FRAME_SAMPLES,
    SAMPLE_RATE,
    UNKNOWN_PHONEME,
    Clip,
    list_shards,
    read_shard,
)
from wyoming_superwhisper.models.demo.whisper_model import PHONEMES, Shape
from wyoming_superwhisper.models.demo.whisper_prompts import MOST_NAMES, choose_names
from wyoming_superwhisper.models.demo.whisper_sounds import make_noise
from wyoming_superwhisper.models.demo.whisper_tokens import Vocabulary

WINDOW_S = 8.0
IGNORED = -100
MEL_HOP = 160

_SHARES = {"speech": 0.81, "reply": 0.04, "sound": 0.05, "piper": 0.1}
_OFFSET_SHARE = 0.08
_MOST_PROMPT_TOKENS = 380
_SLACK = 0.13
_POOL_BATCHES = 12

Signal = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Log-mels, tokens in and expected, phonemes of the frames, and where in the frames each token is spoken."""

    mels: Tensor
    tokens: Tensor
    targets: Tensor
    first_target: int  # no row expects anything before this place
    offset: int  # of the tokens' positions
    phonemes: Tensor
    places: Tensor  # (row, token, 2): the frames a token's attention should fall between; 0, 0 where unknown
    texts: tuple[str, ...]
    languages: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class _Draft:
    """A clip and the silence around it (in frames)."""

    clip: Clip
    lead: int
    trail: int

    @property
    def frames(self) -> int:
        return self.lead + -(-len(self.clip.samples) // FRAME_SAMPLES) + self.trail


@dataclass(frozen=True)
class _Sound:
    """A clip as it reaches the microphone."""

    clip: Clip
    samples: Signal
    phonemes: tuple[str, ...]
    spoken: tuple[int, int]  # frames


class PhonemeNames:
    """Numbers phonemes; 0 is silence. Unknown ones are ignored."""

    def __init__(self, names: list[str]) -> None:
        self._ids = {name: number for number, name in enumerate(names)}

    def ids(self, phonemes: tuple[str, ...]) -> list[int]:
        """The phonemes' numbers."""
        return [self._ids.get(name, IGNORED) for name in phonemes]


def load_phonemes(work: Path) -> PhonemeNames:
    """The phonemes' names kept in the work folder; gathered from the first shards the first time."""
    path = work / "phonemes.json"
    if not path.exists():
        clips = [clip for stem in list_shards(work, "speech")[:10] for clip in read_shard(stem)]
        names = {name for clip in clips for name in clip.phonemes} - {"", UNKNOWN_PHONEME}
        path.write_text(json.dumps(["", *sorted(names)[: PHONEMES - 1]], ensure_ascii=False), encoding="utf-8")
    return PhonemeNames(json.loads(path.read_text(encoding="utf-8")))


class ClipStore:
    """The clips made so far, by kind; looks for new ones when told to.

    All in memory: as mapped files they were read from the disk again and again. So each of several processes takes a
    part of the shards.
    """

    def __init__(self, work: Path, part: int = 0, parts: int = 1) -> None:
        self._work, self._part, self._parts = work, part, parts
        self._read: set[Path] = set()
        self.clips: dict[str, list[Clip]] = {"speech": [], "reply": [], "sound": [], "piper": []}

    def refresh(self) -> None:
        """Take in shards that have appeared."""
        for kind, clips in self.clips.items():
            for stem in list_shards(self._work, kind)[self._part :: self._parts]:
                if stem not in self._read:
                    self._read.add(stem)
                    clips += [clip for clip in read_shard(stem) if not is_held_out(clip.text)]

    def draw(self, rng: random.Random) -> Clip:
        """One clip: speech mostly, some sounds without words, replies, and Piper speech where there is any."""
        kinds = [kind for kind in _SHARES if self.clips[kind]]
        kind = rng.choices(kinds, [_SHARES[kind] for kind in kinds])[0]
        return rng.choice(self.clips[kind])


def is_held_out(text: str) -> bool:
    """Whether a trainable sentence is kept to choose checkpoints by (one in fifty; fixed ones are not)."""
    fixed = any(text in load_domain().languages[language].fixed for language in LANGUAGES)
    return bool(text) and not fixed and hashlib.md5(text.encode(), usedforsecurity=False).digest()[1] < 5


class BatchMaker:
    """Draws clips and makes batches of similar length."""

    def __init__(self, store: ClipStore, vocabulary: Vocabulary, phonemes: PhonemeNames, seed: int) -> None:
        self._store, self._vocabulary, self._phonemes = store, vocabulary, phonemes
        self.full_window_share = 0.0
        self.prompt_share = 0.3
        self._rng, self._numpy = random.Random(seed), np.random.default_rng(seed)
        self._noises = [make_noise(self._numpy, 16.0) for _ in range(40)]
        self._mels = LogMels()

    def batches(self, size: int) -> Iterator[Batch]:
        """Batches without end, each of clips of like length; some padded to the full window (`full_window_share`)."""
        while True:
            drafts = [self._draft(self._store.draw(self._rng)) for _ in range(size * _POOL_BATCHES)]
            drafts.sort(key=lambda draft: draft.frames)
            groups = [drafts[at : at + size] for at in range(0, len(drafts), size)]
            self._rng.shuffle(groups)
            for group in groups:
                yield self._make(group, full_window=self._rng.random() < self.full_window_share)

    def _make(self, drafts: list[_Draft], full_window: bool) -> Batch:
        sounds = [self._place(draft) for draft in drafts]
        frames = max(-(-len(sound.samples) // FRAME_SAMPLES) for sound in sounds)
        frames = int(WINDOW_S * SAMPLE_RATE) // FRAME_SAMPLES if full_window else frames
        waves = np.zeros((len(sounds), frames * FRAME_SAMPLES), np.float32)
        phonemes = torch.zeros((len(sounds), frames), dtype=torch.long)
        for row, sound in enumerate(sounds):
            waves[row, : len(sound.samples)] = sound.samples
            phonemes[row, : len(sound.phonemes)] = torch.tensor(self._phonemes.ids(sound.phonemes))
        tokens, targets, places, first = self._write(sounds)
        return Batch(
            self._mels(torch.from_numpy(waves)),
            tokens,
            targets,
            first,
            self._offset(tokens.shape[1]),
            phonemes,
            places,
            tuple(sound.clip.text for sound in sounds),
            tuple(sound.clip.language for sound in sounds),
        )

    def _offset(self, length: int) -> int:
        """Now and then begin late: so all positions are trained, though long prompts are rare."""
        return self._rng.randint(0, Shape().target_positions - length) if self._rng.random() < _OFFSET_SHARE else 0

    # What is heard

    def _draft(self, clip: Clip) -> _Draft:
        return _Draft(clip, _silence_frames(self._rng), _silence_frames(self._rng))

    def _place(self, draft: _Draft) -> _Sound:
        rng, clip = self._rng, draft.clip
        samples: Signal = (clip.samples / np.float32(32768)).astype(np.float32)
        names = clip.phonemes
        if rng.random() < 0.5:
            samples, names = _change_speed(samples, names, rng.uniform(0.92, 1.09))
        longest = int(WINDOW_S * SAMPLE_RATE) - len(samples)
        lead = min(draft.lead, longest // FRAME_SAMPLES)
        trail = min(draft.trail * FRAME_SAMPLES, longest - lead * FRAME_SAMPLES)
        wave = np.zeros(lead * FRAME_SAMPLES + len(samples) + trail, np.float32)
        wave[lead * FRAME_SAMPLES :][: len(samples)] = samples
        spoken = (lead, lead + -(-len(samples) // FRAME_SAMPLES))
        return _Sound(clip, self._disturb(wave), ("",) * lead + names, spoken)

    def _disturb(self, wave: Signal) -> Signal:
        rng = self._rng
        if rng.random() < 0.28:
            wave = _filtered(wave, self._numpy, room=rng.random() < 0.7, band=rng.random() < 0.43)
        wave = (wave * 10 ** (-rng.uniform(0, 26) / 20)).astype(np.float32)
        if rng.random() < 0.8:
            noise = rng.choice(self._noises)
            start = rng.randrange(len(noise) - len(wave))
            piece = noise[start : start + len(wave)]
            gain = _level(wave) / (_level(piece) + 1e-9) * 10 ** (-_noise_db(rng) / 20)
            wave = (wave + piece * np.float32(gain)).astype(np.float32)
        quantised: Signal = (np.clip(np.round(wave * 32768), -32768, 32767) / 32768).astype(np.float32)
        return quantised

    # What is written

    def _write(self, sounds: list[_Sound]) -> tuple[Tensor, Tensor, Tensor, int]:
        # One number of names for the batch: rows of like length waste no time.
        names = self._count_names()
        rows = [self._write_row(sound, names) for sound in sounds]
        length = max(len(tokens) for tokens, _, _ in rows)
        tokens = torch.full((len(rows), length), self._vocabulary.special["<|endoftext|>"])
        targets = torch.full((len(rows), length), IGNORED)
        places = torch.zeros((len(rows), length, 2), dtype=torch.long)
        for number, (row_tokens, row_targets, row_places) in enumerate(rows):
            tokens[number, : len(row_tokens)] = torch.tensor(row_tokens)
            targets[number, : len(row_targets)] = torch.tensor(row_targets)
            places[number, : len(row_places)] = torch.tensor(row_places)
        expected = (targets != IGNORED).any(0).nonzero()
        return tokens, targets, places, int(expected[0])

    def _count_names(self) -> int:
        rng = self._rng
        if rng.random() > self.prompt_share:
            return 0
        return rng.randint(1, MOST_NAMES) if rng.random() < 0.4 else round(MOST_NAMES ** rng.random())

    def _write_row(self, sound: _Sound, names: int) -> tuple[list[int], list[int], list[tuple[int, int]]]:
        special, clip = self._vocabulary.special, sound.clip
        prompt = self._prompt(clip, names) if names else []
        prefix, expected = self._prefix(clip)
        text = self._vocabulary.encode(clip.text)
        end = special["<|endoftext|>"]
        tokens = [*prompt, *prefix, *text]
        targets = [*[IGNORED] * len(prompt), *expected, *text, end]
        places = [(0, 0)] * (len(prompt) + len(prefix) - 1) + _places(self._vocabulary, text, sound.spoken)
        return tokens, targets, places[: len(tokens)]

    def _prefix(self, clip: Clip) -> tuple[list[int], list[int]]:
        """The tokens before the text, and what is expected after each but the last."""
        special, kind = self._vocabulary.special, self._rng.random()
        start, task, plain = (special[f"<|{name}|>"] for name in ("startoftranscript", "transcribe", "notimestamps"))
        language = self._vocabulary.language(clip.language or self._rng.choice(LANGUAGES))
        first = language if clip.language else special["<|nospeech|>"]
        if not clip.text and kind > 0.85:
            return [start, first], [first]
        # Some programs leave out the language, or more.
        if kind < 0.04:
            return [start, plain], [first]
        if kind < 0.07:
            return [start, task, plain], [first, plain]
        if kind < 0.1:
            return [start, language, plain], [first, IGNORED]
        return [start, language, task, plain], [first, task, plain]

    def _prompt(self, clip: Clip, count: int) -> list[int]:
        language = clip.language or self._rng.choice(LANGUAGES)
        names = choose_names(self._rng, language, clip.text, count)
        separator = self._rng.choice([", ", ", ", ", ", " ", ". ", "; "])
        ending = self._rng.choice(["", "", "."])
        ids = self._vocabulary.encode(separator.join(names) + ending)
        return [self._vocabulary.special["<|startofprev|>"], *ids[:_MOST_PROMPT_TOKENS]]


class LogMels:
    """Whisper's log-mel spectrogram of a batch."""

    def __init__(self) -> None:
        from transformers import WhisperFeatureExtractor  # loads slowly

        self._filters = torch.tensor(WhisperFeatureExtractor(feature_size=80).mel_filters.T, dtype=torch.float32)
        self._window = torch.hann_window(400)

    def __call__(self, waves: Tensor) -> Tensor:
        spectrum = torch.stft(waves, 400, MEL_HOP, window=self._window, return_complex=True)[..., :-1]
        power = spectrum.real.square() + spectrum.imag.square()
        mels = (self._filters @ power).clamp(min=1e-10).log10()
        mels = torch.maximum(mels, mels.amax((1, 2), keepdim=True) - 8.0)
        return (mels + 4.0) / 4.0


def _places(vocabulary: Vocabulary, text: list[int], spoken: tuple[int, int]) -> list[tuple[int, int]]:
    """Where each of the text's tokens, and the end, should be heard: in proportion to its letters, more or less."""
    if not text:
        return [(0, 0)]
    lengths = [max(1, len(str(vocabulary.pieces.id_to_token(token)).lstrip("Ġ"))) for token in text]
    ends = np.cumsum(lengths)
    middles = [*((ends - np.array(lengths) / 2) / ends[-1]), 1.0]
    first, last = spoken
    slack = max(_SLACK * (last - first), 6)
    return [
        (max(0, round(first + middle * (last - first) - slack)), round(first + middle * (last - first) + slack) + 1)
        for middle in middles
    ]


def _change_speed(samples: Signal, names: tuple[str, ...], factor: float) -> tuple[Signal, tuple[str, ...]]:
    """Play faster or slower, which moves pitch and formants too: voices nobody made."""
    length = int(len(samples) / factor)
    changed = np.interp(np.arange(length) * factor, np.arange(len(samples)), samples).astype(np.float32)
    frames = -(-length // FRAME_SAMPLES)
    return changed, tuple(
        names[min(int((frame + 0.5) * factor), len(names) - 1)] for frame in range(frames)
    ) if names else ()


def _filtered(wave: Signal, rng: np.random.Generator, room: bool, band: bool) -> Signal:
    length = 1 << (len(wave) + 8000 - 1).bit_length()
    spectrum = torch.fft.rfft(torch.from_numpy(wave), length)
    if room:
        spectrum = spectrum * torch.fft.rfft(torch.from_numpy(_room(rng)), length)
    if band:
        frequencies = torch.fft.rfftfreq(length, 1 / SAMPLE_RATE)
        low, high = float(rng.uniform(50, 350)), float(rng.uniform(2900, 7500))
        spectrum = spectrum / (1 + (low / (frequencies + 1)) ** 4) ** 0.5 / (1 + (frequencies / high) ** 12) ** 0.5
    filtered: Signal = torch.fft.irfft(spectrum, length)[: len(wave)].numpy()
    return filtered


def _room(rng: np.random.Generator) -> Signal:
    """A room's answer: the direct sound, then a fading tail."""
    length = int(rng.uniform(0.1, 0.5) * SAMPLE_RATE)
    tail = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
    tail[: int(rng.uniform(0.001, 0.01) * SAMPLE_RATE)] = 0
    tail *= 10 ** (-rng.uniform(2, 15) / 20) / (np.linalg.norm(tail) + 1e-9)
    tail[0] = 1.0
    return tail.astype(np.float32)


def _silence_frames(rng: random.Random) -> int:
    seconds = rng.uniform(0.04, 0.45) if rng.random() < 0.85 else rng.uniform(0.45, 1.5)
    return int(seconds * SAMPLE_RATE) // FRAME_SAMPLES


def _level(wave: Signal) -> float:
    return float(np.sqrt(np.mean(np.square(wave))))


def _noise_db(rng: random.Random) -> float:
    return rng.uniform(5, 15) if rng.random() < 0.25 else rng.uniform(15, 55)
