"""The command line: one module per command, each with `add_arguments` and `run`.

Modules are imported when their command is asked for, so that `serve` listens early. What goes wrong is one sentence on
standard error; the exit status is 2 for what the caller can put right (options, settings, files, a taken port) and 1
for anything else.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from wyoming_superwhisper import __version__
from wyoming_superwhisper.errors import SettingsError, SuperwhisperError

PROGRAM = "wyoming-superwhisper"

COMMANDS = {
    "serve": "run the server",
    "satellite": "run a room's microphone and loudspeaker",
    "transcribe": "write down what is said in a WAV file",
    "say": "speak a text",
    "ask": "answer a sentence",
    "models": "list, download and verify models",
    "doctor": "say what is wrong on this machine and what to do",
    "health": "say whether a server is well",
    "top": "show live what a server does",
}
"""Commands and what they do."""

OK, UNEXPECTED, WRONG, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    _open_standard_files()
    try:
        return _run(given)
    except SystemExit as end:  # argparse's way out of --help and wrong options
        return end.code if isinstance(end.code, int) else WRONG
    except KeyboardInterrupt:
        return OK if given[:1] in (["serve"], ["satellite"], ["top"]) else INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left; Python would complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except SettingsError as error:
        return _complain(str(error), WRONG, given)
    except SuperwhisperError as error:
        return _complain(str(error), UNEXPECTED, given)
    except Exception as error:  # the boundary of the program: nobody above would say it more kindly
        text = f"unexpected: {type(error).__name__}: {error} (--log-level debug shows where)"
        return _complain(text, UNEXPECTED, given)


def _open_standard_files() -> None:
    """Have those of the three standard files that are closed lead nowhere.

    Else the next file that is opened takes the number of one: what is said there would go to a client.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
            os.set_inheritable(opened, True)


def _run(given: list[str]) -> int:
    parser = _Parser(
        prog=PROGRAM,
        description="A local voice assistant that speaks the Wyoming protocol: speech recognition, understanding, "
        "answers and speech in one server.",
        epilog=f"{PROGRAM} COMMAND --help says more about a command. To try it all: {PROGRAM} serve --settings demo",
        allow_abbrev=False,
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    asked = next((argument for argument in given if not argument.startswith("-")), None)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, allow_abbrev=False, formatter_class=_Formatter)
        if name == asked:
            module = importlib.import_module(f"{__name__}.{name}")
            command.description = module.__doc__
            command.epilog = getattr(module, "EPILOG", None)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    options, unknown = parser.parse_known_args(given)
    if unknown:  # said by the command, whose help knows better
        commands.choices[options.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    status: int = options.run(options)
    return status


def _complain(text: str, status: int, given: list[str]) -> int:
    if "debug" in given:
        traceback.print_exc()
    print(f"{PROGRAM}: {text}", file=sys.stderr)
    return status


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=100)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence instead of argparse's page of usage."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(WRONG)
