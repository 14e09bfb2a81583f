"""What comes back: the sound of a reply, and what a server made of a sentence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from wyoming.audio import AudioChunk, AudioStop
from wyoming.event import Event
from wyoming.handle import Handled, HandledChunk, NotHandled
from wyoming.intent import Intent, IntentsStart, IntentsStop, NotRecognized

from wyoming_superwhisper.audio import AudioFormat
from wyoming_superwhisper.client.connection import Connection, parsed
from wyoming_superwhisper.errors import BadData

ANSWERS = frozenset({"handled", "not-handled", "not-recognized"})
"""The events of which one carries the reply of a turn."""


@dataclass(frozen=True, slots=True)
class SpokenChunk:
    """A piece of a synthesised reply, as it comes."""

    audio: bytes
    format: AudioFormat


Outcome = Literal["handled", "intents", "not-recognized", "not-handled"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server made of a sentence."""

    outcome: Outcome
    text: str
    """The reply in words; with several intents, one line each."""
    intents: tuple[Intent, ...] = ()
    """What the client is to execute, where `outcome` is "intents"."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """The server's own remarks: `conversation_id`, `answered_by`."""

    @property
    def answered_by(self) -> str:
        """The intent or model that answered, as `intent:NAME` or `llm:MODEL`; "" where the server doesn't say."""
        return str(self.context.get("answered_by") or "")


def chunk_format(event: Event) -> AudioFormat:
    """The format that an `audio-start` or `audio-chunk` states. Raises `BadData`, `BadFormat`."""
    data = event.data or {}
    try:
        return AudioFormat(data["rate"], data["width"], data["channels"])
    except KeyError as error:
        raise BadData(f"{event.type} has no {error.args[0]}") from error


async def read_speech(connection: Connection) -> AsyncIterator[SpokenChunk]:
    """The pieces of a synthesised text, up to its end."""
    while True:
        event = await connection.receive()
        if AudioStop.is_type(event.type):
            return
        if AudioChunk.is_type(event.type) and event.payload:
            yield SpokenChunk(event.payload, chunk_format(event))


async def read_answer(connection: Connection, on_text: Callable[[str], None] | None) -> Answer:
    """What comes back for one sentence."""
    several = False
    intents: list[Intent] = []
    while True:
        event = await connection.receive()
        if HandledChunk.is_type(event.type) and on_text is not None:
            on_text(parsed(HandledChunk, event).text)
        elif IntentsStart.is_type(event.type):
            several = True
        elif Intent.is_type(event.type):
            intents.append(parsed(Intent, event))
        elif event.type in ANSWERS:
            return _worded_answer(event)
        if intents and (not several or IntentsStop.is_type(event.type)):
            texts = dict.fromkeys(intent.text for intent in intents if intent.text)
            return Answer("intents", "\n".join(texts), tuple(intents), intents[0].context or {})


def _worded_answer(event: Event) -> Answer:
    kind, outcome = _WORDED[event.type]
    answer = parsed(kind, event)
    return Answer(outcome, answer.text or "", context=answer.context or {})


_WORDED: dict[str, tuple[type[Any], Outcome]] = {
    "handled": (Handled, "handled"),
    "not-handled": (NotHandled, "not-handled"),
    "not-recognized": (NotRecognized, "not-recognized"),
}
