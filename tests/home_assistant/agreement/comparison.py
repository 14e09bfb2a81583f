"""Whether our understanding of a sentence and that of Home Assistant's own agent come to the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.home_assistant.agreement.core import Core
from wyoming_superwhisper.engines.rules.hassil import HassilIntents
from wyoming_superwhisper.home import Home

TARGETS = frozenset({"name", "area", "floor", "preferred_area_id", "preferred_floor_id", "domain", "device_class"})
"""Slots that say which devices are meant: compared by the devices that Home Assistant's handlers find with them."""


@dataclass(frozen=True)
class Compared:
    """One sentence, understood twice."""

    text: str
    area: str | None
    theirs: list[tuple[str, dict[str, Any]]]
    ours: list[tuple[str, dict[str, Any]]]
    their_effects: Mapping[str, Any] = field(default_factory=dict)
    our_effects: Mapping[str, Any] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Same intents, same other slots, and the same devices by the handlers' own matching."""
        return [(name, _others(slots)) for name, slots in self.theirs] == [
            (name, _others(slots)) for name, slots in self.ours
        ] and _essence(self.their_effects) == _essence(self.our_effects)

    @property
    def verdict(self) -> str:
        """ "same", "differs", "missed" (only they understood), "more" (only we did) or "neither"."""
        if not self.theirs:
            return "more" if self.ours else "neither"
        if not self.ours:
            return "missed"
        return "same" if self.same else "differs"

    def __str__(self) -> str:
        lines = [f"{self.verdict}: {self.text!r} in {self.area}"]
        for who, calls, effects in (
            ("HA  ", self.theirs, self.their_effects),
            ("ours", self.ours, self.our_effects),
        ):
            lines.append(f"    {who} {' + '.join(f'{name}{slots}' for name, slots in calls)}  {_essence(effects)}")
        return "\n".join(lines)


def home_of(data: Mapping[str, Any]) -> Home:
    """The home as our settings hold it: without what only Home Assistant knows (states, features)."""
    ours = {"id", "name", "aliases", "area", "device_class"}
    devices = [{key: value for key, value in item.items() if key in ours} for item in data["devices"]]
    return Home.from_json({**data, "devices": devices})


class Comparison:
    """Asks both for one sentence after another."""

    def __init__(self, core: Core, intents: HassilIntents, language: str) -> None:
        self._core = core
        self._intents = intents
        self._language = language

    def of(self, text: str, area: str | None = None) -> Compared:
        """Both readings of a sentence said in a room, or nowhere."""
        theirs = self._core.say(text, self._language, area)
        ours = self._intents.recognize(text, self._language, area)
        effects = self._core.execute(ours, self._language, area) if ours else {}
        return Compared(
            text,
            area,
            [(call["name"], call["slots"]) for call in theirs["calls"]],
            [(call.name, dict(call.slots)) for call in ours],
            theirs["effects"],
            effects,
        )


def agreement(compared: Sequence[Compared]) -> float:
    """The share of sentences that come to the same, of those that Home Assistant's agent recognises."""
    known = [each for each in compared if each.theirs]
    return sum(each.same for each in known) / len(known) if known else 1.0


def _others(slots: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in slots.items() if name not in TARGETS}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(value.casefold().split())
    return float(value) if isinstance(value, int | float) else value


def _essence(effects: Mapping[str, Any]) -> tuple[Any, ...]:
    """What was done to which entities; where nothing was, what was looked at and whether it failed."""
    if done := effects.get("done"):
        return ([[service, ids] for service, ids, _ in done],)
    return (
        list(effects.get("matched", ())),
        list(effects.get("unmatched", ())),
        "error" in effects,
    )
