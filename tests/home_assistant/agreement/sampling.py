"""Sentences made from the templates of a pack of home-assistant-intents, at random but the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import home_assistant_intents
from hassil.expression import Alternative, Expression, ListReference, Permutation, RuleReference, Sentence, TextChunk
from hassil.expression import Sequence as TemplateSequence
from hassil.intents import IntentData, Intents, RangeSlotList, TextSlotList
from hassil.util import normalize_whitespace

FREE_TEXT = {
    "fr": {
        "timer_name": ("pâtes", "four", "pizza", "thé", "lessive"),
        "shopping_list_item": ("du lait", "pain", "des pommes", "six oeufs", "beurre"),
        "todo_list_item": ("appeler le plombier", "lait", "sortir les poubelles", "farine"),
        "search_query": ("du jazz", "Daft Punk", "la Marseillaise", "le dernier album de Stromae"),
        "message": ("le dîner est prêt", "on part dans cinq minutes"),
        "timer_command": ("éteins la lumière du salon", "ouvre le portail"),
        "zone": ("travail", "école"),
    },
    "en": {
        "timer_name": ("pasta", "oven", "pizza", "tea", "laundry"),
        "shopping_list_item": ("milk", "bread", "apples", "six eggs", "butter"),
        "todo_list_item": ("call the plumber", "milk", "take out the trash", "flour"),
        "search_query": ("jazz", "Daft Punk", "Bohemian Rhapsody", "the latest album by Adele"),
        "message": ("dinner is ready", "we are leaving in five minutes"),
        "timer_command": ("turn off the kitchen lights", "open the gate"),
        "zone": ("work", "school"),
    },
}


@dataclass(frozen=True)
class Sampled:
    """A sentence, and whose template it was made from."""

    text: str
    intent: str
    combination: str


class TemplateSampler:
    """Draws sentences from every template of a language, with the names of a home."""

    def __init__(self, language: str, home: Mapping[str, Any], seed: int) -> None:
        data = home_assistant_intents.get_intents(language)
        if data is None:
            raise ValueError(f"no sentences for {language}")
        self._language = language
        self._intents = Intents.from_dict(data)
        self._home = home
        self._random = random.Random(seed)

    def sentences(self, for_each: int) -> Iterator[Sampled]:
        """`for_each` sentences of every group of templates, each group being one combination of slots."""
        for name, intent in self._intents.intents.items():
            for data in intent.data:
                for _ in range(for_each):
                    if text := self._sentence(data):
                        yield Sampled(text, name, str((data.metadata or {}).get("slot_combination", "")))

    def _sentence(self, data: IntentData) -> str:
        template = self._random.choice(data.sentences)
        text = normalize_whitespace(self._of(template.expression, data)).strip()
        return self._spoken(text)

    def _spoken(self, text: str) -> str:
        """As recognition writes it: mostly a capital and a full stop."""
        style = self._random.random()
        if style < 0.6:
            mark = self._random.choice((".", ".", "!", "?", ""))
            return f"{text[:1].upper()}{text[1:]}{mark}"
        return text.lower() if style < 0.7 else text

    def _of(self, expression: Expression, data: IntentData) -> str:
        if isinstance(expression, TextChunk):
            return expression.original_text
        if isinstance(expression, Sentence):
            return self._of(expression.expression, data)
        if isinstance(expression, Alternative):
            return self._of(self._random.choice(expression.items), data)
        if isinstance(expression, Permutation):
            items = self._random.sample(expression.items, len(expression.items))
            return " ".join(self._of(item, data) for item in items)
        if isinstance(expression, TemplateSequence):
            return "".join(self._of(item, data) for item in expression.items)
        if isinstance(expression, RuleReference):
            rules = {**self._intents.expansion_rules, **data.expansion_rules}
            return self._of(rules[expression.rule_name].expression, data)
        if isinstance(expression, ListReference):
            return self._value(expression.list_name, data)
        raise TypeError(f"unknown part of a template: {expression!r}")

    def _value(self, name: str, data: IntentData) -> str:
        if name in ("area", "floor"):
            return self._named(self._home[f"{name}s"])
        if name == "name":
            return self._named(self._devices(data))
        values = {**self._intents.slot_lists, **data.slot_lists}[name]
        if isinstance(values, RangeSlotList):
            return str(self._random.randrange(values.start, values.stop + 1, values.step))
        if isinstance(values, TextSlotList):
            return self._of(self._random.choice(values.values).text_in, data)
        return self._random.choice(FREE_TEXT[self._language][name])

    def _devices(self, data: IntentData) -> Sequence[Any]:
        wanted = (data.requires_context or {}).get("domain")
        domains = set(wanted if isinstance(wanted, list) else [wanted] if wanted else [])
        found = [item for item in self._home["devices"] if not domains or item["id"].partition(".")[0] in domains]
        return found or self._home["devices"]

    def _named(self, items: Sequence[Any]) -> str:
        item = self._random.choice(items)
        name: str = self._random.choice([item["name"], item["name"], *item["aliases"]])
        return name
