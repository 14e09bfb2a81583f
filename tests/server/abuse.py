"""Inputs that no decent client sends, made from a seed: the same ones every time, so that each is a regression test.

`inputs(seed)` never ends. Each input knows what must become of it: where the parser itself refuses it, an `error`
must come; where it is a well-formed event that means nothing, an `error` or an answer, and never silence.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wyoming_superwhisper.errors import SuperwhisperError
from wyoming_superwhisper.wire import Disconnected, EventParser, Limits

PING = b'{"type": "ping", "data": {"text": "still there?"}}\n'

TYPES = [
    "describe", "transcribe", "audio-start", "audio-chunk", "audio-stop", "synthesize", "synthesize-start",
    "synthesize-chunk", "synthesize-stop", "detect", "transcript", "recognize", "run-pipeline", "ping",
    "select-program", "intent", "info", "error", "pong", "handled", "run-satellite", "no-such-event", "",
]  # fmt: skip
FIELDS = [
    "text", "name", "language", "rate", "width", "channels", "timestamp", "voice", "names", "context", "start_stage",
    "end_stage", "restart_on_end", "wake_word_names", "announce_text", "transcript_names", "transcript_terms",
    "vad_sensitivity", "text_format", "area", "entities",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2, 3, 9, 16_000, 44_100, 64_000, 10**12, 10**40, -(10**12), 1.5, 1e308, "", "fr", "xx",
    "../../etc/passwd", "/etc/passwd", "C:\\x", "\u0000", "{{ 7*7 }}", "%s%n", "<|endoftext|>", "asr", "tts", "wake",
    "ssml", [], {}, [1], [None], ["a", 5], {"a": {}}, [[]], [["a"]], {"name": 5}, {"name": "../x"}, {"language": []},
    {"speaker": {}}, "a" * 1_001, ["x"] * 1_001,
]  # fmt: skip
LENGTHS = ["-1", "true", "1.5", '"9"', "NaN", "Infinity", "null", "[]", "1e3", "10" * 20, "0", "1000000000000", "-0"]


@dataclass(frozen=True)
class Input:
    """Bytes to send, and whether the parser refuses them."""

    kind: str
    data: bytes
    refused: bool


def inputs(seed: int) -> Iterator[Input]:
    """Endless inputs; every kind comes in turn."""
    rng = random.Random(seed)
    makers = (_fields, _mutated, _lengths, _formats, _shapes, _noise, _sequence, _cut, _escapes, _payload)
    while True:
        for make in makers:
            data = make(rng)
            yield Input(make.__name__.strip("_"), data, is_refused(data))


def is_refused(data: bytes) -> bool:
    """Whether the parser itself finds something wrong in these bytes, or they end within an event."""
    parser = EventParser(Limits())
    parser.feed(data)
    try:
        while parser.next_event() is not None:
            pass
    except (SuperwhisperError, Disconnected):
        return True
    return parser.mid_event


def _event(kind: str, data: Any = None, payload: bytes = b"") -> bytes:
    header: dict[str, Any] = {"type": kind}
    if data is not None:
        header["data"] = data
    if payload:
        header["payload_length"] = len(payload)
    return json.dumps(header).encode() + b"\n" + payload


def _fields(rng: random.Random) -> bytes:
    """A known type whose fields are of any type."""
    return _event(rng.choice(TYPES), {field: rng.choice(VALUES) for field in rng.sample(FIELDS, rng.randint(0, 5))})


def _mutated(rng: random.Random) -> bytes:
    line = bytearray(_fields(rng))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(line))
        change = rng.randrange(3)
        if change == 0:
            line[at] = rng.randrange(256)
        elif change == 1:
            del line[at]
        else:
            line.insert(at, rng.randrange(256))
        if not line:
            break
    return bytes(line.replace(b"\n", b" ")) + b"\n"


def _lengths(rng: random.Random) -> bytes:
    name = rng.choice(["data_length", "payload_length"])
    return f'{{"type": "{rng.choice(TYPES)}", "{name}": {rng.choice(LENGTHS)}}}\n'.encode()


def _formats(rng: random.Random) -> bytes:
    """Audio of odd formats: 1 Hz, nine channels, parts of frames."""
    layout = {
        "rate": rng.choice([1, 0, -8000, 7999, 8000, 16_000, 22_050, 48_000, 48_001, 64_000, 10**9, True, 16_000.0]),
        "width": rng.choice([0, 1, 2, 3, 4, 5, 8, -1, "2"]),
        "channels": rng.choice([0, 1, 2, 3, 9, 255, -1, None]),
    }
    chunk = _event("audio-chunk", layout, bytes(rng.randrange(1, 2_000)))
    return rng.choice([b"", _event("audio-start", layout)]) + chunk + rng.choice([b"", _event("audio-stop")])


def _shapes(rng: random.Random) -> bytes:
    return rng.choice([
        b"\n", b"\r\n", b" \n", b"null\n", b"[]\n", b"5\n", b'"text"\n', b"{\n", b"}\n", b"{}\n", b"true\n", b"NaN\n",
        b"[" * rng.randint(33, 50_000) + b"\n", b"{" * 5_000 + b"\n", b'{"a":' * 3_000 + b"1" + b"}" * 3_000 + b"\n",
        b'{"type": null}\n', b'{"type": 5}\n', b'{"type": ["describe"]}\n', b'{"type": "describe", "data": []}\n',
        b'{"type": "describe", "type": "ping"}\n', b'{"type": "describe", "data": "x"}\n', b"{'type': 'describe'}\n",
        b'{"type": "describe",}\n', b'{"type": "x", "data": {"a": ' + b"9" * 5_000 + b"}}\n", b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n{}\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
        b"SSH-2.0-OpenSSH_9.6\r\n", b"\x00" * 100 + b"\n", b"\xff\xfe{\x00}\x00\n",
        b"a" * rng.randint(65_000, 70_000) + b"\n",
    ])  # fmt: skip


def _noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randint(1, 400)) + b"\n"


def _sequence(rng: random.Random) -> bytes:
    """Decent events in an order that makes no sense."""
    layout = {"rate": 16_000, "width": 2, "channels": 1}
    events = [
        _event("audio-stop"), _event("audio-start", layout), _event("audio-chunk", layout, bytes(320)),
        _event("synthesize-stop"), _event("synthesize-chunk", {"text": "a"}), _event("synthesize-start", {}),
        _event("transcribe", {}), _event("detect", {}), _event("audio-start", {**layout, "rate": 8_000}),
        _event("run-pipeline", {"start_stage": "tts", "end_stage": "asr"}), _event("select-program", {"name": "x"}),
        _event("run-pipeline", {"start_stage": "asr", "end_stage": "asr"}), _event("pong"), _event("describe"),
    ]  # fmt: skip
    return b"".join(rng.choices(events, k=rng.randint(1, 6)))


def _cut(rng: random.Random) -> bytes:
    """The beginning of an event; the end never comes."""
    whole = _event(rng.choice(TYPES), {"text": "x" * 50}, bytes(rng.randrange(1, 200)))
    return whole[: rng.randrange(1, len(whole))]


def _escapes(rng: random.Random) -> bytes:
    text = rng.choice(
        [r"\ud800", r"\udfff\ud800", r"\u0000", r"\x41", r"\u12", "\\", '"', r"\ud83d\ude00", "\x01", "\x7f"]
    )
    return f'{{"type": "{rng.choice(TYPES)}", "data": {{"text": "{text}"}}}}\n'.encode()


def _payload(rng: random.Random) -> bytes:
    """A payload where none belongs, or a data part that is no object."""
    body = rng.choice([b"[]", b"null", b"{]", b'"x"', b"{}", b'{"text": 5}', rng.randbytes(9), struct.pack("<q", -1)])
    name = rng.choice(["data_length", "payload_length"])
    return f'{{"type": "{rng.choice(TYPES)}", "{name}": {len(body)}}}\n'.encode() + body
