"""One sentence read as one command, in one home: what it asks for, with the home's own names and the speaker's room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hassil.intents import SlotList
from hassil.recognize import RecognizeResult

from wyoming_superwhisper.config.settings import Device
from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.engines.rules.gazetteer import Found, Gazetteer
from wyoming_superwhisper.engines.rules.misheard import NameRepair
from wyoming_superwhisper.engines.rules.pack import SentencePack
from wyoming_superwhisper.engines.rules.slot_lists import slot_lists
from wyoming_superwhisper.home import Home, domain_of
from wyoming_superwhisper.intents_text import is_no_title, is_order, is_talk, names_a_place, normalise, plain

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


class Reader:
    """Reads sentences in any language whose pack it is given; what it has read it remembers."""

    def __init__(self, home: Home) -> None:
        self._gazetteer = Gazetteer(home)
        self._cache: OrderedDict[_Key, Reading | None] = OrderedDict()
        self.set_home(home)

    def set_home(self, home: Home) -> None:
        """Replace the names of rooms and devices."""
        self.home = home
        self._slot_lists: dict[str, SlotList] = slot_lists(home)
        self._repair = NameRepair(home)
        self._gazetteer.set_home(home)
        self.forget()

    def forget(self) -> None:
        """Read every sentence afresh."""
        self._cache.clear()

    def warm(self, pack: SentencePack) -> None:
        """Parse the sentences of a language now, so that nobody waits for it."""
        pack.warm(self._slot_lists)
        if self._gazetteer.supports(pack.language):
            self._gazetteer.prepare()

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

    def repaired(self, pack: SentencePack, text: str) -> str | None:
        """The sentence with a misheard name put right; None: nothing to put right with confidence."""
        return self._repair.repair(text, pack.vocabulary)

    def room(self, intent: str, slots: Mapping[str, Any], area: str | None) -> dict[str, Any]:
        """The slot that says which room the speaker is in; {} where that says nothing, or another room is meant.

        It is a preference, but a condition where the handlers would take every player.
        """
        if area is None or not self._needs_room(intent, slots, area):
            return {}
        if intent in PLAYERS and not {"name", "floor"} & slots.keys():
            return {"area": self.home.areas[area].name}
        return {"preferred_area_id": area}

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
        if best and self._overreaches(pack, best, text, area):
            best = None
        if best and not best.wildcards:
            return best
        literal = best
        plainer = normalise(text, pack.language)
        tries = [(pack.intents, plainer), (pack.own, plainer)]
        if plain(text) == plainer:
            del tries[0]
        for intents, form in tries:
            result = pack.best(intents, form, self._slot_lists, self._context(area))
            if result is None:
                continue
            reading = self._reading(pack, result, area)
            if self._overreaches(pack, reading, text, area):
                continue
            if best is None or (reading.call.name != best.call.name and reading.looseness < best.looseness):
                if literal and best is literal and self._stays_a_search(literal, reading):
                    return literal
                best = reading
            if not best.wildcards:
                return best
        return best

    def _stays_a_search(self, search: Reading, other: Reading) -> bool:
        """Whether Home Assistant's own agent would really search, on the player that is meant either way.

        It takes "mets le volume à 30" for a title. Where a player of the room can look for one, that is what is done
        here too; where none can, its agent only fails.
        """
        area = self.home.areas_named(str(search.call.slots.get("area", "")))
        return (
            search.call.name == "HassMediaSearchAndPlay"
            and other.call.name in PLAYERS
            and "name" not in other.call.slots
            and any(self.home.may_search(one.id) for one in area)
        )

    def _overreaches(self, pack: SentencePack, reading: Reading, text: str, area: str | None) -> bool:
        """Whether a pack's free text takes in what it isn't for.

        An alarm as a title to play, a mayor as a place, a train that leaves in ten minutes as a command for then.
        """
        call, language = reading.call, pack.language
        if call.name == "HassMediaSearchAndPlay":
            return is_talk(text, language) or is_no_title(str(call.slots.get("search_query", "")), language)
        if call.name == "HassStartTimer" and "conversation_command" in call.slots:
            command = str(call.slots["conversation_command"])
            return not is_order(command, language) and self.read(pack, command, area) is None
        if call.name == "HassGetState" and reading.wildcards and "name" not in call.slots:
            return not names_a_place(text, str(call.slots.get("state", "")), language)
        return False

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
        slots |= self.room(result.intent.name, slots, area)
        text, template = pack.reply(result.intent.name, result.response, spoken, domain)
        wildcards = sum(1 for entity in result.entities_list if entity.is_wildcard)
        return Reading(IntentCall(result.intent.name, slots, text, template), wildcards)

    def _needs_room(self, intent: str, slots: Mapping[str, Any], area: str | None) -> bool:
        return area in self.home.areas and intent not in PLACELESS and "area" not in slots

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


def _value(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
