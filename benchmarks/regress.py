"""Compares the last figures with the committed ones.

    python -m benchmarks.regress [NAME …] [--allow FACTOR]

Run the benchmarks first; they write `benchmarks/figures`. The committed figures are git's. Machines differ, so what is
compared are ratios: each figure by the one of a peer or of a single client in the same run. Ends with status 1 where
one has become worse by more than the factor.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping

from benchmarks import report

RATIOS = {
    "turn": {
        "recognition beside the peer": ("asr/ours", "asr/peer"),
        "answer to an intent beside the peers": ("three/intents/sound", "three/peers/sound"),
        "answer of the model beside the peers": ("three/talk/sound", "three/peers/sound"),
        "whole turn beside the peer's recognition": ("straight/intents", "asr/peer"),
        "first audio beside the peer": ("tts/ours", "tts/peer"),
    },
    "load": {
        "16 clients beside one of the peer's": ("speaking/ours/16/p95", "speaking/peer/1"),
        "the peer's throughput beside ours": ("throughput/peer/16", "throughput/ours/16"),
    },
    "start": {"start beside the peer": ("ours/ready", "faster-whisper/ready")},
    "memory": {"memory beside the peer": ("ours/later", "faster-whisper/later")},
    "gpu": {"a command beside plain generate": ("whisper/ours", "whisper/generate")},
}
"""What is compared: one figure by another; less is better."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(RATIOS), metavar="NAME", help=", ".join(RATIOS))
    parser.add_argument("--allow", type=float, default=1.5, help="how much worse a ratio may be")
    options = parser.parse_args()
    worse = 0
    for name in options.names:
        now, before = report.read(name), _committed(name)
        for what, pair in RATIOS[name].items():
            ratio, old = _ratio(now, pair), _ratio(before, pair)
            if ratio is None or old is None:
                print(f"{name:8} {what:48} not measured")
                continue
            verdict = "WORSE" if ratio > options.allow * old else "ok"
            worse += verdict == "WORSE"
            print(f"{name:8} {what:48} {ratio:8.3f}  committed {old:8.3f}  {verdict}")
    sys.exit(1 if worse else 0)


def _ratio(figures: Mapping[str, float], pair: tuple[str, str]) -> float | None:
    above, below = (figures.get(key) for key in pair)
    return None if above is None or not below else above / below


def _committed(name: str) -> Mapping[str, float]:
    path = f"HEAD:./{name}.json"
    shown = subprocess.run(["git", "show", path], cwd=report.FIGURES, capture_output=True, text=True, check=False)
    figures: Mapping[str, float] = json.loads(shown.stdout)["figures"] if shown.returncode == 0 else {}
    return figures


if __name__ == "__main__":
    main()
