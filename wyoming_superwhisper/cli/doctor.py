"""Say what is wrong on this machine and what to do about it: cards, libraries, models, ports, sound, Home Assistant."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import textwrap
from collections.abc import Iterable, Iterator

from wyoming_superwhisper.cli import options as shared
from wyoming_superwhisper.config.settings import Settings
from wyoming_superwhisper.doctor import examination
from wyoming_superwhisper.doctor.finding import Finding, State
from wyoming_superwhisper.doctor.server import check_server
from wyoming_superwhisper.home_assistant import examination as home_assistant

EPILOG = "exit status: 0 no problem, 1 problems, 2 wrong settings or options"

_TOPIC_WIDTH, _STATE_WIDTH, _LINE_WIDTH = 15, 8, 118
_COLOURS = {State.OK: "32", State.NOTE: "33", State.PROBLEM: "31;1"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `doctor`."""
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--home-assistant",
        action="store_true",
        help="only the Home Assistant of the settings: address, token, version, what is exposed, names, its way to us",
    )
    parser.add_argument(
        "--server", metavar="URI", help="only the server that runs there: each of its engines is asked for something"
    )
    shared.add_models(parser)
    shared.add_settings(parser)


def run(options: argparse.Namespace) -> int:
    """Examine the machine and print what is found as it is found."""
    if options.server:
        return 1 if _print(check_server(options.server), options.json) else 0
    settings, about_settings = examination.check_settings(lambda: shared.server_settings(options, quiet=True))
    problems = _print(itertools.chain([about_settings], _findings(settings, options.home_assistant)), options.json)
    if about_settings.state is State.PROBLEM:
        return 2
    return 1 if problems else 0


def _print(findings: Iterable[Finding], as_json: bool) -> int:
    """Print each as it is found, and how many are problems; their number."""
    problems = 0
    for finding in findings:
        problems += finding.state is State.PROBLEM
        print(_as_json(finding) if as_json else _as_text(finding, sys.stdout.isatty()), flush=True)
    if not as_json:
        print("No problems." if not problems else f"{problems} problem{'s' if problems > 1 else ''}: see above.")
    return problems


def _findings(settings: Settings, home_assistant_only: bool) -> Iterator[Finding]:
    if not home_assistant_only:
        yield from examination.examine(settings)
    if home_assistant_only or settings.home_assistant.url:
        yield from home_assistant.check_home_assistant(settings)


def _as_text(finding: Finding, colour: bool) -> str:
    indent = " " * (_STATE_WIDTH + _TOPIC_WIDTH)
    state = f"{finding.state.value:<{_STATE_WIDTH}}"
    lines = textwrap.wrap(finding.text, _LINE_WIDTH - len(indent), break_long_words=False, break_on_hyphens=False)
    if finding.remedy:
        lines += textwrap.wrap(f"→ {finding.remedy}", _LINE_WIDTH - len(indent), break_on_hyphens=False)
    first = f"\x1b[{_COLOURS[finding.state]}m{state}\x1b[0m" if colour else state
    return f"{first}{finding.topic:<{_TOPIC_WIDTH}}" + f"\n{indent}".join(lines)


def _as_json(finding: Finding) -> str:
    fields = {"topic": finding.topic, "state": finding.state.value.lower(), "text": finding.text}
    return json.dumps({**fields, "remedy": finding.remedy}, ensure_ascii=False)
