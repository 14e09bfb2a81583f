"""Say whether a server is well: exit status 0 when it answers, 1 when it doesn't. For scripts and containers."""

from __future__ import annotations

import argparse
import asyncio
import time

from wyoming_superwhisper.cli import options as shared

DEFAULT_URI = "tcp://127.0.0.1:10300"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `health`."""
    parser.add_argument("--server", metavar="URI", default=DEFAULT_URI, help=f"server to ask (default: {DEFAULT_URI})")
    parser.add_argument(
        "--ready", action="store_true", help="also wait until its models are loaded and it has spoken and heard"
    )
    parser.add_argument(
        "--http",
        metavar="HOST:PORT",
        help="ask the page of metrics.listen instead: it knows the server's state, and with --ready whether it serves",
    )
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=5.0, help="time it has (default: 5)")
    shared.add_logging(parser)


def run(options: argparse.Namespace) -> int:
    """Ask the server."""
    shared.configure_log(options)
    if options.http:
        return _ask_page(options)
    from wyoming_superwhisper import client

    began = time.monotonic()
    if options.ready:
        info = asyncio.run(client.wait_ready(options.server, options.timeout))
    else:
        info = asyncio.run(client.describe(options.server, options.timeout))
    took_ms = (time.monotonic() - began) * 1000
    services = [name for name in ("asr", "tts", "intent", "handle", "wake") if getattr(info, name)]
    print(f"{options.server} is well: {', '.join(services) or 'no services'} ({took_ms:.0f} ms)")
    return 0


def _ask_page(options: argparse.Namespace) -> int:
    from wyoming_superwhisper import figures

    well, said = figures.read_health(options.http, ready=options.ready, timeout_s=options.timeout)
    engines = ", ".join(f"{name} {state}" for name, state in (said.get("engines") or {}).items())
    print(f"{options.http} is {said.get('state')}: {engines}")
    return 0 if well else 1
