"""Sentences to intents by rule: hassil over the packs of home-assistant-intents, with the home's names.

Picks a sentence's best reading as Home Assistant's own agent does (`recognize_best`, names preferred, then in English
its second matcher), and only where that finds nothing tries, in this order: the sentence in a plainer form, sentences
of our own, several commands in one sentence, what points back to the last command, and names that were misheard.
"""

from __future__ import annotations

import gc
import importlib.metadata
import importlib.resources
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import home_assistant_intents
import yaml
from hassil.intents import Intents, RangeSlotList, SlotList, TextSlotList
from hassil.recognize import RecognizeResult, recognize_best
from hassil.util import remove_punctuation

from wyoming_superwhisper import replies
from wyoming_superwhisper.config.settings import Device, HomeSettings
from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.engines.follow_ups import FollowUps
from wyoming_superwhisper.engines.gazetteer import Found, Gazetteer
from wyoming_superwhisper.engines.misheard import NameRepair
from wyoming_superwhisper.home import Home, domain_of
from wyoming_superwhisper.intents_text import (
    MAX_CHARS,
    is_no_title,
    language_of,
    names_a_place,
    normalise,
    parts,
    plain,
)

logger = logging.getLogger(__name__)

MAX_COMMANDS = 4
"""Commands looked for in one sentence."""

LONGEST_RUN = 4
"""Pieces between joining words that may be one command: "ajoute du lait, du beurre et du pain à la liste"."""

CACHE_SIZE = 256
"""Sentences whose reading is remembered: a guess is asked for again when it becomes final."""

PLACELESS = frozenset(
    {
        "HassBroadcast",
        "HassCancelAllTimers",
        "HassCancelTimer",
        "HassDecreaseTimer",
        "HassGetCurrentDate",
        "HassGetCurrentTime",
        "HassIncreaseTimer",
        "HassListAddItem",
        "HassListCompleteItem",
        "HassListRemoveItem",
        "HassNevermind",
        "HassPauseTimer",
        "HassRespond",
        "HassShoppingListAddItem",
        "HassShoppingListCompleteItem",
        "HassStartTimer",
        "HassTimerStatus",
        "HassUnpauseTimer",
    }
)
"""Intents for which the room that the speaker is in says nothing."""


PLAYERS = frozenset(
    {
        "HassMediaNext",
        "HassMediaPause",
        "HassMediaPlayerMute",
        "HassMediaPlayerUnmute",
        "HassMediaPrevious",
        "HassMediaSearchAndPlay",
        "HassMediaUnpause",
        "HassSetVolume",
        "HassSetVolumeRelative",
    }
)
"""Intents for media players: the packs make the speaker's room a condition of them."""

CATCH_ALL = frozenset({"HassBroadcast", "HassMediaSearchAndPlay"})
"""Intents whose sentences are hardly more than a verb and free text."""


_Key = tuple[str, str, str, str | None]
"""How a sentence was read, in which language, the sentence, the speaker's room."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to understand a sentence."""

    call: IntentCall
    wildcards: int
    """How many slots took whatever was said."""

    @property
    def looseness(self) -> tuple[int, bool]:
        """How much was guessed: free text, and a search for media above all, may stand for anything."""
        return (self.wildcards, self.call.name in CATCH_ALL)


class HassilIntents:
    """Understands sentences in any language that has a pack. Not thread-safe: it belongs to one worker's thread."""

    def __init__(self, languages: Sequence[str], home: Mapping[str, Any] | HomeSettings | Home | None = None) -> None:
        self.languages = tuple(home_assistant_intents.get_languages())
        self._configured = tuple(languages)
        self._packs: dict[str, SentencePack | None] = {}
        self._cache: OrderedDict[_Key, Reading | None] = OrderedDict()
        self._gazetteer = Gazetteer(Home())
        self.set_home(home)
        self.warm()

    def set_home(self, home: Mapping[str, Any] | HomeSettings | Home | None) -> None:
        """Replace the names of rooms and devices."""
        if isinstance(home, Home):
            self.home = home
        elif isinstance(home, HomeSettings) or home is None:
            self.home = Home(home)
        else:
            self.home = Home.from_json(home)
        self._slot_lists = _slot_lists(self.home)
        self._repair = NameRepair(self.home)
        self._gazetteer.set_home(self.home)
        self._cache.clear()

    def forget(self) -> None:
        """Read every sentence afresh."""
        self._cache.clear()

    def warm(self) -> None:
        """Load and parse the packs of the configured languages, so that no sentence pays for it."""
        for language in self._configured:
            if pack := self._pack(language):
                pack.warm(self._slot_lists)
            if self._gazetteer.supports(language):
                self._gazetteer.prepare()
        gc.collect()
        gc.freeze()  # a collection over the parsed sentences takes 100 ms, and they live as long as the worker

    def recognize(
        self, text: str, language: str, area: str | None = None, previous: Sequence[IntentCall] = ()
    ) -> list[IntentCall]:
        """The intents said, in order; empty: not understood. `area` is the id of the area that the speaker is in."""
        pack = self._pack(language)
        if pack is None or not plain(text) or len(text) > MAX_CHARS:
            return []
        return Understanding(self, pack, area, tuple(previous)).of(text)

    def complete(self, calls: Sequence[IntentCall], language: str, area: str | None = None) -> list[IntentCall]:
        """Calls that a model chose, with the pack's own replies and the speaker's room where they name none."""
        pack = self._pack(language)
        follow_ups = FollowUps(language, self.home)
        found = []
        for call in calls:
            slots = dict(call.slots)
            if self._needs_room(call.name, slots, area):
                slots |= self._room(call.name, slots, area)
            domain = follow_ups.domain(slots)
            key = pack.reply_key(call.name, slots, domain) if pack else None
            text, template = pack.reply(call.name, key, slots, domain) if pack else ("", "")
            found.append(IntentCall(call.name, slots, text, template))
        return found

    def read(self, pack: SentencePack, text: str, area: str | None) -> Reading | None:
        """The best reading of a sentence as one command, as it was said or in its plainer form."""
        return self._remembered(("read", pack.language, text, area), lambda: self._read(pack, text, area))

    def literal(self, pack: SentencePack, text: str, area: str | None) -> Reading | None:
        """The reading that Home Assistant's own agent makes of a sentence as it was said."""
        return self._remembered(("literal", pack.language, text, area), lambda: self._literal(pack, text, area))

    def loosely(
        self, pack: SentencePack, text: str, area: str | None, previous: Sequence[IntentCall]
    ) -> tuple[list[IntentCall], bool]:
        """What Home Assistant's second matcher makes of a sentence, and whether that takes in every word of it."""
        if not self._gazetteer.supports(pack.language):
            return [], False
        commands = self._gazetteer.read(text, area, previous)
        return [self._found(pack, found, area) for found in commands], all(found.whole for found in commands)

    def repaired(self, text: str, language: str) -> str | None:
        """The sentence with a misheard name put right; None: nothing to put right with confidence."""
        return self._repair.repair(text, language)

    def _remembered(self, key: _Key, read: Callable[[], Reading | None]) -> Reading | None:
        if key not in self._cache:
            self._cache[key] = read()
            if len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)
        return self._cache[key]

    def _literal(self, pack: SentencePack, text: str, area: str | None) -> Reading | None:
        result = pack.best(pack.intents, text.strip(), self._slot_lists, self._context(area))
        return self._reading(pack, result, area) if result else None

    def _read(self, pack: SentencePack, text: str, area: str | None) -> Reading | None:
        best = self.literal(pack, text, area)
        if best and _overreaches(best, text, pack.language):
            best = None
        if best and not best.wildcards:
            return best
        plainer = normalise(text, pack.language)
        tries = [(pack.intents, plainer), (pack.own, plainer)]
        if plain(text) == plainer:
            del tries[0]
        for intents, form in tries:
            result = pack.best(intents, form, self._slot_lists, self._context(area))
            if result is None:
                continue
            reading = self._reading(pack, result, area)
            if _overreaches(reading, form, pack.language):
                continue
            if best is None or (reading.call.name != best.call.name and reading.looseness < best.looseness):
                best = reading
            if not best.wildcards:
                return best
        return best

    def _found(self, pack: SentencePack, found: Found, area: str | None) -> IntentCall:
        slots = dict(found.slots)
        if self._needs_room(found.intent, slots, area):
            slots["preferred_area_id"] = area
        text, template = pack.reply(found.intent, found.reply_key, found.spoken, found.domain)
        return IntentCall(found.intent, slots, text, template)

    def _context(self, area: str | None) -> dict[str, Any] | None:
        if area is None or area not in self.home.areas:
            return None
        name = self.home.areas[area].name
        return {"area": {"value": name, "text": name}}

    def _reading(self, pack: SentencePack, result: RecognizeResult, area: str | None) -> Reading:
        spoken = {entity.name: entity.text or entity.value for entity in result.entities_list}
        slots = {entity.name: _value(entity.value) for entity in result.entities_list}
        domain = self._settle_names(slots, result)
        if self._needs_room(result.intent.name, slots, area):
            slots |= self._room(result.intent.name, slots, area)
        text, template = pack.reply(result.intent.name, result.response, spoken, domain)
        wildcards = sum(1 for entity in result.entities_list if entity.is_wildcard)
        return Reading(IntentCall(result.intent.name, slots, text, template), wildcards)

    def _needs_room(self, intent: str, slots: Mapping[str, Any], area: str | None) -> bool:
        return area in self.home.areas and intent not in PLACELESS and "area" not in slots

    def _room(self, intent: str, slots: Mapping[str, Any], area: str | None) -> dict[str, Any]:
        """The speaker's room: a preference, but a condition where the handlers would take every player."""
        if area is not None and intent in PLAYERS and not {"name", "area", "floor"} & slots.keys():
            return {"area": self.home.areas[area].name}
        return {"preferred_area_id": area}

    def _settle_names(self, slots: dict[str, Any], result: RecognizeResult) -> str | None:
        """Put main names for aliases where that is unambiguous; returns the domain of what is meant, if it is one."""
        if isinstance(area := slots.get("area"), str):
            named = self.home.areas_named(area)
            if len(named) == 1 and self.home.areas_named(named[0].name) == named:
                slots["area"] = named[0].name
        if (name := result.entities.get("name")) is None or name.is_wildcard:
            return slots["domain"] if isinstance(slots.get("domain"), str) else None
        domains = {domain_of(device.id) for device in self._meant(slots, result)}
        slots["name"] = self._main_name(slots["name"])
        return domains.pop() if len(domains) == 1 else None

    def _meant(self, slots: Mapping[str, Any], result: RecognizeResult) -> tuple[Device, ...]:
        wanted = result.context.get("domain")
        wanted = wanted.get("value") if isinstance(wanted, Mapping) else wanted
        devices = self.home.devices_named(str(slots["name"]))
        return tuple(device for device in devices if wanted is None or domain_of(device.id) == wanted)

    def _main_name(self, said: str) -> str:
        """The main name of what was said, where neither stands for anything that the other doesn't.

        Home Assistant's handlers look for a name among devices of every kind, so a name that a door and its lock share
        stays as it was said: which of them is meant, or that it can't be told, is for them to say.
        """
        devices = self.home.devices_named(said)
        names = {device.name for device in devices}
        if len(names) != 1:
            return said
        name = names.pop()
        return name if {device.id for device in self.home.devices_named(name)} == {one.id for one in devices} else said

    def _pack(self, tag: str) -> SentencePack | None:
        if tag not in self._packs:
            self._packs[tag] = SentencePack.load(tag)
        return self._packs[tag]


class Understanding:
    """One request: the ways to understand it, tried from the surest to the boldest."""

    def __init__(
        self, engine: HassilIntents, pack: SentencePack, area: str | None, previous: tuple[IntentCall, ...]
    ) -> None:
        self._engine = engine
        self._pack = pack
        self._area = area
        self._previous = previous
        self._follow_ups = FollowUps(pack.language, engine.home)

    def of(self, text: str) -> list[IntentCall]:
        """The intents said, in order."""
        loose: list[IntentCall] = []
        if self._engine.literal(self._pack, text, self._area) is None:
            loose, every_word = self._engine.loosely(self._pack, text, self._area, self._previous)
            if loose and every_word:
                return loose
        whole = self._engine.read(self._pack, text, self._area)
        if whole and (not whole.wildcards or (loose and whole.call.name not in CATCH_ALL)):
            return [whole.call]
        if loose:
            return loose
        if calls := self._several(text, strict=whole is not None):
            return calls
        if calls := self._pointing_back(text, self._previous):
            return calls
        if whole:
            return [whole.call]
        return self._misheard(text)

    def _several(self, text: str, strict: bool) -> list[IntentCall]:
        """Several commands joined in a sentence; `strict` where it also has a reading as one (with free text)."""
        pieces = parts(text, self._pack.language)
        if not 1 < len(pieces) <= MAX_COMMANDS * 2 or sum(map(_ends_a_sentence, pieces)) >= MAX_COMMANDS:
            return []
        if calls := self._each(pieces):
            return calls
        first = 0
        while first < len(pieces) and len(calls) < MAX_COMMANDS:
            last, found = self._longest(pieces, first, calls, strict)
            if not found:
                return []
            calls += found
            first = last
        return calls if len(calls) > 1 and first == len(pieces) else []

    def _each(self, pieces: list[tuple[str, str]]) -> list[IntentCall]:
        """The commands where every piece is one by itself, which is usual and quick to see."""
        calls = []
        for _, piece in pieces[:MAX_COMMANDS]:
            reading = self._engine.read(self._pack, piece, self._area)
            if reading is None or reading.wildcards:
                return []
            calls.append(reading.call)
        return calls if len(calls) == len(pieces) else []

    def _longest(
        self, pieces: list[tuple[str, str]], first: int, before: list[IntentCall], strict: bool
    ) -> tuple[int, list[IntentCall]]:
        """The longest run of pieces that is one command; a piece that only names a target repeats the one before."""
        for last in range(_end_of_run(pieces, first), first, -1):
            if first == 0 and last == len(pieces):
                continue
            text = _joined(pieces[first:last])
            reading = self._engine.read(self._pack, text, self._area)
            if reading and not (strict and first > 0 and reading.wildcards):
                return last, [reading.call]
        if not before:
            return first, []
        _, piece = pieces[first]
        found = self._pronoun(before[-1:], piece) or self._of_that_kind(before[-1], piece)
        if not found and not strict:
            found = self._again(before[-1:], piece)
        return first + 1, found

    def _of_that_kind(self, before: IntentCall, piece: str) -> list[IntentCall]:
        """The sentence with the kind of thing that was named before in the place of "celle", "the one"."""
        sentence = self._follow_ups.with_kind(normalise(piece, self._pack.language), before)
        reading = self._engine.read(self._pack, sentence, self._area) if sentence else None
        return [reading.call] if reading and not reading.wildcards else []

    def _pointing_back(self, text: str, previous: Sequence[IntentCall]) -> list[IntentCall]:
        if not previous:
            return []
        words = normalise(text, self._pack.language)
        return (
            self._pronoun(previous, words)
            or self._of_that_kind(previous[-1], words)
            or self._again(previous, self._follow_ups.only_target(words))
        )

    def _pronoun(self, previous: Sequence[IntentCall], words: str) -> list[IntentCall]:
        """The sentence with what was meant last in the place of "it"."""
        calls: list[IntentCall] = []
        for call in previous:
            for sentence in self._follow_ups.with_target(normalise(words, self._pack.language), call):
                reading = self._engine.read(self._pack, sentence, self._area)
                if reading and not reading.wildcards:
                    calls.append(reading.call)
                    break
            else:
                return []
        return calls

    def _again(self, previous: Sequence[IntentCall], words: str) -> list[IntentCall]:
        """The last command for another target."""
        if not words or not previous:
            return []
        slots = self._follow_ups.for_target(previous[-1], words)
        if slots is None:
            return []
        text, template = self._pack.reply_like(previous[-1], slots, self._follow_ups.domain(slots))
        return [IntentCall(previous[-1].name, slots, text, template)]

    def _misheard(self, text: str) -> list[IntentCall]:
        better = self._engine.repaired(normalise(text, self._pack.language), self._pack.language)
        if better is None:
            return []
        reading = self._engine.read(self._pack, better, self._area)
        if reading and not reading.wildcards:
            return [reading.call]
        return self._several(better, strict=False) or self._pointing_back(better, self._previous)


class SentencePack:
    """One language: the sentences of home-assistant-intents, ours beside them, and the pack's replies."""

    def __init__(self, language: str, data: dict[str, Any], own: dict[str, Any]) -> None:
        self.language = language
        self.intents = Intents.from_dict(data)
        self.own = Intents.from_dict(
            {
                "language": data["language"],
                "intents": own.get("intents") or {},
                "lists": {**data.get("lists", {}), **(own.get("lists") or {})},
                "expansion_rules": {**data.get("expansion_rules", {}), **(own.get("expansion_rules") or {})},
                "skip_words": data.get("skip_words", []),
                "settings": data.get("settings", {}),
            }
        )
        self.replies: Mapping[str, Mapping[str, str]] = data.get("responses", {}).get("intents", {})

    @classmethod
    def load(cls, tag: str) -> SentencePack | None:
        """The pack that fits a language tag best; None: there is none."""
        language = _closest(tag, home_assistant_intents.get_languages())
        data = home_assistant_intents.get_intents(language) if language else None
        if language is None or data is None:
            logger.info("No sentences for language %s", tag)
            return None
        return cls(language, data, _own_sentences(language_of(language)))

    def best(
        self, intents: Intents, text: str, slot_lists: dict[str, SlotList], context: dict[str, Any] | None
    ) -> RecognizeResult | None:
        """The reading that Home Assistant's own agent would choose."""
        return recognize_best(
            text,
            intents,
            slot_lists=slot_lists,
            intent_context=context,
            language=self.language,
            best_slot_name="name",
        )

    def warm(self, slot_lists: dict[str, SlotList]) -> None:
        """Parse every sentence now."""
        for intents in (self.intents, self.own):
            for intent in intents.intents.values():
                for data in intent.data:
                    for sentence in data.sentences:
                        sentence.get_required_clauses({**intents.expansion_rules, **data.expansion_rules})
        self.best(self._numbers(), "1", slot_lists, None)

    def _numbers(self) -> Intents:
        """A sentence of each list of numbers: hassil spells out all of a list when it is first met."""
        names = {**self.intents.slot_lists, **self.own.slot_lists}
        data = [{"sentences": [f"{{{name}}}"]} for name, values in names.items() if isinstance(values, RangeSlotList)]
        numbers = Intents.from_dict({"language": self.language, "intents": {"Number": {"data": data}}})
        numbers.slot_lists = names
        return numbers

    def reply(self, intent: str, key: str | None, spoken: Mapping[str, Any], domain: str | None) -> tuple[str, str]:
        """(text, "") in plain words, or ("", template) where only Home Assistant can fill it."""
        template = self.replies.get(intent, {}).get(key or "default", "")
        text = replies.render(template, spoken, domain)
        return ("", template) if text is None else (text, "")

    def reply_key(self, intent: str, slots: Mapping[str, Any], domain: str | None) -> str | None:
        """The key of the reply to a call that no sentence gave: that of the sentences whose slots fit it best."""
        keys = self.replies.get(intent, {})
        given = {slot for slot in slots if slot != "preferred_area_id"}
        found: tuple[int, str] | None = None
        for data in self.intents.intents[intent].data if intent in self.intents.intents else ():
            if (
                not data.response
                or data.response not in keys
                or any(slots.get(slot) != value for slot, value in data.slots.items())
            ):
                continue
            if domain and domain not in data.requires_context.get("domain", [domain]):
                continue
            said = _slot_names(data.metadata) | set(data.slots)
            fit = len(given & said) * 2 - len(given ^ said)
            if found is None or fit > found[0]:
                found = (fit, data.response)
        return found[1] if found else None

    def reply_like(self, call: IntentCall, slots: Mapping[str, Any], domain: str | None) -> tuple[str, str]:
        """The reply to `call` said of other slots: that of the same key of the pack."""
        for key in self.replies.get(call.name, {}):
            for known in {None, self.domain_of(call), domain}:
                if self.reply(call.name, key, call.slots, known) == (call.text, call.template):
                    return self.reply(call.name, key, slots, domain)
        return call.text, call.template

    @staticmethod
    def domain_of(call: IntentCall) -> str | None:
        """The domain that a call's slots name."""
        domain = call.slots.get("domain")
        return domain if isinstance(domain, str) else None


def version() -> str:
    """The version of the sentences, for `describe`."""
    return str(importlib.metadata.version("home-assistant-intents"))


def _overreaches(reading: Reading, text: str, language: str) -> bool:
    """Whether a pack's free text takes in what it isn't for: an alarm as a title to play, a mayor as a place."""
    call = reading.call
    if call.name == "HassMediaSearchAndPlay":
        return is_no_title(str(call.slots.get("search_query", "")), language)
    if call.name == "HassGetState" and reading.wildcards and "name" not in call.slots:
        return not names_a_place(text, str(call.slots.get("state", "")), language)
    return False


def _slot_lists(home: Home) -> dict[str, SlotList]:
    """Names as Home Assistant's own agent lists them: what is said, what it stands for, what kind of device it is."""
    names = [
        (_sayable(name), name, _kind(device))
        for device in home.settings.devices
        for name in (device.name, *device.aliases)
    ]
    areas = [(_sayable(name), name) for area in home.settings.areas for name in (area.name, *area.aliases)]
    floors = [(_sayable(name), floor.name) for floor in home.settings.floors for name in (floor.name, *floor.aliases)]
    return {
        "name": TextSlotList.from_tuples(_filled(names), allow_template=False, name="name"),
        "area": TextSlotList.from_tuples(_filled(areas), allow_template=False, name="area"),
        "floor": TextSlotList.from_tuples(_filled(floors), allow_template=False, name="floor"),
    }


def _kind(device: Device) -> dict[str, str]:
    """What the packs' sentences may require of a device."""
    kind = {"domain": domain_of(device.id)}
    return {**kind, "device_class": device.device_class} if device.device_class else kind


def _slot_names(metadata: Mapping[str, Any] | None) -> set[str]:
    """The slots of a group of sentences, out of its name in the pack ("area_brightness")."""
    name = str((metadata or {}).get("slot_combination", ""))
    return {slot for slot in _SLOTS if f"_{slot}_" in f"_{name}_"}


_SLOTS = (
    "area",
    "brightness",
    "color",
    "device_class",
    "domain",
    "floor",
    "item",
    "name",
    "position",
    "state",
    "temperature",
)


def _filled(rows: Iterable[Any]) -> list[Any]:
    """The rows with something to say, each also in the spelling without ligatures that `plain` makes."""
    found: list[Any] = []
    for row in rows:
        if row[0]:
            found.append(row)
            if (other := plain(row[0])) != row[0] and other:
                found.append((other, *row[1:]))
    return found


def _sayable(name: str) -> str:
    return str(remove_punctuation(name)).strip()


def _value(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _ends_a_sentence(piece: tuple[str, str]) -> bool:
    """Whether a piece begins after a mark that ends sentences."""
    return any(mark in piece[0] for mark in ".!?;")


def _end_of_run(pieces: list[tuple[str, str]], first: int) -> int:
    """How far one command may reach: not beyond its sentence, nor over more than a few joining words."""
    end = first + 1
    while end < len(pieces) and end - first < LONGEST_RUN and not _ends_a_sentence(pieces[end]):
        end += 1
    return end


def _joined(pieces: list[tuple[str, str]]) -> str:
    return " ".join((pieces[0][1], *(f"{join} {piece}" for join, piece in pieces[1:])))


def _closest(tag: str, languages: Iterable[str]) -> str | None:
    known = {language.lower().replace("_", "-"): language for language in languages}
    wanted = tag.strip().lower().replace("_", "-")
    if wanted in known:
        return known[wanted]
    bare = language_of(tag)
    return known.get(bare) or next((found for low, found in known.items() if language_of(low) == bare), None)


def _own_sentences(language: str) -> dict[str, Any]:
    file = importlib.resources.files("wyoming_superwhisper.engines.sentences").joinpath(f"{language}.yaml")
    if not file.is_file():
        return {}
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    return data if isinstance(data, dict) else {}
