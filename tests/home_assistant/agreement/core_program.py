"""A real Home Assistant core with a home in it, asked over stdin what it makes of a sentence, and of calls.

Run by the interpreter of an environment that has Home Assistant (`HA_PYTHON core_program.py HOME.yaml`); knows nothing
of this project. A line comes first when it is ready; then it is one JSON object a line in, one out:

    {"say": TEXT, "language": "fr", "area": AREA_ID or null}   → {"calls": [...], "effects": {...}}
    {"execute": [{"name", "slots"}, ...], "language", "area"}  → {"effects": {...}}

`effects` is what Home Assistant's own handlers did: every service with its entities and data, what a question was
answered from, and the errors. All services are replaced by ones that only write down that they were called.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import yaml
from homeassistant import bootstrap, loader
from homeassistant.components.conversation import agent_manager, trace
from homeassistant.components.homeassistant.exposed_entities import async_expose_entity
from homeassistant.components.intent import async_register_timer_handler
from homeassistant.config_entries import ConfigEntry
from homeassistant.core import Context, CoreState, HomeAssistant, ServiceCall, SupportsResponse
from homeassistant.helpers import area_registry, device_registry, entity_registry, floor_registry, intent
from homeassistant.setup import async_setup_component

COMPONENTS = (
    "homeassistant", "conversation", "intent", "light", "switch", "cover", "fan", "climate", "media_player",
    "lock", "vacuum", "lawn_mower", "todo", "weather", "scene", "script", "sensor", "binary_sensor", "person",
    "shopping_list", "valve", "humidifier", "button", "input_boolean",
)  # fmt: skip


class House:
    """The core, its home and what its handlers did last."""

    def __init__(self, hass: HomeAssistant, home: dict[str, Any]) -> None:
        self._hass = hass
        self._home = home
        self._done: list[list[Any]] = []
        self._speakers: dict[str, str] = {}
        self._entry: Any = None

    async def furnish(self) -> None:
        floors, areas = floor_registry.async_get(self._hass), area_registry.async_get(self._hass)
        devices, entities = device_registry.async_get(self._hass), entity_registry.async_get(self._hass)
        for floor in self._home["floors"]:  # an id is made of the first name
            made = floors.async_create(floor["id"])
            floors.async_update(made.floor_id, name=floor["name"], aliases=set(floor["aliases"]))
            if made.floor_id != floor["id"]:
                raise ValueError(f"{floor['id']} became {made.floor_id}")
        for area in self._home["areas"]:
            made = areas.async_create(area["id"], floor_id=area.get("floor"))
            areas.async_update(made.id, name=area["name"], aliases=set(area["aliases"]))
            if made.id != area["id"]:
                raise ValueError(f"{area['id']} became {made.id}")
        entry = _config_entry()
        self._hass.config_entries._entries[entry.entry_id] = entry
        for area in self._home["areas"]:
            device = devices.async_get_or_create(
                config_entry_id=entry.entry_id, identifiers={("satellite", area["id"])}
            )
            devices.async_update_device(device.id, area_id=area["id"])
            async_register_timer_handler(self._hass, device.id, lambda *_: None)
            self._speakers[area["id"]] = device.id
        for item in self._home["devices"]:
            self._add(entities, item)
        for domain, services in self._hass.services.async_services().items():
            for name in services:
                self._hass.services.async_register(
                    domain, name, self._write_down, supports_response=SupportsResponse.OPTIONAL
                )
        for domain in ("todo", "media_player"):
            self._hass.data[domain].get_entity = lambda entity_id: FakeEntity(entity_id, self._done)

    def _add(self, entities: Any, item: dict[str, Any]) -> None:
        domain, _, object_id = item["id"].partition(".")
        entry = entities.async_get_or_create(
            domain, "agreement", object_id, suggested_object_id=object_id, original_name=item["name"]
        )
        aliases: Any = [entity_registry.COMPUTED_NAME, *item["aliases"]]
        entities.async_update_entity(entry.entity_id, area_id=item.get("area"), aliases=aliases)
        attributes = {"friendly_name": item["name"], **item.get("attributes", {})}
        if "device_class" in item:
            attributes["device_class"] = item["device_class"]
        if "features" in item:
            attributes["supported_features"] = item["features"]
        if entry.entity_id != item["id"]:
            raise ValueError(f"{item['id']} became {entry.entity_id}")
        self._hass.states.async_set(item["id"], item["state"], attributes)
        async_expose_entity(self._hass, "conversation", item["id"], True)

    async def _write_down(self, call: ServiceCall) -> Any:
        data = dict(call.data)
        ids = data.pop("entity_id", None)
        ids = [ids] if isinstance(ids, str) else sorted(ids or [])
        self._done.append([f"{call.domain}.{call.service}", ids, json.loads(json.dumps(data, default=str))])
        if call.service == "search_media":
            found = SimpleNamespace(media_content_id="1", media_content_type="music", as_dict=lambda: {"title": "x"})
            return {entity_id: SimpleNamespace(result=[found]) for entity_id in ids}
        return {} if call.return_response else None

    async def say(self, text: str, language: str, area: str | None) -> dict[str, Any]:
        """What Home Assistant's own agent makes of a sentence, and does."""
        self._reset()
        trace.async_clear_traces()
        result = await agent_manager.async_converse(
            self._hass, text, None, Context(), language, device_id=self._speakers.get(area or "")
        )
        calls = [
            {"name": event["data"]["intent_name"], "slots": event["data"]["slots"]}
            for event in trace.async_get_traces()[-1].as_dict()["events"]
            if event["event_type"] == trace.ConversationTraceEventType.TOOL_CALL
        ]
        answer = result.response
        effects = self._effects(answer)
        if answer.error_code is not None:
            effects["error"] = answer.error_code.value
        return {"calls": calls, "effects": effects, "speech": answer.speech.get("plain", {}).get("speech", "")}

    async def execute(self, calls: list[dict[str, Any]], language: str, area: str | None) -> dict[str, Any]:
        """What Home Assistant does with intents that a Wyoming conversation agent sent it."""
        self._reset()
        effects: dict[str, Any] = {"done": [], "matched": [], "unmatched": []}
        for call in calls:
            try:
                answer = await intent.async_handle(
                    self._hass,
                    "wyoming",
                    call["name"],
                    {name: {"value": value} for name, value in call["slots"].items()},
                    text_input="",
                    language=language,
                    assistant="conversation",
                    device_id=self._speakers.get(area or ""),
                )
            except intent.IntentError as error:
                effects["error"] = f"{type(error).__name__}: {error}"
                continue
            for key, value in self._effects(answer).items():
                effects[key] = value if key == "done" else sorted({*effects[key], *value})
        return {"effects": effects}

    def _effects(self, answer: Any) -> dict[str, Any]:
        return {
            "done": sorted(self._done, key=json.dumps),
            "matched": sorted(state.entity_id for state in answer.matched_states),
            "unmatched": sorted(state.entity_id for state in answer.unmatched_states),
        }

    def _reset(self) -> None:
        """Forget what one sentence would leave for the next: what was paused, which timers run."""
        self._done.clear()
        handlers = self._hass.data[intent.DATA_KEY]
        handlers["HassMediaPause"].last_paused.clear()
        timers = self._hass.data["intent.timer"]
        for timer_id in list(timers.timers):
            timers.cancel_timer(timer_id)


class FakeEntity:
    """Stands for a to-do list or a media player where a handler asks for the entity itself."""

    volume_step = 0.1
    volume_level = 0.5
    is_volume_muted = False

    def __init__(self, entity_id: str, done: list[list[Any]]) -> None:
        self.entity_id = entity_id
        self.state = "playing"
        self._done = done
        self.todo_items = ()

    async def async_create_todo_item(self, item: Any) -> None:
        self._done.append(["todo.add", [self.entity_id], {"item": item.summary}])

    async def async_volume_up(self) -> None:
        self._done.append(["media_player.volume_up", [self.entity_id], {}])

    async def async_volume_down(self) -> None:
        self._done.append(["media_player.volume_down", [self.entity_id], {}])

    async def async_set_volume_level(self, volume: float) -> None:
        self._done.append(["media_player.volume_set", [self.entity_id], {"volume_level": volume}])


def _config_entry() -> Any:
    return ConfigEntry(
        created_at=None, data={}, discovery_keys={}, domain="agreement", entry_id="agreement", minor_version=1,
        modified_at=None, options={}, pref_disable_new_entities=None, pref_disable_polling=None, source="user",
        subentries_data=(), title="agreement", unique_id=None, version=1,
    )  # fmt: skip


async def main(home: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        hass = HomeAssistant(folder)
        hass.config.skip_pip = True
        loader.async_setup(hass)
        hass.config_entries = bootstrap.config_entries.ConfigEntries(hass, {})
        await bootstrap.async_load_base_functionality(hass)
        hass.http = MagicMock()  # nobody asks over HTTP here
        hass.config.components.add("http")
        for component in COMPONENTS:
            if not await async_setup_component(hass, component, {component: {}}):
                raise SystemExit(f"{component} could not be set up")
        await hass.async_block_till_done()
        house = House(hass, home)
        await house.furnish()
        hass.set_state(CoreState.running)
        await hass.async_block_till_done()
        await _serve(house)
        await hass.async_stop(force=True)


async def _serve(house: House) -> None:
    print("{}", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        if "say" in asked:
            answer = await house.say(asked["say"], asked["language"], asked.get("area"))
        else:
            answer = await house.execute(asked["execute"], asked["language"], asked.get("area"))
        print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main(yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))))
