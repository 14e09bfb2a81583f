"""A satellite in a virtual room for as long as you like: random turns, silences and faults, and whether it stays well.

python -m benchmarks.satellite_soak [--minutes M] [--seed N]

The real server on the demo models, a sound daemon of its own whose loudspeaker is recorded. Every turn that a wake word
has begun must end with an answer or with the error sound, or the sound of a cancelled turn where a cancel word was
said, heard from the loudspeaker; the satellite's memory, files and threads must stay as they were. Exit status 1 where
they don't.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from tests.conftest import free_port
from tests.satellite.room import RATE, Room, RoomSatellite, satellite_in, virtual_room
from tests.speech import sound, speech
from tests.waiting import until
from wyoming_superwhisper import client

SENTENCES = (
    "Quelle heure est-il ?",
    "Quel jour sommes-nous ?",
    "Raconte-moi une blague.",
    "Stop.",
    "Bonjour.",
    "Annule.",
)
HEARD_S = 3.0
"""Within this time after it was said a wake word is heard, or was missed."""
GROWTH_MB = 4.0
"""What the memory that is its own may grow by after the first turns; the proportional moves with other processes."""
ERROR_HZ, ERROR_STEP_S = (415.3, 311.1), 0.1
"""The tones of the error sound, and how long a piece of the recording is in which one of them is looked for."""
CANCELLED_HZ, CANCELLED_STEP_S = (1975.5, 1318.5), 0.02
"""The same of the sound of a cancelled turn: the tones of the awake sound the other way round."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    return asyncio.run(Soak(options.minutes * 60, options.seed).run())


class Soak:
    """One run."""

    def __init__(self, seconds: float, seed: int) -> None:
        self._ends = time.monotonic() + seconds
        self._random = random.Random(seed)
        self._counts: Counter[str] = Counter()
        self._port = free_port()
        self._server: asyncio.subprocess.Process | None = None

    async def run(self) -> int:
        with tempfile.TemporaryDirectory() as folder:
            async with virtual_room(Path(folder), recorded=True) as room:
                await self._start_server()
                await client.wait_ready(self._uri)
                async with satellite_in(
                    room, "--server", self._uri, "--wake-word", "okay_nabu", "--language", "fr", "--set",
                    "turn.no_speech_s=3", "--set", "server.answer_s=20", "--set", "timers.keep=false",
                ) as one:  # fmt: skip
                    try:
                        return await self._soak(room, one)
                    finally:
                        await self._end_server()

    async def _soak(self, room: Room, one: RoomSatellite) -> int:
        await one.logged("Ready")
        process = psutil.Process(one.process.pid)
        first: tuple[float, float, int, int] | None = None
        while time.monotonic() < self._ends:
            step = self._random.choices((self._turn, self._silent_turn, self._noise, self._fault), (6, 2, 1, 2))[0]
            await step(room, one)
            memory = process.memory_full_info()
            now = (memory.uss / 1e6, memory.pss / 1e6, process.num_fds(), process.num_threads())
            if first is None and sum(self._counts.values()) >= 8:
                first = now
            size = f"{now[0]:.1f} MB of its own, {now[1]:.1f} proportional, {now[2]} files, {now[3]} threads"
            print(f"{dict(self._counts)}  {size}", flush=True)
        if first is None:
            return 0
        grown = now[0] > first[0] + GROWTH_MB or now[2] > first[2] + 3 or now[3] > first[3] + 2
        print(f"from {first} to {now} (MB of its own, proportional, files, threads): {'grown' if grown else 'well'}")
        print(f"turns without an answer or the error sound: {self._counts['without an end']}")
        return 1 if grown or self._counts["without an end"] else 0

    async def _turn(self, room: Room, one: RoomSatellite) -> None:
        said = speech("okay nabu", "en-us", after_s=0.1) + speech(self._random.choice(SENTENCES), before_s=0.2)
        await self._say_and_wait(room, one, said, "turns")

    async def _silent_turn(self, room: Room, one: RoomSatellite) -> None:
        await self._say_and_wait(room, one, speech("okay nabu", "en-us"), "silences")

    async def _noise(self, room: Room, one: RoomSatellite) -> None:
        await room.say(sound(self._random.choice(("pink", "hum50", "chord")), self._random.uniform(1, 5)))
        self._counts["noises"] += 1

    async def _say_and_wait(self, room: Room, one: RoomSatellite, said: bytes, kind: str) -> None:
        begin = room.recording.stat().st_size
        await room.say(said)
        try:
            async with asyncio.timeout(HEARD_S):
                await one.logged("Wake word: ")
        except TimeoutError:
            self._counts["not heard"] += 1
            return
        began = one.seen
        await one.logged("Ready")
        self._counts[kind] += 1
        await self._judge(room, one, began, begin)

    async def _judge(self, room: Room, one: RoomSatellite, logged: int, recorded: int) -> None:
        """Whether the turn since these places in the log and in the recording was answered, or ended with the sound."""
        await _recorded_on(room, 0.3)  # what was played last is recorded a moment later
        with room.recording.open("rb") as recording:
            recording.seek(recorded // 2 * 2)
            content = recording.read()
        heard = np.frombuffer(content[: len(content) // 2 * 2], "<i2").astype(np.float64)
        log = one.log[logged:].decode()
        end = (
            ("answered" if _sounding_s(heard) > 0.4 else "") if "Answer: " in log
            else "error sound" if _has_tones(heard, ERROR_HZ, ERROR_STEP_S)
            else "cancelled" if _has_tones(heard, CANCELLED_HZ, CANCELLED_STEP_S)
            else ""
        )  # fmt: skip
        self._counts[end or "without an end"] += 1
        if not end:
            print(f"{_sounding_s(heard):.2f} s of sound after: {log}", flush=True)

    async def _fault(self, room: Room, one: RoomSatellite) -> None:
        faults: list[Callable[[Room, RoomSatellite], Awaitable[None]]] = [self._kill, self._stop, self._restart_sound]
        await self._random.choice(faults)(room, one)

    async def _kill(self, room: Room, one: RoomSatellite) -> None:
        """The server is killed at some moment of a turn, and comes back."""
        recorded, logged = room.recording.stat().st_size, len(one.log)
        saying = asyncio.create_task(room.say(speech("okay nabu", "en-us") + speech(SENTENCES[2])))
        await asyncio.sleep(self._random.uniform(0, 5))
        await self._end_server()
        await saying
        await self._start_server()
        await one.logged("Connected to")
        await one.logged("Ready")  # whatever went on has ended
        self._counts["kills"] += 1
        if b"Wake word: " in one.log[logged:]:
            await self._judge(room, one, logged, recorded)
        await client.wait_ready(self._uri)
        await self._settle(one)

    async def _stop(self, room: Room, one: RoomSatellite) -> None:
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)
        await asyncio.sleep(self._random.uniform(1, 9))
        self._server.send_signal(signal.SIGCONT)
        self._counts["stops"] += 1
        await asyncio.sleep(4)
        await self._settle(one)

    async def _restart_sound(self, room: Room, one: RoomSatellite) -> None:
        await room.close()
        await asyncio.sleep(self._random.uniform(0, 2))
        await room.open()
        assert room.recorder is not None
        await room.recorder.wait()  # it has ended with the daemon
        await room.record()
        await one.logged("The microphone is back")
        self._counts["sound restarts"] += 1

    async def _settle(self, one: RoomSatellite) -> None:
        """Forget what the log has said so far: the fault may have ended turns, or begun none."""
        await asyncio.sleep(2)
        one.seen = len(one.log)

    @property
    def _uri(self) -> str:
        return f"tcp://127.0.0.1:{self._port}"

    async def _start_server(self) -> None:
        self._server = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "wyoming_superwhisper", "serve", "--settings", "demo", "--no-zeroconf", "--uri",
            self._uri, "--log-level", "error",
        )  # fmt: skip
        await client.wait_listening(self._uri)

    async def _end_server(self) -> None:
        if self._server is not None and self._server.returncode is None:
            self._server.kill()
            await self._server.wait()


async def _recorded_on(room: Room, seconds: float) -> None:
    """Wait until so much more has been recorded."""
    wanted = room.recording.stat().st_size + 2 * round(seconds * RATE)
    await until(lambda: room.recording.stat().st_size >= wanted)


def _sounding_s(heard: npt.NDArray[np.float64]) -> float:
    """How much of a recording is sound, in seconds."""
    frames = np.abs(heard[: len(heard) // 160 * 160].reshape(-1, 160)).max(axis=1, initial=0.0)
    return float((frames > 100).sum()) * 0.01


def _has_tones(heard: npt.NDArray[np.float64], tones: tuple[float, float], step_s: float) -> bool:
    """Whether some piece of this length is the first tone, and a later one the second."""
    size = round(RATE * step_s)
    frames = heard[: len(heard) // size * size].reshape(-1, size)
    found = []
    for tone in tones:
        wave = np.exp(-2j * np.pi * tone * np.arange(size) / RATE)
        share = np.abs(frames @ wave) ** 2 * 2 / size / (np.square(frames).sum(axis=1) + 1e5)
        found.append(np.nonzero(share > 0.5)[0])
    return bool(len(found[0]) and len(found[1]) and found[0][0] <= found[1][-1])


if __name__ == "__main__":
    sys.exit(main())
