"""What is told of a call once it has ended."""

from __future__ import annotations

from typing import Any

from wyoming_superwhisper.engines.base import SAMPLE_RATE
from wyoming_superwhisper.engines.front.jobs import Job, Reply
from wyoming_superwhisper.errors import SuperwhisperError
from wyoming_superwhisper.observer import JobRecord


def record_of(engine: str, job: Job, outcome: Reply | SuperwhisperError, now: float) -> JobRecord:
    """The record of a job that ends now, with this outcome; it may have ended before it was begun."""
    started = job.started_at or now
    code = outcome.code if isinstance(outcome, SuperwhisperError) else ""
    figures = _figures(job, outcome) if isinstance(outcome, Reply) else {}
    waited_s, ran_s = started - job.submitted_at, now - started
    return JobRecord(engine, code, ran_s, waited_s, job.turn, **figures)


def _figures(job: Job, reply: Reply) -> dict[str, Any]:
    """What a reply says of the work: fields of `JobRecord`."""
    data = reply.data
    audio_s = 0.0
    if job.method == "transcribe":
        audio_s = len(job.payload) / (2 * SAMPLE_RATE)
    elif job.method == "speak" and data.get("sample_rate"):
        audio_s = len(reply.payload) / (2 * data["sample_rate"])
    tokens = data.get("tokens", 0) if job.method == "answer" else 0
    return {"batch": data.get("batch", 0), "audio_s": audio_s, "tokens": tokens}
