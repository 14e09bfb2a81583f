from __future__ import annotations

import json
from typing import Any

import pytest
from wyoming.error import Error
from wyoming.info import Attribution, Info, IntentProgram, TtsProgram

from tests.cli.conftest import Command
from tests.conftest import RunningServer
from tests.scripted_server import Peer
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


def test_a_running_server_is_asked_for_all_that_it_offers(command: Command, server: RunningServer) -> None:
    outcome = command("doctor", "--server", server.uri)
    assert outcome.status == 0, outcome.out
    lines = outcome.out.splitlines()
    for topic in ("Server", "Speech", "Recognition", "Understanding", "Wake words"):
        [line] = [line for line in lines if line[8:].startswith(topic)]
        assert line.startswith(("ok", "note" if topic == "Server" else "ok")), line
    assert "Quelle heure est-il ?" in outcome.out or "What time is it?" in outcome.out
    assert lines[-1] == "No problems."


async def has_lost_its_engines(peer: Peer) -> None:
    maker = Attribution(name="", url="")
    tts = TtsProgram(name="p", attribution=maker, installed=True, description=None, version=None, voices=[])
    intent = IntentProgram(name="i", attribution=maker, installed=True, description=None, version=None, models=[])
    if (await peer.read_until("describe", "synthesize", "transcript")).type == "describe":
        await peer.send(Info(tts=[tts], intent=[intent]))
    else:
        await peer.send(Error(text="its worker has died", code="engine-lost"))


def test_what_a_running_server_can_not_do_is_a_problem(command: Command, scripted: Any) -> None:
    outcome = command("doctor", "--server", scripted(has_lost_its_engines).uri, "--json")
    findings = {entry["topic"]: entry for entry in map(json.loads, outcome.out.splitlines())}
    assert outcome.status == 1
    assert set(findings) == {"Server", "Speech", "Understanding"}
    for topic in ("Speech", "Understanding"):
        assert findings[topic]["state"] == "problem"
        assert "its worker has died (engine-lost)" in findings[topic]["text"]
        assert findings[topic]["remedy"]


def test_no_server_there_is_a_problem_and_no_address_a_wrong_option(command: Command) -> None:
    outcome = command("doctor", "--server", "tcp://127.0.0.1:1")
    assert outcome.status == 1
    assert "cannot connect to tcp://127.0.0.1:1" in outcome.out
    assert command("doctor", "--server", "nonsense").status == 2
