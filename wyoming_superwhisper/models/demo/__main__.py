"""Makes the demo models and measures them: `python -m wyoming_superwhisper.models.demo whisper`, and so on."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

# Each with the module whose main(argv) it is; loaded when asked for, since each needs other libraries.
COMMANDS = {
    "whisper": "whisper_training",
    "llama": "llama_training",
    "piper": "piper_training",
    "word-ends": "word_end_training",
    "evaluate-whisper": "whisper_evaluation",
}
# Whisper learns from the Piper voices too.
ALL = ("piper", "llama", "whisper")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command with the rest of the arguments; the exit status, 2 when there is no such command."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments.pop(0) if arguments else ""
    if name == "all" and not arguments:
        return max(_run(each, []) for each in ALL)
    if name in COMMANDS:
        return _run(name, arguments)
    print(f"usage: python -m wyoming_superwhisper.models.demo ({' | '.join(COMMANDS)} | all) [options]")
    return 0 if name in ("-h", "--help") else 2


def _run(name: str, arguments: Sequence[str]) -> int:
    return int(importlib.import_module(f"wyoming_superwhisper.models.demo.{COMMANDS[name]}").main(arguments) or 0)


if __name__ == "__main__":
    sys.exit(main())
