"""Mixed turns with faults against a real server, for as long as asked; does its memory stay where it was?

    python -m benchmarks.soak --hours 1
    python -m benchmarks.soak --minutes 3 --settings demo --clients 2

Starts a server of its own (with figures), lets clients talk to it, some of them badly, kills one worker early on, and
looks every few seconds at memory and open files of each process. What counts is the median over the last sixth of the
time against the second sixth (of an hour: the last ten minutes against minutes 10 to 20). Exit status 1 where a limit
of the project is passed: front +1 MB, each worker +16 MB, open files flat, no traceback, no turn that went wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.conftest import free_port
from wyoming_superwhisper import client
from wyoming_superwhisper.audio import SPEECH, AudioFormat
from wyoming_superwhisper.errors import SuperwhisperError

FRONT_MB, WORKER_MB = 1.0, 16.0
"""Growth that is allowed."""
MORE_FILES = 4
"""More open files than that are a leak."""
SAMPLE_S = 5.0
SENTENCES = {
    "Quelle heure est-il ?": "fr",
    "Allume la lumière de la cuisine.": "fr",
    "Éteins la lumière du salon.": "fr",
    "What time is it?": "en",
}
QUESTIONS = {"Raconte-moi une blague.": "fr", "Qui es-tu ?": "fr", "Tell me a joke.": "en"}
WORKER_MODULE = "wyoming_superwhisper.engines.worker"


@dataclass
class Spoken:
    """A sentence as the server itself says it."""

    text: str
    language: str
    audio: bytes
    format: AudioFormat


@dataclass
class Tally:
    """What happened."""

    done: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    expect_losses_until: float = 0.0
    """While a worker that was killed comes back, requests may fail."""


@dataclass(frozen=True)
class Sample:
    """One look at the server's processes."""

    at_s: float
    pss_mb: dict[str, float]
    rss_mb: dict[str, float]
    files: dict[str, int]


# --- what clients do -------------------------------------------------------------------------------------------


async def describe(uri: str, spoken: list[Spoken]) -> None:
    await client.describe(uri)


async def transcribe(uri: str, spoken: list[Spoken]) -> None:
    one = random.choice(spoken)
    heard = await client.transcribe(uri, one.audio, one.format, one.language)
    if not heard:
        raise AssertionError(f"nothing was heard of {one.text!r}")


async def transcribe_silence(uri: str, spoken: list[Spoken]) -> None:
    if heard := await client.transcribe(uri, bytes(32_000), SPEECH, "fr"):
        raise AssertionError(f"{heard!r} was heard in silence")


async def ask(uri: str, spoken: list[Spoken]) -> None:
    one = random.choice(spoken)
    answer = await client.ask(uri, one.text, one.language, conversation=f"soak-{random.randrange(50)}")
    if answer.outcome != "intents":
        raise AssertionError(f"{one.text!r} was not understood: {answer.outcome}")


async def ask_the_model(uri: str, spoken: list[Spoken]) -> None:
    text, language = random.choice(list(QUESTIONS.items()))
    answer = await client.ask(uri, text, language, conversation=f"soak-{random.randrange(50)}")
    if not answer.text:
        raise AssertionError(f"no answer to {text!r}")


async def say(uri: str, spoken: list[Spoken]) -> None:
    one = random.choice(spoken)
    if not [chunk async for chunk in client.synthesize(uri, one.text, language=one.language)]:
        raise AssertionError("no sound")


async def whole_turn(uri: str, spoken: list[Spoken]) -> None:
    one = random.choice(spoken)
    kinds = [event.type async for event in client.run_pipeline(uri, one.audio, one.format, one.language, name="soak")]
    if "audio-chunk" not in kinds:
        raise AssertionError(f"a turn without sound: {kinds}")


async def wake_word(uri: str, spoken: list[Spoken]) -> None:
    await client.detect(uri, bytes(64_000))


async def leave_in_the_middle(uri: str, spoken: list[Spoken]) -> None:
    async for _ in client.synthesize(uri, "Bonjour tout le monde, il fait beau. " * 10, language="fr"):
        return  # the iterator is closed, and with it the connection


async def unknown_voice(uri: str, spoken: list[Spoken]) -> None:
    try:
        async for _ in client.synthesize(uri, "Bonjour.", voice="../../etc/passwd"):
            pass
    except SuperwhisperError as error:
        if error.code == "unknown-voice":
            return
        raise
    raise AssertionError("a path was taken for a voice")


async def nonsense(uri: str, spoken: list[Spoken]) -> None:
    await _raw(
        uri, random.choice([b'{"type": 1}\n', b"\xff\xfe\n", b'{"type": "ping", "data_length": -1}\n', b"GET /\n"])
    )


async def half_an_event(uri: str, spoken: list[Spoken]) -> None:
    await _raw(uri, b'{"type": "audio-chunk", "payload_length": 3200}\n' + bytes(100), wait=False)


async def a_wrong_format(uri: str, spoken: list[Spoken]) -> None:
    data = json.dumps({"type": "audio-start", "data": {"rate": 1, "width": 2, "channels": 9}}).encode()
    await _raw(uri, data + b"\n")


async def _raw(uri: str, sent: bytes, wait: bool = True) -> None:
    host, _, port = uri.removeprefix("tcp://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(sent)
        await writer.drain()
        if wait:
            answer = await asyncio.wait_for(reader.readline(), 20)
            if b"error" not in answer:
                raise AssertionError(f"no error for {sent[:40]!r}: {answer[:80]!r}")
    finally:
        writer.transport.abort()


Deed = Callable[[str, list[Spoken]], Awaitable[None]]
DEEDS: tuple[tuple[Deed, int], ...] = (
    (describe, 6), (transcribe, 8), (transcribe_silence, 2), (ask, 8), (ask_the_model, 3), (say, 6), (whole_turn, 4),
    (wake_word, 2), (leave_in_the_middle, 2), (unknown_voice, 1), (nonsense, 2), (half_an_event, 1),
    (a_wrong_format, 1),
)  # fmt: skip
"""What clients do, and how often."""


async def live(uri: str, spoken: list[Spoken], tally: Tally, until_s: float, pause_s: float) -> None:
    """One client's life."""
    deeds, weights = zip(*DEEDS, strict=True)
    while time.monotonic() < until_s:
        [deed] = random.choices(deeds, weights)
        try:
            await deed(uri, spoken)
            tally.done[deed.__name__] += 1
        except (SuperwhisperError, OSError, AssertionError) as error:
            if time.monotonic() > tally.expect_losses_until:
                tally.wrong[deed.__name__] += 1
                tally.examples.append(f"{deed.__name__}: {type(error).__name__}: {error}"[:200])
        await asyncio.sleep(random.uniform(0.5, 1.5) * pause_s)


# --- what is looked at -----------------------------------------------------------------------------------------


def look(front: psutil.Process, began_s: float) -> Sample:
    """Memory and open files of the front and its workers."""
    pss, rss, files = {}, {}, {}
    for name, process in {"front": front, **workers(front)}.items():
        try:
            memory = process.memory_full_info()
            pss[name], rss[name], files[name] = memory.pss / 2**20, memory.rss / 2**20, process.num_fds()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return Sample(time.monotonic() - began_s, pss, rss, files)


def workers(front: psutil.Process) -> dict[str, psutil.Process]:
    """The worker processes by engine."""
    found = {}
    for child in front.children():
        try:
            command = child.cmdline()
        except psutil.NoSuchProcess:
            continue
        if WORKER_MODULE in command:
            found[command[command.index(WORKER_MODULE) + 1]] = child
    return found


async def keep_looking(front: psutil.Process, began_s: float, until_s: float) -> list[Sample]:
    samples = []
    while time.monotonic() < until_s:
        samples.append(look(front, began_s))
        await asyncio.sleep(SAMPLE_S)
    return samples


async def kill_one(front: psutil.Process, tally: Tally, at_s: float) -> None:
    """Kill the voice's worker, once, early."""
    await asyncio.sleep(max(0.0, at_s - time.monotonic()))
    tally.expect_losses_until = time.monotonic() + 30
    workers(front)["piper"].send_signal(signal.SIGKILL)


# --- the report ------------------------------------------------------------------------------------------------


def compare(
    samples: list[Sample], length_s: float, pick: Callable[[Sample], dict[str, float]]
) -> dict[str, list[float]]:
    """Medians of the second and the last sixth, by process."""
    windows = [(length_s / 6, length_s / 3), (length_s * 5 / 6, length_s)]
    found: dict[str, list[float]] = defaultdict(list)
    for start, end in windows:
        values = defaultdict(list)
        for sample in samples:
            if start <= sample.at_s <= end:
                for name, value in pick(sample).items():
                    values[name].append(value)
        for name, listed in values.items():
            found[name].append(round(statistics.median(listed), 2))
    return {name: pair for name, pair in found.items() if len(pair) == 2}


def judge(report: dict[str, object]) -> list[str]:
    """The limits that were passed."""
    faults = []
    for name, (before, after) in report["pss_mb"].items():  # type: ignore[attr-defined]
        limit = FRONT_MB if name == "front" else WORKER_MB
        if after - before > limit:
            faults.append(f"{name} grew by {after - before:.1f} MB (limit {limit:g})")
    for name, (before, after) in report["open_files"].items():  # type: ignore[attr-defined]
        if after - before > MORE_FILES:
            faults.append(f"{name} has {after - before:g} more open files")
    if report["tracebacks"]:
        faults.append(f"{report['tracebacks']} tracebacks in the log")
    if report["wrong"]:
        faults.append(f"turns that went wrong: {report['wrong']}")
    return faults


def table(report: dict[str, object]) -> str:
    """The report as Markdown."""
    lines = [
        "| process | PSS at first (MB) | at last | growth | RSS at first (MB) | at last | open files |",
        "|---|---|---|---|---|---|---|",
    ]
    pss, rss, files = report["pss_mb"], report["rss_mb"], report["open_files"]
    for name, (before, after) in pss.items():  # type: ignore[attr-defined]
        lines.append(
            f"| {name} | {before} | {after} | {after - before:+.2f} | {rss[name][0]} | {rss[name][1]} | "  # type: ignore[index]
            f"{files[name][0]:g} → {files[name][1]:g} |"  # type: ignore[index]
        )
    return "\n".join(lines)


# --- running ---------------------------------------------------------------------------------------------------


async def soak(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Run it all; the report."""
    uri, log = f"tcp://127.0.0.1:{free_port()}", folder / "server.log"
    command = [
        sys.executable, "-m", "wyoming_superwhisper", "serve", "--settings", options.settings, "--uri", uri,
        "--no-zeroconf", "--metrics", f"127.0.0.1:{free_port()}",
    ]  # fmt: skip
    for assignment in options.set:
        command += ["--set", assignment]
    with log.open("wb") as output:
        server = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output, env=os.environ)
    try:
        await client.wait_ready(uri, 180)
        spoken = [await speak(uri, text, language) for text, language in SENTENCES.items()]
        length_s, tally = options.minutes * 60, Tally()
        began = time.monotonic()
        until, front = began + length_s, psutil.Process(server.pid)
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(keep_looking(front, began, until))
            group.create_task(kill_one(front, tally, began + length_s / 20))
            for _ in range(options.clients):
                group.create_task(live(uri, spoken, tally, until, options.pause))
        samples = looking.result()
    finally:
        if server.returncode is None:
            server.terminate()
        status = await asyncio.wait_for(server.wait(), 30)
    report: dict[str, object] = {
        "minutes": options.minutes,
        "turns": dict(tally.done),
        "turns_in_all": tally.done.total(),
        "wrong": dict(tally.wrong),
        "examples": tally.examples[:10],
        "exit_status": status,
        "tracebacks": log.read_text(errors="replace").count("Traceback (most recent call last)"),
        "pss_mb": compare(samples, length_s, lambda sample: sample.pss_mb),
        "rss_mb": compare(samples, length_s, lambda sample: sample.rss_mb),
        "open_files": compare(samples, length_s, lambda sample: dict(sample.files)),
    }
    return report


async def speak(uri: str, text: str, language: str) -> Spoken:
    """Have the server say a sentence, so that it can be said to it."""
    chunks = [chunk async for chunk in client.synthesize(uri, text, language=language)]
    return Spoken(text, language, b"".join(chunk.audio for chunk in chunks), chunks[0].format)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, help="how long, in hours")
    parser.add_argument("--minutes", type=float, help="the same in minutes")
    parser.add_argument("--settings", default="demo", help="settings of the server (default: demo)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the server")
    parser.add_argument("--clients", type=int, default=3, help="clients at a time (default: 3)")
    parser.add_argument(
        "--pause", type=float, default=1.0, help="a client's pause between turns, in seconds (default: 1)"
    )
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--output", type=Path, help="write the report there, as JSON")
    parser.add_argument("--log", type=Path, help="keep the server's log there")
    options = parser.parse_args()
    options.minutes = options.hours * 60 if options.hours else options.minutes or 60.0
    random.seed(options.seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        report = asyncio.run(soak(options, Path(folder)))
        faults = judge(report)
        if options.log:
            options.log.write_bytes((Path(folder) / "server.log").read_bytes())
    if options.output:
        options.output.write_text(json.dumps({**report, "faults": faults}, indent=1) + "\n")
    print(json.dumps({key: report[key] for key in ("minutes", "turns", "wrong", "examples", "tracebacks")}, indent=1))
    print(table(report))
    print("flat" if not faults else "NOT AS IT SHOULD BE: " + "; ".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
