"""What the language model may write: free text, or calls of Home Assistant's intents with names that exist (GBNF)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wyoming_superwhisper.engines.llm_home import Home

MAX_CALLS = 4
COLORS = (
    "white", "black", "red", "orange", "yellow", "green", "blue", "purple", "brown", "pink", "turquoise",
)  # fmt: skip
DEVICE_CLASSES = ("awning", "blind", "curtain", "door", "garage", "gate", "shade", "shutter", "window")

_SWITCHED = (
    "light", "switch", "fan", "media_player", "climate", "cover", "lock", "valve", "humidifier", "input_boolean",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CallForm:
    """One shape of call: which intents, what it may aim at, and which value comes last."""

    intents: tuple[str, ...]
    named: tuple[str, ...] = ()
    """Domains whose devices may be called by `name`; empty: no name."""
    domains: tuple[str, ...] = ()
    """Values of the `domain` slot where no name is given; empty: no such slot."""
    in_area: bool = True
    """Whether an `area` may be given."""
    aimless: bool = False
    """Whether it may have neither name nor domain (the area alone, or nothing at all)."""
    values: tuple[tuple[str, str], ...] = ()
    """(slot, rule) of the values, of which exactly one is written."""


FORMS = (
    CallForm(("HassTurnOn", "HassTurnOff"), named=_SWITCHED, domains=("light", "switch", "fan", "cover")),
    CallForm(("HassTurnOn",), named=("scene", "script", "button", "input_button"), in_area=False),
    CallForm(
        ("HassLightSet",),
        named=("light",),
        domains=("light",),
        values=(("brightness", "percent"), ("color", "color")),
    ),
    CallForm(("HassSetPosition",), named=("cover", "valve"), values=(("position", "percent"),)),
    CallForm(
        ("HassClimateSetTemperature",), named=("climate",), aimless=True, values=(("temperature", "degrees"),)
    ),
    CallForm(("HassClimateGetTemperature",), named=("climate",), aimless=True),
    CallForm(("HassSetVolume",), named=("media_player",), aimless=True, values=(("volume_level", "percent"),)),
    CallForm(("HassSetVolumeRelative",), named=("media_player",), aimless=True, values=(("volume_step", "step"),)),
    CallForm(
        (
            "HassMediaPause", "HassMediaUnpause", "HassMediaNext", "HassMediaPrevious", "HassMediaPlayerMute",
            "HassMediaPlayerUnmute",
        ),
        named=("media_player",),
        aimless=True,
    ),
    CallForm(("HassFanSetSpeed",), named=("fan",), aimless=True, values=(("percentage", "percent"),)),
    CallForm(("HassVacuumStart", "HassVacuumReturnToBase"), named=("vacuum",), aimless=True),
    CallForm(("HassGetCurrentTime", "HassGetCurrentDate", "HassGetWeather"), in_area=False, aimless=True),
)  # fmt: skip
"""Every call that is admitted; slots come in the order intent, name or domain, device_class, area, value."""

_VALUE_RULES = {
    "percent": '"100" | [1-9] [0-9] | [0-9]',
    "degrees": '("3" [0-5] | [12] [0-9] | [5-9]) (".5")?',
    "step": r'"\"up\"" | "\"down\""',
    "color": " | ".join(rf'"\"{color}\""' for color in COLORS),
}

Value = int | float | str

VALUE_CHECKS: dict[str, Callable[[Value], bool]] = {
    "percent": lambda value: isinstance(value, int) and 0 <= value <= 100,
    "degrees": lambda value: isinstance(value, int | float) and 5 <= value <= 35.5,
    "step": lambda value: value in ("up", "down"),
    "color": lambda value: value in COLORS,
}
"""The same bounds as the rules of the grammar, for checking a parsed call."""


def admitted_forms(home: Home) -> tuple[CallForm, ...]:
    """The forms that make sense in this home: those for whose domains it has a device, or names none at all."""
    return tuple(form for form in FORMS if not form.named or not home.devices or set(form.named) & home.domains)


def build_grammar(home: Home) -> str:
    """GBNF with root `root`: free text, one call, or a list of up to four calls, with this home's names only."""
    rules = [
        "root ::= call | calls | text",
        rf'calls ::= "[" call (", " call){{0,{MAX_CALLS - 1}}} "]"',
        r'text ::= [^{\[<\x00-\x20\x7f] [^\x00-\x08\x0b-\x1f\x7f]*',
        *(f"{name} ::= {rule}" for name, rule in _VALUE_RULES.items()),
        rf'class ::= ", \"device_class\": \"" ({_alternatives(DEVICE_CLASSES)}) "\""',
    ]  # fmt: skip
    if home.areas:
        names = _alternatives(name for area in home.areas for name in area.names)
        rules += [r'area ::= "\"area\": \"" areaname "\""', f"areaname ::= {names}"]
    call_rules = [rule for index, form in enumerate(admitted_forms(home)) for rule in _form_rules(index, form, home)]
    names_of_forms = " | ".join(rule.partition(" ")[0] for rule in call_rules if rule.startswith("form"))
    return "\n".join([*rules, rf'call ::= "{{" ({names_of_forms}) "}}"', *call_rules, ""])


def _form_rules(index: int, form: CallForm, home: Home) -> list[str]:
    """The rule of one form, and the rule of the names it may use; none where nothing in the home fits it."""
    rules = []
    area = '(", " area)?' if form.in_area and home.areas else ""
    targets = []
    names = [name for device in home.devices if device.domain in form.named for name in device.names]
    if names:
        rules.append(f"name{index} ::= {_alternatives(names)}")
        targets.append(rf'", \"name\": \"" name{index} "\"" {area}')
    for domain in form.domains:
        if not home.devices or domain in home.domains:
            kind = "class? " if domain == "cover" else ""
            targets.append(rf'", \"domain\": \"{domain}\"" {kind}{area}')
    if form.aimless:
        targets.append(area or '""')
    if not targets:
        return []
    intents = _alternatives(form.intents)
    values = " | ".join(rf'", \"{slot}\": " {rule}' for slot, rule in form.values)
    value = f" ({values})" if values else ""
    return [*rules, rf'form{index} ::= "\"intent\": \"" ({intents}) "\"" ({" | ".join(targets)}){value}']


def _alternatives(words: Iterable[str]) -> str:
    return " | ".join(_literal(word) for word in dict.fromkeys(words))


def _literal(word: str) -> str:
    """A GBNF literal of the word as it stands inside a JSON string."""
    inside_json = json.dumps(word, ensure_ascii=False)[1:-1]
    return '"' + inside_json.replace("\\", "\\\\").replace('"', '\\"') + '"'
