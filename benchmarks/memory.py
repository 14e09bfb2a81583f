"""Memory held after the first requests, and after some hundred more.

python -m benchmarks.memory [-n REQUESTS]
"""

from __future__ import annotations

import argparse
import asyncio

from benchmarks import servers
from benchmarks.clients import converse, speak, transcribe
from benchmarks.report import Report
from benchmarks.spoken import commands


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=200, help="requests of each kind")
    count = parser.parse_args().n
    report = Report("memory")
    print(servers.versions())
    spoken = commands(24, 0.3)

    async def work(asr: int, others: int | None) -> None:
        for at in range(count):
            await transcribe(asr, spoken[at % len(spoken)], real_time=False)
            if others is not None:
                text, _ = await converse(others, "Raconte-moi une blague.", "fr", f"{at % 9}")
                await speak(others, text)

    with servers.ours() as server:
        report.add("ours/first", server.memory_mb(), "wyoming-superwhisper, all of it, after the first request", "MiB")
        asyncio.run(work(server.port, server.port))
        report.add("ours/later", server.memory_mb(), f"… after {count} requests of each kind", "MiB")
    if servers.have_peers():
        with servers.faster_whisper() as whisper, servers.piper() as piper:
            asyncio.run(work(whisper.port, None))
            for key, server in (("faster-whisper", whisper), ("piper", piper)):
                report.add(f"{key}/later", server.memory_mb(), server.name, "MiB")
    report.save()


if __name__ == "__main__":
    main()
