"""The plan says what each worker is told."""

from dataclasses import replace
from pathlib import Path

import pytest

from wyoming_superwhisper.config import loader
from wyoming_superwhisper.gpu import GpuChoice
from wyoming_superwhisper.plan import Plan


def whisper(plan: Plan) -> dict:
    return dict(plan.configurations()["whisper"])


@pytest.fixture
def plan() -> Plan:
    return Plan.of(loader.load(source="demo", environment={}), {"whisper"})


def with_asr(plan: Plan, **changes) -> Plan:
    return replace(plan, settings=replace(plan.settings, asr=replace(plan.settings.asr, **changes)))


def test_only_a_model_made_for_it_gets_less_than_its_window(plan, tmp_path):
    assert whisper(plan)["window"] == "speech"
    assert whisper(replace(plan, whisper=tmp_path / "whisper-small"))["window"] == "full"
    assert whisper(replace(plan, whisper=tmp_path / "my own"))["window"] == "full"
    assert whisper(with_asr(plan, window="full"))["window"] == "full"


def test_on_a_card_shapes_are_fixed(plan):
    class Card(GpuChoice):
        def device(self, engine: str) -> str:
            return "cuda"

    card = Card(**{name: getattr(plan.card, name) for name in plan.card.__dataclass_fields__})
    assert whisper(replace(plan, card=card))["window"] == "full"


def test_who_insists_is_warned(plan, caplog):
    assert whisper(with_asr(plan, window="speech"))["window"] == "speech"
    assert not caplog.messages
    other = with_asr(replace(plan, whisper=Path("/models/whisper-small")), window="speech")
    assert whisper(other)["window"] == "speech"
    assert "whisper-small is not known to be made for that" in caplog.text
