"""What points back to the last command: "éteins-la", "turn it off", "et le salon aussi", "and the kitchen too"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.home import Home, domain_of, fold
from wyoming_superwhisper.intents_text import SpokenLanguage, language_of, spoken_language

TARGET_SLOTS = ("name", "area", "floor", "preferred_area_id")
"""Slots that say where or what; all others say what to do with it."""

_SWITCHED = frozenset({"light", "switch", "fan", "media_player", "input_boolean", "climate"})
_COVERS = frozenset({"cover", "valve"})
_MEDIA = frozenset({"media_player"})
_DOMAINS: dict[str, frozenset[str]] = {
    "HassClimateGetTemperature": frozenset({"climate"}),
    "HassClimateSetTemperature": frozenset({"climate"}),
    "HassFanSetSpeed": frozenset({"fan"}),
    "HassLightSet": frozenset({"light"}),
    "HassMediaNext": _MEDIA,
    "HassMediaPause": _MEDIA,
    "HassMediaPlayerMute": _MEDIA,
    "HassMediaPlayerUnmute": _MEDIA,
    "HassMediaPrevious": _MEDIA,
    "HassMediaSearchAndPlay": _MEDIA,
    "HassMediaUnpause": _MEDIA,
    "HassSetPosition": _COVERS,
    "HassSetVolume": _MEDIA,
    "HassSetVolumeRelative": _MEDIA,
    "HassTurnOff": _SWITCHED | _COVERS,
    "HassTurnOn": _SWITCHED | _COVERS,
}
"""Intents that may be said of another target, and of which kinds of device. Locks never: they are said in full."""


_OF_WINDOWS = ("shutter", "blind", "shade", "curtain")
"""Kinds of cover that let nobody in."""


class FollowUps:
    """Reads a sentence against the last command of the same conversation."""

    def __init__(self, language: str, home: Home) -> None:
        self._spoken = spoken_language(language)
        self._rules = _rules(language_of(language))
        self._home = home

    def with_target(self, words: str, last: IntentCall) -> list[str]:
        """The sentences that put what was meant last in the place of a pronoun."""
        target = self._phrase(last)
        if not target:
            return []
        found = []
        for pattern, replacement in self._rules.pronouns:
            if match := pattern.match(words):
                found.append(" ".join(match.expand(replacement).replace("{target}", target).split()))
        return found

    def with_kind(self, words: str, last: IntentCall) -> str:
        """The sentence with the kind of thing named last in the place of "celle", "the one"; "": no such word."""
        kind = self._kind(last)
        phrase = " ".join(self._spoken.phrases.get(kind, "").replace("{area}", "").split())
        return self._rules.that_kind.sub(phrase, words) if phrase and self._rules.that_kind.search(words) else ""

    def only_target(self, words: str) -> str:
        """What is left of a sentence that only names another target ("et le salon aussi"); "": it is none."""
        without = self._rules.after.sub("", words).strip(" ,")
        bare = self._rules.before.sub("", without).strip(" ,")
        return bare if bare != words.strip() else ""

    def for_target(self, last: IntentCall, words: str) -> dict[str, Any] | None:
        """The last command's slots for the target that these words name, and nothing else; None: they don't."""
        allowed = _DOMAINS.get(last.name)
        if allowed is None:
            return None
        place, lights = self._without_lights(self._bare(words))
        kept = {key: value for key, value in last.slots.items() if key not in TARGET_SLOTS}
        meant = self.domain(last.slots)
        if lights:
            if meant not in (None, "light") or "light" not in allowed:
                return None
            kept["domain"], meant = "light", "light"
        if not lights and (like := self._alike(last, place, allowed)):
            return {**like, **kept}
        for kind, named in (("area", self._home.areas_named(place)), ("floor", self._home.floors_named(place))):
            if len(named) == 1 and self._wide(kept, last, meant):
                return {kind: named[0].name, **kept}
        return None if lights else self._device(place, kept, last, allowed, meant)

    def domain(self, slots: Mapping[str, Any]) -> str | None:
        """The one domain of what these slots mean, if it is one."""
        if isinstance(domain := slots.get("domain"), str):
            return domain
        domains = {domain_of(device.id) for device in self._home.devices_named(str(slots.get("name", "")))}
        return domains.pop() if len(domains) == 1 else None

    def _wide(self, kept: dict[str, Any], last: IntentCall, meant: str | None) -> bool:
        """Whether the command can be said of a whole room; a device's command then becomes that of its kind."""
        if "name" in last.slots and "domain" not in kept and last.name in ("HassTurnOn", "HassTurnOff", "HassLightSet"):
            if meant not in ("light", "fan", "cover"):
                return False
            kept["domain"] = meant
            if meant == "cover":
                kept["device_class"] = self._classes(last)
        return True

    def _classes(self, last: IntentCall) -> str | list[str]:
        """What kind of cover was meant last: of a whole room no gate is moved because a shutter was."""
        classes = {device.device_class for device in self._home.devices_named(str(last.slots.get("name", "")))}
        return classes.pop() if len(classes) == 1 and "" not in classes else list(_OF_WINDOWS)

    def _alike(self, last: IntentCall, place: str, allowed: frozenset[str]) -> dict[str, Any]:
        """The device of the same name in another room ("celui du salon aussi"); empty: there is none."""
        areas = self._home.areas_named(place)
        if len(areas) != 1:
            return {}
        for device in self._home.devices_named(str(last.slots.get("name", ""))):
            for name in (device.name, *device.aliases):
                there = [one for one in self._home.devices_named(name) if one.area == areas[0].id]
                if len(there) == 1 and domain_of(there[0].id) in allowed:
                    return {"name": name, "area": areas[0].name}
        return {}

    def _device(
        self, said: str, kept: dict[str, Any], last: IntentCall, allowed: frozenset[str], meant: str | None
    ) -> dict[str, Any] | None:
        devices = self._home.devices_named(said)
        domains = {domain_of(device.id) for device in devices}
        if not devices or not domains <= allowed or (meant in _COVERS) != bool(domains & _COVERS):
            return None
        rest = {key: value for key, value in kept.items() if key not in ("domain", "device_class")}
        names = {device.name for device in devices}
        slots: dict[str, Any] = {"name": names.pop() if len(names) == 1 else said, **rest}
        if "preferred_area_id" in last.slots:
            slots["preferred_area_id"] = last.slots["preferred_area_id"]
        return slots

    def _bare(self, words: str) -> str:
        while (shorter := self._rules.article.sub("", words, count=1).strip()) != words and not self._known(words):
            words = shorter
        return words

    def _known(self, words: str) -> bool:
        home = self._home
        return bool(home.areas_named(words) or home.floors_named(words) or home.devices_named(words))

    def _without_lights(self, words: str) -> tuple[str, bool]:
        if self._known(words):
            return words, False
        shorter = self._rules.lights.sub("", words).strip()
        return (self._bare(shorter), True) if shorter != words else (words, False)

    def _phrase(self, call: IntentCall) -> str:
        slots = call.slots
        place = str(slots.get("area") or slots.get("floor") or "")
        if call.name not in _DOMAINS and call.name != "HassGetState":
            return ""
        if name := slots.get("name"):
            return f"{name} {place}".strip()
        kind = self._kind(call)
        if not place:
            return ""
        return self._spoken.phrases.get(kind, "").replace("{area}", fold(place))

    def _kind(self, call: IntentCall) -> str:
        """What a call is about, as the table of phrases has it; "": none of that."""
        if call.name in ("HassClimateSetTemperature", "HassClimateGetTemperature"):
            return "temperature"
        device_class = call.slots.get("device_class")
        kind = device_class[0] if isinstance(device_class, list) and device_class else device_class
        kind = kind or self.domain(call.slots)
        return kind if isinstance(kind, str) else ""


class _Rules:
    """A language's words that point back, compiled."""

    def __init__(self, spoken: SpokenLanguage) -> None:
        def ignoring_case(pattern: str) -> re.Pattern[str]:
            return re.compile(pattern, re.IGNORECASE)

        self.before = ignoring_case(rf"^(?:(?:{spoken.also_before})(?!\w)[\s,]*)+")
        self.after = ignoring_case(rf"(?:[\s,]*(?<!\w)(?:{spoken.also_after}))+$")
        self.article = ignoring_case(rf"^(?:{spoken.articles})(?:(?<=')|(?!\w))\s*")
        self.lights = ignoring_case(rf"^(?:{spoken.lights})(?!\w)|(?<!\w)(?:{spoken.lights})$")
        self.that_kind = ignoring_case(spoken.that_kind)
        self.pronouns = tuple((ignoring_case(pattern), new) for pattern, new in spoken.pronouns)


@lru_cache(maxsize=64)
def _rules(language: str) -> _Rules:
    return _Rules(spoken_language(language))
