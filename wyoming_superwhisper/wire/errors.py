"""A peer that is gone, and framing that is lost."""

from __future__ import annotations

from typing import NoReturn

from wyoming_superwhisper.errors import SuperwhisperError


class Disconnected(ConnectionResetError):
    """The peer is gone. Not an error to report: there is nobody to report it to."""


class TruncatedEvent(Disconnected):
    """The peer ended its stream in the middle of an event."""


def lose(error: SuperwhisperError, cause: Exception | None = None) -> NoReturn:
    """Raise an error after which nothing more can be read."""
    error.framing_lost = True
    raise error from cause
