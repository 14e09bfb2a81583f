"""Replies of the sentence packs, rendered to plain words where nothing is needed that only Home Assistant knows.

The templates are the pack's own (`home-assistant-intents`), never text of a user or a model; Jinja's sandbox runs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2


def render(template: str, slots: Mapping[str, Any], domain: str | None = None) -> str | None:
    """The reply in plain words; None where the template asks for more than `slots` and the device's domain."""
    from jinja2 import TemplateError

    try:
        text = _compiled(template).render(slots=slots, state=_State(domain))
    except (TemplateError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError):
        return None
    return " ".join(text.split())


@lru_cache(maxsize=512)
def _compiled(template: str) -> jinja2.Template:
    return environment().from_string(template)


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """Jinja's sandbox. Made when first asked for: a server must listen before it imports Jinja."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined)


class _Unknown(LookupError):
    """A template asked for what only Home Assistant knows."""


class _State:
    """What is known here of the device that was meant: its domain at most. Any other use is an error."""

    def __init__(self, domain: str | None) -> None:
        if domain:
            self.domain = domain

    def __eq__(self, other: object) -> bool:
        raise _Unknown

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise _Unknown

    def __str__(self) -> str:
        raise _Unknown
