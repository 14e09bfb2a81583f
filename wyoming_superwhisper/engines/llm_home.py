"""The home as the language model sees it: its rooms' and devices' names, made harmless, and what they stand for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

MAX_NAME_CHARS = 64
MAX_AREAS = 100
MAX_DEVICES = 500

# What the chat templates of common models use to mark turns. A tokenizer that is told to parse no special tokens
# makes them harmless anyway; a model shouldn't even see them spelled out.
_CHAT_TOKENS = re.compile(
    r"<[|｜][^<>]{0,64}?[|｜]>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|<</?SYS>>"
    r"|</?(?:s|bos|eos|pad|unk|think|tool_call|tool_response|start_of_turn|end_of_turn|start_of_image)>"
    r"|<0x[0-9A-F]{2}>",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"^(?:(?:le|la|les|l|the|my|mon|ma|mes) |l['’])(?=\w)")
_COMPARING = (
    r"(?:(?<!\bd )(?<!would )(?<!you )like|as|than|comme|dirait|croirait|qu|como|parece)"
    r"(?: (?:living in|being in|in|dans|en))? (?:an?|une?|una)(?: \w+)?|an? real|un vrai|une vraie"
)
"""Words before a name that only says what something is like: "it's like a cave in here"."""
_NOT_IN_NAMES = re.compile(r"[\"\\{}\[\]<>|«»“”]")


@dataclass(frozen=True, slots=True)
class HomeArea:
    """A room or place; `names` are its name and aliases as the model writes them, the name first."""

    id: str
    name: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HomeDevice:
    """Something that can be controlled; `area` is an area's id or ""."""

    name: str
    names: tuple[str, ...]
    domain: str
    area: str = ""


@dataclass(frozen=True)
class Home:
    """The names that a call may use."""

    areas: tuple[HomeArea, ...] = ()
    devices: tuple[HomeDevice, ...] = ()

    @cached_property
    def domains(self) -> frozenset[str]:
        """The domains of the devices; empty where no device is named."""
        return frozenset(device.domain for device in self.devices)

    def area_called(self, name: str) -> HomeArea | None:
        """The area of that name or alias, as the model writes it: without an article."""
        return self._areas_by_name.get(_without_article(name_for_model(name)))

    def area_of_id(self, area_id: str) -> HomeArea | None:
        """The area with that id."""
        return next((area for area in self.areas if area.id == area_id), None)

    def devices_called(self, name: str) -> list[HomeDevice]:
        """The devices of that name or alias, as the model writes it."""
        wanted = name_for_model(name)
        return [device for device in self.devices if wanted in device.names]

    def areas_said(self, text: str, device: str = "") -> tuple[HomeArea, ...]:
        """The areas that a sentence names, in the order of the home, beside those within the name of this device.

        Of names within names the longest counts: "la chambre de Léo" names no area called "chambre". One that
        something is only compared with isn't named.
        """
        words = self._compared.sub(" ", _words(text))
        for name in (name for one in self.devices if one.name == device for name in one.names):
            words = re.sub(rf"(?<!\w){re.escape(_words(name))}(?!\w)", " ", words)
        said = {self._areas_by_words[found] for found in self._said.findall(words)}
        return tuple(area for area in self.areas if area.id in said)

    def areas_compared(self, text: str) -> frozenset[str]:
        """The names of the areas that a sentence only compares something with: "on dirait une cave"."""
        found = {self._areas_by_words[name] for name in self._compared.findall(_words(text))}
        return frozenset(area.name for area in self.areas if area.id in found)

    @cached_property
    def _areas_by_words(self) -> dict[str, str]:
        """Ids of the areas by the words of their names."""
        words = {_without_article(_words(name)): area.id for area in reversed(self.areas) for name in area.names}
        return {name: area for name, area in words.items() if name}

    @cached_property
    def _said(self) -> re.Pattern[str]:
        return re.compile(rf"(?<!\w){self._any_name}(?!\w)")

    @cached_property
    def _compared(self) -> re.Pattern[str]:
        return re.compile(rf"(?<!\w)(?:{_COMPARING}) ({self._any_name})(?!\w)")

    @cached_property
    def _any_name(self) -> str:
        names = sorted(self._areas_by_words, key=len, reverse=True)
        return f"(?:{'|'.join(map(re.escape, names))})" if names else r"(?!)"

    @cached_property
    def _areas_by_name(self) -> dict[str, HomeArea]:
        return {name: area for area in reversed(self.areas) for name in area.names}


def home_from(data: Mapping[str, Any]) -> Home:
    """The home out of the settings' `home` section as plain data (INTERFACES.md); unusable names are left out."""
    areas = [_area(one) for one in _entries(data, "areas")][:MAX_AREAS]
    devices = [_device(one) for one in _entries(data, "devices")][:MAX_DEVICES]
    return Home(tuple(area for area in areas if area.names), tuple(one for one in devices if one.names))


def plain_text(text: str) -> str:
    """Text of a user on one line, without control characters and chat tokens, composed (NFC)."""
    text = unicodedata.normalize("NFC", text)
    text = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text)
    while (stripped := _CHAT_TOKENS.sub(" ", text)) != text:
        text = stripped  # what is left may close up into another token
    return " ".join(text.split())


def name_for_model(name: str) -> str:
    """A name in the one form that prompt, grammar and calls use: lower case, no quotes, brackets or chat tokens."""
    return " ".join(_NOT_IN_NAMES.sub(" ", plain_text(name)).lower().split())[:MAX_NAME_CHARS].strip()


def _without_article(name: str) -> str:
    """The bare noun of a name like "L'atelier": what people say after any preposition ("mon atelier")."""
    return _ARTICLE.sub("", name)


def _words(text: str) -> str:
    """Letters and digits in lower case without accents, everything else one space: to find names by."""
    folded = unicodedata.normalize("NFKD", text).lower()
    return " ".join(re.sub(r"[^\w\s]|_", " ", re.sub(r"[\u0300-\u036f]", "", folded)).split())


def _entries(data: Mapping[str, Any], key: str) -> Iterable[Mapping[str, Any]]:
    return data.get(key) or ()


def _area(data: Mapping[str, Any]) -> HomeArea:
    names = tuple(dict.fromkeys(_without_article(name) for name in _names(data)))
    return HomeArea(str(data["id"]), str(data["name"]), names)


def _device(data: Mapping[str, Any]) -> HomeDevice:
    domain = str(data["id"]).partition(".")[0]
    return HomeDevice(str(data["name"]), _names(data), domain, str(data.get("area") or ""))


def _names(data: Mapping[str, Any]) -> tuple[str, ...]:
    names = (name_for_model(str(name)) for name in (data["name"], *(data.get("aliases") or ())))
    return tuple(dict.fromkeys(name for name in names if name))
