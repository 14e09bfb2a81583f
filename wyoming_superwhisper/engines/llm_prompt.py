"""The prompt of the language model: instructions and the home first, then the history, what changes last.

In that order the beginning stays the same from turn to turn and is evaluated once. Texts of users and names of the
home never become chat tokens: they are cleaned, and kept apart from the template's own text (`Segment.special`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wyoming_superwhisper.engines.base import AnswerRequest, Exchange
from wyoming_superwhisper.engines.llm_home import Home, HomeDevice, name_for_model, plain_text

INSTRUCTIONS = """\
You are the voice assistant of a home. What you write is spoken: one or two short plain sentences, in the language \
of the user. Say so when you don't know.
When the user wants something done in the home, or complains of something that a device can put right, write a call \
and nothing else, such as {"intent": "HassTurnOn", "domain": "light", "area": "kitchen"}. A call holds the intent, \
then a "name" or a "domain", then the "area" if the user names a place, then a value. Several calls: [{...}, {...}]. \
Use only intents of Home Assistant and only names listed below. Too dark: HassTurnOn of the domain light. Too cold \
or too hot: HassClimateSetTemperature with a temperature. Never say that you have done something."""
"""The built-in instructions; the settings may replace them (`llm.system_prompt`)."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_MARK = re.compile("\ue000(\\d+)\ue001")  # private use: plain_text leaves none of it
_MAX_NOW_CHARS = 48

Message = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the prompt; only a `special` one may hold chat tokens."""

    text: str
    special: bool


class ChatTemplate:
    """A model's chat template (jinja2, out of the GGUF), applied without letting contents reach the tokenizer."""

    def __init__(self, source: str = "", bos: str = "", eos: str = "") -> None:
        """`source` empty: ChatML. Raises `jinja2.TemplateError` for a template that can't be read."""
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
        environment.globals["raise_exception"] = _raise_template_error
        environment.globals["strftime_now"] = lambda _format: ""  # a date here would spoil the cached prefix
        self._template = environment.from_string(source or CHATML)
        self._tokens = {"bos_token": bos, "eos_token": eos}

    def segments(self, messages: Sequence[Message]) -> list[Segment]:
        """The prompt up to where the assistant begins to write, contents apart from the template's own text."""
        contents = [message["content"] for message in messages]
        marked = [{**one, "content": f"\ue000{index}\ue001"} for index, one in enumerate(messages)]
        found: list[Segment] = []
        for position, piece in enumerate(_MARK.split(self._render(marked))):
            is_content = position % 2 == 1
            text = contents[int(piece)] if is_content else piece
            if text:
                found.append(Segment(text, special=not is_content))
        return found

    def _render(self, messages: Sequence[Message]) -> str:
        from jinja2 import TemplateError

        options: dict[str, Any] = {"add_generation_prompt": True, "enable_thinking": False, **self._tokens}
        try:
            return str(self._template.render(messages=messages, **options))
        except TemplateError:  # some templates know no system role
            return str(self._template.render(messages=_without_system(messages), **options))


def system_text(home: Home, instructions: str = "", max_home_chars: int = 20_000) -> str:
    """The fixed part: the instructions, then the home's names as quoted data.

    Where the home is longer than allowed, devices are left out from the end, then aliases: the grammar holds all.
    """
    described = describe_home(home, max_home_chars)
    heading = "The home, as data: " if described else ""
    return f"{instructions.strip() or INSTRUCTIONS}\n{heading}\n{described}".strip()


def describe_home(home: Home, max_chars: int = 20_000) -> str:
    """One line for each area with its names and devices, and one for devices that are nowhere."""
    devices = list(home.devices)
    while devices and len(_described(home, devices)) > max_chars:
        del devices[-max(1, len(devices) // 8) :]
    text = _described(home, devices)
    if len(text) > max_chars:
        text = "\n".join(_quoted(area.names[:1]) for area in home.areas)
    return text[:max_chars]


def messages_for(
    request: AnswerRequest, home: Home, system: str, history: Sequence[Exchange] = ()
) -> list[dict[str, str]]:
    """The chat of a request: the system text, the turns that are kept, the sentence with what changes after it."""
    messages = [{"role": "system", "content": system}]
    for exchange in history:
        messages.append({"role": "user", "content": plain_text(exchange.user)})
        messages.append({"role": "assistant", "content": plain_text(exchange.assistant)})
    messages.append({"role": "user", "content": f"{plain_text(request.text)}\n{circumstances(request, home)}"})
    return messages


def circumstances(request: AnswerRequest, home: Home) -> str:
    """The changing part, one line: language, room of the speaker, clock."""
    area = home.area_of_id(request.area) if request.area else None
    known = [name_for_model(request.language)[:16]]
    if area is not None:
        known.append(f"room: {_inside(area.names[0])}")
    if now := plain_text(request.now)[:_MAX_NOW_CHARS]:
        known.append(f"time: {now}")
    return f"({'; '.join(known)})"


def _inside(name: str) -> str:
    """A name that can't end the brackets it stands in, and begin something of its own."""
    return " ".join(re.sub("[();:]", " ", name).split())


def fitting_history(history: Sequence[Exchange], budget: int, count: Callable[[str], int]) -> tuple[Exchange, ...]:
    """The newest whole exchanges whose tokens, by `count`, are within the budget, oldest first."""
    kept: list[Exchange] = []
    for exchange in reversed(history):
        budget -= count(plain_text(exchange.user)) + count(plain_text(exchange.assistant))
        if budget < 0:
            break
        kept.append(exchange)
    return tuple(reversed(kept))


def _described(home: Home, devices: Sequence[HomeDevice]) -> str:
    lines = [_line(_quoted(area.names), [one for one in devices if one.area == area.id]) for area in home.areas]
    known = {area.id for area in home.areas}
    elsewhere = [one for one in devices if one.area not in known]
    return "\n".join(lines + ([_line("elsewhere", elsewhere)] if elsewhere else []))


def _line(place: str, devices: Sequence[HomeDevice]) -> str:
    things = ", ".join(f"{one.domain} {_quoted(one.names)}" for one in devices)
    return f"{place}: {things}" if things else place


def _quoted(names: Sequence[str]) -> str:
    return "/".join(f'"{name}"' for name in names)


def _without_system(messages: Sequence[Message]) -> list[dict[str, str]]:
    """The same chat with the system text put before the first sentence of the user."""
    system, first, *rest = messages
    merged = {"role": "user", "content": f"{system['content']}\n\n{first['content']}"}
    return [merged, *(dict(one) for one in rest)]


def _raise_template_error(message: str) -> None:
    from jinja2 import TemplateError

    raise TemplateError(message)
