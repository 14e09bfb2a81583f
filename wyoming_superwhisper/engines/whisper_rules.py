"""What Whisper is asked and what it answers, whichever library decodes: a checkpoint's rules, a row, what was heard."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

END_DECAY = 0.65
"""How much a word counts beside the one after it, where it is asked how certain the end of a transcript is."""
_WITHIN_WORD = 0.25
"""How much a token counts there beside the one that its word begins with: it is mostly a matter of spelling."""
_END_MARKS = ".!?…"

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
    def read(cls, model: Any, config: Any, tokenizer: Any) -> Rules:
        """A checkpoint's rules; what an old generation_config.json lacks is found by name or in its config.json.

        Raises `ValueError` where it can't be found at all how a transcript begins or ends.
        """

        def token(name: str) -> int | None:
            number = tokenizer.convert_tokens_to_ids(name)
            return number if isinstance(number, int) and number != tokenizer.unk_token_id else None

        languages = getattr(config, "lang_to_id", None) or _find_languages(tokenizer)
        multilingual = getattr(config, "is_multilingual", True)
        no_timestamps = getattr(config, "no_timestamps_token_id", None) or token("<|notimestamps|>")
        previous = getattr(config, "prev_sot_token_id", None)
        tasks = getattr(config, "task_to_id", None) or {}
        start = _either(config, model, "decoder_start_token_id")
        end = _either(config, model, "eos_token_id")
        if start is None or end is None:
            raise ValueError("nothing says how a transcript begins or ends (generation_config.json)")
        return cls(
            start=start,
            previous=token("<|startofprev|>") if previous is None else previous,
            transcribe=tasks.get("transcribe", token("<|transcribe|>")) if multilingual else None,
            no_timestamps=no_timestamps,
            no_speech=None if no_timestamps is None else no_timestamps - 1,
            ends=frozenset(end if isinstance(end, list) else [end]),
            languages={name.strip("<|>"): number for name, number in languages.items()} if multilingual else {},
            suppressed=tuple(config.suppress_tokens or ()),
            suppressed_first=tuple(config.begin_suppress_tokens or ()),
            max_length=config.max_length or _GENERATE_MAX_LENGTH,
            max_new_tokens=config.max_new_tokens,
            positions=model.max_target_positions,
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
    """Log-mels, (mels, frames), contiguous; any even number of frames up to the model's window."""
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
    logprobs: list[float] = field(default_factory=list)
    """Of the tokens, and of the end token where there is one."""
    margin: float = math.inf
    """By how much, at the closest, a token's score was above the next best one's; infinite where nobody watched."""
    ended: bool = False
    """Whether the model ended it, rather than the length or a drop."""

    @property
    def average_logprob(self) -> float:
        """Per token, the end counted as one; OpenAI's measure."""
        return sum(self.logprobs) / (len(self.tokens) + 1)


def end_logprob(pieces: Sequence[str], logprobs: Sequence[float]) -> float:
    """How certain the end of a transcript is: the mean over its tokens, in which the last words count most.

    `pieces`: each token's text; `logprobs`: of these tokens, what follows them is not looked at.
    """
    weighted, weights, weight = 0.0, 0.0, 1.0
    for at, piece in reversed(list(enumerate(pieces))):
        begins = at == 0 or piece.startswith((" ", *_END_MARKS))
        counts = weight if begins else weight * _WITHIN_WORD
        weighted += counts * logprobs[at]
        weights += counts
        weight *= END_DECAY if begins else 1.0
    return weighted / weights if weights else 0.0


def loss_before_last_words(words: int, pieces: Sequence[str], heard: Heard, again: Heard) -> float:
    """How much certainty the tokens before the last words lose by another decoding; infinite where that has others.

    `pieces`: the text of each token of `heard`.
    """
    begins = [at for at, piece in enumerate(pieces) if piece.startswith(" ") and piece.strip(f" {_END_MARKS}")]
    last = begins[-words] if len(begins) >= words else 0
    if heard.tokens[:last] != again.tokens[:last]:
        return math.inf
    return sum(heard.logprobs[:last]) - sum(again.logprobs[:last])


class Decoder(Protocol):
    """Decodes with one loaded model."""

    def decode(self, rows: Sequence[Row]) -> list[Heard]:
        """Decode a batch; its rows may be of different lengths."""


def _either(config: Any, model: Any, name: str) -> Any:
    """A field of the generation's configuration, or of the model's where it is not there."""
    found = getattr(config, name, None)
    return getattr(model, name, None) if found is None else found


def _find_languages(tokenizer: Any) -> dict[str, int]:
    """The language tokens of a checkpoint whose generation_config.json doesn't list them."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    found = {f"<|{code}|>": tokenizer.convert_tokens_to_ids(f"<|{code}|>") for code in LANGUAGES}
    return {name: token for name, token in found.items() if isinstance(token, int) and token != tokenizer.unk_token_id}
