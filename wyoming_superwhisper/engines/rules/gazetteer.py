"""The second matcher for English, behind hassil as in Home Assistant: words and names found anywhere in a sentence.

`gazetteer-matcher` tags what it knows (verbs, kinds of device, the home's names, also misspelt) and accepts a sentence
only where one meaning fits all of it. It understands wordings that no template has, and two commands in one sentence.
"""

from __future__ import annotations

import importlib.resources
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from wyoming_superwhisper.config.settings import Area, Device, Floor
from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.home import Home, domain_of
from wyoming_superwhisper.intents_text import language_of

logger = logging.getLogger(__name__)

LANGUAGE = "en"
"""The one language that it has words for, as in Home Assistant."""

_DEFINITION = re.compile(r"\s*what(?:'s| is| are) an? ", re.IGNORECASE)
"""How a question begins that wants something explained ("what is a timer"): never about this home."""

MOST_IN_WORDS = 1_000

_FILLERS = frozenset({
    "a", "again", "an", "ahead", "back", "bit", "can", "could", "for", "go", "hello", "hey", "hi", "i", "just",
    "kindly", "like", "little", "lot", "maybe", "me", "mind", "more", "now", "ok", "okay", "please", "put", "right",
    "so", "some", "thank", "thanks", "that", "then", "to", "too", "want", "will", "would", "you",
})  # fmt: skip
"""Words that change nothing where they are left out."""

_QUESTIONS = ("HassGet", "HassClimateGet")
"""How the names of intents begin that ask for a state."""

_ASKS = re.compile(
    r"[^?]*\?|(?:(?:hey|hi|hello|ok|okay|so|and|well|please|just|kindly)\b[ ,]*)*(?:what|which|who|where|when|how|is"
    r"|are|isn't|aren't|was|were|do|does|did|has|have|can|could|will|would|may|any|tell|check|show|give|say|read|report"
    r"|find|see|look|let me know|i want to know|i'd like to know|i would like to know|i wonder|i need to know|status"
    r"|state)\b",
    re.IGNORECASE,
)
"""How a sentence goes that asks for a state. "The radio is too loud" tells of one."""

_NO_STATE = frozenset({"why"})
"""Words that ask for something else than a state."""

_WISHING = frozenset({"like", "want"})
"""Words that make a wish of what would be a question: "I'd like some light on the porch"."""

_TOLD = frozenset({"been", "did", "had", "he", "left", "she", "stayed", "they", "was", "were"})
"""Words that make of a bare "on" what was, or what others did: "somebody left the light on" is no wish for light."""

_OURS = frozenset({"i", "we", "you"})
_SWITCHED = frozenset({"switched", "turned"})
"""Beside one of us these tell of the past too; alone they wish: "I want the light turned off"."""

_IS = frozenset({"are", "is", "looks", "was", "were"})
"""Words after which an action is a quality: "the kitchen is clean"."""

_NAMED = ("name", "area", "floor")
"""Slots whose values are ids of the home."""


@dataclass(frozen=True, slots=True)
class Found:
    """One command that was found."""

    intent: str
    slots: Mapping[str, Any]
    """As Home Assistant's handlers take them."""
    spoken: Mapping[str, Any]
    """The same as a reply says them."""
    reply_key: str
    """Which of the sentence pack's replies fits."""
    domain: str | None
    """The kind of device that is meant, if it is one."""
    whole: bool
    """Whether it takes in every word that was said."""


class Gazetteer:
    """Reads English sentences. Not thread-safe, like hassil: it belongs to one worker's thread."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._known: Home | None = None
        self._matcher: Any = None
        self._absent = False

    @staticmethod
    def supports(language: str) -> bool:
        """Whether it has words for a language."""
        return language_of(language) == LANGUAGE

    def set_home(self, home: Home) -> None:
        """Replace the names; they are looked through when the next sentence comes."""
        self._home = home

    def prepare(self) -> None:
        """Make it now, so that no sentence waits for it (0.3 s)."""
        if self._matcher is not None or self._absent:
            return
        try:
            from gazetteer_matcher import GazetteerMatcher
        except ImportError as error:  # hassil alone understands most of it
            logger.warning("The second matcher for English is not available: %s", error)
            self._absent = True
            return
        self._matcher = GazetteerMatcher(vocabulary=_vocabulary(), home={"areas": {}, "floors": {}, "entities": {}})

    def read(self, text: str, area: str | None, previous: Sequence[IntentCall] = ()) -> list[Found]:
        """The commands in a sentence, in order; none where it isn't sure."""
        matcher = self._ready()
        if matcher is None:
            return []
        result = matcher.interpret(
            text,
            context_area=area if area in self._home.areas else None,
            previous_targets=self._targets(previous),
        )
        if not result.accepted or _DEFINITION.match(text):
            return []
        if any(frame.response_key is None or _overlooks(frame, result.tokens, text) for frame in result.frames):
            return []
        return [self._found(frame) for frame in result.frames]

    def _ready(self) -> Any:
        self.prepare()
        if self._matcher is not None and self._known is not self._home:
            self._matcher.set_home(_as_gazetteer(self._home))
            self._known = self._home
        return self._matcher

    def _found(self, frame: Any) -> Found:
        spoken = {slot: self._matcher.display_name(slot, value) for slot, value in frame.slots.items()}
        slots = {slot: self._value(slot, value) for slot, value in frame.slots.items()}
        named = frame.slots.get("name")
        domain = domain_of(named) if named in self._home.devices else frame.slots.get("domain")
        domain = domain if isinstance(domain, str) else None
        return Found(frame.intent, slots, spoken, frame.response_key, domain, not frame.unexplained_tokens)

    def _value(self, slot: str, value: Any) -> Any:
        """A name where only one thing answers to it, else the id, which Home Assistant's handlers take as well."""
        if slot not in _NAMED or not isinstance(value, str):
            return int(value) if isinstance(value, float) and value.is_integer() else value
        item, named = self._named(slot, value)
        return item.name if item is not None and len(named) == 1 else value

    def _named(self, slot: str, value: str) -> tuple[Device | Area | Floor | None, Sequence[Any]]:
        """What has this id, and everything that answers to its name."""
        home = self._home
        if slot == "name":
            device = home.devices.get(value)
            return device, home.devices_named(device.name) if device else ()
        if slot == "area":
            area = home.areas.get(value)
            return area, home.areas_named(area.name) if area else ()
        floor = home.floors.get(value)
        return floor, home.floors_named(floor.name) if floor else ()

    def _targets(self, previous: Sequence[IntentCall]) -> list[Any]:
        """What the last commands were about, for "it" and "them": the widest that each of them named."""
        from gazetteer_matcher import TargetReference

        found = []
        for call in previous:
            kind = {slot: call.slots[slot] for slot in ("domain", "device_class") if slot in call.slots}
            floors = self._home.floors_named(str(call.slots.get("floor", "")))
            areas = self._home.areas_named(str(call.slots.get("area", "")))
            devices = self._devices(call)
            if "name" in call.slots:
                if len(devices) == 1:
                    found.append(TargetReference.for_entity(devices[0], **kind))
            elif len(areas) == 1:
                found.append(TargetReference.for_area(areas[0].id, **kind))
            elif len(floors) == 1:
                found.append(TargetReference.for_floor(floors[0].id, **kind))
        return found

    def _devices(self, call: IntentCall) -> list[str]:
        """The ids that a call's name stands for, in the room that it names or that the speaker was in."""
        name = str(call.slots.get("name", ""))
        if name in self._home.devices:
            return [name]
        devices = self._home.devices_named(name)
        if len(devices) > 1:
            area = str(call.slots.get("preferred_area_id", ""))
            if named := self._home.areas_named(str(call.slots.get("area", ""))):
                area = named[0].id
            devices = tuple(device for device in devices if device.area == area)
        return [device.id for device in devices]


def _vocabulary() -> Any:
    """The words that it comes with, counting in words only as far as people do: to 10,000 takes it 2 s at every start.

    Numbers in figures, which is what Whisper writes, have no limit.
    """
    file = importlib.resources.files("gazetteer_matcher").joinpath("data", "vocabulary.yaml")
    vocabulary = yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER)  # a safe loader, both
    vocabulary["numbers"]["max_cardinal"] = MOST_IN_WORDS
    return vocabulary


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _overlooks(frame: Any, tokens: Sequence[Any], text: str) -> bool:
    """Whether a word that it left out may have been the very thing that was meant.

    "Turn on the conservatory lights" in the kitchen isn't about the kitchen, and "what is the price of bread" isn't
    about the time.
    """
    left_out = {index: tokens[index].text for index in frame.unexplained_tokens}
    words = frozenset(left_out.values())
    is_question = frame.intent.startswith(_QUESTIONS)
    if words <= _FILLERS and not (is_question and words & _WISHING):
        return False
    area = frame.slot_options.get("area")
    if (area is not None and area.source == "context_area") or frame.action_span.source == "fuzzy_action":
        return True
    if is_question:
        return bool(words & _NO_STATE) or not _ASKS.match(text)
    told = frame.action_span.source == "contextual_action" and _only_told(words)
    return told or left_out.get(frame.action_span.start - 1) in _IS


def _only_told(left_out: frozenset[str]) -> bool:
    """Whether words tell of something that nobody asks for."""
    return bool(left_out & _TOLD or (left_out & _OURS and left_out & _SWITCHED))


def _as_gazetteer(home: Home) -> dict[str, Any]:
    """The home in the matcher's own form, by the ids that come back."""
    return {
        "floors": {floor.id: {"name": floor.name, "aliases": list(floor.aliases)} for floor in home.settings.floors},
        "areas": {
            area.id: {"name": area.name, "aliases": list(area.aliases), "floor": area.floor or None}
            for area in home.settings.areas
        },
        "entities": {
            device.id: {
                "name": device.name,
                "aliases": list(device.aliases),
                "domain": domain_of(device.id),
                "area": device.area or None,
                **({"device_class": device.device_class} if device.device_class else {}),
            }
            for device in home.settings.devices
        },
    }
