"""Executes intents in Home Assistant for satellites that we drive, and says honestly what came of it.

Newer releases take the assistant's name with an intent and then touch exposed entities only. Older ones take a name and
slots and nothing else: there a command for a room is given to each exposed entity of the room.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wyoming_superwhisper import phrases
from wyoming_superwhisper.conversation.executor import Executed
from wyoming_superwhisper.conversation.said import Said
from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.home_assistant import reply
from wyoming_superwhisper.home_assistant.client import Client
from wyoming_superwhisper.home_assistant.errors import (
    ConnectionEnded,
    HomeAssistantError,
    RequestFailed,
    TokenRefused,
    Unreachable,
)
from wyoming_superwhisper.home_assistant.link import Link, LinkState
from wyoming_superwhisper.home_assistant.names import clean
from wyoming_superwhisper.home_assistant.registries import ASSISTANT
from wyoming_superwhisper.home_assistant.targets import PLACES, Targets

logger = logging.getLogger(__name__)

PATH = "/api/intent/handle"
TAKES_ASSISTANT = (2026, 4)
"""The first release that takes language and assistant with an intent."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What Home Assistant said of one intent."""

    done: bool
    speech: str = ""
    entities: tuple[str, ...] = ()
    """Ids of the entities it was about."""
    failed: tuple[str, ...] = ()
    """Names of those that it failed for."""


class HomeAssistantExecutor:
    """An `Executor` over the link to Home Assistant."""

    def __init__(self, client: Client, link: Link) -> None:
        self._client = client
        self._link = link
        self._plain = False  # whether this Home Assistant takes nothing but a name and slots

    async def execute(self, call: IntentCall, said: Said, language: str, area: str | None) -> Executed:
        """Execute one intent. Says honestly what came of it; raises nothing but cancellation."""
        try:
            outcome = await self._handle(call, language)
        except Unreachable as error:
            return self._failed(error, "ha_unreachable", language)
        except TokenRefused as error:
            return self._failed(error, "ha_refused", language)
        except ConnectionEnded as error:
            return self._failed(error, "ha_unsure", language)
        except HomeAssistantError as error:
            return self._failed(error, "ha_failed", language)
        if not outcome.done:
            # Its reason would quote what was said, which is nobody's business but the speaker's.
            logger.warning("Home Assistant did not do %s", call.name)
            target = self._called(
                str(call.slots.get("name") or call.slots.get("area") or call.slots.get("floor") or "")
            )
            key = "ha_not_done_for" if target else "ha_not_done"
            return Executed(phrases.say(key, language, target=target), False)
        text = outcome.speech or self._reply(call, outcome)
        if not text and Targets(self._link).is_question(call):
            return Executed(phrases.say("ha_no_answer", language), False)
        text = text or phrases.say("done", language)
        if outcome.failed:
            names = ", ".join(outcome.failed)
            return Executed(phrases.say("ha_partly", language, reply=text.rstrip(" ."), names=names), False)
        return Executed(text, True)

    def _called(self, name: str) -> str:
        """A name as it is said: an id stands for a name that several devices have."""
        device = self._link.home.devices.get(name)
        return device.name if device else clean(name)

    def _failed(self, error: HomeAssistantError, key: str, language: str) -> Executed:
        logger.warning("An intent was not executed: %s", error)
        return Executed(phrases.say(key, language), False)

    async def _handle(self, call: IntentCall, language: str) -> _Outcome:
        if self._link.state is LinkState.REFUSED:
            raise TokenRefused("Home Assistant does not accept the token.")
        if not (self._plain or self._is_old()):
            body = {"name": call.name, "data": dict(call.slots), "language": language, "assistant": ASSISTANT}
            try:
                return _outcome(await self._client.post(PATH, body), plain=False)
            except RequestFailed as error:
                if error.kind != "400":
                    raise
                logger.info("Home Assistant takes intents without language and assistant only")
                self._plain = True
        return await self._handle_plainly(call)

    def _is_old(self) -> bool:
        """Whether it is known to take a name and slots only; asking it would leave an error in its log."""
        year, _, rest = self._link.version.partition(".")
        month = rest.partition(".")[0]
        return year.isdecimal() and month.isdecimal() and (int(year), int(month)) < TAKES_ASSISTANT

    async def _handle_plainly(self, call: IntentCall) -> _Outcome:
        """Where Home Assistant knows nothing of assistants: mean exposed entities only by our own doing."""
        targets = Targets(self._link)
        if targets.is_question(call):
            outcome = await self._post_plainly(call.name, call.slots)
            return replace(outcome, entities=tuple(one for one in outcome.entities if targets.exposes(one)))
        wanted = targets.of(call)
        if wanted is None:
            return await self._post_plainly(call.name, call.slots)
        if not wanted:
            return _Outcome(False)
        slots = {key: value for key, value in call.slots.items() if key not in PLACES}
        outcomes = await asyncio.gather(*(self._post_plainly(call.name, {**slots, "name": one}) for one in wanted))
        return _together(outcomes, wanted, targets)

    async def _post_plainly(self, name: str, slots: Mapping[str, Any]) -> _Outcome:
        return _outcome(await self._client.post(PATH, {"name": name, "data": dict(slots)}), plain=True)

    def _reply(self, call: IntentCall, outcome: _Outcome) -> str:
        if call.text or not call.template:
            return call.text
        entities = outcome.entities or Targets(self._link).thermometer(call)
        states = [state for one in entities if (state := self._link.states.get(one))]
        found = reply.Found.of(states, call.slots.get("state"))
        slots = dict(call.slots)
        if isinstance(name := slots.get("name"), str):
            slots["name"] = self._called(name)
        return reply.render(call.template, slots, found, self._link.precision) or ""


def _outcome(answer: Any, *, plain: bool) -> _Outcome:
    """What an answer means. Older releases give an error as the speech of something done that names nothing done."""
    if not isinstance(answer, dict):
        raise ConnectionEnded("Home Assistant's answer makes no sense.")
    data = answer.get("data")
    data = data if isinstance(data, dict) else {}
    succeeded, failed = _targets(data.get("success")), _targets(data.get("failed"))
    speech = _speech(answer)
    entities = tuple(one["id"] for one in succeeded if one.get("type") == "entity" and isinstance(one.get("id"), str))
    refused = answer.get("response_type") == "error" or (plain and speech and not succeeded)
    if refused or (failed and not succeeded):
        return _Outcome(False)
    return _Outcome(True, speech, entities, tuple(clean(one.get("name")) for one in failed))


def _together(outcomes: Sequence[_Outcome], wanted: Sequence[str], targets: Targets) -> _Outcome:
    failed = tuple(targets.name(one) for one, outcome in zip(wanted, outcomes, strict=True) if not outcome.done)
    return _Outcome(
        done=len(failed) < len(wanted),
        speech=next((outcome.speech for outcome in outcomes if outcome.speech), ""),
        entities=tuple(one for outcome in outcomes for one in outcome.entities),
        failed=failed,
    )


def _targets(value: Any) -> Sequence[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else ()


def _speech(answer: Mapping[str, Any]) -> str:
    speech: Any = answer
    for key in ("speech", "plain", "speech"):
        speech = speech.get(key) if isinstance(speech, dict) else None
    return " ".join(_printable(speech).split())[: reply.MOST_CHARS] if isinstance(speech, str) else ""


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
