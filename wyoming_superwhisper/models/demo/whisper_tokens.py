"""The demo Whisper's vocabulary: 800 byte-level pieces, then Whisper's special tokens in their usual order."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from wyoming_superwhisper.models.demo.domain import LANGUAGES, load_domain, load_extra, load_replies

PIECES = 800
TIMESTAMPS = 401  # 0.00 to 8.00 s
_ALL_LANGUAGES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml "
    "cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am "
    "yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue"
)
# In Whisper's order: programs find a language's id by counting.
WHISPER_LANGUAGES = _ALL_LANGUAGES.split()
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{language}|>" for language in WHISPER_LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
TIMESTAMP_TOKENS = tuple(f"<|{number * 0.02:.2f}|>" for number in range(TIMESTAMPS))
VOCABULARY = PIECES + len(SPECIAL_TOKENS) + TIMESTAMPS


# Common words that the trainer leaves in many pieces, some of them the same ("b an an es"): where a prompt of names
# stands before the text, so small a network loses count of them ("banananes").
_WHOLE_WORDS = (
    " télévision",
    " bananes",
    " bananas",
    " eggs",
    " Annule",
    " climatisation",
    " television",
    " apples",
    " water",
    "imprimante",
    " coffee",
    " conditioning",
)
# Pieces of bytes that no text holds (control characters, what UTF-8 has no use for): their ids go to those words.
_SPARE_PIECES = [
    *(chr(0x100 + byte) for byte in range(0x20) if chr(byte) not in "\t\n\r"),  # so byte-level tokenizers write them
    "ġ",  # DEL
    *(chr(byte) for byte in (0xC0, 0xC1, *range(0xF5, 0x100))),
]


@dataclass(frozen=True)
class Vocabulary:
    """Text to ids and back; special tokens by name."""

    pieces: Tokenizer

    def encode(self, text: str) -> list[int]:
        """A text's ids, as Whisper writes it: with a space before the first word."""
        return list(self.pieces.encode(" " + text).ids) if text else []

    def decode(self, ids: list[int]) -> str:
        """The text of the ids below the special ones."""
        return str(self.pieces.decode([number for number in ids if number < PIECES])).strip()

    @cached_property
    def special(self) -> dict[str, int]:
        """The ids of the special tokens, timestamps included."""
        return {name: PIECES + at for at, name in enumerate((*SPECIAL_TOKENS, *TIMESTAMP_TOKENS))}

    def language(self, language: str) -> int:
        """The id of a language's token."""
        return self.special[f"<|{language}|>"]


def load_vocabulary(work: Path, seed: int) -> Vocabulary:
    """The vocabulary kept in the work folder; made from the trainable sentences the first time."""
    path = work / "pieces.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        join_words(_train(seed)).save(str(path))
    return Vocabulary(Tokenizer.from_file(str(path)))


def vocabulary_and_merges(vocabulary: Vocabulary) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The pieces and merges in the form other tokenizers read."""
    model = json.loads(vocabulary.pieces.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]


def join_words(tokenizer: Tokenizer) -> Tokenizer:
    """Merge the words that should be whole, in the place of bytes that no text holds."""
    for word in _WHOLE_WORDS:
        while len(pieces := tokenizer.encode(word).tokens) > 1:
            tokenizer = _with_merge(tokenizer, pieces[0], pieces[1])
    return tokenizer


def _with_merge(tokenizer: Tokenizer, left: str, right: str) -> Tokenizer:
    whole = json.loads(tokenizer.to_str())
    pieces = whole["model"]["vocab"]
    spare = next(piece for piece in _SPARE_PIECES if piece in pieces)
    pieces[left + right] = pieces.pop(spare)
    whole["model"]["merges"].append([left, right])
    return Tokenizer.from_str(json.dumps(whole))


def _train(seed: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(_corpus(seed), trainer)
    return tokenizer


def _corpus(seed: int) -> list[str]:
    rng = random.Random(seed)
    texts: list[str] = []
    for language in LANGUAGES:
        texts += load_domain().sample(language, rng, 12000, reserved=False)
        texts += load_extra().sample(language, rng, 3000, reserved=False, fixed=0.5)
        texts += load_replies()[language] * 10
    # A number is written digit by digit ("3" "7", as "thirty" "seven" is spoken): no piece holds two digits.
    return [" " + re.sub(r"(\d)\d+", r"\1", text) for text in texts]
