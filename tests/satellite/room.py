"""A virtual room: a sound daemon of its own, a null sink as the air before the microphone, one as the loudspeaker."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.satellite.driver import Driver, driver
from tests.waiting import WAIT_S, until
from wyoming_superwhisper.audio import SPEECH, AudioFormat

RATE = 48_000
"""The loudspeaker's own rate, at which it is recorded: a recorder that converts to a lower one begins at any of its
samples, and a third of a step beside the expected ones is enough to make noise look like other noise."""

ALSA_TO_PULSE = Path("/usr/share/alsa/alsa.conf.d/pulse.conf")
"""There where ALSA's plug-in is, by which PortAudio finds the way to the sound daemon."""
TOOLS = ("pulseaudio", "parec", "pacat", "pactl")


def is_possible() -> bool:
    """Whether the tools of the sound daemon are installed."""
    return all(shutil.which(tool) for tool in TOOLS)


@dataclass
class Room:
    """The room while its daemon runs."""

    folder: Path
    environment: Mapping[str, str]
    daemon: asyncio.subprocess.Process | None = None
    recorder: asyncio.subprocess.Process | None = None
    began: float = float("inf")
    """When the recording of the loudspeaker began, as far as looking at it has told: a recorder may lag behind."""

    @property
    def recording(self) -> Path:
        """What the loudspeaker has played so far: s16le, mono."""
        return self.folder / "loudspeaker.raw"

    async def open(self) -> None:
        """Start the daemon."""
        script = (
            f"load-module module-native-protocol-unix auth-anonymous=1 socket={self.folder}/native\n"
            "load-module module-null-sink sink_name=air rate=16000 channels=1\n"
            f"load-module module-null-sink sink_name=loud rate={RATE} channels=1\n"
        )
        (self.folder / "room.pa").write_text(script)
        self.daemon = await asyncio.create_subprocess_exec(
            "pulseaudio", "-n", "-F", str(self.folder / "room.pa"), "--daemonize=no", "--exit-idle-time=-1",
            "--use-pid-file=no", "--disable-shm=yes", "--log-target=null", env=self.environment,
        )  # fmt: skip
        async with asyncio.timeout(WAIT_S):
            while await self._run("pactl", "info"):  # noqa: ASYNC110 - there is nothing to wait on but its answer
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        """End the daemon, as if it had crashed."""
        if self.daemon is not None and self.daemon.returncode is None:
            self.daemon.kill()
            await self.daemon.wait()

    async def record(self) -> None:
        """Record what the loudspeaker plays from now on."""
        self.began = float("inf")
        with self.recording.open("ab") as output:
            self.recorder = await asyncio.create_subprocess_exec(
                "parec", "--device=loud.monitor", "--raw", "--format=s16le", f"--rate={RATE}", "--channels=1",
                "--latency-msec=10", env=self.environment, stdout=output, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        await until(lambda: self.recording.stat().st_size)

    async def say(self, audio: bytes, format: AudioFormat = SPEECH) -> float:
        """Be heard in the room; returns the moment at which the last of it was said."""
        began = time.monotonic()
        mouth = await asyncio.create_subprocess_exec(
            "pacat", "--device=air", "--raw", "--format=s16le", f"--rate={format.rate}", "--channels=1",
            "--latency-msec=500", env=self.environment, stdin=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await mouth.communicate(audio)
        return max(time.monotonic(), began + format.seconds(len(audio)))

    async def hear_loudspeaker(self, level_db: float) -> None:
        """Have the air before the microphone carry what the loudspeaker plays, by so much quieter."""
        loopback = "source=loud.monitor", "sink=air", "latency_msec=40", "source_dont_move=true", "sink_dont_move=true"
        assert await self._run("pactl", "load-module", "module-loopback", *loopback) == 0
        listing = await asyncio.create_subprocess_exec(
            "pactl", "list", "short", "sink-inputs", env=self.environment, stdout=asyncio.subprocess.PIPE
        )
        streams, _ = await listing.communicate()
        [ours] = [line for line in streams.decode().splitlines() if "module-loopback" in line]
        assert await self._run("pactl", "set-sink-input-volume", ours.split()[0], f"{level_db}dB") == 0

    def played(self) -> npt.NDArray[np.int16]:
        """Everything that the loudspeaker has played."""
        content = self.recording.read_bytes()
        samples = np.frombuffer(content[: len(content) // 2 * 2], "<i2")
        self.began = min(self.began, time.monotonic() - len(samples) / RATE)
        return samples

    async def sounds(self, since: int = 0) -> None:
        """Wait until the loudspeaker is heard, after so many samples."""
        await until(lambda: (np.abs(self.played()[since:].astype(int)) > 1000).any())

    async def silent_since(self, moment: float, quiet: int = 50) -> float:
        """Wait until the loudspeaker is silent for 0.3 s; how long after that moment its last sound was, in seconds."""
        known, pause = len(self.played()), int(0.3 * RATE)

        def silent() -> bool:
            samples = self.played()
            return len(samples) >= known + pause and not (np.abs(samples[-pause:].astype(int)) > quiet).any()

        await until(silent)
        loud = np.nonzero(np.abs(self.played().astype(int)) > quiet)[0]
        return self.began + loud[-1] / RATE - moment if len(loud) else -moment

    async def _run(self, *command: str) -> int:
        process = await asyncio.create_subprocess_exec(
            *command, env=self.environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        return await process.wait()


@asynccontextmanager
async def virtual_room(folder: Path, *, recorded: bool = True) -> AsyncIterator[Room]:
    """A room with its own daemon, which is ended with it. `recorded`: whether somebody records the loudspeaker."""
    environment = {
        **os.environ,
        "PULSE_RUNTIME_PATH": str(folder),
        "PULSE_SERVER": f"unix:{folder}/native",
        "XDG_RUNTIME_DIR": str(folder),
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    environment.pop("DISPLAY", None)
    room = Room(folder, environment)
    try:
        await room.open()
        if recorded:
            await room.record()
        yield room
    finally:
        if room.recorder is not None and room.recorder.returncode is None:
            room.recorder.kill()
            await room.recorder.wait()
        await room.close()


@dataclass
class RoomSatellite:
    """A satellite in the room, in a process of its own."""

    process: asyncio.subprocess.Process
    log: bytearray = field(default_factory=bytearray)
    seen: int = 0

    async def logged(self, text: str) -> str:
        """Wait until the log says so after what was waited for last; the rest of that line."""

        def at() -> int:
            assert self.process.returncode is None, self.log.decode()
            return self.log.find(text.encode(), self.seen)

        await until(lambda: at() >= 0 and b"\n" in self.log[at() :], self.log.decode)
        self.seen = at() + len(text)
        return self.log[self.seen :].split(b"\n")[0].decode()


LISTENS = ("--uri", "tcp://127.0.0.1:0", "--no-zeroconf")
"""Options of a satellite that waits for somebody to drive it."""


@asynccontextmanager
async def satellite_in(room: Room, *options: str) -> AsyncIterator[RoomSatellite]:
    """Started with these options; it must end well, and must never have failed in a way of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wyoming_superwhisper", "satellite", "--mic", "pulse:air.monitor", "--snd", "pulse:loud",
        "--name", "room", *options, env=dict(room.environment),
        stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    one = RoomSatellite(process)

    async def read_log() -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            one.log.extend(line)

    reading = asyncio.create_task(read_log())
    try:
        yield one
    finally:
        if process.returncode is None:
            process.terminate()
        status = await asyncio.wait_for(process.wait(), WAIT_S)
        await reading
        assert b"Traceback" not in one.log, one.log.decode()
        assert status == 0, one.log.decode()


@asynccontextmanager
async def driven_in(room: Room, *options: str) -> AsyncIterator[tuple[RoomSatellite, Driver]]:
    """A satellite that listens, and who drives it as Home Assistant does."""
    async with satellite_in(room, *LISTENS, *options) as one:
        address = (await one.logged("Listening on ")).strip()
        async with driver(address) as ha:
            yield one, ha


async def begin_turn(one: RoomSatellite, ha: Driver) -> None:
    """By the button."""
    one.process.send_signal(signal.SIGUSR1)
    await ha.expect("audio-chunk")
