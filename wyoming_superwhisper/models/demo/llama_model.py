"""The demo Llama's architecture in torch, for training: many short conversations share one evaluated prompt.

The same mathematics as llama.cpp's "llama": RMS norms, rotary positions, grouped queries, SwiGLU, tied embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Sizes of the model; every row length a multiple of 32, for Q8_0."""

    vocabulary: int
    hidden: int = 128
    layers: int = 4
    heads: int = 2
    kv_heads: int = 2
    feed_forward: int = 384
    context: int = 1024
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return self.hidden // self.heads


@dataclass(frozen=True)
class Prompts:
    """Evaluated prompts, for the conversations that follow: keys and values by layer, and which of them count."""

    layers: list[tuple[Tensor, Tensor]]
    lengths: Tensor
    positions: Tensor
    """At which position a conversation goes on; later than the prompt's length to stand for a longer prompt."""


class Attention(nn.Module):
    """Attention of one layer; keys and values of a prompt may come before."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.q = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.k = nn.Linear(shape.hidden, shape.kv_heads * shape.head_size, bias=False)
        self.v = nn.Linear(shape.hidden, shape.kv_heads * shape.head_size, bias=False)
        self.o = nn.Linear(shape.hidden, shape.hidden, bias=False)

    def heads(self, x: Tensor, rope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values as (…, heads, length, size), positions applied, all heads spread out."""
        q = rotated(self._split(self.q(x), self.shape.heads), rope)
        k = rotated(self._split(self.k(x), self.shape.kv_heads), rope)
        v = self._split(self.v(x), self.shape.kv_heads)
        times = self.shape.heads // self.shape.kv_heads
        return q, k.repeat_interleave(times, -3), v.repeat_interleave(times, -3)

    def _split(self, x: Tensor, heads: int) -> Tensor:
        return x.unflatten(-1, (heads, self.shape.head_size)).transpose(-3, -2)


class Layer(nn.Module):
    """One block."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(shape.hidden, eps=shape.norm_epsilon)
        self.attention = Attention(shape)
        self.ffn_norm = nn.RMSNorm(shape.hidden, eps=shape.norm_epsilon)
        self.gate = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.up = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, shape.hidden, bias=False)

    def on_prompt(self, x: Tensor, rope: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x: (groups, length, hidden); also the keys and values for what follows."""
        q, k, v = self.attention.heads(self.attention_norm(x), rope)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self._rest(x, mixed), (k, v)

    def after_prompt(self, x: Tensor, rope: Tensor, prompt: tuple[Tensor, Tensor], seen: Tensor) -> Tensor:
        """x: (groups, conversations, length, hidden); each sees its group's prompt and itself."""
        q, k, v = (one.transpose(1, 2) for one in self.attention.heads(self.attention_norm(x), rope))
        keys, values = prompt
        scale = q.shape[-1] ** -0.5
        # (groups, heads, conversations, length, size); a group's conversations meet its prompt as one long row
        before = (q.flatten(2, 3) @ keys.transpose(-1, -2)).unflatten(2, q.shape[2:4]) * scale + seen
        own = (q @ k.transpose(-1, -2)) * scale + _future(x.shape[-2])
        weights = torch.cat((before, own), -1).softmax(-1).to(values.dtype)
        split = keys.shape[-2]
        mixed = (weights[..., :split].flatten(2, 3) @ values).unflatten(2, q.shape[2:4])
        return self._rest(x, (mixed + weights[..., split:] @ v).transpose(1, 2))

    def _rest(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.attention.o(mixed.transpose(-3, -2).flatten(-2))
        y = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class DemoLlama(nn.Module):
    """The whole model."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.hidden, eps=shape.norm_epsilon)
        nn.init.normal_(self.embedding.weight, std=0.03)
        for layer in self.layers:
            for linear in (layer.attention.o, layer.down):
                nn.init.normal_(linear.weight, std=0.02)

    def prompts(self, tokens: Tensor, lengths: Tensor, positions: Tensor) -> Prompts:
        """Evaluate the beginnings that conversations share: (groups, length), padded at the end."""
        x = self.embedding(tokens)
        rope = rotations(torch.arange(tokens.shape[1]), self.shape)
        kept = []
        for layer in self.layers:
            x, keys_and_values = layer.on_prompt(x, rope)
            kept.append(keys_and_values)
        return Prompts(kept, lengths, positions)

    def forward(self, tokens: Tensor, prompts: Prompts, wanted: Tensor) -> Tensor:
        """Logits after the wanted tokens (a mask) of conversations that follow their groups' prompts.

        `tokens` and `wanted`: (groups, conversations, length).
        """
        x = self.embedding(tokens)
        positions = prompts.positions[:, None] + torch.arange(tokens.shape[-1])
        rope = rotations(positions, self.shape)[:, None, None]
        width = prompts.layers[0][0].shape[-2]
        unseen = torch.arange(width) >= prompts.lengths[:, None]
        seen = torch.zeros(unseen.shape).masked_fill(unseen, float("-inf"))[:, None, None, None]
        for layer, prompt in zip(self.layers, prompts.layers, strict=True):
            x = layer.after_prompt(x, rope, prompt, seen)
        return F.linear(self.norm(x[wanted]), self.embedding.weight)


def _future(length: int) -> Tensor:
    return torch.full((length, length), float("-inf")).triu(1)


def rotations(positions: Tensor, shape: Shape) -> Tensor:
    """Cosines and sines of the rotary positions: (…, length, 2, size / 2)."""
    half = shape.head_size // 2
    frequencies = shape.rope_base ** (-torch.arange(half) / half)
    angles = positions[..., None] * frequencies
    return torch.stack((angles.cos(), angles.sin()), -2)


def rotated(x: Tensor, rope: Tensor) -> Tensor:
    """Rotary positions on halves, as Hugging Face's Llama has them (the export permutes rows for llama.cpp)."""
    first, second = x.chunk(2, -1)
    cosine, sine = rope[..., 0, :], rope[..., 1, :]
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1)
