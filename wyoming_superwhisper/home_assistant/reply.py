"""Replies that need a state: the sentence pack's own templates, filled with states that Home Assistant told.

Only templates of the pack are run, in Jinja's sandbox; names and states go in as values, never as templates.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wyoming_superwhisper import replies
from wyoming_superwhisper.home_assistant.names import clean
from wyoming_superwhisper.home_assistant.states import EntityState

MOST_CHARS = 1_000
"""Longest reply."""


@dataclass(frozen=True, slots=True)
class Found:
    """The entities that an intent was about: those in the state that was asked for, and the others."""

    matched: tuple[EntityState, ...] = ()
    unmatched: tuple[EntityState, ...] = ()

    @classmethod
    def of(cls, states: Iterable[EntityState], wanted: Any) -> Found:
        """`wanted`: the state or states asked for; None: any."""
        names = {wanted} if isinstance(wanted, str) else set(wanted or ())
        everything = tuple(states)
        return cls(
            tuple(one for one in everything if not names or one.state in names),
            tuple(one for one in everything if names and one.state not in names),
        )


def render(template: str, slots: Mapping[str, Any], found: Found, precision: Mapping[str, int]) -> str | None:
    """The reply in plain words; None where the template can't be filled. `precision`: digits of sensors, by id."""
    from jinja2 import TemplateError

    matched = [_State(state, precision.get(state.entity_id)) for state in found.matched]
    unmatched = [_State(state, precision.get(state.entity_id)) for state in found.unmatched]
    known = [*matched, *unmatched]

    def state_attr(entity_id: str, name: str) -> Any:
        return next((one.attributes.get(name) for one in known if one.entity_id == entity_id), None)

    try:
        text = (
            replies.environment()
            .from_string(template)
            .render(
                slots=dict(slots),
                state=known[0] if known else None,
                query={"matched": matched, "unmatched": unmatched},
                state_attr=state_attr,
            )
        )
    except (TemplateError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError):
        return None
    return " ".join(text.split())[:MOST_CHARS] or None


class _State:
    """An entity as the templates see it."""

    def __init__(self, state: EntityState, digits: int | None) -> None:
        self.entity_id = state.entity_id
        self.domain = state.domain
        self.object_id = state.entity_id.partition(".")[2]
        self.name = clean(state.name)
        self.state = clean(state.state)
        self.attributes: dict[str, Any] = {key: _plain(value) for key, value in state.attributes.items()}
        unit = self.attributes.get("unit_of_measurement")
        rounded = _rounded(self.state, digits)
        self.state_with_unit = f"{rounded} {unit}" if unit else rounded

    def __eq__(self, other: object) -> bool:
        """A template that compares a state with a text means what the state is."""
        return other == self.state if isinstance(other, str) else self is other

    def __hash__(self) -> int:
        return hash(self.entity_id)

    def __str__(self) -> str:
        return self.state


def _rounded(state: str, digits: int | None) -> str:
    if digits is not None:
        with contextlib.suppress(ValueError):
            return f"{float(state):z.{digits}f}"
    return state


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    return [_plain(one) for one in value] if isinstance(value, Sequence) else value
