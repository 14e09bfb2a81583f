"""Show live what a server does: requests and how long they take, engines, memory, the card. Ctrl-C ends it."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wyoming_superwhisper.cli import options as shared
from wyoming_superwhisper.figures import DEFAULT_PAGE, Figures, read_figures, read_health

EPILOG = """\
The server must show its figures: serve --metrics 127.0.0.1:10301, or metrics.listen in the settings.
Rates and times are those between two looks, and of all the time since the start in the first one (--once)."""

SERVICES = ("asr", "conversation", "tts", "pipeline", "wake", "describe")
_NO_FAILURE = ("ok", "not-recognized", "not-handled", "not-detected", "left")
_STATE_COLOURS = {"ready": "32", "starting": "33", "stopping": "33", "degraded": "31;1"}
_MB = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `top`."""
    parser.add_argument(
        "--metrics", metavar="HOST:PORT", default=DEFAULT_PAGE, help=f"the server's page (default: {DEFAULT_PAGE})"
    )
    parser.add_argument("--interval", metavar="SECONDS", type=float, default=2.0, help="between looks (default: 2)")
    parser.add_argument("--once", action="store_true", help="look once and end")
    shared.add_logging(parser)


def run(options: argparse.Namespace) -> int:
    """Look again and again."""
    shared.configure_log(options)
    earlier, looked_at = Figures(), 0.0
    while True:
        figures, (_, health) = read_figures(options.metrics), read_health(options.metrics, ready=True)
        now = time.monotonic()
        over_s = now - looked_at if looked_at else _up_s(figures)
        lines = screen(options.metrics, figures, figures.since(earlier), over_s, health, colour=sys.stdout.isatty())
        if options.once:
            print("\n".join(lines))
            return 0
        _show(lines)
        earlier, looked_at = figures, now
        time.sleep(max(0.2, options.interval))


def screen(
    page: str, now: Figures, new: Figures, over_s: float, health: Mapping[str, Any], *, colour: bool = False
) -> list[str]:
    """The lines to show: `now` the figures as they stand, `new` what was added in the last `over_s` seconds."""
    state = str(health.get("state", "unknown"))
    shown = f"\x1b[{_STATE_COLOURS.get(state, '0')}m{state}\x1b[0m" if colour else state
    head = f"{page}  {shown}  up {_duration(_up_s(now))}  {now.total('connections'):.0f} connections"
    parts: Sequence[Iterator[str]] = (
        _services(now, new, over_s),
        _stages(new),
        _engines(now, new, health.get("engines") or {}),
        _others(now, new),
    )
    lines = [head]
    for part in parts:
        listed = list(part)
        lines += ["", *listed] if listed else []
    return lines


def _services(now: Figures, new: Figures, over_s: float) -> Iterator[str]:
    yield f"{'service':<14}{'requests':>9}{'a minute':>10}{'failed':>8}{'left':>6}{'median':>10}{'95 %':>10}"
    by_service = now.by("requests_total", "service")
    for service in (one for one in SERVICES if one in by_service):
        by_result = now.by("requests_total", "result", service=service)
        failed = sum(count for result, count in by_result.items() if result not in _NO_FAILURE)
        a_minute = new.total("requests_total", service=service) / over_s * 60 if over_s else 0.0
        yield (
            f"{service:<14}{by_service[service]:>9.0f}{a_minute:>10.1f}{failed:>8.0f}{by_result.get('left', 0):>6.0f}"
            f"{_quantile(new, 'request_seconds', 0.5, service=service):>10}"
            f"{_quantile(new, 'request_seconds', 0.95, service=service):>10}"
        )


def _stages(new: Figures) -> Iterator[str]:
    stages = [stage for stage in new.by("turn_seconds_count", "stage") if _counted(new, stage)]
    if stages:
        medians = (f"{stage} {_quantile(new, 'turn_seconds', 0.5, stage=stage)}" for stage in stages)
        yield "whole turns, from the end of speech: " + ", ".join(medians)


def _counted(new: Figures, stage: str) -> bool:
    return new.total("turn_seconds_count", stage=stage) > 0


def _engines(now: Figures, new: Figures, states: Mapping[str, str]) -> Iterator[str]:
    yield (
        f"{'engine':<9}{'state':<12}{'at work':>8}{'waiting':>9}{'median':>9}{'95 %':>9}{'batch':>7}{'× real':>8}"
        f"{'memory':>9}{'video':>9}{'restarts':>10}"
    )
    for engine in now.by("jobs_running", "engine"):
        restarts = now.total("worker_restarts_total", engine=engine) + now.total("worker_recycled_total", engine=engine)
        state = str(states.get(engine, "")).partition(":")[0]
        yield (
            f"{engine:<9}{state:<12}{now.total('jobs_running', engine=engine):>8.0f}"
            f"{now.total('queue_length', engine=engine):>9.0f}"
            f"{_quantile(new, 'engine_seconds', 0.5, engine=engine):>9}"
            f"{_quantile(new, 'engine_seconds', 0.95, engine=engine):>9}"
            f"{_average(new, 'batch_size', engine):>7}{_average(new, 'real_time_factor', engine):>8}"
            f"{_megabytes(now.total('worker_memory_bytes', engine=engine)):>9}"
            f"{_megabytes(now.total('gpu_memory_bytes', engine=engine)):>9}{restarts:>10.0f}"
        )
    front = _megabytes(now.total("process_resident_memory_bytes"))
    yield f"front: {front}, {now.total('process_open_fds'):.0f} open files"


def _others(now: Figures, new: Figures) -> Iterator[str]:
    if total := now.total("gpu_memory_total_bytes"):
        used = now.total("gpu_memory_used_bytes")
        yield (
            f"card: {now.total('gpu_utilization') * 100:.0f} % busy, {now.total('gpu_temperature_celsius'):.0f} °C, "
            f"{_megabytes(used)} of {_megabytes(total)}"
        )
    guesses = now.by("guesses_total", "stage")
    if guesses:
        kept = (
            f"{stage} {now.total('guesses_total', stage=stage, result='kept') / count * 100:.0f} % of {count:.0f}"
            for stage, count in guesses.items()
            if count
        )
        yield "guesses kept: " + ", ".join(kept)
    speed = new.quantile("llm_tokens_per_second", 0.5)
    if speed is not None:
        yield f"language model: {speed:.0f} tokens a second, {now.total('llm_tokens_total'):.0f} in all"
    errors = {code: count for code, count in now.by("errors_total", "code").items() if count}
    if errors:
        yield "errors told: " + ", ".join(f"{code} {count:.0f}" for code, count in sorted(errors.items()))


def _quantile(figures: Figures, name: str, share: float, **labels: str) -> str:
    value = figures.quantile(name, share, **labels)
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _average(figures: Figures, name: str, engine: str) -> str:
    count = figures.total(f"{name}_count", engine=engine)
    return f"{figures.total(f'{name}_sum', engine=engine) / count:.2f}" if count else "-"


def _megabytes(number: float) -> str:
    return f"{number / _MB:.0f} MB" if number else "-"


def _up_s(figures: Figures) -> float:
    started = figures.total("process_start_time_seconds")
    return max(0.0, time.time() - started) if started else 0.0


def _duration(seconds: float) -> str:
    minutes, hours = int(seconds // 60) % 60, int(seconds // 3600)
    if hours >= 48:
        return f"{hours // 24} days"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {int(seconds % 60)} s"


def _show(lines: Sequence[str]) -> None:
    """Over what was there; on no terminal one screen after the other."""
    if sys.stdout.isatty():
        width, height = shutil.get_terminal_size()
        text = "\x1b[K\n".join(line[: width + 9] for line in lines[: height - 1])
        print(f"\x1b[H{text}\x1b[K\x1b[J", end="", flush=True)
    else:
        print("\n".join(lines), end="\n\n", flush=True)
