"""Whisper's network for training: its parameters are named as in transformers, its insides are open to more losses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wyoming_superwhisper.models.demo.whisper_tokens import VOCABULARY

PHONEME_LAYER = 3  # encoder layers counted from 1
PHONEMES = 128  # room for all that espeak-ng names in two languages


@dataclass(frozen=True)
class Shape:
    """The sizes of the demo checkpoint."""

    width: int = 128
    heads: int = 4
    encoder_layers: int = 4
    decoder_layers: int = 2
    inner: int = 256
    mels: int = 80
    source_positions: int = 400
    target_positions: int = 448
    vocabulary: int = VOCABULARY


@dataclass(frozen=True)
class Heard:
    """What the encoder makes of a batch."""

    states: Tensor
    phonemes: Tensor


class _Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.k_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.v_proj = nn.Linear(shape.width, shape.width)
        self.q_proj = nn.Linear(shape.width, shape.width)
        self.out_proj = nn.Linear(shape.width, shape.width)

    def forward(self, states: Tensor, causal: bool = False) -> Tensor:
        return self._attend(states, states, causal)[0]

    def look(self, states: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Attend to the source; the weights too."""
        return self._attend(states, source, causal=False)

    def _attend(self, states: Tensor, source: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
        # Written out: on CPUs torch's fused attention is three times slower backwards in bfloat16.
        query = self._split(self.q_proj(states)) * (states.shape[-1] // self.heads) ** -0.5
        key, value = self._split(self.k_proj(source)), self._split(self.v_proj(source))
        with torch.autocast("cpu", enabled=False):  # which would compute the softmax in float32
            scores = query @ key.transpose(-1, -2)
            if causal:
                scores = scores + torch.full(scores.shape[-2:], -1e4, dtype=scores.dtype).triu(1)
            weights = torch.softmax(scores, dim=-1)
            mixed = weights @ value
        return self._join(mixed), weights

    def _split(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _join(self, states: Tensor) -> Tensor:
        joined: Tensor = self.out_proj(states.transpose(1, 2).flatten(2))
        return joined


class _EncoderLayer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = _Attention(shape)
        self.self_attn_layer_norm = nn.LayerNorm(shape.width)
        self.fc1 = nn.Linear(shape.width, shape.inner)
        self.fc2 = nn.Linear(shape.inner, shape.width)
        self.final_layer_norm = nn.LayerNorm(shape.width)

    def forward(self, states: Tensor) -> Tensor:
        states = states + self.self_attn(self.self_attn_layer_norm(states))
        inner: Tensor = self.fc2(F.gelu(self.fc1(self.final_layer_norm(states))))
        return states + inner


class _DecoderLayer(_EncoderLayer):
    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.encoder_attn = _Attention(shape)
        self.encoder_attn_layer_norm = nn.LayerNorm(shape.width)

    def read(self, states: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the decoder; the cross-attention too."""
        states = states + self.self_attn(self.self_attn_layer_norm(states), causal=True)
        seen, weights = self.encoder_attn.look(self.encoder_attn_layer_norm(states), source)
        states = states + seen
        inner: Tensor = self.fc2(F.gelu(self.fc1(self.final_layer_norm(states))))
        return states + inner, weights


class _Encoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(shape.mels, shape.width, 3, padding=1)
        self.conv2 = nn.Conv1d(shape.width, shape.width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(shape.source_positions, shape.width)
        self.embed_positions.weight.requires_grad_(False).copy_(_sinusoids(shape.source_positions, shape.width))
        self.layers = nn.ModuleList(_EncoderLayer(shape) for _ in range(shape.encoder_layers))
        self.layer_norm = nn.LayerNorm(shape.width)


class _Decoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.embed_positions = nn.Embedding(shape.target_positions, shape.width)
        self.layers = nn.ModuleList(_DecoderLayer(shape) for _ in range(shape.decoder_layers))
        self.layer_norm = nn.LayerNorm(shape.width)
        nn.init.normal_(self.embed_tokens.weight, std=0.03)
        nn.init.normal_(self.embed_positions.weight, std=0.02)


class _Body(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.encoder = _Encoder(shape)
        self.decoder = _Decoder(shape)


class TrainableWhisper(nn.Module):
    """Encoder, decoder and a head that names the phoneme of each encoder frame (used in training only)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = _Body(shape)
        self.phoneme_head = nn.Linear(shape.width, PHONEMES)

    def hear(self, mels: Tensor) -> Heard:
        """Encode log-mels of any even length up to the window."""
        encoder = self.model.encoder
        states = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mels)))).transpose(1, 2)
        states = states + encoder.embed_positions.weight[: states.shape[1]]
        phonemes = states
        for number, layer in enumerate(encoder.layers, start=1):
            states = layer(states)
            if number == PHONEME_LAYER:
                phonemes = self.phoneme_head(states)
        return Heard(encoder.layer_norm(states), phonemes)

    def read(self, tokens: Tensor, source: Tensor, offset: int = 0) -> tuple[Tensor, list[Tensor]]:
        """The decoder's last states, and each layer's cross-attention (batch, head, token, frame)."""
        decoder = self.model.decoder
        places = decoder.embed_positions.weight[offset : offset + tokens.shape[1]]
        states, attentions = decoder.embed_tokens(tokens) + places, []
        for layer in decoder.layers:
            states, weights = layer.read(states, source)
            attentions.append(weights)
        return decoder.layer_norm(states), attentions

    def logits(self, states: Tensor) -> Tensor:
        """Scores of all tokens; the embedding is the output layer too."""
        return F.linear(states, self.model.decoder.embed_tokens.weight)


def _sinusoids(length: int, width: int) -> Tensor:
    scales = np.exp(-np.log(10000) / (width // 2 - 1) * np.arange(width // 2))
    angles = np.arange(length)[:, None] * scales[None]
    return torch.tensor(np.concatenate([np.sin(angles), np.cos(angles)], axis=1), dtype=torch.float32)
