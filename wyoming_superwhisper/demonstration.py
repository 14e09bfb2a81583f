"""The demonstration of `script/run`: starts the real server on the demo models, speaks to it and shows what happens.

Nothing here is staged: the server is a process of its own, the sentences are spoken by espeak-ng on the spot, what was
heard is compared with what was said, and the answer's sound is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from wyoming_superwhisper import client, discovery, lifeline, logs
from wyoming_superwhisper.audio import AudioFormat, read_wav, write_wav
from wyoming_superwhisper.config.satellite_settings import SndSettings
from wyoming_superwhisper.errors import BadFormat, Internal, NoText, SettingsError, SuperwhisperError
from wyoming_superwhisper.models.demo import domain, espeak
from wyoming_superwhisper.satellite.speaker import make_speaker

DEFAULT_PORT = 10300
READY_S = 180.0
"""Time that the server may take to be ready; the first start on a slow machine reads a lot from the disk."""
STOP_S = 10.0
"""Time that the server may take to stop before it is killed."""
PLAY_S = 5.0
"""Time that playing an answer may take beyond its length."""
TURN_S = 60.0
"""Time that one turn may take."""
AUDIBLE_DB = -45.0
"""Loudness (RMS, relative to full scale) from which on an answer counts as audible."""
PAUSE_S = 0.3
"""Silence around a sentence, as a microphone would have it."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """Something to say, and who ought to answer it."""

    text: str
    answered_by: str
    """How the answer's `answered_by` must begin."""


SENTENCES = {
    "fr": (
        Sentence("Quelle heure est-il ?", "intent:HassGetCurrentTime"),
        Sentence("Allume la lumière de la cuisine.", "intent:HassTurnOn"),
        Sentence("Raconte-moi une blague.", "llm:"),
    ),
    "en": (
        Sentence("What time is it?", "intent:HassGetCurrentTime"),
        Sentence("Turn on the kitchen light.", "intent:HassTurnOn"),
        Sentence("Tell me a joke.", "llm:"),
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration; the exit status."""
    options = _parse(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace", line_buffering=True)
    logs.configure("error")  # what goes wrong is said in our own words
    try:
        return asyncio.run(_until_stopped(options))
    except KeyboardInterrupt:  # where there are no signal handlers (Windows)
        return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="script/run",
        description="Start the server on the demo models, speak to it, show each turn, then leave the server running.",
    )
    parser.add_argument("--wav", type=Path, metavar="FILE", help="say this recording instead of the built-in sentences")
    parser.add_argument(
        "--language", choices=sorted(SENTENCES), default="fr", help="language of the sentences (default: fr)"
    )
    parser.add_argument(
        "--port", type=int, help=f"port of the server (default: {DEFAULT_PORT}, or a free one if that is taken)"
    )
    parser.add_argument("--once", action="store_true", help="stop when the demonstration is over")
    return parser.parse_args(argv)


# --- the whole -------------------------------------------------------------------------------------------------


async def _until_stopped(options: argparse.Namespace) -> int:
    """The demonstration, ended at once and with status 0 by SIGINT, SIGTERM or SIGHUP."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        with contextlib.suppress(NotImplementedError, AttributeError):
            loop.add_signal_handler(getattr(signal, name), stop.set)
    demonstration = asyncio.create_task(_demonstrate(options), name="demonstration")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({demonstration, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        demonstration.cancel()
        await asyncio.wait({demonstration})
    if demonstration.cancelled():
        print("\nStopped.")
        return 0
    return demonstration.result()


async def _demonstrate(options: argparse.Namespace) -> int:
    try:
        port = _choose_port(options.port)
        spoken = _recording(options.wav) if options.wav else None
        async with ServerProcess(port) as server:
            return await _show(server, options, spoken)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except SuperwhisperError as error:
        print(f"The demonstration failed: {error}", file=sys.stderr)
        return 1


async def _show(server: ServerProcess, options: argparse.Namespace, spoken: Utterance | None) -> int:
    print(f"Starting the server on the demo models (log: {server.log}) …")
    listening_s, ready_s = await server.wait_ready()
    print(f"It listens after {listening_s:.1f} s; its models are loaded after {ready_s:.1f} s.")
    utterances = [spoken] if spoken else [_speak(one, options.language) for one in SENTENCES[options.language]]
    turns = []
    for number, utterance in enumerate(utterances, start=1):
        turns.append(await _run_turn(server.uri, number, utterance, options.language))
    _print_times(turns)
    wrong = [turn for turn in turns if not turn.right]
    print()
    print("All as it should be." if not wrong else f"{len(wrong)} of {len(turns)} turns went wrong: see above.")
    if options.once:
        return 1 if wrong else 0
    _print_what_now(server, options.language)
    server.show_log = True
    return await server.ended()


# --- the server ------------------------------------------------------------------------------------------------


class ServerProcess:
    """`serve --settings demo` as a process of its own, stopped at the end of the context."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.uri = f"tcp://127.0.0.1:{port}"
        self.log = _folder() / "server.log"
        self.show_log = False
        """Whether what the server logs is shown as it comes."""
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ServerProcess:
        command = ["-m", "wyoming_superwhisper", "serve", "--settings", "demo", "--uri", f"tcp://0.0.0.0:{self.port}"]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # A group of its own: Ctrl-C reaches it through us, once.
            process_group=None if sys.platform == "win32" else 0,
            preexec_fn=None if sys.platform == "win32" else partial(_end_with, os.getpid()),
        )
        self._reader = asyncio.create_task(self._read_log(self._process), name="server log")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._reader is not None
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
        await self._reader

    async def wait_ready(self) -> tuple[float, float]:
        """Seconds until it listened, and until its models were loaded. Raises `SuperwhisperError` if it ended."""
        began = time.monotonic()
        await self._unless_ended(client.wait_listening(self.uri, READY_S))
        listening_s = time.monotonic() - began
        await self._unless_ended(client.wait_ready(self.uri, READY_S))
        return listening_s, time.monotonic() - began

    async def ended(self) -> int:
        """Wait for the server to end by itself, which it shouldn't; the exit status."""
        assert self._process is not None
        status = await self._process.wait()
        print(f"The server has ended with status {status}; its log: {self.log}", file=sys.stderr)
        return 1

    async def _unless_ended(self, waiting: Coroutine[Any, Any, Any]) -> None:
        assert self._process is not None
        ready = asyncio.create_task(waiting, name="wait for the server")
        ended = asyncio.create_task(self._process.wait(), name="server ended")
        try:
            await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                raise self._failure(ended.result())
            ready.result()
        finally:
            ready.cancel()
            ended.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)

    def _failure(self, status: int) -> SuperwhisperError:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if status == 2 and lines:  # its last line is the sentence that says what is wrong
            return SettingsError(lines[-1])
        return Internal(f"the server has ended with status {status}:\n" + "\n".join(lines[-10:]))

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with self.log.open("wb") as file:
            # By pieces, not lines: a line may be longer than a stream's limit.
            while piece := await process.stdout.read(65_536):
                file.write(piece)
                file.flush()
                if self.show_log:
                    print(piece.decode(errors="replace"), end="", file=sys.stderr)


def _end_with(parent: int) -> None:
    """In the new process: stop when the demonstration ends, also where that was killed."""
    if not lifeline.end_with(parent, signal.SIGTERM):
        os._exit(0)


def _choose_port(wanted: int | None) -> int:
    """The port that was asked for, else the usual one, else any that is free. Raises `SettingsError`."""
    if wanted is not None:
        if not _is_free(wanted):
            raise SettingsError(f"Port {wanted} is taken by another program; choose another with --port.")
        return wanted
    if _is_free(DEFAULT_PORT):
        return DEFAULT_PORT
    print(f"Port {DEFAULT_PORT} is taken by another program; this server takes another one.")
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


# --- one turn --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Utterance:
    """What is said to the server."""

    audio: bytes
    format: AudioFormat
    spoken_by: str
    sentence: Sentence | None = None
    """What it says, where we know."""

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.format.seconds(len(self.audio))


@dataclass(slots=True)
class Turn:
    """What came of an utterance; times in seconds from its end."""

    utterance: Utterance
    heard: str = ""
    reply: str = ""
    answered_by: str = ""
    audio: bytes = b""
    format: AudioFormat | None = None
    times: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether everything was as it ought to be."""
        return not self.problems

    @property
    def loudness_db(self) -> float:
        """RMS of the answer, relative to full scale."""
        samples = np.frombuffer(self.audio, "<i2").astype(np.float64)
        rms = math.sqrt(float(np.mean(samples**2))) if len(samples) else 0.0
        return 20 * math.log10(max(rms, 1e-3) / 32768)


async def _run_turn(uri: str, number: int, utterance: Utterance, language: str) -> Turn:
    print()
    said = f'"{utterance.sentence.text}"' if utterance.sentence else "recording"
    print(f"Turn {number}: {said} ({utterance.spoken_by}, {utterance.seconds:.1f} s)")
    turn = Turn(utterance)
    try:
        async with asyncio.timeout(TURN_S):
            await _converse(uri, turn, language)
    except TimeoutError:
        turn.problems.append(f"not over after {TURN_S:g} s")
    except NoText:
        pass  # nothing was heard: `_check` says so
    except SuperwhisperError as error:
        turn.problems.append(f"{error.code}: {error}")
    turn.problems += _check(turn, language)
    await _show_answer(turn, number)
    return turn


async def _converse(uri: str, turn: Turn, language: str) -> None:
    """Say the utterance at the pace of speech and note what comes back, and when."""
    ended = time.monotonic() + turn.utterance.seconds

    def note(stage: str) -> None:
        turn.times.setdefault(stage, time.monotonic() - ended)

    utterance = turn.utterance
    async for event in client.run_pipeline(uri, utterance.audio, utterance.format, language, realtime=True):
        data = event.data or {}
        if event.type == "transcript":
            note("heard")
            turn.heard = str(data.get("text") or "")
            _line("heard", turn.heard or "(nothing)")
        elif event.type in client.ANSWERS:
            note("answered")
            turn.reply = str(data.get("text") or "")
            turn.answered_by = str((data.get("context") or {}).get("answered_by") or event.type)
            _line("answered by", turn.answered_by.replace(":", " ", 1))
            _line("reply", turn.reply or "(nothing)")
        elif event.type == "audio-chunk":
            note("first sound")
            turn.format = turn.format or client.chunk_format(event)
            turn.audio += event.payload or b""
    note("whole answer")


def _check(turn: Turn, language: str) -> list[str]:
    """What is wrong with the turn, in words."""
    problems = []
    expected = turn.utterance.sentence
    if expected is None:
        if not turn.heard:
            problems.append("nothing was heard in the recording")
    elif not _same(turn.heard, expected.text, language):
        problems.append(f'it was said "{expected.text}", but heard "{turn.heard}"')
    elif not turn.answered_by.startswith(expected.answered_by):
        problems.append(f"{expected.answered_by.rstrip(':')} should have answered")
    if turn.heard and not turn.reply:
        problems.append("there is no reply")
    if turn.reply and (turn.format is None or turn.format.width != 2 or turn.loudness_db < AUDIBLE_DB):
        problems.append("the answer can't be heard")
    return problems


def _same(heard: str, said: str, language: str) -> bool:
    return domain.normalise_for_comparison(heard, language) == domain.normalise_for_comparison(said, language)


async def _show_answer(turn: Turn, number: int) -> None:
    if turn.format is not None:
        path = _folder() / f"answer-{number}.wav"
        write_wav(path, turn.audio, turn.format)
        seconds = turn.format.seconds(len(turn.audio))
        _line("spoken", f"{path} ({seconds:.1f} s, {turn.loudness_db:.0f} dB)")
        _line("played", await _play(turn.audio, turn.format))
    for problem in turn.problems:
        _line("WRONG", problem)
    if turn.right:
        _line("right", "heard as it was said, the answer is audible" if turn.utterance.sentence else "answered audibly")


def _line(label: str, text: str) -> None:
    print(f"  {label + ':':<13}{text}")


def _print_times(turns: Sequence[Turn]) -> None:
    stages = ("heard", "answered", "first sound", "whole answer")
    print()
    print("Seconds from the end of the sentence (which ends with a pause of its own) until it was …")
    print(f"  {'':<8}" + "".join(f"{stage:>14}" for stage in stages))
    for number, turn in enumerate(turns, start=1):
        cells = (f"{turn.times[stage]:.2f}" if stage in turn.times else "-" for stage in stages)
        print(f"  turn {number:<3}" + "".join(f"{cell:>14}" for cell in cells))


# --- speech in and out -----------------------------------------------------------------------------------------


def _speak(sentence: Sentence, language: str) -> Utterance:
    """The sentence spoken on the spot. Raises `Internal` without espeak-ng."""
    try:
        samples = espeak.speak(sentence.text, espeak.DEFAULT_VOICES[language])
    except espeak.EspeakError as error:
        raise Internal(f"Nothing can be said: {error}. Give a recording by --wav.") from error
    format = AudioFormat(espeak.SAMPLE_RATE, 2, 1)
    pause = format.silence(PAUSE_S)
    return Utterance(pause + samples.astype("<i2").tobytes() + pause, format, "spoken by espeak-ng", sentence)


def _recording(path: Path) -> Utterance:
    """Raises `SettingsError` for a file that is no WAV file."""
    try:
        format, audio = read_wav(path)
    except BadFormat as error:
        raise SettingsError(str(error)) from error
    return Utterance(audio, format, str(path))


async def _play(audio: bytes, format: AudioFormat) -> str:
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


@cache
def _folder() -> Path:
    """The folder for the answers and the log; the next demonstration takes the same one."""
    folder = platformdirs.user_cache_path("wyoming-superwhisper", appauthor=False) / "demonstration"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:  # not ours to write to
        folder = Path(tempfile.mkdtemp(prefix="wyoming-superwhisper-demonstration-"))
    return folder


# --- what to do next -------------------------------------------------------------------------------------------


def _print_what_now(server: ServerProcess, language: str) -> None:
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


if __name__ == "__main__":
    sys.exit(main())
