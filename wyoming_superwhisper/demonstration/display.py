"""What the user gets to see and hear: the answers, the times, and what can be done next."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from wyoming_superwhisper import discovery
from wyoming_superwhisper.audio import AudioFormat, write_wav
from wyoming_superwhisper.config.satellite_settings import SndSettings
from wyoming_superwhisper.demonstration.folder import folder
from wyoming_superwhisper.demonstration.server_process import ServerProcess
from wyoming_superwhisper.demonstration.turn import Turn
from wyoming_superwhisper.demonstration.utterance import SENTENCES, Utterance
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.satellite.speaker import make_speaker

PLAY_S = 5.0
"""Time that playing an answer may take beyond its length."""


def announce(number: int, utterance: Utterance) -> None:
    """Say what will be said."""
    said = f'"{utterance.sentence.text}"' if utterance.sentence else "recording"
    print(f"\nTurn {number}: {said} ({utterance.spoken_by}, {utterance.seconds:.1f} s)")


async def show_answer(turn: Turn, number: int) -> None:
    """Write the answer to a file, play it, and say whether all was right."""
    if turn.format is not None:
        path = folder() / f"answer-{number}.wav"
        write_wav(path, turn.audio, turn.format)
        seconds = turn.format.seconds(len(turn.audio))
        line("spoken", f"{path} ({seconds:.1f} s, {turn.loudness_db:.0f} dB)")
        line("played", await play(turn.audio, turn.format))
    for problem in turn.problems:
        line("WRONG", problem)
    if turn.right:
        line("right", "heard as it was said, the answer is audible" if turn.utterance.sentence else "answered audibly")


def line(label: str, text: str) -> None:
    """One line of a turn."""
    print(f"  {label + ':':<13}{text}")


def print_times(turns: Sequence[Turn]) -> None:
    """How long each stage of each turn took."""
    stages = ("heard", "answered", "first sound", "whole answer")
    print()
    print("Seconds from the end of the sentence (which ends with a pause of its own) until it was …")
    print(f"  {'':<8}" + "".join(f"{stage:>14}" for stage in stages))
    for number, turn in enumerate(turns, start=1):
        cells = (f"{turn.times[stage]:.2f}" if stage in turn.times else "-" for stage in stages)
        print(f"  turn {number:<3}" + "".join(f"{cell:>14}" for cell in cells))


async def play(audio: bytes, format: AudioFormat) -> str:
    """Play the answer where there is a sound device; what came of it, in words."""
    try:
        speaker = make_speaker(SndSettings())
    except SettingsError:
        return "no, there is no sound device here"
    try:
        async with speaker, asyncio.timeout(format.seconds(len(audio)) + PLAY_S):
            await speaker.start(format)
            await speaker.write(audio)
            await speaker.finish()
            return "yes" if speaker.works else "no, the sound device does not work"
    except TimeoutError:
        return "no, the sound device does not take it"


def print_what_now(server: ServerProcess, language: str) -> None:
    """What can be done with the server that stays up."""
    program = _program()
    addresses = [str(one) for one in discovery.advertised_addresses("0.0.0.0", discovery.machine_addresses())]
    host = addresses[0] if addresses else "127.0.0.1"
    print(f"""
The server stays up. Its models are small ones for trying out; a house wants the real ones (README.md).

  Home Assistant   finds it by itself (Settings > Devices & services), or: Add integration > Wyoming Protocol >
                   host {host}, port {server.port}
  Microphone       {program} satellite --server {server.uri}
  Text             {program} ask "{SENTENCES[language][-1].text}" --server {server.uri}
  Stop             Ctrl-C
""")


def _program() -> str:
    """How the user calls our command line here."""
    beside = Path(sys.executable).parent / "wyoming-superwhisper"
    if not beside.exists():
        return "python -m wyoming_superwhisper"
    with contextlib.suppress(ValueError):
        return str(beside.relative_to(Path.cwd()))
    return str(beside)
