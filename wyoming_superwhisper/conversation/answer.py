"""What comes out: intents to execute, pieces of an answer, or the word that there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from wyoming_superwhisper.engines.base import IntentCall


@dataclass(frozen=True, slots=True)
class Intents:
    """Intents for the client to execute. Nothing was done here."""

    calls: tuple[IntentCall, ...]
    by: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """A piece of an answer that is handled; the pieces together are the whole text."""

    text: str
    action: Literal["", "stop"] = ""
    """What a satellite should do besides speaking: "stop" ends playback and ringing."""
    by: str = field(default="", compare=False)
    """Who answered: "assistant", "intent:NAME" or "llm:MODEL"."""


@dataclass(frozen=True, slots=True)
class NotHandled:
    """Understood, but not done; the text says why."""

    text: str
    by: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class NotRecognized:
    """Not understood."""

    text: str
    by: str = field(default="", compare=False)


Part = Intents | Answer | NotHandled | NotRecognized
"""One of: a single `Intents`; one or more `Answer`; a single `NotHandled`; a single `NotRecognized`."""
