"""The figures and the page they are on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from wyoming_superwhisper.observer import CardFigures, JobRecord, Usage
from wyoming_superwhisper.operations.metrics import Metrics

CONTRACT = (
    "connections", "connections_total", "events_total", "errors_total", "requests_total", "request_seconds",
    "turn_seconds", "guesses_total", "queue_length", "jobs_running", "jobs_cancelled_total", "batch_size",
    "engine_seconds", "llm_tokens_total", "real_time_factor", "worker_restarts_total", "worker_memory_bytes",
    "gpu_memory_bytes", "gpu_utilization", "gpu_temperature_celsius", "state",
)  # fmt: skip
"""Names that dashboards outside the project rely on."""

DASHBOARD = Path(__file__).parent.parent.parent / "deploy" / "grafana" / "dashboard.json"


@dataclass
class Worker:
    name: str = "whisper"
    restarts: int = 2
    recycled: int = 1
    running: int = 3

    def waiting_by_kind(self) -> dict[str, int]:
        return {"final": 4, "guess": 5}


def filled() -> Metrics:
    """One of everything."""
    metrics = Metrics()
    metrics.connection("accepted")
    metrics.connection_opened()
    metrics.connection_evicted()
    metrics.event("ping", "ok")
    metrics.event("made-up by a client", "bad-event")
    metrics.error("bad-event")
    metrics.request("asr", "ok", 0.3, "0123abcd")
    metrics.request("asr", "left", None, "")
    metrics.stage("speech", 0.7, "0123abcd")
    metrics.guess("asr", kept=True)
    metrics.guess("asr", kept=False)
    metrics.job(JobRecord("whisper", "", 0.5, waited_s=0.1, turn="0123abcd", batch=2, audio_s=2.0))
    metrics.job(JobRecord("llama", "", 2.0, tokens=50))
    metrics.job(JobRecord("llama", "cancelled", 0.1))
    metrics.job(JobRecord("piper", "engine-lost", 0.1))
    usage = Usage({"whisper": 1000}, {"whisper": 2000}, CardFigures(0.5, 61.0, 3, 4))
    metrics.watch([Worker()], lambda: "ready", lambda: usage)
    return metrics


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    text = metrics.page()[0].decode()
    return {
        (sample.name.removeprefix("wyoming_superwhisper_"), *sorted(sample.labels.values())): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def test_every_name_of_the_contract_is_there() -> None:
    names = {name for name, *_ in samples(filled())}
    for name in CONTRACT:
        assert name in names or f"{name}_count" in names, name


def test_what_was_told_is_what_is_shown() -> None:
    found = samples(filled())
    assert found["connections",] == found["connections_total", "accepted"] == found["connections_evicted_total",] == 1
    assert found["events_total", "bad-event", "other"] == 1
    assert found["requests_total", "asr", "ok"] == found["requests_total", "asr", "left"] == 1
    assert found["request_seconds_count", "asr"] == 1
    assert found["request_seconds_bucket", "0.3", "asr"] == 1
    assert found["guesses_total", "asr", "kept"] == found["guesses_total", "asr", "dropped"] == 1
    assert found["queue_length", "guess", "whisper"] == 5
    assert (found["jobs_running", "whisper"], found["worker_restarts_total", "whisper"]) == (3, 2)
    assert found["jobs_cancelled_total", "llama"] == found["job_errors_total", "engine-lost", "piper"] == 1
    assert (found["batch_size_sum", "whisper"], found["real_time_factor_sum", "whisper"]) == (2, 0.25)
    assert (found["llm_tokens_total",], found["llm_tokens_per_second_sum",]) == (50, 25)
    assert (found["gpu_memory_bytes", "whisper"], found["gpu_utilization",]) == (2000, 0.5)
    assert (found["state", "ready"], found["state", "starting"]) == (1, 0)


def test_openmetrics_carries_the_turns_ids() -> None:
    page, content_type = filled().page("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    families = list(parse_openmetrics(page.decode()))
    exemplars = [sample.exemplar for family in families for sample in family.samples if sample.exemplar]
    assert {exemplar.labels["turn"] for exemplar in exemplars} == {"0123abcd"}


def test_the_dashboard_asks_for_nothing_that_is_not_there() -> None:
    names = {name for name, *_ in samples(filled())}
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert len(asked) > 15
    for expression in asked:
        used = {word for word in _words(expression) if word.startswith("wyoming_superwhisper_")}
        assert used, expression
        assert {word.removeprefix("wyoming_superwhisper_") for word in used} <= names, expression


def _words(expression: str) -> list[str]:
    return "".join(letter if letter.isalnum() or letter == "_" else " " for letter in expression).split()
