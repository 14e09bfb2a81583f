"""Nothing that a person said or a model wrote becomes a template: Home Assistant renders the text of an intent."""

from __future__ import annotations

import jinja2
import pytest
from wyoming.event import Event

from tests.conftest import RunningServer
from tests.server.speech import client
from wyoming_superwhisper.engines.base import IntentCall
from wyoming_superwhisper.handlers.reply import intent_events, without_templates

ATTACKS = [
    "{{ 7 * 7 }}",
    "{{{{ 7 * 7 }}}}",
    "{{{ 7 * 7 }}}",
    "{% for i in range(10**9) %}x{% endfor %}",
    "{# hidden #}",
    "{%- set x = 1 -%}{{- x -}}",
    "a {{ states('lock.front_door') }} b",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_rendered_as_a_template_it_says_the_same_words(attack: str) -> None:
    harmless = without_templates(attack)
    assert jinja2.Environment().from_string(harmless).render() == harmless
    assert harmless.replace(" ", "") == attack.replace(" ", "")


def test_only_the_packs_own_templates_are_sent_as_templates() -> None:
    said = IntentCall("HassListAddItem", {"item": "{{ 7 * 7 }}"}, text="{{ 7 * 7 }} ajouté")
    pack = IntentCall("HassGetState", {"name": "{{ 7 * 7 }}"}, template="{{ slots.name }} est {{ state.state }}")
    texts = [event.data["text"] for event in intent_events((said, pack), None, renders=True) if "text" in event.data]
    assert texts == ["{ { 7 * 7 }} ajouté", "{{ slots.name }} est {{ state.state }}"]


@pytest.mark.parametrize(
    "text",
    ["Ajoute {{ 7 * 7 }} à ma liste de courses.", "{{ 7 * 7 }}", "Allume {{ 7 * 7 }}", "{% set x = 1 %} quelle heure"],
)
async def test_a_sentence_with_jinja_in_it_comes_back_as_text(server: RunningServer, text: str) -> None:
    async with client(server) as one:
        await one.send(Event("transcript", {"text": text, "language": "fr", "context": {"conversation_id": "{{ 1 }}"}}))
        events = await one.until("intent", "handled", "not-recognized", "not-handled", "intents-stop")
    for event in events:
        said = str(event.data.get("text") or "")
        assert "49" not in said
        if event.type == "intent":
            assert jinja2.Environment().from_string(said).render() == said
