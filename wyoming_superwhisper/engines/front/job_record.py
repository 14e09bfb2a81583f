"""What is known of a call once it has ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from wyoming_superwhisper.engines.base import SAMPLE_RATE, Priority
from wyoming_superwhisper.engines.front.jobs import Job, Reply
from wyoming_superwhisper.errors import SuperwhisperError


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What became of a call; for metrics."""

    worker: str
    method: str
    priority: Priority
    code: str
    """"" if it was answered, "cancelled", else the code of its error."""
    waited_s: float
    """In the queue."""
    ran_s: float
    """In the worker."""
    turn: str = ""
    """Id of the turn it belongs to."""
    batch: int = 0
    """Calls it was worked on with, itself included, where the engine says."""
    audio_s: float = 0.0
    """Audio that went in or came out."""
    tokens: int = 0
    """Tokens that a language model wrote."""

    @classmethod
    def of(cls, worker: str, job: Job, outcome: Reply | SuperwhisperError, now: float) -> Self:
        """The record of a job that ends now, with this outcome; it may have ended before it was begun."""
        started = job.started_at or now
        code = outcome.code if isinstance(outcome, SuperwhisperError) else ""
        figures = _figures(job, outcome) if isinstance(outcome, Reply) else {}
        waited_s, ran_s = started - job.submitted_at, now - started
        return cls(worker, job.method, job.priority, code, waited_s, ran_s, job.turn, **figures)


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
