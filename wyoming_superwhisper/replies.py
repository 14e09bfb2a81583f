"""Replies of the sentence packs, rendered to plain words where nothing is needed that only Home Assistant knows.

The templates are the pack's own (`home-assistant-intents`), never text of a user or a model; Jinja's sandbox runs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)


def render(template: str, slots: Mapping[str, Any], domain: str | None = None) -> str | None:
    """The reply in plain words; None where the template asks for more than `slots` and the device's domain."""
    try:
        text = _compiled(template).render(slots=slots, state=_State(domain))
    except (jinja2.TemplateError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError):
        return None
    return " ".join(text.split())


@lru_cache(maxsize=512)
def _compiled(template: str) -> jinja2.Template:
    return _ENVIRONMENT.from_string(template)


class _State:
    """What is known here of the device that was meant: its domain at most. Any other use is an error."""

    def __init__(self, domain: str | None) -> None:
        if domain:
            self.domain = domain

    def __eq__(self, other: object) -> bool:
        raise jinja2.UndefinedError("a state is known to Home Assistant only")

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise jinja2.UndefinedError("a state is known to Home Assistant only")

    def __str__(self) -> str:
        raise jinja2.UndefinedError("a state is known to Home Assistant only")
