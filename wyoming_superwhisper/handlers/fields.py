"""Reads the fields of an event, checking the type of each before use.

Everything here raises `BadData` with a sentence that names the event and the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wyoming.event import Event

from wyoming_superwhisper.audio import AudioFormat
from wyoming_superwhisper.errors import BadData, TooLong

MAX_NAMES = 1_000
"""Longest list of names that a request may carry."""

MAX_NAME_CHARS = 1_000
"""Longest name (of a voice, a model, a language…) that is looked at."""


def text(event: Event, limit: int, field: str = "text") -> str:
    """A required string of at most `limit` characters; longer raises `TooLong`."""
    value = event.data.get(field)
    if not isinstance(value, str):
        raise _wrong(event, field, "a string", value)
    if len(value) > limit:
        raise TooLong(f"The text has {len(value)} characters; at most {limit} are accepted.")
    return value


def optional_text(event: Event, limit: int, field: str) -> str:
    """As `text`, where the field may be absent: "" then."""
    return "" if event.data.get(field) is None else text(event, limit, field)


def name(event: Event, field: str = "name") -> str | None:
    """An optional short string; "" counts as absent."""
    return name_in(event, event.data, field)


def name_in(event: Event, data: Mapping[str, Any], field: str) -> str | None:
    """As `name`, from a mapping inside the event's data."""
    value = data.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _wrong(event, field, "a string", value)
    if len(value) > MAX_NAME_CHARS:
        raise BadData(f"The field '{field}' of '{event.type}' has {len(value)} characters, over {MAX_NAME_CHARS}.")
    return value or None


def names(event: Event, field: str) -> tuple[str, ...]:
    """An optional list of short strings; absent gives ()."""
    value = event.data.get(field)
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_NAMES:
        raise _wrong(event, field, f"a list of at most {MAX_NAMES} strings", value)
    for item in value:
        if not isinstance(item, str) or len(item) > MAX_NAME_CHARS:
            raise _wrong(event, field, "a list of strings", value)
    return tuple(value)


def mapping(event: Event, field: str) -> Mapping[str, Any]:
    """An optional JSON object; absent gives {}."""
    value = event.data.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(event, field, "an object", value)
    return value


def flag(event: Event, field: str) -> bool:
    """An optional boolean; absent gives False."""
    value = event.data.get(field)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise _wrong(event, field, "true or false", value)
    return value


def integer(event: Event, field: str) -> int | None:
    """An optional whole number."""
    value = event.data.get(field)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise _wrong(event, field, "a whole number", value)
    return value


def audio_format(event: Event) -> AudioFormat:
    """The rate, width and channels of an audio event. Raises `BadFormat` for what is not accepted."""
    values = []
    for field in ("rate", "width", "channels"):
        value = event.data.get(field)
        if type(value) is not int:
            raise _wrong(event, field, "a whole number", value)
        values.append(value)
    return AudioFormat(*values)


def _wrong(event: Event, field: str, wanted: str, found: Any) -> BadData:
    what = "nothing" if found is None else type(found).__name__
    return BadData(f"The field '{field}' of '{event.type}' must be {wanted}, not {what}.")
