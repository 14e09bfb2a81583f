"""How well wake words are heard on the satellite, how often something else is taken for one, and what follows whole.

python -m benchmarks.wake_words [--minutes M] [--rounds N] [--only TEXT] [--no-transcripts] [--seed N]

Speech by espeak-ng of 24 voices goes to what the satellite listens with, chunk by chunk as its microphone delivers,
faster than real time. Each row of the table: how many of the words were heard, and where they were thought to end; of
commands behind a word that was heard, how many reached the server with their first 200 ms, how much of any was cut off
at most, and how many transcripts (by the demo Whisper) are those of the command alone. Then false alarms in an hour of
talk in French and English without the word. All of it takes about ten minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import wake_scenes
from benchmarks.report import Report, table
from benchmarks.servers import Running, ours
from benchmarks.wake_scenes import RATE, WORDS, Scene, Signal, voices
from wyoming_superwhisper import client
from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.config.satellite_settings import WakeWordSettings
from wyoming_superwhisper.models.demo.domain import normalise_for_comparison
from wyoming_superwhisper.satellite.capture import CHUNK_S
from wyoming_superwhisper.satellite.hearing import Recording
from wyoming_superwhisper.satellite.stillness import DozingListener
from wyoming_superwhisper.satellite.wake_word import Detection, WakeWordListener
from wyoming_superwhisper.satellite.word_tail import WithoutTail

SCENES: Mapping[str, Mapping[str, Any]] = {
    "alone": {},
    **{f"command after {gap_s:g} s": {"gap_s": gap_s} for gap_s in (0.0, 0.1, 0.3)},
    **{f"by another voice after {gap_s:g} s": {"gap_s": gap_s, "another": True} for gap_s in (0.0, 0.1, 0.3)},
    **{
        f"{noise}, {snr_db} dB, command after {gap_s:g} s": {"noise": noise, "snr_db": snr_db, "gap_s": gap_s}
        for noise in ("pink", "babble", "music") for snr_db, gap_s in ((15, 0.4), (15, 0.0), (10, 0.4))
    },
    **{f"over a reply {snr_db} dB below": {"noise": "reply", "snr_db": snr_db} for snr_db in (10, 5, 0)},
}  # fmt: skip
"""By name, what is asked of `wake_scenes.scene`."""
LATE_S = 0.02
"""A command of which no more is cut off has reached the server with its first 200 ms: that much is fading in."""


@dataclass
class Row:
    """What came of one scene, said by every voice."""

    said: int = 0
    heard: int = 0
    first: int = 0
    """Commands whose first 200 ms reach the server."""
    whole: int = 0
    """Commands whose transcript is that of the command alone."""
    commands: int = 0
    """Commands behind a word that was heard."""
    cut_s: float = 0.0
    """The most that was cut off from one."""
    late_s: list[float] = field(default_factory=list)

    def cells(self) -> list[str]:
        """As a row of the table."""
        late = sorted(self.late_s)
        ends = f"{late[len(late) // 10]:+.2f} … {late[len(late) * 9 // 10]:+.2f} s" if late else ""
        if not self.commands:
            return [f"{self.heard}/{self.said}", ends, "", "", ""]
        first, whole = (f"{count}/{self.commands}" for count in (self.first, self.whole))
        return [f"{self.heard}/{self.said}", ends, first, f"{self.cut_s * 1000:.0f} ms", whole]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="talk in which false alarms are counted")
    parser.add_argument("--rounds", type=int, default=1, help="how often each voice says each word in each scene")
    parser.add_argument("--only", default="", help="only scenes with this in their name")
    parser.add_argument("--no-transcripts", action="store_true", help="don't start a server, look at places only")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    report = Report("wake-words")
    with ExitStack() as stack:
        server = None if options.no_transcripts else stack.enter_context(ours())
        for word in WORDS:
            scenes = {name: asked for name, asked in SCENES.items() if options.only in name}
            rows = asyncio.run(_measure(word, scenes, options.rounds, options.seed, server))
            report.heading(f'"{WORDS[word]}"')
            head = ["", "heard", "its end, 10-90 %", "first 200 ms", "cut off at most", "whole transcript"]
            print(table(head, [[name, *row.cells()] for name, row in rows.items()]), flush=True)
            for name, row in rows.items():
                report.keep(f"{word}/{name}/heard", row.heard / row.said)
                if row.commands:
                    report.keep(f"{word}/{name}/first", row.first / row.commands)
    if not options.minutes:
        return
    report.heading(f"False alarms in {options.minutes:g} minutes of talk, French and English")
    alarms, listened_s = false_alarms(options.minutes * 60, options.seed)
    for word in WORDS:
        report.add(
            f"{word}/false-alarms", alarms[word] / listened_s * 3600, f"{WORDS[word]} ({alarms[word]})", "an hour"
        )
    near = near_words(options.seed)
    for word in WORDS:
        report.add(f"{word}/near", near[word], f"{WORDS[word]}, in {len(wake_scenes.NEAR_WORDS) * 5} near sentences")
    if not options.only:
        report.save()


async def _measure(
    word: str, scenes: Mapping[str, Mapping[str, Any]], rounds: int, seed: int, server: Running | None
) -> dict[str, Row]:
    listener = make_listener()
    rows = {}
    for name, asked in scenes.items():
        row = rows[name] = Row()
        for number in range(rounds):
            for voice in voices():
                made = wake_scenes.scene(word, voice, random.Random(f"{seed}/{number}/{voice}"), **asked)
                await _judge(row, made, word, listener, server)
    return rows


async def _judge(row: Row, made: Scene, word: str, listener: DozingListener, server: Running | None) -> None:
    row.said += 1
    audio = pcm(made.sound)
    found = [one for one in detections(listener, audio) if one.name == word]
    if not found:
        return
    row.heard += 1
    late_s = SPEECH.seconds(found[0].end) - made.word_end / RATE
    row.late_s.append(late_s)
    if not made.command:
        return
    cut_s = SPEECH.seconds(found[0].end) - made.command_begins / RATE
    row.commands += 1
    row.cut_s = max(row.cut_s, cut_s)
    row.first += cut_s <= LATE_S
    if server is not None:
        heard = await _sent(audio, found[0].end)
        text = await client.transcribe(f"tcp://127.0.0.1:{server.port}", heard, language="fr")
        row.whole += normalise_for_comparison(text, "fr") == normalise_for_comparison(made.command, "fr")


async def _sent(audio: bytes, end: int) -> bytes:
    """What a satellite sends of this after a wake word that ended there."""
    recording = Recording(finite=True)
    recording.add(audio[end:])
    recording.end()
    hearing = WithoutTail(recording, audio[:end])
    sent = b""
    while chunk := await hearing.read():
        sent += chunk
    return sent


def make_listener() -> DozingListener:
    """What a satellite listens with."""
    return DozingListener(WakeWordListener(WakeWordSettings(words=tuple(WORDS))))


def detections(listener: DozingListener, audio: bytes) -> list[Detection]:
    """What is heard in this, from its beginning, as after a turn."""
    listener.reset()
    begin, step = listener.heard_bytes, SPEECH.bytes_of(CHUNK_S)
    found = (listener.feed(audio[at : at + step]) for at in range(0, len(audio), step))
    return [one.moved(-begin) for one in found if one is not None]


def false_alarms(seconds: float, seed: int) -> tuple[Counter[str], float]:
    """By wake word, how often it was heard in so much talk without it; and how much was listened to, in seconds."""
    return _heard_in(wake_scenes.talk(seconds, random.Random(f"talk/{seed}")))


def near_words(seed: int) -> Counter[str]:
    """The same in sentences that are near them, each by five voices."""
    rng = random.Random(f"near/{seed}")
    sentences = [
        np.concatenate([np.zeros(RATE), wake_scenes.say(text, voice + rng.choice(wake_scenes.VARIANTS), rng)])
        for text, voice in wake_scenes.NEAR_WORDS
        for _ in range(5)
    ]
    return _heard_in(iter(sentences))[0]


def _heard_in(pieces: Iterator[Signal]) -> tuple[Counter[str], float]:
    listener, step = make_listener(), SPEECH.bytes_of(CHUNK_S)
    alarms: Counter[str] = Counter()
    listened, rest = 0, b""
    for piece in pieces:
        rest += pcm(piece)
        listened += len(piece)
        while len(rest) >= step:
            found = listener.feed(rest[:step])
            rest = rest[step:]
            if found is not None:
                alarms[found.name] += 1
    return alarms, listened / RATE


def pcm(signal: Signal) -> bytes:
    """16-bit samples."""
    return np.rint(signal * 32767).clip(-32768, 32767).astype("<i2").tobytes()


if __name__ == "__main__":
    main()
