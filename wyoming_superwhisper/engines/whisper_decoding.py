"""Greedy decoding of Whisper: our own loop over the encoder and decoder that transformers loaded.

Token for token it gives what plain `generate` gives (greedy, no timestamps, language and task named), but every row
of a batch has its own prompt and language, the no-speech probability is read from the same pass, rows can be dropped
between tokens, and the encoder may see only as much as was spoken. Only imported in the Whisper worker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch  # noqa: TID253  this module is imported by engines.whisper when it loads, in its worker
from torch import Tensor, nn  # noqa: TID253
from torch.nn import functional as F  # noqa: TID253

from wyoming_superwhisper.engines.whisper_rules import Heard, Row, Rules


class GreedyDecoder:
    """Decodes batches of rows with one loaded model."""

    def __init__(self, model: Any, rules: Rules, languages: Sequence[str], margins: bool = False) -> None:
        """`languages`: those that automatic language chooses from; `margins`: watch `Heard.margin`."""
        self._model = model
        self._rules = rules
        self._margins = margins
        self._languages = [language for language in languages if language in rules.languages]
        self._device = model.device
        self._dtype = model.dtype
        vocabulary = model.config.vocab_size
        self._mask = self._bias(vocabulary, rules.suppressed)
        self._first_mask = self._bias(vocabulary, (*rules.suppressed, *rules.suppressed_first))

    @torch.inference_mode()
    def decode(self, rows: Sequence[Row]) -> list[Heard]:
        """Decode a batch; its rows may be of different lengths."""
        memory = self._memory(*self._encode(rows))
        heard = self._choose_languages(rows, memory)
        prefixes = [[*row.prompt, *self._rules.prefix(one.language)] for row, one in zip(rows, heard, strict=True)]
        limits = [self._rules.limit(len(prefix)) - len(prefix) for prefix in prefixes]
        logits = self._read_prefixes(prefixes, rows, heard, memory, max(limits))
        self._write(_Batch(list(rows), heard, limits), logits, memory)
        return heard

    def _encode(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor | None]:
        """The encoder's states, (rows, longest, width), and which of them are a row's, where lengths differ."""
        features = [row.features.to(self._device, self._dtype) for row in rows]
        lengths = [row.features.shape[1] // 2 for row in rows]
        if len(set(lengths)) == 1:
            return _encode(self._model, torch.stack(features)), None
        encoded = features[0].new_zeros(len(rows), max(lengths), self._model.config.d_model)
        for length in set(lengths):  # each by itself: what is beside it must not change what is heard
            alike = [at for at, one in enumerate(lengths) if one == length]
            encoded[alike, :length] = _encode(self._model, torch.stack([features[at] for at in alike]))
        places = torch.arange(max(lengths), device=self._device)
        return encoded, (places < torch.tensor(lengths, device=self._device)[:, None])[:, None, None]

    def _memory(self, encoded: Tensor, audible: Tensor | None) -> Memory:
        return Memory.of(self._model, encoded, audible)

    def _choose_languages(self, rows: Sequence[Row], memory: Memory) -> list[Heard]:
        """Each row's language: the one named, else the likeliest after <|startoftranscript|> alone."""
        if not self._rules.languages:
            return [Heard("en") for _ in rows]
        if all(row.language for row in rows):
            return [Heard(row.language or "") for row in rows]
        if len(self._languages) == 1:
            return [Heard(row.language or self._languages[0]) for row in rows]
        start = torch.full((len(rows), 1), self._rules.start, device=self._device)
        logits = self._logits(memory.fresh(1).read(start, torch.zeros_like(start), None))[:, -1]
        best, choices = logits[:, [self._rules.languages[language] for language in self._languages]].topk(2)
        chosen = zip(choices[:, 0].tolist(), (best[:, 0] - best[:, 1]).tolist(), strict=True)
        return [
            Heard(row.language) if row.language else Heard(self._languages[choice], margin=margin)
            for row, (choice, margin) in zip(rows, chosen, strict=True)
        ]

    def _read_prefixes(
        self, prefixes: list[list[int]], rows: Sequence[Row], heard: list[Heard], memory: Memory, room: int
    ) -> Tensor:
        """Read prompts and prefixes, padded on the left, into the memory; the logits of each row's first token."""
        longest = max(len(prefix) for prefix in prefixes)
        pads = [longest - len(prefix) for prefix in prefixes]
        end = next(iter(self._rules.ends))
        tokens = torch.tensor([[end] * pad + prefix for pad, prefix in zip(pads, prefixes, strict=True)])
        memory.begin(longest + room, pads if any(pads) else None)
        starts = [pad + len(row.prompt) for pad, row in zip(pads, rows, strict=True)]
        last = longest - min(starts)  # nobody asks what the model makes of the prompts themselves
        states = memory.read(tokens.to(self._device), memory.positions(longest), memory.causal_mask(longest), last)
        if self._rules.no_speech is not None:
            places = torch.tensor(starts, device=self._device) - (longest - last)
            at_start = self._logits(states[torch.arange(len(rows), device=self._device), places])
            for one, probability in zip(heard, at_start.softmax(-1)[:, self._rules.no_speech].tolist(), strict=True):
                one.no_speech = probability
        return self._logits(states[:, -1])

    def _write(self, batch: _Batch, logits: Tensor, memory: Memory) -> None:
        """Choose tokens until every row has ended, reached its length, or is not wanted any more."""
        mask = self._first_mask
        while True:
            scores = logits if mask is None else logits + mask
            chosen = scores.argmax(-1)
            logprobs = scores.gather(-1, chosen[:, None])[:, 0] - scores.logsumexp(-1)
            batch.take(chosen.tolist(), logprobs.tolist(), self._watch(scores), self._rules.ends)
            live = batch.live()
            if not live:
                return
            if memory.shrinks and 2 * len(live) <= len(
                batch.rows
            ):  # carry no dead weight, but don't copy the memory for every row
                batch.keep(live)
                memory.keep(live)
                chosen = chosen[live]
            states = memory.read(chosen[:, None], memory.positions(1), memory.causal_mask(1))
            logits, mask = self._logits(states[:, -1]), self._mask

    def _watch(self, scores: Tensor) -> list[float]:
        """How far each row's best token is above its next best."""
        if not self._margins:
            return [math.inf] * len(scores)
        best = scores.topk(2).values
        margins: list[float] = (best[:, 0] - best[:, 1]).tolist()
        return margins

    def _logits(self, states: Tensor) -> Tensor:
        logits: Tensor = self._model.proj_out(states)
        return logits.float()

    def _bias(self, vocabulary: int, suppressed: Sequence[int]) -> Tensor | None:
        if not suppressed:
            return None
        bias = torch.zeros(vocabulary, device=self._device)
        bias[list(suppressed)] = -math.inf
        return bias


@dataclass
class _Batch:
    """The rows that are being written, in the order of the memory's rows."""

    rows: list[Row]
    heard: list[Heard]
    room: list[int]
    """How many more tokens each may have; none: finished."""

    def take(self, tokens: list[int], logprobs: list[float], margins: list[float], ends: frozenset[int]) -> None:
        """Note each row's next token."""
        for at, (token, logprob, margin) in enumerate(zip(tokens, logprobs, margins, strict=True)):
            if self.room[at] <= 0:
                continue
            self.heard[at].logprobs.append(logprob)
            self.heard[at].margin = min(self.heard[at].margin, margin)
            self.room[at] -= 1
            if token in ends:
                self.heard[at].ended = True
                self.room[at] = 0
            else:
                self.heard[at].tokens.append(token)

    def live(self) -> list[int]:
        """Which rows go on."""
        return [at for at, row in enumerate(self.rows) if self.room[at] > 0 and row.wanted()]

    def keep(self, live: list[int]) -> None:
        """Forget all rows but these."""
        self.rows = [self.rows[at] for at in live]
        self.heard = [self.heard[at] for at in live]
        self.room = [self.room[at] for at in live]


class Memory:
    """What the decoder of a batch remembers: keys and values of the audio, and of the tokens so far."""

    shrinks = True
    """Whether rows can be forgotten on the way."""

    def __init__(self, model: Any, audio: list[tuple[Tensor, Tensor]], audible: Tensor | None = None) -> None:
        """`audible`: which of the audio's places are a row's, (rows, 1, 1, places); None: all."""
        self._decoder = model.model.decoder
        self._audio = audio
        self._audible = audible
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._length = 0
        self._pads: Tensor | None = None

    @classmethod
    def of(cls, model: Any, encoded: Tensor, audible: Tensor | None = None) -> Memory:
        """Ready to read tokens beside this audio."""
        layers = model.model.decoder.layers
        return cls(model, [keys_and_values(layer.encoder_attn, encoded) for layer in layers], audible)

    def fresh(self, room: int) -> Memory:
        """Another memory beside the same audio."""
        other = Memory.__new__(Memory)
        other._decoder, other._audio, other._audible = self._decoder, self._audio, self._audible
        other.begin(room, None)
        return other

    def begin(self, room: int, pads: list[int] | None) -> None:
        """Make room for so many tokens in each row; `pads`: how many of them are padding on the left."""
        batch, heads, _, width = self._audio[0][0].shape
        like = self._audio[0][0]
        self._keys = [like.new_empty(batch, heads, room, width) for _ in self._audio]
        self._values = [like.new_empty(batch, heads, room, width) for _ in self._audio]
        self._length = 0
        self._pads = None if pads is None else torch.tensor(pads, device=like.device)

    def keep(self, rows: list[int]) -> None:
        """Forget all rows but these."""
        self._audio = [(keys[rows], values[rows]) for keys, values in self._audio]
        self._keys = [keys[rows] for keys in self._keys]
        self._values = [values[rows] for values in self._values]
        self._pads = None if self._pads is None else self._pads[rows]
        self._audible = None if self._audible is None else self._audible[rows]

    def positions(self, count: int) -> Tensor:
        """Positions of the next tokens, (rows or 1, count): padding doesn't count."""
        places = torch.arange(self._length, self._length + count, device=self._audio[0][0].device)[None]
        if self._pads is None:
            return places
        # A row that has ended may still be carried past the last position.
        return (places - self._pads[:, None]).clamp(0, self._decoder.embed_positions.num_embeddings - 1)

    def causal_mask(self, count: int) -> Tensor | None:
        """Which tokens each of the next may see, (rows, 1, count, all); None: those before it, with no padding."""
        if self._pads is None:
            return None
        keys = torch.arange(self._length + count, device=self._pads.device)
        queries = keys[self._length :, None]
        visible = (keys <= queries) & (keys >= self._pads[:, None, None])
        # Padding sees itself: a row of the softmax with nothing in it would be not a number, and spread.
        return (visible | (keys == queries))[:, None]

    def read(self, tokens: Tensor, positions: Tensor, mask: Tensor | None, last: int = 0) -> Tensor:
        """Run the decoder over the next tokens, (rows, count); its states after them, or after the `last` of them."""
        decoder = self._decoder
        states = decoder.embed_tokens(tokens) + decoder.embed_positions.weight[positions]
        start, end = self._length, self._length + tokens.shape[1]
        causal = mask is None and tokens.shape[1] > 1
        for at, layer in enumerate(decoder.layers):
            normed = layer.self_attn_layer_norm(states)
            keys, values = keys_and_values(layer.self_attn, normed)
            self._keys[at][:, :, start:end], self._values[at][:, :, start:end] = keys, values
            seen = self._keys[at][:, :, :end], self._values[at][:, :, :end]
            if 0 < last < states.shape[1] and at == len(decoder.layers) - 1:
                # Of those before them the last layer need only leave its keys and values.
                states, normed = states[:, -last:], normed[:, -last:]
                mask, causal = self._last_of(mask, last, end), False
            states = states + attend(layer.self_attn, normed, *seen, mask, causal)
            normed = layer.encoder_attn_layer_norm(states)
            states = states + attend(layer.encoder_attn, normed, *self._audio[at], self._audible)
            states = states + feed_forward(layer, states)
        self._length = end
        return _apply(decoder.layer_norm, states)

    def _last_of(self, mask: Tensor | None, last: int, end: int) -> Tensor:
        if mask is not None:
            return mask[:, :, -last:]
        keys = torch.arange(end, device=self._audio[0][0].device)
        return (keys <= keys[-last:, None])[None, None]


def _encode(model: Any, features: Tensor) -> Tensor:
    """The encoder's states; any even number of frames up to the model's window."""
    encoder = model.model.encoder
    states = F.gelu(encoder.conv2(F.gelu(encoder.conv1(features)))).permute(0, 2, 1)
    states = states + encoder.embed_positions.weight[: states.shape[1]]
    for layer in encoder.layers:
        normed = layer.self_attn_layer_norm(states)
        states = states + attend(layer.self_attn, normed, *keys_and_values(layer.self_attn, normed))
        states = states + feed_forward(layer, states)
        if states.dtype == torch.float16:  # as transformers: large activations overflow half precision
            most = torch.finfo(torch.float16).max - 1000
            states = states.clamp(-most, most)
    return _apply(encoder.layer_norm, states)


def keys_and_values(attention: Any, states: Tensor) -> tuple[Tensor, Tensor]:
    return _heads(attention, attention.k_proj(states)), _heads(attention, attention.v_proj(states))


def attend(
    attention: Any, states: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    # The query is scaled before the product, as transformers does it: another order rounds otherwise.
    query = _heads(attention, attention.q_proj(states) * attention.scaling)
    mixed = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, is_causal=causal, scale=1.0)
    return _apply(attention.out_proj, mixed.transpose(1, 2).reshape(states.shape))


def _heads(attention: Any, states: Tensor) -> Tensor:
    return states.view(*states.shape[:2], attention.num_heads, attention.head_dim).transpose(1, 2).contiguous()


def feed_forward(layer: Any, states: Tensor) -> Tensor:
    return _apply(layer.fc2, layer.activation_fn(layer.fc1(layer.final_layer_norm(states))))


def _apply(module: nn.Module, states: Tensor) -> Tensor:
    result: Tensor = module(states)
    return result
