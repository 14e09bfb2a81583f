"""Answer a sentence, as the conversation agent does: the reply, and the intents that a client would execute."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any

from wyoming_superwhisper.cli import options as shared
from wyoming_superwhisper.errors import SettingsError

EPILOG = """\
examples:
  wyoming-superwhisper ask "Allume la lumière de la cuisine." --settings demo
  wyoming-superwhisper ask "What time is it?" --language en --server tcp://gpu-box:10300 --json

The reply goes to standard output, streamed as it is written; each intent follows as a line "intent NAME {slots}"."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ask`."""
    parser.add_argument("text", metavar="TEXT", help="the sentence; - reads it from standard input")
    parser.add_argument(
        "--language", metavar="LANGUAGE", help="language of the sentence (default: as the settings say)"
    )
    parser.add_argument("--area", metavar="AREA", help="room it is said in: id or name")
    parser.add_argument("--conversation", metavar="ID", help="conversation it belongs to")
    parser.add_argument(
        "--execute", action="store_true", help="let the server execute what it can, as for a satellite of its own"
    )
    parser.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    shared.add_server(parser)
    shared.add_models(parser)
    shared.add_settings(parser)


def run(options: argparse.Namespace) -> int:
    """Ask."""
    text = (sys.stdin.read() if options.text == "-" else options.text).strip()
    if not text:
        raise SettingsError("there is nothing to ask: the sentence is empty")
    asyncio.run(_ask(options, text))
    return 0


async def _ask(options: argparse.Namespace, text: str) -> None:
    from wyoming_superwhisper import client

    streamed: list[str] = []

    def show(piece: str) -> None:
        streamed.append(piece)
        if not options.json:
            print(piece, end="", flush=True)

    async with shared.server_uri(options, "light", "llama") as uri:
        answer = await client.ask(
            uri, text, options.language, options.conversation, options.area, options.execute, on_text=show
        )
    if options.json:
        print(json.dumps(_as_json(answer), ensure_ascii=False))
        return
    print("" if streamed else answer.text)
    for intent in answer.intents:
        print(f"intent {intent.name} {json.dumps(_slots(intent), ensure_ascii=False)}")


def _as_json(answer: Any) -> dict[str, Any]:
    return {
        "outcome": answer.outcome,
        "text": answer.text,
        "answered_by": answer.answered_by,
        "intents": [{"name": intent.name, "slots": _slots(intent)} for intent in answer.intents],
    }


def _slots(intent: Any) -> dict[str, Any]:
    return {entity.name: entity.value for entity in intent.entities}
