"""Decoding with fixed shapes and memory in fixed places: what a CUDA graph needs, captured once, replayed per token.

On a card a token of a large model costs hundreds of kernels whose launching takes longer than their work. One step of
a batch is therefore captured as a graph when the model loads. A batch has one of few sizes; rows that are not there
are copies whose words nobody reads. Without a card the same step runs as it is, for tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch  # noqa: TID253  this module is imported by engines.whisper when it loads, in its worker
from torch import Tensor  # noqa: TID253

from wyoming_superwhisper.engines import whisper_decoding as decoding
from wyoming_superwhisper.engines.whisper_rules import Heard, Row, Rules

_WARM_UPS = 3


class StaticDecoder(decoding.GreedyDecoder):
    """A `GreedyDecoder` whose steps have fixed shapes, for batches up to `batch` rows of the whole window."""

    def __init__(self, model: Any, rules: Rules, languages: Sequence[str], batch: int, margins: bool = False) -> None:
        super().__init__(model, rules, languages, margins)
        self._places = Places(model, batch, rules.positions)
        sizes = sorted({1, *(2**power for power in range(1, batch.bit_length()) if 2**power < batch), batch})
        self._steps = {size: Step(model, self._places, size) for size in sizes}

    @torch.inference_mode()
    def prepare(self) -> None:
        """Capture the steps, where there is a card."""
        for step in self._steps.values():
            step.capture()

    @torch.inference_mode()
    def decode(self, rows: Sequence[Row]) -> list[Heard]:
        size = next((size for size in self._steps if size >= len(rows)), None)
        if size is None or any(row.features.shape[1] != self._places.frames for row in rows):
            return super().decode(rows)
        nobody = Row(rows[0].features, rows[0].prompt, rows[0].language, wanted=lambda: False)
        return super().decode([*rows, *[nobody] * (size - len(rows))])[: len(rows)]

    def _memory(self, encoded: Tensor, audible: Tensor | None) -> decoding.Memory:
        step = self._steps.get(encoded.shape[0])
        if step is None or 2 * encoded.shape[1] != self._places.frames:
            return super()._memory(encoded, audible)
        return StaticMemory(self._model, step, encoded)


class Places:
    """The memory of the largest batch; smaller ones use its first rows."""

    def __init__(self, model: Any, batch: int, room: int) -> None:
        decoder, config = model.model.decoder, model.config
        attention = decoder.layers[0].self_attn
        self.room = room
        self.frames = 2 * config.max_source_positions

        def empty(length: int) -> list[tuple[Tensor, Tensor]]:
            shape = (batch, attention.num_heads, length, attention.head_dim)
            like = {"dtype": model.dtype, "device": model.device}
            return [(torch.zeros(shape, **like), torch.zeros(shape, **like)) for _ in decoder.layers]

        self.text = empty(room)
        self.audio = empty(config.max_source_positions)


class Step:
    """One token for each row of a batch of one size."""

    def __init__(self, model: Any, places: Places, size: int) -> None:
        self._decoder = model.model.decoder
        self._device = model.device
        self.size = size
        self.text = [(keys[:size], values[:size]) for keys, values in places.text]
        self.audio = [(keys[:size], values[:size]) for keys, values in places.audio]
        self._tokens = torch.zeros(size, 1, dtype=torch.long, device=model.device)
        self._positions = torch.zeros(size, 1, dtype=torch.long, device=model.device)
        self._slot = torch.zeros(1, dtype=torch.long, device=model.device)
        self._visible = torch.zeros(size, 1, 1, places.room, dtype=torch.bool, device=model.device)
        self._graph: Any = None
        self._states: Tensor | None = None

    def capture(self) -> None:
        """Record the step as a graph."""
        if self._device.type != "cuda":
            return
        self._visible.fill_(True)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):  # libraries make their plans and take their memory now
                self._run()
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._states = self._run()

    def take(self, tokens: Tensor, positions: Tensor, slot: int, visible: Tensor) -> Tensor:
        """The states after the next tokens, whose keys and values come into this slot."""
        self._tokens.copy_(tokens)
        self._positions.copy_(positions.expand_as(self._positions))
        self._slot.fill_(slot)
        self._visible.copy_(visible)
        if self._graph is None or self._states is None:
            return self._run()
        self._graph.replay()
        return self._states

    def _run(self) -> Tensor:
        decoder = self._decoder
        states = decoder.embed_tokens(self._tokens) + decoder.embed_positions.weight[self._positions]
        for at, layer in enumerate(decoder.layers):
            normed = layer.self_attn_layer_norm(states)
            keys, values = decoding.keys_and_values(layer.self_attn, normed)
            all_keys, all_values = self.text[at]
            all_keys.index_copy_(2, self._slot, keys)
            all_values.index_copy_(2, self._slot, values)
            states = states + decoding.attend(layer.self_attn, normed, all_keys, all_values, self._visible)
            normed = layer.encoder_attn_layer_norm(states)
            states = states + decoding.attend(layer.encoder_attn, normed, *self.audio[at])
            states = states + decoding.feed_forward(layer, states)
        normed_states: Tensor = decoder.layer_norm(states)
        return normed_states


class StaticMemory(decoding.Memory):
    """A batch's memory in the places of its step; rows that have ended keep their places."""

    shrinks = False

    def __init__(self, model: Any, step: Step, encoded: Tensor) -> None:
        super().__init__(model, step.audio)
        self._step = step
        for layer, (keys, values) in zip(model.model.decoder.layers, step.audio, strict=True):
            made_keys, made_values = decoding.keys_and_values(layer.encoder_attn, encoded)
            keys.copy_(made_keys)
            values.copy_(made_values)

    def begin(self, room: int, pads: list[int] | None) -> None:
        self._keys = [keys for keys, _ in self._step.text]
        self._values = [values for _, values in self._step.text]
        for places in (*self._keys, *self._values):
            places.zero_()  # what is masked must be finite
        self._length = 0
        self._pads = None if pads is None else torch.tensor(pads, device=places.device)
        self._slots = torch.arange(places.shape[2], device=places.device)[None]

    def read(self, tokens: Tensor, positions: Tensor, mask: Tensor | None, last: int = 0) -> Tensor:
        if tokens.shape[1] > 1 or tokens.shape[0] != self._step.size:
            return super().read(tokens, positions, mask, last)
        visible = self._slots <= self._length
        if self._pads is not None:
            visible = visible & (self._slots >= self._pads[:, None])
        states = self._step.take(tokens, positions, self._length, visible[:, None, None])
        self._length += 1
        return states
