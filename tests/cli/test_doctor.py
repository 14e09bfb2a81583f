from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Command
from wyoming_superwhisper.doctor import examination
from wyoming_superwhisper.doctor.finding import Finding, State


def test_the_report_prints_each_finding_and_ends_with_their_number(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = [Finding("A", State.OK, "fine"), Finding("B", State.PROBLEM, "broken", "mend it")]
    monkeypatch.setattr(examination, "examine", lambda _: iter(findings))
    outcome = command("doctor")
    assert outcome.status == 1
    assert "B              broken" in outcome.out
    assert "→ mend it" in outcome.out
    assert outcome.out.endswith("1 problem: see above.\n")
    entries = [json.loads(line) for line in command("doctor", "--json").out.splitlines()]
    assert entries[2] == {"topic": "B", "state": "problem", "text": "broken", "remedy": "mend it"}
    monkeypatch.setattr(examination, "examine", lambda _: iter(findings[:1]))
    assert command("doctor").status == 0
    wrong = command("doctor", "--set", "asr.modle=x")
    assert wrong.status == 2
    assert "did you mean asr.model" in wrong.out
