"""The sentences of one language: the pack of home-assistant-intents, ours beside it, and the pack's replies."""

from __future__ import annotations

import importlib.resources
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

import home_assistant_intents
import yaml
from hassil.intents import Intents, RangeSlotList, SlotList
from hassil.recognize import RecognizeResult, recognize_best

from wyoming_superwhisper import replies
from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.engines.rules.misheard import Vocabulary, sounds
from wyoming_superwhisper.intents_text import language_of, spoken_language

logger = logging.getLogger(__name__)


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
        articles = re.findall(r"[^\W\d_]+", spoken_language(language).articles)
        self.vocabulary = Vocabulary(_words(data) | _words(own), frozenset(map(sounds, articles)))

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


def _words(data: Mapping[str, Any]) -> frozenset[str]:
    """Every word that the sentences, rules and lists of a pack are written with, as `sounds` has them."""
    texts = [sentence for intent in (data.get("intents") or {}).values() for group in intent["data"]
             for sentence in group["sentences"]]  # fmt: skip
    texts += (data.get("expansion_rules") or {}).values()
    for values in (data.get("lists") or {}).values():
        texts += [value if isinstance(value, str) else value["in"] for value in values.get("values", ())]
    text = _REFERENCE.sub(" ", "\n".join(texts))
    spellings = (text, _OPTIONAL_END.sub("", text), _OPTIONAL_END.sub(r"\1", text))
    return frozenset(sounds(word) for spelling in spellings for word in _WORD.findall(spelling))


_REFERENCE = re.compile(r"\{[^}]*\}|<[^>]*>")
"""A list or a rule that is named in a template."""

_OPTIONAL_END = re.compile(r"(?<=\w)\[(\w+)\]")
"""What a word may end with: "lumière[s]"."""

_WORD = re.compile(r"[^\W\d_]+")


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


def _closest(tag: str, languages: Iterable[str]) -> str | None:
    known = {language.lower().replace("_", "-"): language for language in languages}
    wanted = tag.strip().lower().replace("_", "-")
    if wanted in known:
        return known[wanted]
    bare = language_of(tag)
    return known.get(bare) or next((found for low, found in known.items() if language_of(low) == bare), None)


def _own_sentences(language: str) -> dict[str, Any]:
    file = importlib.resources.files("wyoming_superwhisper.engines.rules.sentences").joinpath(f"{language}.yaml")
    if not file.is_file():
        return {}
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    return data if isinstance(data, dict) else {}
