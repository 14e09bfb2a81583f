"""Prints how far we agree with Home Assistant's own agent: `python -m tests.home_assistant.agreement.report fr`."""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections import Counter
from pathlib import Path

import yaml

from tests.home_assistant.agreement.comparison import Comparison, agreement, home_of
from tests.home_assistant.agreement.core import running_core
from tests.home_assistant.agreement.sampling import TemplateSampler
from wyoming_superwhisper.engines.rules.hassil import HassilIntents

FOLDER = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("language", choices=("fr", "en"))
    parser.add_argument("--sampled", type=int, default=0, metavar="N", help="N sentences of each group of templates")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", default="differs,missed", help="which verdicts to print in full")
    parser.add_argument("--file", type=Path, help="sentences, one a line (else those of the language)")
    parser.add_argument("--home", type=Path, help="a home to take them in (else that of the language)")
    options = parser.parse_args()
    file = options.home or FOLDER / f"home_{options.language}.yaml"
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    home = home_of(data)
    intents = HassilIntents((options.language,), home)
    if options.sampled:
        texts = [each.text for each in TemplateSampler(options.language, data, options.seed).sentences(options.sampled)]
    else:
        source = options.file or FOLDER / f"sentences_{options.language}.txt"
        texts = [
            line.strip() for line in source.read_text(encoding="utf-8").splitlines() if line.strip() and line[0] != "#"
        ]
    rooms = random.Random(options.seed)
    compared = []
    with running_core(os.environ["HA_PYTHON"], file) as core:
        comparison = Comparison(core, intents, options.language)
        for line in texts:
            text, _, room = line.partition(" @ ")
            area = room or (rooms.choice(list(home.areas)) if options.sampled and rooms.random() < 0.6 else None)
            compared.append(comparison.of(text.strip(), area))
            if compared[-1].verdict in options.show.split(","):
                print(compared[-1])
    print(Counter(each.verdict for each in compared), f"agreement {agreement(compared):.4f}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
