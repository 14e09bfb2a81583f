"""Many satellites at once: how long each waits, and how much gets through.

    python -m benchmarks.load [--clients 1 4 16 64] [-n UTTERANCES] [--first]

"Speaking at once": every client streams commands at the pace they are spoken, one after the other. "Back to back":
every client sends files as fast as they go; what counts then is how many are answered in a second.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time

from benchmarks import servers
from benchmarks.clients import transcribe
from benchmarks.report import Report, Spread
from benchmarks.spoken import Spoken, commands

MOST_LATE_S = 0.5
"""A client that can't send as fast as it speaks by this much says that the machine is full."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("-n", type=int, default=3, help="utterances of each client")
    parser.add_argument("--files", type=int, default=96, help="files for the throughput")
    parser.add_argument("--first", action="store_true", help="before all else on a shared machine (Linux, as root)")
    options = parser.parse_args()
    if options.first:
        servers.put_all_first()
    report = Report("load")
    print(servers.versions())
    spoken = commands(48, 0.7)
    with servers.ours() as server:
        report.heading("Speaking at once: audio-stop → transcript")
        for clients in options.clients:
            _speaking(report, "ours", server.port, spoken, clients, options.n)
        report.heading("Back to back")
        ours = [_throughput(report, "ours", server, spoken, at_once, options.files) for at_once in (1, 16)]
    if servers.have_peers():
        with servers.faster_whisper() as server:
            report.heading("wyoming-faster-whisper, same weights")
            for clients in [clients for clients in options.clients if clients <= 16]:
                _speaking(report, "peer", server.port, spoken, clients, options.n)
            files = max(16, options.files // 3)
            theirs = [_throughput(report, "peer", server, spoken, at_once, files) for at_once in (1, 16)]
        best, cheapest = max(rate for rate, _ in ours), min(each for _, each in ours)
        report.add("throughput/ratio", best / max(rate for rate, _ in theirs), "throughput, ours / theirs (best)")
        report.add("processor/ratio", min(each for _, each in theirs) / cheapest, "processor time, theirs / ours")
    report.save()


def _speaking(report: Report, who: str, port: int, spoken: list[Spoken], clients: int, each: int) -> None:
    async def client(number: int) -> list[float]:
        await asyncio.sleep(random.Random(number).uniform(0, 1))
        waits = []
        for at in range(each):
            one = spoken[(number * 7 + at) % len(spoken)]
            began = time.monotonic()
            heard = await transcribe(port, one)
            late_s = time.monotonic() - began - heard.stop_s - len(one.audio) / 32_000
            lateness.append(late_s)
            waits.append(heard.stop_s)
        return waits

    async def all_of_them() -> list[list[float]]:
        return await asyncio.gather(*(client(number) for number in range(clients)))

    lateness: list[float] = []
    spread = Spread.of_seconds(one for waits in asyncio.run(all_of_them()) for one in waits)
    full = "  (saturated: the audio could not even be sent in time)" if max(lateness) > MOST_LATE_S else ""
    text = f"{clients} clients, p95 {spread.percentile(95):.0f} ms{full}"
    report.add(f"speaking/{who}/{clients}", spread, text)


def _throughput(
    report: Report, who: str, server: servers.Running, spoken: list[Spoken], at_once: int, files: int
) -> tuple[float, float]:
    """Utterances in a second, and processor time for each."""

    async def client(waiting: list[Spoken]) -> None:
        while waiting:
            await transcribe(server.port, waiting.pop(), real_time=False)

    async def all_of_them() -> None:
        waiting = [spoken[at % len(spoken)] for at in range(files)]
        await asyncio.gather(*(client(waiting) for _ in range(at_once)))

    began, before_s = time.monotonic(), server.processor_s()
    asyncio.run(all_of_them())
    rate = files / (time.monotonic() - began)
    each_ms = 1000 * (server.processor_s() - before_s) / files
    report.add(f"throughput/{who}/{at_once}", rate, f"{at_once} clients", "utterances/s")
    report.add(f"processor/{who}/{at_once}", each_ms, "  processor time of each", "ms")
    return rate, each_ms


if __name__ == "__main__":
    main()
