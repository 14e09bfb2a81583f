"""Trains the demo Whisper: makes clips, then several processes of one thread each share every step's gradient."""

from __future__ import annotations

import argparse
import copy
import logging
import math
import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.nn import functional as F

from wyoming_superwhisper.models.demo.domain import FOLDER
from wyoming_superwhisper.models.demo.whisper_batches import IGNORED, Batch, BatchMaker, ClipStore, load_phonemes
from wyoming_superwhisper.models.demo.whisper_clips import make_shards
from wyoming_superwhisper.models.demo.whisper_model import Shape, TrainableWhisper
from wyoming_superwhisper.models.demo.whisper_tokens import load_vocabulary

logger = logging.getLogger(__name__)

SEED = 7
WEIGHTS = FOLDER / "weights" / "whisper"

_PEAK_RATE, _WARM_UP = 1.5e-3, 0.015
_GUIDE_WEIGHT, _GUIDE_UNTIL = 0.5, 0.5
_PHONEME_WEIGHT, _SMOOTHING = 1.0, 0.05
_FULL_WINDOW_FROM, _FULL_WINDOW_SHARE = 0.96, 0.08
# Listening is learnt first; then not to be led astray by names, which takes long ("télélévision").
_PROMPT_SHARES = ((0.0, 0.3), (0.5, 0.5), (0.75, 0.8))
_AVERAGE_KEEPS = 0.999
_SAVE_EVERY_S, _REFRESH_EVERY_S = 120.0, 60.0


@dataclass(frozen=True)
class Options:
    """How to train."""

    work: Path
    minutes: float
    steps: int
    batch: int
    processes: int
    peak_rate: float = _PEAK_RATE


@dataclass
class _State:
    """What a checkpoint holds besides weights."""

    step: int = 0
    clips: int = 0
    seconds: float = 0.0
    progress: float = 0.0


def main(argv: Sequence[str] | None = None) -> None:
    """Make the clips that are missing, train (or go on), and export."""
    arguments = _parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = Options(
        arguments.work, arguments.minutes, arguments.steps, arguments.batch, arguments.processes, arguments.rate
    )
    shards = {kind: getattr(arguments, f"{kind}_shards") for kind in ("sound", "speech", "reply", "piper")}
    train(options, shards)
    from wyoming_superwhisper.models.demo.whisper_export import export  # needs transformers, slow to load

    export(options.work, arguments.out)


def train(options: Options, shards: dict[str, int]) -> None:
    """Train until the time or steps are used up; a run that was stopped goes on where it was saved."""
    load_vocabulary(options.work, SEED)
    make_shards(options.work, shards, SEED, options.processes)
    load_phonemes(options.work)
    meeting = options.work / "meeting"
    meeting.unlink(missing_ok=True)
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_work, args=(rank, options, meeting), name=f"whisper-{rank}")
        for rank in range(options.processes)
    ]
    # Set before the workers start: OpenMP reads it once. A waiting thread must not burn the core of a working one.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a training process failed; see its message above")


def checkpoint_path(work: Path) -> Path:
    """Where a run keeps its state."""
    return work / "whisper.pt"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m wyoming_superwhisper.models.demo whisper", description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder to write the checkpoint to")
    parser.add_argument(
        "--work", type=Path, default=Path("build/demo-whisper"), help="folder for clips and saved state"
    )
    parser.add_argument("--minutes", type=float, default=90.0, help="how long to train")
    parser.add_argument("--steps", type=int, default=0, help="train for so many steps instead")
    parser.add_argument("--batch", type=int, default=24, help="clips in a batch of one process")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rate", type=float, default=_PEAK_RATE, help="highest learning rate")
    parser.add_argument("--speech-shards", type=int, default=90, help="shards of 500 clips")
    parser.add_argument("--reply-shards", type=int, default=8)
    parser.add_argument("--sound-shards", type=int, default=10)
    parser.add_argument("--piper-shards", type=int, default=8)
    return parser.parse_args(argv)


def _work(rank: int, options: Options, meeting: Path) -> None:
    """One training process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting.absolute()}", rank=rank, world_size=options.processes
    )
    torch.manual_seed(SEED)
    _Trainer(rank, options).run()
    torch.distributed.destroy_process_group()


class _Trainer:
    def __init__(self, rank: int, options: Options) -> None:
        self._rank, self._options = rank, options
        self._model = TrainableWhisper(Shape())
        self._average = copy.deepcopy(self._model).requires_grad_(False)
        self._parameters = [one for one in self._model.parameters() if one.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=options.peak_rate, betas=(0.9, 0.98), weight_decay=0.02, fused=True
        )
        self._state = _State()
        self._load()
        self._store = ClipStore(options.work, rank, options.processes)
        self._store.refresh()
        self._batches = BatchMaker(
            self._store,
            load_vocabulary(options.work, SEED),
            load_phonemes(options.work),
            # A run that goes on must not see the same batches again.
            seed=SEED + rank + 1000 * self._state.step,
        )

    def run(self) -> None:
        """Step until progress reaches 1."""
        started = saved = refreshed = said = time.monotonic()
        before = self._state.seconds
        losses: dict[str, float] = {}
        for batch in self._batches.batches(self._options.batch):
            if self._state.progress >= 1.0:
                break
            losses = _mix(losses, self._step(batch))
            now = time.monotonic()
            self._state.seconds = before + now - started
            if now - refreshed > _REFRESH_EVERY_S:
                refreshed = now
                self._store.refresh()
            if self._rank == 0 and now - said > 20:
                said = now
                logger.info("%s %s", self._state, {name: round(value, 3) for name, value in losses.items()})
            if self._rank == 0 and now - saved > _SAVE_EVERY_S:
                saved = now
                self._save()
        if self._rank == 0:
            self._save()

    def _step(self, batch: Batch) -> dict[str, float]:
        state, progress = self._state, self._state.progress
        self._batches.full_window_share = 1.0 if progress > _FULL_WINDOW_FROM else _FULL_WINDOW_SHARE * (progress > 0.2)
        self._batches.prompt_share = [share for start, share in _PROMPT_SHARES if progress >= start][-1]
        for group in self._optimizer.param_groups:
            group["lr"] = self._options.peak_rate * _rate(progress)
        self._optimizer.zero_grad(set_to_none=True)
        loss, parts = _losses(self._model, batch, _GUIDE_WEIGHT * max(0.0, 1 - progress / _GUIDE_UNTIL))
        loss.backward()
        state.progress = self._share(self._own_progress())
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        state.step += 1
        state.clips += len(batch) * self._options.processes
        self._follow()
        return parts

    def _own_progress(self) -> float:
        if self._options.steps:
            return self._state.step / self._options.steps
        return self._state.seconds / (self._options.minutes * 60)

    def _share(self, progress: float) -> float:
        """Average the gradients over the processes, and the progress with them, so that all stop at the same step."""
        if self._options.processes == 1:
            return progress
        gradients = [one.grad if one.grad is not None else torch.zeros_like(one) for one in self._parameters]
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), torch.tensor([progress])])
        torch.distributed.all_reduce(flat)
        flat /= self._options.processes
        at = 0
        for parameter in self._parameters:
            parameter.grad = flat[at : at + parameter.numel()].view_as(parameter)
            at += parameter.numel()
        return float(flat[-1])

    def _follow(self) -> None:
        """Let the averaged weights, which are exported, follow."""
        keeps = min(_AVERAGE_KEEPS, (1 + self._state.step) / (10 + self._state.step))
        averages = list(self._average.parameters())
        torch._foreach_lerp_(averages, [one.detach() for one in self._model.parameters()], 1 - keeps)

    def _save(self) -> None:
        path = checkpoint_path(self._options.work)
        content = {
            "model": self._model.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "state": vars(self._state),
        }
        torch.save(content, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def _load(self) -> None:
        path = checkpoint_path(self._options.work)
        if not path.exists():
            return
        content: dict[str, Any] = torch.load(path)
        self._model.load_state_dict(content["model"])
        self._average.load_state_dict(content["average"])
        self._optimizer.load_state_dict(content["optimizer"])
        self._state = _State(**content["state"])


def _losses(model: TrainableWhisper, batch: Batch, guide_weight: float) -> tuple[Tensor, dict[str, float]]:
    targets = batch.targets[:, batch.first_target :]
    expected = targets != IGNORED
    with torch.autocast("cpu", torch.bfloat16):
        heard = model.hear(batch.mels)
        states, attentions = model.read(batch.tokens, heard.states, batch.offset)
        logits = model.logits(states[:, batch.first_target :][expected])
    text = F.cross_entropy(logits.float(), targets[expected], label_smoothing=_SMOOTHING)
    phonemes = F.cross_entropy(heard.phonemes.flatten(0, 1).float(), batch.phonemes.flatten(), ignore_index=IGNORED)
    loss, parts = text + _PHONEME_WEIGHT * phonemes, {"text": text.item(), "phonemes": phonemes.item()}
    if guide_weight > 0:
        guide = _guide_loss(attentions, batch.places)
        loss, parts["guide"] = loss + guide_weight * guide, guide.item()
    return loss, parts


def _guide_loss(attentions: list[Tensor], places: Tensor) -> Tensor:
    """How little of half the heads' attention lies where the token is spoken."""
    rows, tokens = (places[..., 1] > 0).nonzero(as_tuple=True)
    first, last = places[rows, tokens].T.unsqueeze(-1)
    frames = torch.arange(attentions[0].shape[-1])
    inside = ((frames >= first) & (frames < last)).float().unsqueeze(1)
    losses = [
        -((attention[rows, : attention.shape[1] // 2, tokens].float() * inside).sum(-1) + 1e-4).log().mean()
        for attention in attentions
    ]
    return torch.stack(losses).mean()


def _rate(progress: float) -> float:
    if progress < _WARM_UP:
        return max(0.01, progress / _WARM_UP)
    return max(0.003, 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def _mix(old: dict[str, float], new: dict[str, float]) -> dict[str, float]:
    return {name: old.get(name, value) * 0.97 + value * 0.03 for name, value in new.items()}
