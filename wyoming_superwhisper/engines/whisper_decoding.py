"""Greedy decoding of Whisper: our own loop over the encoder and decoder that transformers loaded.

Token for token it gives what plain `generate` gives (greedy, no timestamps, language and task named), but every row
of a batch has its own prompt and language, the no-speech probability is read from the same pass, rows can be dropped
between tokens, and the encoder may see only as much as was spoken. Only imported in the Whisper worker.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch  # noqa: TID253  this module is imported by engines.whisper when it loads, in its worker
from torch import Tensor, nn  # noqa: TID253
from torch.nn import functional as F  # noqa: TID253

_GENERATE_MAX_LENGTH = 20
"""What `generate` takes where a checkpoint's generation_config.json says nothing."""


@dataclass(frozen=True)
class Rules:
    """What a checkpoint says about decoding, from its generation_config.json."""

    start: int
    """<|startoftranscript|>"""
    previous: int | None
    """<|startofprev|>, which a prompt begins with."""
    transcribe: int | None
    no_timestamps: int | None
    no_speech: int | None
    ends: frozenset[int]
    """Tokens that end a transcript."""
    languages: Mapping[str, int]
    """Language code → token; empty for a model that knows English only."""
    suppressed: tuple[int, ...]
    """Never chosen."""
    suppressed_first: tuple[int, ...]
    """Not chosen as the first token."""
    max_length: int
    max_new_tokens: int | None
    positions: int
    """Most tokens of prompt, prefix and text together."""

    @classmethod
    def read(cls, model: Any, tokenizer: Any) -> Rules:
        """The rules of a loaded checkpoint; what an old generation_config.json lacks is found by name."""
        config = model.generation_config

        def token(name: str) -> int | None:
            number = tokenizer.convert_tokens_to_ids(name)
            return number if isinstance(number, int) and number != tokenizer.unk_token_id else None

        languages = getattr(config, "lang_to_id", None) or _find_languages(tokenizer)
        multilingual = getattr(config, "is_multilingual", True)
        no_timestamps = getattr(config, "no_timestamps_token_id", None) or token("<|notimestamps|>")
        previous = getattr(config, "prev_sot_token_id", None)
        tasks = getattr(config, "task_to_id", None) or {}
        ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        return cls(
            start=config.decoder_start_token_id,
            previous=token("<|startofprev|>") if previous is None else previous,
            transcribe=tasks.get("transcribe", token("<|transcribe|>")) if multilingual else None,
            no_timestamps=no_timestamps,
            no_speech=None if no_timestamps is None else no_timestamps - 1,
            ends=frozenset(ends),
            languages={name.strip("<|>"): number for name, number in languages.items()} if multilingual else {},
            suppressed=tuple(config.suppress_tokens or ()),
            suppressed_first=tuple(config.begin_suppress_tokens or ()),
            max_length=config.max_length or _GENERATE_MAX_LENGTH,
            max_new_tokens=config.max_new_tokens,
            positions=model.config.max_target_positions,
        )

    @property
    def prompt_tokens(self) -> int:
        """Most tokens of a prompt: half of the positions, as OpenAI's and transformers' decoding."""
        return self.positions // 2 - 1

    def prefix(self, language: str) -> list[int]:
        """The forced tokens before the text. Raises KeyError for a language that the model doesn't know."""
        spoken = [self.languages[language], self.transcribe] if self.languages else []
        return [token for token in (self.start, *spoken, self.no_timestamps) if token is not None]

    def limit(self, begin: int) -> int:
        """Most tokens in all, for a row that begins with `begin` tokens; `generate`'s arithmetic."""
        if self.max_new_tokens is not None:
            return min(begin + self.max_new_tokens, self.positions)
        return min(self.max_length + min(begin, self.prompt_tokens), self.positions)


@dataclass(frozen=True)
class Row:
    """One window of audio to decode."""

    features: Tensor
    """Log-mels, (mels, frames); all rows of a batch have as many frames."""
    prompt: tuple[int, ...]
    """<|startofprev|> and the words to bias towards; empty: none."""
    language: str | None
    """None: the likeliest of the languages given to the decoder."""
    wanted: Callable[[], bool] = lambda: True
    """Looked at before each token: False drops the row."""


@dataclass
class Heard:
    """What was decoded of one row."""

    language: str
    no_speech: float = 0.0
    """Probability of <|nospeech|> where the language token follows."""
    tokens: list[int] = field(default_factory=list)
    """The text's tokens, without the end token."""
    logprob: float = 0.0
    """Sum over the tokens and the end token."""
    least_logprob: float = 0.0
    """Of the least certain of them."""
    ended: bool = False
    """Whether the model ended it, rather than the length or a drop."""

    @property
    def average_logprob(self) -> float:
        """Per token, the end counted as one; OpenAI's measure."""
        return self.logprob / (len(self.tokens) + 1)


class GreedyDecoder:
    """Decodes batches of rows with one loaded model."""

    def __init__(self, model: Any, rules: Rules, languages: Sequence[str]) -> None:
        """`languages`: those that automatic language chooses from."""
        self._model = model
        self._rules = rules
        self._languages = [language for language in languages if language in rules.languages]
        self._device = model.device
        self._dtype = model.dtype
        vocabulary = model.config.vocab_size
        self._mask = self._bias(vocabulary, rules.suppressed)
        self._first_mask = self._bias(vocabulary, (*rules.suppressed, *rules.suppressed_first))

    @torch.inference_mode()
    def decode(self, rows: Sequence[Row]) -> list[Heard]:
        """Decode a batch."""
        features = torch.stack([row.features for row in rows]).to(self._device, self._dtype)
        memory = self._memory(_encode(self._model, features))
        heard = [Heard(language) for language in self._choose_languages(rows, memory)]
        prefixes = [[*row.prompt, *self._rules.prefix(one.language)] for row, one in zip(rows, heard, strict=True)]
        limits = [self._rules.limit(len(prefix)) - len(prefix) for prefix in prefixes]
        logits = self._read_prefixes(prefixes, rows, heard, memory, max(limits))
        self._write(_Batch(list(rows), heard, limits), logits, memory)
        return heard

    def _memory(self, encoded: Tensor) -> Memory:
        return Memory.of(self._model, encoded)

    def _choose_languages(self, rows: Sequence[Row], memory: Memory) -> list[str]:
        """Each row's language: the one named, else the likeliest after <|startoftranscript|> alone."""
        if not self._rules.languages:
            return ["en"] * len(rows)
        if all(row.language for row in rows):
            return [row.language or "" for row in rows]
        if len(self._languages) == 1:
            return [row.language or self._languages[0] for row in rows]
        start = torch.full((len(rows), 1), self._rules.start, device=self._device)
        logits = self._logits(memory.fresh(1).read(start, torch.zeros_like(start), None))[:, -1]
        choices = logits[:, [self._rules.languages[language] for language in self._languages]].argmax(-1).tolist()
        return [row.language or self._languages[choice] for row, choice in zip(rows, choices, strict=True)]

    def _read_prefixes(
        self, prefixes: list[list[int]], rows: Sequence[Row], heard: list[Heard], memory: Memory, room: int
    ) -> Tensor:
        """Read prompts and prefixes, padded on the left, into the memory; the logits of each row's first token."""
        longest = max(len(prefix) for prefix in prefixes)
        pads = [longest - len(prefix) for prefix in prefixes]
        end = next(iter(self._rules.ends))
        tokens = torch.tensor([[end] * pad + prefix for pad, prefix in zip(pads, prefixes, strict=True)])
        memory.begin(longest + room, pads if any(pads) else None)
        states = memory.read(tokens.to(self._device), memory.positions(longest), memory.causal_mask(longest))
        if self._rules.no_speech is not None:
            starts = torch.tensor([pad + len(row.prompt) for pad, row in zip(pads, rows, strict=True)])
            at_start = self._logits(states[torch.arange(len(rows), device=self._device), starts.to(self._device)])
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
            batch.take(chosen.tolist(), logprobs.tolist(), self._rules.ends)
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

    def take(self, tokens: list[int], logprobs: list[float], ends: frozenset[int]) -> None:
        """Note each row's next token."""
        for at, (token, logprob) in enumerate(zip(tokens, logprobs, strict=True)):
            if self.room[at] <= 0:
                continue
            self.heard[at].logprob += logprob
            self.heard[at].least_logprob = min(self.heard[at].least_logprob, logprob)
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

    def __init__(self, model: Any, audio: list[tuple[Tensor, Tensor]]) -> None:
        self._decoder = model.model.decoder
        self._audio = audio
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._length = 0
        self._pads: Tensor | None = None

    @classmethod
    def of(cls, model: Any, encoded: Tensor) -> Memory:
        """Ready to read tokens beside this audio."""
        layers = model.model.decoder.layers
        return cls(model, [keys_and_values(layer.encoder_attn, encoded) for layer in layers])

    def fresh(self, room: int) -> Memory:
        """Another memory beside the same audio."""
        other = Memory.__new__(Memory)
        other._decoder, other._audio = self._decoder, self._audio
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

    def read(self, tokens: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """Run the decoder over the next tokens, (rows, count); its last states."""
        decoder = self._decoder
        states = decoder.embed_tokens(tokens) + decoder.embed_positions.weight[positions]
        start, end = self._length, self._length + tokens.shape[1]
        causal = mask is None and tokens.shape[1] > 1
        for at, layer in enumerate(decoder.layers):
            normed = layer.self_attn_layer_norm(states)
            keys, values = keys_and_values(layer.self_attn, normed)
            self._keys[at][:, :, start:end], self._values[at][:, :, start:end] = keys, values
            seen = self._keys[at][:, :, :end], self._values[at][:, :, :end]
            states = states + attend(layer.self_attn, normed, *seen, mask, causal)
            states = states + attend(layer.encoder_attn, layer.encoder_attn_layer_norm(states), *self._audio[at])
            states = states + feed_forward(layer, states)
        self._length = end
        return _apply(decoder.layer_norm, states)


def _find_languages(tokenizer: Any) -> dict[str, int]:
    """The language tokens of a checkpoint whose generation_config.json doesn't list them."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    found = {f"<|{code}|>": tokenizer.convert_tokens_to_ids(f"<|{code}|>") for code in LANGUAGES}
    return {name: token for name, token in found.items() if isinstance(token, int) and token != tokenizer.unk_token_id}


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
