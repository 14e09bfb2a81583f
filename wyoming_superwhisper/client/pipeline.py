"""Turns by `run-pipeline`: how one is asked for, and when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wyoming.audio import AudioStop
from wyoming.event import Event
from wyoming.intent import Intent, IntentsStart
from wyoming.pipeline import PipelineStage, RunPipeline

from wyoming_superwhisper.client.answer import ANSWERS


class TurnEnd:
    """Knows, from a server's events, when a turn by `run-pipeline` is over (`docs/protocol.md`)."""

    def __init__(
        self, end_stage: PipelineStage = PipelineStage.TTS, start_stage: PipelineStage = PipelineStage.ASR
    ) -> None:
        self.reached = False
        self._last = _ENDS[end_stage]
        self._answered = start_stage is PipelineStage.TTS
        self._several = False

    def watch(self, event: Event) -> None:
        """Take the next event of the server."""
        if event.type in ANSWERS:
            self._answered = True
        elif IntentsStart.is_type(event.type):
            self._several = True
        unanswered = AudioStop.is_type(event.type) and not self._answered
        one_of_several = Intent.is_type(event.type) and self._several
        self.reached = event.type in self._last and not (unanswered or one_of_several)


_ENDS: dict[PipelineStage, frozenset[str]] = {
    PipelineStage.WAKE: frozenset({"detection", "not-detected"}),
    PipelineStage.ASR: frozenset({"transcript", "not-detected"}),
    PipelineStage.INTENT: ANSWERS | {"intent", "intents-stop", "not-detected"},
    PipelineStage.HANDLE: ANSWERS | {"not-detected"},
    PipelineStage.TTS: frozenset({"audio-stop", "not-detected"}),
}


def pipeline_request(
    start_stage: PipelineStage = PipelineStage.ASR,
    end_stage: PipelineStage = PipelineStage.TTS,
    language: str | None = None,
    conversation: str | None = None,
    name: str | None = None,
    area: str | None = None,
) -> Event:
    """The `run-pipeline` event with our own optional fields."""
    event: Event = RunPipeline(start_stage=start_stage, end_stage=end_stage).event()
    shared = without_empty({"language": language, "name": name, "area": area})
    context = shared | without_empty({"conversation_id": conversation})
    event.data |= shared | without_empty({"context": context})
    return event


def without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say something."""
    return {key: value for key, value in values.items() if value}
