"""The demo Piper voices' acoustic model: phoneme ids to durations, spectral envelope, voicing and pitch.

A stack of convolutions over phonemes, each phoneme stretched to its duration, a stack of convolutions over frames.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from wyoming_superwhisper.models.demo.piper_speech import BANDS, VOICING_BANDS, Utterance

CHANNELS = 112
KERNEL = 5
PHONEME_DILATIONS = (1, 1, 2, 4)
FRAME_DILATIONS = (1, 2, 4, 1)
POSITIONS = 4
"""Where a frame is in its phoneme: share passed, frames passed, frames to come, length (the latter three as logs)."""
OUTPUTS = BANDS + VOICING_BANDS + 1
ENVELOPE_MEAN, ENVELOPE_SPREAD = -11.0, 5.0
PITCH_MEAN, PITCH_SPREAD = math.log(98.0), 0.15

_SHORTEST = 0.1
_BATCH = 16
_SAVE_EVERY = 200


class AcousticModel(nn.Module):
    """See the module's docstring. `timed` says for each phoneme id whether it takes time."""

    def __init__(self, timed: Sequence[bool]) -> None:
        super().__init__()
        self.register_buffer("timed", torch.tensor(timed, dtype=torch.float32))
        self.embedding = nn.Embedding(len(timed), CHANNELS)
        self.phoneme_layers = _layers(PHONEME_DILATIONS)
        self.duration = nn.Conv1d(CHANNELS, 1, 1)
        self.positions = nn.Conv1d(CHANNELS + POSITIONS, CHANNELS, 1)
        self.frame_layers = _layers(FRAME_DILATIONS)
        self.output = nn.Conv1d(CHANNELS, OUTPUTS, 1)

    def read(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, phonemes) ids → (batch, CHANNELS, phonemes) states and (batch, phonemes) log durations in frames."""
        states = _through(self.phoneme_layers, self.embedding(ids).transpose(1, 2), mask)
        return states, self.duration(states)[:, 0]

    def speak(self, states: Tensor, durations: Tensor, frames: int, mask: Tensor) -> Tensor:
        """States stretched to (batch, phonemes) durations → (batch, OUTPUTS, frames), normalised."""
        expanded, positions = stretch(states, durations, frames)
        hidden = functional.relu(self.positions(torch.cat([expanded, positions], 1)))
        output: Tensor = self.output(_through(self.frame_layers, hidden, mask))
        return output


def stretch(states: Tensor, durations: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Each frame's phoneme state, and its POSITIONS features."""
    ends = durations.cumsum(1)
    centres = torch.arange(frames, dtype=torch.float32) + 0.5
    which = (ends[:, None, :] <= centres[None, :, None]).sum(2).clamp(max=durations.shape[1] - 1)
    expanded = states.gather(2, which[:, None, :].expand(-1, states.shape[1], -1))
    end, length = ends.gather(1, which), durations.gather(1, which)
    passed = (centres - (end - length)).clamp(min=0)
    to_come = (end - centres).clamp(min=0)
    share = passed / length.clamp(min=0.01)
    return expanded, torch.stack([share.clamp(max=1), passed.log1p(), to_come.log1p(), length.log1p()], 1)


@dataclass(frozen=True)
class Progress:
    """How training stands."""

    step: int
    steps: int
    loss: float


def train(
    utterances: Sequence[tuple[Sequence[int], Utterance]],
    timed: Sequence[bool],
    steps: int,
    checkpoint: Path,
    report: Callable[[Progress], None],
    seed: int = 1,
) -> AcousticModel:
    """Train on (phoneme ids, utterance) pairs; goes on from `checkpoint`, where training was broken off."""
    torch.manual_seed(seed)
    model = AcousticModel(timed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps + 1, pct_start=0.05)
    first = _restore(checkpoint, model, optimizer, schedule)
    batches = _batches(utterances, seed)
    for step in range(steps):
        batch = next(batches)
        if step < first:
            continue  # drawn all the same, so that a resumed run sees what an unbroken one would
        loss = _loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == steps:
            _save(checkpoint, model, optimizer, schedule, step + 1)
            report(Progress(step + 1, steps, loss.item()))
    return model.eval()


@dataclass(frozen=True)
class _Batch:
    ids: Tensor
    durations: Tensor
    targets: Tensor
    phoneme_mask: Tensor
    frame_mask: Tensor


def _layers(dilations: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(
        nn.Conv1d(CHANNELS, CHANNELS, KERNEL, dilation=d, padding=d * (KERNEL - 1) // 2) for d in dilations
    )


def _through(layers: nn.ModuleList, values: Tensor, mask: Tensor) -> Tensor:
    values = values * mask
    for layer in layers:
        values = (values + functional.relu(layer(values))) * mask
    return values


def _loss(model: AcousticModel, batch: _Batch) -> Tensor:
    states, predicted = model.read(batch.ids, batch.phoneme_mask)
    timed = model.get_buffer("timed")[batch.ids] * batch.phoneme_mask[:, 0]
    wanted = batch.durations.clamp(min=_SHORTEST).log()
    duration_loss = ((predicted - wanted).abs() * timed).sum() / timed.sum()
    output = model.speak(states, batch.durations, batch.targets.shape[2], batch.frame_mask)
    output = torch.cat([output[:, :BANDS], output[:, BANDS:-1].sigmoid(), output[:, -1:]], 1)
    error = (output - batch.targets).abs() * batch.frame_mask
    frames = batch.frame_mask.sum()
    envelope, voicing, pitch = error[:, :BANDS], error[:, BANDS:-1], error[:, -1]
    return (
        0.3 * duration_loss
        + envelope.sum() / frames / BANDS
        + voicing.sum() / frames / VOICING_BANDS
        + 0.2 * pitch.sum() / frames
    )


def _batches(utterances: Sequence[tuple[Sequence[int], Utterance]], seed: int) -> Iterator[_Batch]:
    """Endless batches of utterances of about the same length."""
    rng = random.Random(seed)
    order = sorted(range(len(utterances)), key=lambda index: len(utterances[index][1].envelope))
    groups = [order[i : i + _BATCH] for i in range(0, len(order), _BATCH)]
    while True:
        rng.shuffle(groups)
        for group in groups:
            yield _collate([utterances[index] for index in group])


def _collate(chosen: Sequence[tuple[Sequence[int], Utterance]]) -> _Batch:
    phonemes = max(len(ids) for ids, _ in chosen)
    frames = max(len(one.envelope) for _, one in chosen)
    batch = _Batch(
        torch.zeros(len(chosen), phonemes, dtype=torch.long),
        torch.zeros(len(chosen), phonemes),
        torch.zeros(len(chosen), OUTPUTS, frames),
        torch.zeros(len(chosen), 1, phonemes),
        torch.zeros(len(chosen), 1, frames),
    )
    for row, (ids, one) in enumerate(chosen):
        count, length = len(ids), len(one.envelope)
        batch.ids[row, :count] = torch.tensor(ids)
        batch.durations[row, :count] = torch.from_numpy(one.durations)
        batch.phoneme_mask[row, :, :count] = 1
        batch.frame_mask[row, :, :length] = 1
        batch.targets[row, :BANDS, :length] = torch.from_numpy((one.envelope - ENVELOPE_MEAN) / ENVELOPE_SPREAD).T
        batch.targets[row, BANDS:-1, :length] = torch.from_numpy(one.voicing).T
        batch.targets[row, -1, :length] = torch.from_numpy((one.pitch - PITCH_MEAN) / PITCH_SPREAD)
    return batch


def _save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, schedule: object, step: int) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    state["schedule"] = schedule.state_dict()  # type: ignore[attr-defined]
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, schedule: object) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])  # type: ignore[attr-defined]
    return int(state["step"])
