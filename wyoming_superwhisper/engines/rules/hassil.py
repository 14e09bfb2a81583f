"""The rules as an engine: `HassilIntents`, over the packs of home-assistant-intents and the home's names.

Picks a sentence's best reading as Home Assistant's own agent does (`recognize_best`, names preferred, then in English
its second matcher), and only where that finds nothing tries, in this order: the sentence in a plainer form, sentences
of our own, several commands in one sentence, what points back to the last command, and names that were misheard.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from typing import Any

import home_assistant_intents

from wyoming_superwhisper.config.settings import HomeSettings
from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.engines.rules.follow_ups import FollowUps
from wyoming_superwhisper.engines.rules.pack import SentencePack
from wyoming_superwhisper.engines.rules.reader import Reader
from wyoming_superwhisper.engines.rules.understanding import Understanding
from wyoming_superwhisper.home import Home
from wyoming_superwhisper.intents_text import MAX_CHARS, plain


class HassilIntents:
    """Understands sentences in any language that has a pack. Not thread-safe: it belongs to one worker's thread."""

    def __init__(self, languages: Sequence[str], home: Mapping[str, Any] | HomeSettings | Home | None = None) -> None:
        self.languages = tuple(home_assistant_intents.get_languages())
        self._configured = tuple(languages)
        self._packs: dict[str, SentencePack | None] = {}
        self._reader = Reader(_home(home))
        self.warm()

    @property
    def home(self) -> Home:
        """The rooms and devices that are known by name."""
        return self._reader.home

    def set_home(self, home: Mapping[str, Any] | HomeSettings | Home | None) -> None:
        """Replace the names of rooms and devices."""
        self._reader.set_home(_home(home))

    def forget(self) -> None:
        """Read every sentence afresh."""
        self._reader.forget()

    def warm(self) -> None:
        """Load and parse the packs of the configured languages, so that no sentence pays for it."""
        for language in self._configured:
            if pack := self._pack(language):
                self._reader.warm(pack)
        gc.collect()
        gc.freeze()  # a collection over the parsed sentences takes 100 ms, and they live as long as the worker

    def recognize(
        self, text: str, language: str, area: str | None = None, previous: Sequence[IntentCall] = ()
    ) -> list[IntentCall]:
        """The intents said, in order; empty: not understood. `area` is the id of the area that the speaker is in."""
        pack = self._pack(language)
        if pack is None or not plain(text) or len(text) > MAX_CHARS:
            return []
        return Understanding(self._reader, pack, area, tuple(previous)).of(text)

    def complete(self, calls: Sequence[IntentCall], language: str, area: str | None = None) -> list[IntentCall]:
        """Calls that a model chose, with the pack's own replies and the speaker's room where they name none."""
        pack = self._pack(language)
        follow_ups = FollowUps(language, self.home)
        found = []
        for call in calls:
            slots = {**call.slots, **self._reader.room(call.name, call.slots, area)}
            domain = follow_ups.domain(slots)
            key = pack.reply_key(call.name, slots, domain) if pack else None
            text, template = pack.reply(call.name, key, slots, domain) if pack else ("", "")
            found.append(IntentCall(call.name, slots, text, template))
        return found

    def _pack(self, tag: str) -> SentencePack | None:
        if tag not in self._packs:
            self._packs[tag] = SentencePack.load(tag)
        return self._packs[tag]


def _home(home: Mapping[str, Any] | HomeSettings | Home | None) -> Home:
    if isinstance(home, Home):
        return home
    if isinstance(home, HomeSettings) or home is None:
        return Home(home)
    return Home.from_json(home)
