"""The demo Llama's tokenizer: a byte-level BPE, and the prompt in tokens as the engine would write it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from wyoming_superwhisper.engines.llm_home import Home
from wyoming_superwhisper.engines.llm_prompt import CHATML, ChatTemplate, Segment, messages_for, system_text
from wyoming_superwhisper.models.demo.llama_data import Sample, random_sample
from wyoming_superwhisper.models.demo.llama_homes import demo_home, random_home

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
SPECIAL = (END_OF_TEXT, TURN_START, TURN_END)

_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How llama.cpp cuts text for `tokenizer.ggml.pre = qwen2`."""


class ChatTokens:
    """Turns samples into tokens by the engine's own prompt code."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.template = ChatTemplate(CHATML)
        vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
        self._special = {text: vocabulary[text] for text in SPECIAL}
        self._end = vocabulary[TURN_END]

    def prompt(self, home: Home, max_home_chars: int) -> list[int]:
        """The fixed part: up to where the first sentence of the user begins."""
        system = system_text(home, max_home_chars=max_home_chars)
        segments = self.template.segments([{"role": "system", "content": system}, {"role": "user", "content": "x"}])
        return self._tokens(segments[: segments.index(Segment("x", False))])

    def empty_prompt(self) -> list[int]:
        """What comes before the first sentence with no instructions at all."""
        segments = self.template.segments([{"role": "system", "content": ""}, {"role": "user", "content": "x"}])
        return self._tokens(segments[: segments.index(Segment("x", False))])

    def conversation(self, sample: Sample, home: Home) -> tuple[list[int], int]:
        """What follows the fixed part, with the answer; and at which of its tokens the answer begins."""
        messages = messages_for(sample.request, home, "system", sample.request.history)
        segments = self.template.segments(messages)[3:]
        asked = self._tokens(segments)
        return [*asked, *self.tokenizer.encode(sample.answer).ids, self._end], len(asked)

    def _tokens(self, segments: list[Segment]) -> list[int]:
        ids: list[int] = []
        for segment in segments:
            ids += self._with_special(segment.text) if segment.special else self.tokenizer.encode(segment.text).ids
        return ids

    def _with_special(self, text: str) -> list[int]:
        for special, token in self._special.items():
            before, found, after = text.partition(special)
            if found:
                return [*self._with_special(before), token, *self._with_special(after)]
        return list(self.tokenizer.encode(text).ids) if text else []


def make_tokenizer(path: Path, vocabulary: int, seed: int) -> Tokenizer:
    """The tokenizer in that file; trained on samples and written there the first time."""
    if path.exists():
        return Tokenizer.from_file(str(path))
    tokenizer = _untaught(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(seed), trainer)
    tokenizer.add_tokens(list(SPECIAL))
    tokenizer.save(str(path))
    return tokenizer


def known_tokenizer(tokens: Sequence[str], merges: Sequence[str]) -> Tokenizer:
    """The tokenizer of a model that was written as GGUF, of its tokens in order and its merges."""
    vocabulary = {token: index for index, token in enumerate(tokens) if token not in SPECIAL}
    pairs = [(first, second) for first, _, second in (one.partition(" ") for one in merges)]
    tokenizer = _untaught(models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.add_tokens(list(SPECIAL))
    return tokenizer


def _untaught(model: models.BPE) -> Tokenizer:
    """A tokenizer that cuts text as llama.cpp does for "qwen2"."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _texts(seed: int, count: int = 30_000) -> Iterator[str]:
    """What the tokenizer learns its pieces from: the fixed part now and then, else what follows it."""
    rng = random.Random(seed)
    for number in range(count):
        home = random_home(rng)
        sample = random_sample(rng, home)
        if number % 200 == 0:
            yield system_text(demo_home() if number % 400 else home)
        yield messages_for(sample.request, home, "")[-1]["content"]
        yield sample.answer
