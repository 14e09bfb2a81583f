"""Watch a server at work: its figures, read from its metrics address every few seconds."""

from __future__ import annotations

import argparse
import sys
import time
import urllib.error
import urllib.request

from wyoming_superwhisper.errors import SettingsError

PREFIX = "wyoming_superwhisper_"
CLEAR = "\x1b[2J\x1b[H"

EPILOG = "The server must say its figures: serve --metrics 127.0.0.1:10301"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `top`."""
    parser.add_argument(
        "--metrics", metavar="HOST:PORT", default="127.0.0.1:10301", help="metrics address (default: 127.0.0.1:10301)"
    )
    parser.add_argument(
        "--interval", metavar="SECONDS", type=float, default=2.0, help="pause between looks (default: 2)"
    )
    parser.add_argument("--once", action="store_true", help="print once and end")


def run(options: argparse.Namespace) -> int:
    """Show the figures until interrupted."""
    url = f"http://{options.metrics}/metrics"
    while True:
        page = format_figures(_fetch(url))
        if options.once:
            print(page)
            return 0
        print(f"{CLEAR if sys.stdout.isatty() else ''}{time.strftime('%H:%M:%S')}  {url}\n\n{page}", flush=True)
        time.sleep(options.interval)


def format_figures(text: str) -> str:
    """Prometheus' text as a table: figures of ours only, histograms by their count and mean."""
    figures: dict[str, float] = {}
    for line in text.splitlines():
        name, _, number = line.rpartition(" ")
        if name.startswith(PREFIX) and "_bucket{" not in name and "_created" not in name:
            figures[name.removeprefix(PREFIX)] = float(number)
    rows = []
    for name, value in figures.items():
        base, brace, labels = name.partition("{")
        if base.endswith("_sum"):
            continue
        total = figures.get(f"{base.removesuffix('_count')}_sum{brace}{labels}")
        if base.endswith("_count") and total is not None:
            mean = total / value if value else 0.0
            rows.append((base.removesuffix("_count") + brace + labels, f"{value:g} times, mean {mean:.3f}"))
        else:
            rows.append((name, f"{value:g}"))
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows) or "no figures yet"


def _fetch(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            content: bytes = answer.read()
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise SettingsError(f"no figures at {url} ({reason}); start the server with --metrics HOST:PORT") from error
    return content.decode("utf-8", errors="replace")
