"""Feeds the parser what coverage makes atheris think of; run by hand, as long as you like.

    pip install atheris                     (Linux, CPython 3.11 to 3.13; not among the development packages)
    python -m tests.fuzz.wire .work/fuzz -max_total_time=600

It fails on anything but an event or one of our errors, on memory beyond the limits, and where the result depends on
how the bytes were cut. What it finds interesting is kept in the folder that is named first.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.server.abuse import inputs
from wyoming_superwhisper.errors import SuperwhisperError
from wyoming_superwhisper.wire import EventParser, Limits, encode

LIMITS = Limits(header_bytes=512, data_bytes=512, payload_bytes=512, depth=8)
SEEDS = 400


def parse(data: bytes, cut: int) -> list[str]:
    """What comes out, in a form that can be compared."""
    parser = EventParser(LIMITS)
    found = []
    for piece in (data[:cut], data[cut:]):
        parser.feed(piece)
        while True:
            try:
                event = parser.next_event()
            except SuperwhisperError as error:
                found.append(f"{error.code} {error.framing_lost}")
                if error.framing_lost:
                    assert parser.held_bytes == 0
                    break
                continue
            if event is None:
                break
            encode(event)  # whatever was let in can be sent back
            found.append(f"{event.type!r} {event.data!r} {event.payload!r}")
    most = LIMITS.header_bytes + LIMITS.data_bytes + LIMITS.payload_bytes
    assert parser.held_bytes <= most + len(data), "more is held than one event and what came beyond it"
    return list(dict.fromkeys(found)) if found and found[-1].endswith("True") else found


def one_input(data: bytes) -> None:
    """What atheris calls."""
    if not data:
        return
    cut, data = data[0] * len(data) // 256, data[1:]
    assert parse(data, cut) == parse(data, len(data))


def write_seeds(folder: Path) -> None:
    """Begin with the inputs of the abuse suite."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, abuse in zip(range(SEEDS), inputs(seed=1), strict=False):
        if len(abuse.data) < 4_096:
            (folder / f"seed-{number}").write_bytes(b"\x40" + abuse.data)


def main() -> None:
    """Fuzz until the time is up or something breaks."""
    import atheris

    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        write_seeds(Path(sys.argv[1]))
    with atheris.instrument_imports():
        import json.decoder
        import json.scanner  # noqa: F401
    atheris.instrument_all()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
