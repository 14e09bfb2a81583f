from __future__ import annotations

import re
from pathlib import Path

import pytest

from wyoming_superwhisper.errors import ModelError
from wyoming_superwhisper.models import catalogue

CATALOGUE = catalogue.load()


def test_it_holds_what_was_asked_for() -> None:
    names = set(CATALOGUE.models)
    assert {f"whisper-{size}" for size in ("large-v3", "large-v3-turbo", "small", "base", "tiny")} <= names
    assert "llama-3-8b-instruct-q5_k_m" in names
    assert len(CATALOGUE.of_kind("llama")) >= 3
    assert "fr_FR-siwis-medium" in names
    assert {"fr", "en", "es"} <= set(CATALOGUE.voices)


@pytest.mark.parametrize("model", CATALOGUE.models.values(), ids=lambda model: model.name)
def test_every_model_says_where_it_is_from_and_under_which_licence(model: catalogue.CatalogueModel) -> None:
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", model.repo)
    assert model.licence
    assert model.description
    assert model.source
    assert model.memory_mb > 0
    assert model.about_bytes > 0
    assert model.revision is None or re.fullmatch(r"[0-9a-f]{40}", model.revision)
    for file in model.files:
        assert not file.name.endswith((".bin", ".pt", ".pth", ".pkl", ".ckpt", ".py"))


@pytest.mark.parametrize(
    ("memory_mb", "whisper", "llama"),
    [
        (24576, "whisper-large-v3", "llama-3-8b-instruct-q5_k_m"),
        (24260, "whisper-large-v3", "llama-3-8b-instruct-q5_k_m"),
        (12288, "whisper-large-v3-turbo", "llama-3-8b-instruct-q5_k_m"),
        (8192, "whisper-large-v3-turbo", "llama-3.2-3b-instruct-q4_k_m"),
        (0, "whisper-small", "qwen2.5-1.5b-instruct-q4_k_m"),
    ],
)
def test_the_choice_for_a_card_fits_on_it(memory_mb: int, whisper: str, llama: str) -> None:
    assert catalogue.choose("whisper", memory_mb) == whisper
    assert catalogue.choose("llama", memory_mb) == llama
    if memory_mb:
        assert CATALOGUE.models[whisper].memory_mb + CATALOGUE.models[llama].memory_mb < memory_mb


def test_the_reference_machine_stays_under_12_gb() -> None:
    chosen = CATALOGUE.choice(24576)
    assert CATALOGUE.models[chosen.whisper].memory_mb + CATALOGUE.models[chosen.llama].memory_mb < 12288


def test_names_are_found_whatever_their_case_and_short() -> None:
    assert CATALOGUE.get("Llama-3-8B-Instruct-Q5_K_M").name == "llama-3-8b-instruct-q5_k_m"
    assert CATALOGUE.get("large-v3").name == "whisper-large-v3"


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        ModelError, match=r"no model 'whisper-larg-v3' in the catalogue; did you mean whisper-large-v3\?"
    ):
        CATALOGUE.get("whisper-larg-v3")


@pytest.mark.parametrize(
    "text",
    [
        "models: {}\nchoices: [{at_least_mb: 0, whisper: a, llama: b, meant_for: CPU}]\nvoices: {}",
        "models: {a: {kind: whisper, description: x, repo: a/b, files: [{name: ../x}]}}\nchoices: []\nvoices: {}",
        "models: {a: {kind: image, description: x, repo: a/b, files: []}}\nchoices: []\nvoices: {}",
    ],
)
def test_a_catalogue_that_contradicts_itself_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"chooses|outside|kind"):
        catalogue.parse(text)


def test_the_documentation_names_every_model_and_choice() -> None:
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    for model in CATALOGUE.models.values():
        assert f"| {model.name} |" in text
        assert model.licence.partition(" (")[0] in text
    for choice in CATALOGUE.choices:
        together = CATALOGUE.models[choice.whisper].memory_mb + CATALOGUE.models[choice.llama].memory_mb
        [line] = [line for line in text.splitlines() if line.startswith(f"| {choice.meant_for}")]
        assert f"| {choice.whisper} | {choice.llama} | {together / 1000:.1f} GB" in line
