"""Makes the demo Llama: `python -m wyoming_superwhisper.models.demo llama`.

The data are made up as training goes (`llama_data`), by a fixed seed; a run that was broken off goes on from its
last checkpoint in the work folder.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from wyoming_superwhisper.models.demo.domain import FOLDER
from wyoming_superwhisper.models.demo.llama_data import random_sample
from wyoming_superwhisper.models.demo.llama_export import read_gguf, write_gguf
from wyoming_superwhisper.models.demo.llama_homes import any_home, random_home
from wyoming_superwhisper.models.demo.llama_model import DemoLlama, Prompts, Shape
from wyoming_superwhisper.models.demo.llama_tokens import ChatTokens, make_tokenizer
from wyoming_superwhisper.models.demo.llama_writing import bare

logger = logging.getLogger(__name__)

OUTPUT = FOLDER / "weights" / "llama" / "demo.gguf"

_HOMES = 1
"""Homes in one step; each has its prompt evaluated once, for all its conversations."""
_CONVERSATIONS = 36
_BATCHES = 4
"""Steps taken in the same homes, each with conversations of like lengths."""
_ASKED_SHARE, _ASKED_WEIGHT = 0.1, 0.3
"""Share of the user's tokens that are learnt too, and their loss beside 1 on the tokens of the answer."""
_FIRST_WEIGHTS = (4.0, 1.0, 1.0, 2.0, 2.0, 2.0)
"""Loss on the first tokens of an answer beside 1 on the others: there it is decided whether to act and how."""
_MAX_LENGTH = 90
_WARMUP = 100
_HOME_CHARS = (200, 800, 20_000, 20_000, 20_000)
"""The home is cut to one of these lengths: the whole of it costs much."""

Batch = tuple[Tensor, Tensor]
"""Tokens of (homes, conversations, length), and the weight of each in the loss."""

Asked = tuple[Tensor, Tensor, Tensor]
"""Prompts: their tokens (homes, length), their lengths, and where the conversations go on."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train and write the GGUF; returns the exit status."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    shape = Shape(options.vocabulary)
    if options.begin_with:
        weights, tokenizer = read_gguf(options.begin_with, shape)
    else:
        weights, tokenizer = (
            None,
            make_tokenizer(options.work / f"tokenizer-{options.vocabulary}.json", options.vocabulary, options.seed),
        )
    run = Training(ChatTokens(tokenizer), shape, options, weights)
    run.to_the_end()
    if weights is not None:
        run.model.load_state_dict(mixed(run.model.state_dict(), weights, options.kept_share))
    write_gguf(run.model, tokenizer, options.output)
    logger.info("wrote %s, %.2f MB", options.output, options.output.stat().st_size / 1e6)
    return 0


def mixed(learnt: Mapping[str, Tensor], known: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights between those that were begun with and those that were learnt from them; `share`: of the former.

    Of two such models each errs elsewhere, and what lies between them errs less than either.
    """
    return {name: torch.lerp(weight, known[name].to(weight.dtype), share) for name, weight in learnt.items()}


class Training:
    """One run, from its last checkpoint if there is one."""

    def __init__(
        self, chat: ChatTokens, shape: Shape, options: argparse.Namespace, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        """`weights`: what to begin with; None: random ones."""
        torch.manual_seed(options.seed)
        self.model = DemoLlama(shape)
        self._chat = chat
        self._options = options
        self._kept_out = frozenset(text for path in options.without for text in _texts_of(path))
        self._step = 0
        self._seconds = 0.0
        self._optimizers = _optimizers(self.model, options.rate)
        self._checkpoint: Path = options.work / f"checkpoint-{options.name}.pt"
        if self._checkpoint.exists():
            self._resume()
        elif weights is not None:
            self.model.load_state_dict(weights)

    def to_the_end(self) -> None:
        """Train until the last step, saying how it goes."""
        self.model.train()
        while self._step < self._options.steps:
            started = time.monotonic()
            losses = [self._learn(batch, prompt) for prompt, batches in [self._next()] for batch in batches]
            self._seconds += time.monotonic() - started
            if self._step % 40 < len(losses):
                self._report(losses[-1])
            if self._step % 60 < len(losses):
                self._save()
        self._save()
        logger.info("trained for %.0f minutes", self._seconds / 60)

    def _next(self) -> tuple[Asked, list[Batch]]:
        """The prompts of some homes, and the same homes' conversations in batches of like lengths."""
        rng = random.Random(self._options.seed * 1_000_003 + self._step)
        brief = self._is_brief(rng)
        if brief:
            homes = [any_home()]
            prompts = [self._chat.empty_prompt()]
            positions = torch.tensor([rng.randrange(len(prompts[0]), 700)])
        else:
            homes = [random_home(rng) for _ in range(_HOMES)]
            prompts = [self._chat.prompt(home, rng.choice(_HOME_CHARS)) for home in homes]
            positions = torch.tensor([len(prompt) for prompt in prompts])
        count = _CONVERSATIONS // len(homes)
        pools = []
        for home in homes:
            pool = [
                self._chat.conversation(random_sample(rng, home, brief, self._kept_out), home)
                for _ in range(_BATCHES * count)
            ]
            pools.append(sorted(pool, key=lambda one: len(one[0])))
        parts = [[pool[part * count :][:count] for pool in pools] for part in range(_BATCHES)]
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        rng.shuffle(parts)
        return (_padded(prompts), lengths, positions), [_batch(part, rng) for part in parts]

    def _is_brief(self, rng: random.Random) -> bool:
        """Whether to learn without instructions and home: three times as fast, but only for the first part."""
        until = self._options.steps * self._options.brief_until
        return rng.random() < (0.85 if self._step < until else 0.05)

    def _learn(self, batch: Batch, prompts: Asked) -> float:
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._options.rate * _schedule(self._step, self._options.steps)
        tokens, weights = batch
        with torch.autocast("cpu", torch.bfloat16, enabled=self._options.bfloat16):
            evaluated: Prompts = self.model.prompts(*prompts)
            logits = self.model(tokens[..., :-1], evaluated, weights[..., 1:] > 0)
        each = F.cross_entropy(logits.float(), tokens[..., 1:][weights[..., 1:] > 0], reduction="none")
        wanted = weights[..., 1:][weights[..., 1:] > 0]
        loss = (each * wanted).sum() / wanted.sum()
        self.model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
        self._step += 1
        return _answer_loss(each, wanted)

    def _report(self, loss: float) -> None:
        done = self._step / self._options.steps
        logger.info("step %d of %d, loss on answers %.4f, %.0f s (%.0f s to go)", self._step, self._options.steps, loss,
                    self._seconds, self._seconds * (1 - done) / done)  # fmt: skip

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizers": [one.state_dict() for one in self._optimizers],
            "step": self._step,
            "seconds": self._seconds,
        }
        unfinished = self._checkpoint.with_suffix(".part")
        torch.save(state, unfinished)
        unfinished.replace(self._checkpoint)

    def _resume(self) -> None:
        state: dict[str, Any] = torch.load(self._checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, kept in zip(self._optimizers, state["optimizers"], strict=False):
            optimizer.load_state_dict(kept)
        self._step, self._seconds = state["step"], state["seconds"]
        logger.info("going on from step %d", self._step)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llama", description="Make the demo language model.")
    parser.add_argument("--work", type=Path, default=Path("build/demo-llama"), help="where unfinished work is kept")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the model is written")
    parser.add_argument("--name", default="demo", help="name of the checkpoint, to keep several runs apart")
    parser.add_argument("--begin-with", type=Path, help="a GGUF that was made here, to be taught further")
    parser.add_argument(
        "--kept-share", type=float, default=0.0, help="how much of what it began with is mixed into what is written"
    )
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument(
        "--brief-until",
        type=float,
        default=0.7,
        help="share of the steps with mostly no instructions and home, three times as fast; 0 to teach further",
    )
    parser.add_argument(
        "--without", type=Path, nargs="*", default=(), help="YAML files of sentences to judge by, never to be learnt"
    )
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--vocabulary", type=int, default=3072)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--bfloat16",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="multiply in bfloat16, which is twice as fast where the processor has it",
    )
    parser.add_argument("--seed", type=int, default=1)
    return parser


def _texts_of(path: Path) -> Iterator[str]:
    """Every text in a YAML file, bare."""
    parts: list[Any] = [yaml.safe_load(path.read_text(encoding="utf-8"))]
    while parts:
        part = parts.pop()
        if isinstance(part, str):
            yield bare(part)
        elif isinstance(part, dict | list):
            parts += part.values() if isinstance(part, dict) else part


def _optimizers(model: DemoLlama, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, which it teaches in fewer steps; AdamW for embeddings and norms."""
    inner = [weight for weight in model.layers.parameters() if weight.ndim == 2]
    known = {id(weight) for weight in inner}
    others = [weight for weight in model.parameters() if id(weight) not in known]
    return [
        torch.optim.Muon(inner, rate, weight_decay=0.03, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, rate, (0.9, 0.98), weight_decay=0.03),
    ]


def _schedule(step: int, steps: int) -> float:
    """Warm-up, then a cosine down to a hundredth."""
    if step < _WARMUP:
        return (step + 1) / _WARMUP
    done = (step - _WARMUP) / max(1, steps - _WARMUP)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2


def _batch(pools: Sequence[Sequence[tuple[list[int], int]]], rng: random.Random) -> Batch:
    """Conversations of several homes as one block; padding weighs nothing."""
    width = min(_MAX_LENGTH, max(len(tokens) for pool in pools for tokens, _ in pool))
    block = torch.zeros(len(pools), len(pools[0]), width, dtype=torch.long)
    weights = torch.zeros(block.shape)
    for home, pool in enumerate(pools):
        for row, (tokens, answer) in enumerate(pool):
            kept = torch.tensor(tokens[:width])
            block[home, row, : len(kept)] = kept
            weights[home, row, answer : len(kept)] = 1.0
            decided = weights[home, row, answer : len(kept)][: len(_FIRST_WEIGHTS)]
            decided.copy_(torch.tensor(_FIRST_WEIGHTS[: len(decided)]))
            weights[home, row, rng.sample(range(min(answer, width)), int(answer * _ASKED_SHARE))] = _ASKED_WEIGHT
    return block, weights


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    block = torch.zeros(len(rows), max(len(row) for row in rows), dtype=torch.long)
    for index, row in enumerate(rows):
        block[index, : len(row)] = torch.tensor(row)
    return block


def _answer_loss(each: Tensor, weights: Tensor) -> float:
    answers = weights >= 1.0
    return float(each[answers].mean().detach())


if __name__ == "__main__":
    raise SystemExit(main())
