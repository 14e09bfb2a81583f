"""`script/run`: the demonstration from its start to its end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from wyoming_superwhisper import logs
from wyoming_superwhisper.demonstration.display import announce, line, print_times, print_what_now, show_answer
from wyoming_superwhisper.demonstration.server_process import DEFAULT_PORT, ServerProcess, choose_port
from wyoming_superwhisper.demonstration.turn import run_turn
from wyoming_superwhisper.demonstration.utterance import SENTENCES, Utterance, recording, speak
from wyoming_superwhisper.errors import SettingsError, SuperwhisperError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration; the exit status."""
    options = _parse(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace", line_buffering=True)
    logs.configure("error")  # what goes wrong is said in our own words
    try:
        return asyncio.run(_until_stopped(options))
    except KeyboardInterrupt:  # where there are no signal handlers (Windows)
        return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="script/run",
        description="Start the server on the demo models, speak to it, show each turn, then leave the server running.",
    )
    parser.add_argument("--wav", type=Path, metavar="FILE", help="say this recording instead of the built-in sentences")
    parser.add_argument(
        "--language", choices=sorted(SENTENCES), default="fr", help="language of the sentences (default: fr)"
    )
    parser.add_argument(
        "--port", type=int, help=f"port of the server (default: {DEFAULT_PORT}, or a free one if that is taken)"
    )
    parser.add_argument("--once", action="store_true", help="stop when the demonstration is over")
    return parser.parse_args(argv)


async def _until_stopped(options: argparse.Namespace) -> int:
    """The demonstration, ended at once and with status 0 by SIGINT, SIGTERM or SIGHUP."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        with contextlib.suppress(NotImplementedError, AttributeError):
            loop.add_signal_handler(getattr(signal, name), stop.set)
    demonstration = asyncio.create_task(_demonstrate(options), name="demonstration")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({demonstration, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        demonstration.cancel()
        await asyncio.wait({demonstration})
    if demonstration.cancelled():
        print("\nStopped.")
        return 0
    return demonstration.result()


async def _demonstrate(options: argparse.Namespace) -> int:
    try:
        port = choose_port(options.port)
        spoken = recording(options.wav) if options.wav else None
        async with ServerProcess(port) as server:
            return await _show(server, options, spoken)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except SuperwhisperError as error:
        print(f"The demonstration failed: {error}", file=sys.stderr)
        return 1


async def _show(server: ServerProcess, options: argparse.Namespace, spoken: Utterance | None) -> int:
    print(f"Starting the server on the demo models (log: {server.log}) …")
    listening_s, ready_s = await server.wait_ready()
    print(f"It listens after {listening_s:.1f} s; its models are loaded after {ready_s:.1f} s.")
    utterances = [spoken] if spoken else [speak(one, options.language) for one in SENTENCES[options.language]]
    turns = []
    for number, utterance in enumerate(utterances, start=1):
        announce(number, utterance)
        turns.append(await run_turn(server.uri, utterance, options.language, line))
        await show_answer(turns[-1], number)
    print_times(turns)
    wrong = [turn for turn in turns if not turn.right]
    print()
    print("All as it should be." if not wrong else f"{len(wrong)} of {len(turns)} turns went wrong: see above.")
    if options.once:
        return 1 if wrong else 0
    print_what_now(server, options.language)
    server.show_log = True
    return await server.ended()


if __name__ == "__main__":
    sys.exit(main())
