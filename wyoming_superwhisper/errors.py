"""The errors this package raises on purpose, each with the code a Wyoming `error` event carries.

The codes are part of the public contract; see `docs/protocol.md`.
"""

from __future__ import annotations

import os
from typing import ClassVar


class SuperwhisperError(Exception):
    """Base of all our errors: `str(error)` is a sentence fit for a user."""

    code: ClassVar[str] = "internal"
    framing_lost: bool = False
    """True: where the next event begins is not known any more; the connection must be closed (set by `wire`)."""


class BadJson(SuperwhisperError):
    """The bytes of an event are not JSON; the framing is lost."""

    code = "bad-json"


class BadEvent(SuperwhisperError):
    """An event's header is not what the protocol says, or the event makes no sense here."""

    code = "bad-event"


class BadData(SuperwhisperError):
    """A field of an event has a wrong type or value."""

    code = "bad-data"


class TooLarge(SuperwhisperError):
    """A peer announced or sent more bytes than the limits allow."""

    code = "too-large"


class BadFormat(SuperwhisperError):
    """Audio of a rate, width or channel count that is not accepted, or not whole frames."""

    code = "bad-format"


class Timeout(SuperwhisperError):
    """Something was not finished within its time limit."""

    code = "timeout"


class Busy(SuperwhisperError):
    """A queue or a connection limit is full; the same request may succeed later."""

    code = "busy"


class Stopping(SuperwhisperError):
    """The server is shutting down."""

    code = "stopping"


class UnknownVoice(SuperwhisperError):
    """A voice or speaker that is not advertised."""

    code = "unknown-voice"


class UnknownModel(SuperwhisperError):
    """A model, program or wake word that is not advertised."""

    code = "unknown-model"


class UnknownLanguage(SuperwhisperError):
    """A language that no engine here speaks."""

    code = "unknown-language"


class NoText(SuperwhisperError):
    """A request for speech or an answer came without any text."""

    code = "no-text"


class TooLong(SuperwhisperError):
    """An utterance or a text over the configured length."""

    code = "too-long"


class EngineLost(SuperwhisperError):
    """The worker process died while it worked on this request."""

    code = "engine-lost"


class EngineUnavailable(SuperwhisperError):
    """The engine is not loaded: it failed to load, or is not configured."""

    code = "engine-unavailable"


class OutOfMemory(SuperwhisperError):
    """The engine had not enough memory for this request."""

    code = "out-of-memory"


class NotAllowed(SuperwhisperError):
    """The settings forbid this to this peer."""

    code = "not-allowed"


class NotSupported(SuperwhisperError):
    """A part of the protocol that this server does not offer."""

    code = "not-supported"


class Internal(SuperwhisperError):
    """A fault of ours; the log has the details."""

    code = "internal"


class SettingsError(SuperwhisperError):
    """Wrong options or settings, a port in use, missing files: found before listening, exit status 2."""


class ModelError(SettingsError):
    """A model's files are missing or not what they should be; the sentence names the remedy."""


def system_reason(error: OSError) -> str:
    """Why the system refused, in its own words alone: asyncio's repeat the address, and bring its name for the call."""
    known = error.errno is not None and error.errno > 0  # what name servers say has numbers of its own, below 0
    return os.strerror(error.errno or 0) if known else error.strerror or str(error)


def from_code(code: str, text: str) -> SuperwhisperError:
    """The error for a code that came from a worker or a server; an unknown code gives `Internal`."""
    return _BY_CODE.get(code, Internal)(text)


_BY_CODE: dict[str, type[SuperwhisperError]] = {
    kind.code: kind
    for kind in (
        BadJson, BadEvent, BadData, TooLarge, BadFormat, Timeout, Busy, Stopping, UnknownVoice, UnknownModel,
        UnknownLanguage, NoText, TooLong, EngineLost, EngineUnavailable, OutOfMemory, NotAllowed, NotSupported,
        Internal,
    )
}  # fmt: skip
