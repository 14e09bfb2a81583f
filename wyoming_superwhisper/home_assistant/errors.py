"""What can be wrong with a Home Assistant, one class for each thing that can be done about it."""

from __future__ import annotations

from wyoming_superwhisper.errors import SuperwhisperError


class HomeAssistantError(SuperwhisperError):
    """Base: `str(error)` is a sentence fit for a log or the doctor. It never holds the token."""


class Unreachable(HomeAssistantError):
    """Nobody answers at the address, or not as Home Assistant does; nothing was sent that could have had an effect."""


class ConnectionEnded(HomeAssistantError):
    """The connection broke off, or its answer didn't come in time; nobody knows what became of the request."""


class TokenRefused(HomeAssistantError):
    """Home Assistant does not accept the token, or nothing at all from this machine any more."""


class RightsMissing(HomeAssistantError):
    """Home Assistant accepts the token, but not for this."""


class RequestFailed(HomeAssistantError):
    """Home Assistant answered that it can't or won't do this."""

    def __init__(self, text: str, kind: str = "") -> None:
        """`kind`: Home Assistant's own code of the error, or the HTTP status."""
        super().__init__(text)
        self.kind = kind
