"""The made-up home itself: what the other tests rest on."""

import pytest

from tests.home_assistant.core import HomeAssistantCore, changed

pytestmark = [pytest.mark.home_assistant, pytest.mark.timeout(600)]


async def test_the_home_is_as_it_was_written(home_assistant: HomeAssistantCore) -> None:
    async with home_assistant.connect() as link:
        areas = {area["area_id"]: area for area in await link.call("config/area_registry/list")}
        floors = {floor["floor_id"]: floor["name"] for floor in await link.call("config/floor_registry/list")}
        entities = {one["entity_id"]: one for one in await link.call("config/entity_registry/list")}
        exposed = (await link.call("homeassistant/expose_entity/list"))["exposed_entities"]
    assert floors == {"rez": "Rez-de-chaussée", "etage": "Étage", "dehors": "Dehors"}
    assert (areas["salle_de_bain"]["name"], areas["salle_de_bain"]["floor_id"]) == ("Salle de bain", "etage")
    assert set(areas["salon"]["aliases"]) == {"living room", "lounge"}
    assert len(areas) == 14, "the rooms that come with a new Home Assistant are gone"
    assert entities["light.plafonnier_cuisine"]["area_id"] == "cuisine"
    assert exposed["switch.machine_a_cafe"]["conversation"]


@pytest.mark.parametrize(
    ("service", "entity", "data", "state", "attributes"),
    [
        ("light.turn_on", "light.lampe_salon", {"brightness_pct": 40}, "on", {"brightness": 102}),
        ("switch.turn_on", "switch.imprimante", {}, "on", {}),
        ("fan.set_percentage", "fan.ventilateur_bureau", {"percentage": 30}, "on", {"percentage": 30}),
        ("cover.close_cover", "cover.volets_salon", {}, "closed", {"current_position": 0}),
        ("climate.set_temperature", "climate.chauffage_bureau", {"temperature": 21}, "heat", {"temperature": 21}),
        ("media_player.media_pause", "media_player.radio_cuisine", {}, "paused", {}),
        ("todo.add_item", "todo.liste_de_courses", {"item": "Pain"}, "1", {"items": ["Pain: needs_action"]}),
        ("vacuum.start", "vacuum.aspirateur", {}, "cleaning", {}),
    ],
)
async def test_a_device_does_what_it_is_told_and_no_other_does(
    home_assistant: HomeAssistantCore, service: str, entity: str, data: dict[str, object], state: str,
    attributes: dict[str, object],
) -> None:  # fmt: skip
    async with home_assistant.connect() as link:
        before = await link.states()
        await link.service(*service.split("."), entity, **data)
        changes = changed(before, await link.states())
    assert set(changes) == {entity}
    assert changes[entity]["state"] == state
    assert attributes.items() <= changes[entity]["attributes"].items()


async def test_its_own_agent_knows_the_room_and_the_timers_of_a_satellite(home_assistant: HomeAssistantCore) -> None:
    if not home_assistant.is_new:
        pytest.skip("older releases take no device with a sentence in text")
    async with home_assistant.connect() as link:
        devices = {one["name"]: one["id"] for one in await link.call("config/device_registry/list")}
        spoken = {"language": "fr", "device_id": devices["cuisine-demo"]}
        timers = await link.subscribe("subscribe_events", event_type="fake_home_timer")
        before = await link.states()
        await link.call("conversation/process", text="Allume la lumière", **spoken)
        assert set(changed(before, await link.states())) - {"conversation.home_assistant"} == {
            "light.plafonnier_cuisine"
        }
        await link.call("conversation/process", text="minuteur de 5 minutes", **spoken)
        event = await timers.next()
        assert event["data"] | {"left": 0} == {
            "change": "started", "satellite": "cuisine-demo", "name": None, "seconds": 300, "left": 0
        }  # fmt: skip
