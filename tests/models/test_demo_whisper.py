"""The packaged demo Whisper: stock transformers hears the domain with it, and the script that makes it works."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.speech import speech
from wyoming_superwhisper.models.demo.domain import LANGUAGES, load_domain, normalise_for_comparison
from wyoming_superwhisper.models.demo.whisper_training import WEIGHTS

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers warns about its own options

SAYINGS = {
    "fr": ["Allume la lumière de la cuisine.", "Quelle heure est-il ?", "Mets un minuteur de 10 minutes."],
    "en": ["Turn on the kitchen light.", "What time is it?", "Set a timer for 10 minutes."],
}
VOICES = {"fr": "fr", "en": "en-us"}


@pytest.fixture(scope="module")
def listener() -> Any:
    from wyoming_superwhisper.models.demo.whisper_evaluation import Listener

    return Listener(WEIGHTS)


def heard_signal(text: str, voice: str) -> np.ndarray:
    return np.frombuffer(speech(text, voice), "<i2").astype(np.float32) / 32768


def test_the_checkpoint_is_small_and_says_how_it_was_made() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 4_000_000
    assert "evaluate-whisper" in (WEIGHTS / "README.md").read_text(encoding="utf-8")


def test_an_empty_text_is_not_forbidden() -> None:
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((WEIGHTS / name).read_text())
        assert not settings.get("suppress_tokens")
        assert not settings.get("begin_suppress_tokens")


def test_special_tokens_are_in_whispers_usual_order() -> None:
    from transformers import WhisperTokenizer
    from transformers.models.whisper.tokenization_whisper import LANGUAGES as ALL

    from wyoming_superwhisper.models.demo.whisper_tokens import PIECES, WHISPER_LANGUAGES

    assert list(ALL) == list(WHISPER_LANGUAGES)
    tokenizer = WhisperTokenizer.from_pretrained(WEIGHTS)
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{language}|>" for language in ALL)]
    special += [
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>",
        "<|notimestamps|>",
    ]
    assert tokenizer.convert_tokens_to_ids(special) == list(range(PIECES, PIECES + len(special)))
    assert tokenizer.convert_tokens_to_ids("<|0.00|>") == PIECES + len(special)
    assert len(tokenizer) == PIECES + len(special) + 401


def test_text_survives_the_tokenizer() -> None:
    from transformers import WhisperTokenizer

    tokenizer = WhisperTokenizer.from_pretrained(WEIGHTS)
    for text in (" Règle la lampe du salon à 37 pour cent.", " Ça, c'est l'été à Noël: 07:05 !"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("told", [True, False], ids=["told", "detected"])
def test_the_language_may_be_told_or_detected(listener: Any, language: str, told: bool) -> None:
    signals = [heard_signal(text, VOICES[language]) for text in SAYINGS[language]]
    texts = listener.hear(signals, language if told else None)
    assert texts == SAYINGS[language]


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_to_bias_towards_do_no_harm(listener: Any, language: str) -> None:
    signals = [heard_signal(text, VOICES[language]) for text in SAYINGS[language]]
    names = "Salon, Cuisine, Chambre, Plafonnier, Lampe de chevet, Garage, Kitchen, Living room"
    assert listener.hear(signals, language, names) == SAYINGS[language]


def test_what_has_no_words_is_empty(listener: Any) -> None:
    from wyoming_superwhisper.models.demo.whisper_evaluation import listen_to_sounds

    assert listen_to_sounds(listener, count=20).share >= 0.95


@pytest.mark.parametrize("language", LANGUAGES)
def test_reserved_sentences_in_reserved_voices_are_heard(listener: Any, language: str) -> None:
    rng = random.Random(5)
    sentences = load_domain().sample(language, rng, 30, reserved=True)
    voices = load_domain().reserved_voices
    signals = [heard_signal(text, f"{VOICES[language]}+{voices[at % 10]}") for at, text in enumerate(sentences)]
    heard = listener.hear(signals, language)
    wrong = [
        (said, text)
        for said, text in zip(sentences, heard, strict=True)
        if normalise_for_comparison(said, language) != normalise_for_comparison(text, language)
    ]
    assert len(wrong) <= 3, wrong


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_scripts_train_go_on_and_export(tmp_path: Path) -> None:
    from transformers import WhisperForConditionalGeneration

    from wyoming_superwhisper.models.demo.__main__ import main

    options = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--batch", "4", "--processes", "2"]
    options += ["--speech-shards", "2", "--sound-shards", "2", "--reply-shards", "0", "--piper-shards", "0"]
    assert main(["whisper", *options, "--steps", "2"]) == 0
    assert main(["whisper", *options, "--steps", "4"]) == 0
    model = WhisperForConditionalGeneration.from_pretrained(tmp_path / "out")
    assert model.config.max_source_positions == 400
