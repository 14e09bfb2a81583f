"""From the command to the first answer.

python -m benchmarks.start [-n STARTS]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager

from benchmarks import servers
from benchmarks.report import Report, Spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=5, help="starts of each server")
    count = parser.parse_args().n
    report = Report("start")
    print(servers.versions())
    who: dict[str, Callable[[], AbstractContextManager[servers.Running]]] = {"ours": servers.ours}
    if servers.have_peers():
        who |= {"faster-whisper": servers.faster_whisper, "piper": servers.piper}
    for name, start in who.items():
        listening, ready = [], []
        for _ in range(count):
            with start() as server:
                listening.append(server.listening_s)
                ready.append(server.ready_s)
        report.add(f"{name}/listening", Spread.of_seconds(listening), f"{server.name}: answers `describe`")
        report.add(f"{name}/ready", Spread.of_seconds(ready), f"{server.name}: first request answered")
    report.save()


if __name__ == "__main__":
    main()
