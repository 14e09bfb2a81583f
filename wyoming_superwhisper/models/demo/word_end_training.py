"""Teaches the network that tells a satellite where a wake word ends: about an hour on one core.

python -m wyoming_superwhisper.models.demo word-ends [--windows N] [--rounds N] [--seed N] [--output FILE.npz]

It sees two seconds of the features that the wake words' models see, and gives each word and frame a score for its
having ended there, against one for its not having ended at all. Then it is taught again, with other talk beside that
in which it has imagined a word. The runtime is `satellite/word_end.py`.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pymicro_wakeword import MicroWakeWordFeatures
from torch import Tensor, nn

from wyoming_superwhisper.models.demo import espeak
from wyoming_superwhisper.models.demo.whisper_sounds import SAMPLE_RATE
from wyoming_superwhisper.models.demo.whisper_voices import prepare_data_folder, trained_variants
from wyoming_superwhisper.models.demo.word_end_sounds import WORDS, Speakers, Window, make_other_window, make_window

OUTPUT = Path(__file__).parent.parent.parent / "satellite" / "word_ends.npz"
CHANNELS, TAPS = 24, 5
REACHES = ((1, 2), (2, 4), (4, 8), (8, 28), (16, 64))
"""Of each layer: how many frames its taps are apart, and how far before a frame the first one lies. What is behind a
frame is looked at for 0.18 s, what is before it for a second."""
FRAME, MIDDLE = SAMPLE_RATE // 100, 3 * SAMPLE_RATE // 200
"""Samples between two features, and from the beginning of one to the middle of its stretch of sound."""
SPREAD = 1.0
"""How far around the true frame the wanted scores are spread, in frames."""
BATCH = 48
RATE = 4e-3
MADE_VOICES = 200
IMAGINED = 0.1
"""A word with this certainty that was not said is one to learn from."""
HELD_BACK = 12
"""One window of so many is kept to judge by."""


@dataclass(frozen=True)
class Windows:
    """What is learned from."""

    features: npt.NDArray[np.float32]
    """Windows by channels by frames."""
    words: npt.NDArray[np.int64]
    """The word that has ended in each; -1: none."""
    ends: npt.NDArray[np.float64]
    """Where, in frames."""

    def some(self, which: npt.NDArray[np.int64]) -> Windows:
        """Only these."""
        return Windows(self.features[which], self.words[which], self.ends[which])

    def and_also(self, others: Windows) -> Windows:
        """These and those."""
        return Windows(
            np.concatenate([self.features, others.features]),
            np.concatenate([self.words, others.words]),
            np.concatenate([self.ends, others.ends]),
        )

    def normal(self, mean: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]) -> Windows:
        """With features of mean 0 and deviation 1, where those of all had these."""
        return Windows((self.features - mean[:, None]) / scale[:, None], self.words, self.ends)


class Network(nn.Module):
    """See `satellite/word_end.py`, which computes the same."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        sizes = [inputs, *[CHANNELS] * len(REACHES)]
        self.layers = nn.ModuleList(
            nn.Conv1d(size, CHANNELS, TAPS, dilation=step) for size, (step, _) in zip(sizes, REACHES, strict=False)
        )
        self.last = nn.Conv1d(CHANNELS, len(WORDS), 1)

    def forward(self, sound: Tensor) -> Tensor:
        """Windows by words by frames, the first place for "not at all"."""
        for (step, before), layer in zip(REACHES, self.layers, strict=True):
            heard = torch.relu(layer(nn.functional.pad(sound, (before, (TAPS - 1) * step - before))))
            sound = heard if heard.shape[1] != sound.shape[1] else heard + sound
        scores = self.last(sound)
        return torch.cat([torch.zeros_like(scores[:, :, :1]), scores], dim=2)


def main(argv: Sequence[str]) -> int:
    """Make the windows, train, judge, and write the weights."""
    parser = argparse.ArgumentParser(prog="word-ends", description=__doc__)
    parser.add_argument("--windows", type=int, default=16_000)
    parser.add_argument("--rounds", type=int, default=18)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(argv)
    torch.manual_seed(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        speakers = make_speakers(Path(folder), options.seed)
        windows = make_windows(speakers, options.windows)
        mean, scale = windows.features.mean((0, 2)), windows.features.std((0, 2))
        normal = windows.normal(mean, scale)
        kept = np.arange(len(normal.words)) % HELD_BACK == 0
        network = Network(len(mean))
        taught = normal.some(np.nonzero(~kept)[0])
        train(network, taught, options.rounds, RATE)
        imagined = make_imagined(speakers, network, mean, scale, options.windows // 2)
    train(network, taught.and_also(imagined).and_also(imagined), (options.rounds + 1) // 2, RATE / 2)
    print(judge(network, normal.some(np.nonzero(kept)[0])))
    write(network, mean, scale, options.output)
    return 0


def make_speakers(folder: Path, seed: int) -> Speakers:
    """espeak-ng's voices and made-up ones, whose files are put there."""
    rng = random.Random(seed)
    data, made = prepare_data_folder(folder, seed)
    espeak.use_data_folder(data)
    return Speakers(rng, [*trained_variants(), *rng.sample(made, MADE_VOICES)])


def make_windows(speakers: Speakers, count: int) -> Windows:
    """So many, with words and without."""
    return _heard([make_window(speakers.rng, speakers) for _ in range(count)])


def make_imagined(
    speakers: Speakers, network: Network, mean: npt.NDArray[np.float32], scale: npt.NDArray[np.float32], count: int
) -> Windows:
    """Of so many without a word those in which the network takes one for likely."""
    found = []
    for _ in range(0, count, BATCH):
        some = _heard([make_other_window(speakers.rng, speakers) for _ in range(BATCH)]).normal(mean, scale)
        with torch.no_grad():
            none = network(torch.from_numpy(some.features)).log_softmax(2).exp().numpy()[:, :, 0]
        found.append(some.some(np.nonzero(none.min(1) < 1 - IMAGINED)[0]))
    return reduce(Windows.and_also, found)


def train(network: Network, windows: Windows, rounds: int, rate: float) -> None:
    """Teach it these."""
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-3)
    steps = rounds * (len(windows.words) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=0.2)
    for number in range(rounds):
        losses = []
        for batch in _batches(windows):
            sound = torch.from_numpy(batch.features)
            # Other microphones: louder or duller ones.
            sound = sound + 0.15 * torch.randn(len(sound), sound.shape[1], 1) + 0.2 * torch.randn(len(sound), 1, 1)
            loss = -(_wanted(batch) * network(sound).log_softmax(2)).sum((1, 2)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"round {number + 1}: {np.mean(losses):.3f}", flush=True)


def judge(network: Network, windows: Windows) -> str:
    """How much it finds of what it was not taught, how well, and how often it finds what isn't there."""
    with torch.no_grad():
        found = network(torch.from_numpy(windows.features)).log_softmax(2).exp().numpy()
    certain = 1 - found[:, :, 0]
    there = windows.words >= 0
    right = certain[there, windows.words[there]]
    places = found[there, windows.words[there], 1:].argmax(1)
    off_ms = np.abs(places - windows.ends[there]) * 10
    certain[there, windows.words[there]] = 0
    wrong = certain.max(1)
    return (
        f"found {np.mean(right > 0.5):.3f}, certain {np.mean(right > 0.9):.3f}, "
        f"within 30 ms {np.mean(off_ms < 30):.3f}; "
        f"imagined {np.mean(wrong > 0.5):.4f}, certain {np.mean(wrong > 0.9):.4f}"
    )


def write(network: Network, mean: npt.NDArray[np.float32], scale: npt.NDArray[np.float32], path: Path) -> None:
    """The weights, in half precision."""
    layers = [*network.layers, network.last]
    arrays: dict[str, Any] = {"words": list(WORDS), "reaches": REACHES, "mean": mean, "scale": scale}
    for number, layer in enumerate(layers):
        assert isinstance(layer, nn.Conv1d)
        assert layer.bias is not None
        weight = layer.weight.detach().numpy()
        arrays[f"weight{number}"] = (weight if number < len(REACHES) else weight[:, :, 0]).astype(np.float16)
        arrays[f"bias{number}"] = layer.bias.detach().numpy()
    np.savez_compressed(path, **arrays)


def _heard(windows: Sequence[Window]) -> Windows:
    """As the wake words' models hear them."""
    generator = MicroWakeWordFeatures()
    features = []
    for window in windows:
        generator.reset()
        frames = [np.reshape(one, -1) for one in generator.process_streaming(window.audio.tobytes())]
        features.append(np.stack(frames, axis=1).astype(np.float32))
    ends = np.array([(window.end - MIDDLE) / FRAME for window in windows])
    return Windows(np.stack(features), np.array([window.word for window in windows]), ends)


def _batches(windows: Windows) -> Iterator[Windows]:
    order = np.random.permutation(len(windows.words))
    for at in range(0, len(order) // BATCH * BATCH, BATCH):
        yield windows.some(order[at : at + BATCH])


def _wanted(windows: Windows) -> Tensor:
    """Scores that are wished for, as probabilities."""
    frames = np.arange(windows.features.shape[2])
    wanted = np.zeros((len(windows.words), len(WORDS), len(frames) + 1), np.float32)
    wanted[:, :, 0] = 1.0
    for at in np.nonzero(windows.words >= 0)[0]:
        near = np.exp(-0.5 * ((frames - windows.ends[at]) / SPREAD) ** 2)
        wanted[at, windows.words[at], 0] = 0.0
        wanted[at, windows.words[at], 1:] = near / near.sum()
    return torch.from_numpy(wanted)
