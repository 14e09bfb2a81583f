"""What a language model wrote, read back: intent calls, checked once more against the home."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.engines.llm_grammar import (
    DEVICE_CLASSES,
    MAX_CALLS,
    VALUE_CHECKS,
    CallForm,
    admitted_forms,
)
from wyoming_superwhisper.engines.llm_home import Home, HomeArea


def is_call(text: str) -> bool:
    """Whether an answer that begins so is a call (or several), not free text."""
    return text.lstrip()[:1] in ("{", "[")


def parse_calls(text: str, home: Home) -> tuple[IntentCall, ...]:
    """The calls that a whole answer stands for, their names as the home spells them.

    Empty if it is no call, is cut short, or names an intent, slot, value, area or device that isn't admitted:
    nothing is ever done by half.
    """
    try:
        data = json.loads(text)
    except ValueError:
        return ()
    entries = data if isinstance(data, list) else [data]
    calls = [_checked_call(entry, home) for entry in entries[: MAX_CALLS + 1]]
    if not calls or len(calls) > MAX_CALLS or not all(calls):
        return ()
    return tuple(call for call in calls if call is not None)


def aimed_at(calls: Iterable[IntentCall], home: Home, area_id: str | None) -> tuple[IntentCall, ...]:
    """The calls, those that say neither device nor place aimed at the room the speaker is in, if it is known."""
    area = home.area_of_id(area_id) if area_id else None
    if area is None:
        return tuple(calls)
    return tuple(
        replace(call, slots={**call.slots, "area": area.name}) if lacks_target(call) else call for call in calls
    )


def placed_as_said(calls: Iterable[IntentCall], home: Home, text: str) -> tuple[IntentCall, ...]:
    """The calls in the places that the sentence names, where it names any; empty if that can't be.

    A model may confuse two rooms, forget the one that was named, or take "it's like a cave in here" for the cellar:
    what was said counts.
    """
    placed: list[IntentCall] = []
    compared = home.areas_compared(text)
    for call in calls:
        said = home.areas_said(text, str(call.slots.get("name", "")))
        if not said and call.slots.get("area") in compared:
            call = replace(call, slots={slot: value for slot, value in call.slots.items() if slot != "area"})
        is_elsewhere = "area" in call.slots and call.slots["area"] not in {area.name for area in said}
        if not said or not (is_elsewhere or lacks_target(call)):
            placed.append(call)
        elif is_elsewhere and (len(said) > 1 or not _may_be_in(call, said[0], home)):
            return ()
        else:
            placed += [replace(call, slots={**call.slots, "area": area.name}) for area in said]
    return tuple(placed[:MAX_CALLS])


def _may_be_in(call: IntentCall, area: HomeArea, home: Home) -> bool:
    """Whether what a call names, if it names anything, is in that area or nowhere in particular."""
    if "name" not in call.slots:
        return True
    return any(one.area in ("", area.id) for one in home.devices if one.name == call.slots["name"])


def lacks_target(call: IntentCall) -> bool:
    """Whether a call that concerns a place says neither device nor place: it would concern the whole house."""
    return not {"name", "area", "floor"} & call.slots.keys() and not call.name.startswith("HassGet")


def call_text(slots: Mapping[str, Any]) -> str:
    """A call as the model writes it, from its members in order (`intent` first)."""
    return json.dumps(dict(slots), ensure_ascii=False)


def _checked_call(entry: object, home: Home) -> IntentCall | None:
    if not isinstance(entry, dict):
        return None
    for form in admitted_forms(home):
        if entry.get("intent") in form.intents and (slots := _checked_slots(entry, form, home)) is not None:
            return IntentCall(str(entry["intent"]), slots)
    return None


def _checked_slots(entry: Mapping[str, Any], form: CallForm, home: Home) -> dict[str, Any] | None:
    """The slots by their canonical names, or None where one doesn't fit the form and the home."""
    values = {slot: entry[slot] for slot, rule in form.values if _has_value(entry, slot, rule)}
    target = _checked_target(entry, form, home)
    if target is None or len(values) != (1 if form.values else 0):
        return None
    known = {"intent", *values, *target}
    return {**target, **values} if set(entry) == known else None


def _checked_target(entry: Mapping[str, Any], form: CallForm, home: Home) -> dict[str, Any] | None:
    target: dict[str, Any] = {}
    area = home.area_called(str(entry["area"])) if "area" in entry else None
    if "area" in entry:
        if area is None or not form.in_area:
            return None
        target["area"] = area.name
    if "name" in entry:
        named = [one for one in home.devices_called(str(entry["name"])) if one.domain in form.named]
        fitting = [one for one in named if area is None or one.area in ("", area.id)]
        return {"name": fitting[0].name, **target} if fitting else None
    if "domain" in entry:
        if entry["domain"] not in form.domains or (home.devices and entry["domain"] not in home.domains):
            return None
        return {"domain": entry["domain"], **_device_class(entry), **target}
    return target if form.aimless else None


def _device_class(entry: Mapping[str, Any]) -> dict[str, Any]:
    fits = entry["domain"] == "cover" and entry.get("device_class") in DEVICE_CLASSES
    return {"device_class": entry["device_class"]} if fits else {}


def _has_value(entry: Mapping[str, Any], slot: str, rule: str) -> bool:
    value = entry.get(slot)
    return isinstance(value, int | float | str) and not isinstance(value, bool) and VALUE_CHECKS[rule](value)
