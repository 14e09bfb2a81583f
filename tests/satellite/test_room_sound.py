"""The loudspeaker in a virtual room with a real sound daemon, in a process of its own that may be held up."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.satellite import room as virtual
from tests.satellite.room import Room, virtual_room
from tests.satellite.signals import likeness, noise, resampled
from tests.waiting import WAIT_S

if not virtual.is_possible():
    pytest.skip("no PulseAudio here: script/setup --system", allow_module_level=True)

DEVICES = ["pulse:loud"]
if importlib.util.find_spec("sounddevice") is not None and virtual.ALSA_TO_PULSE.exists():
    DEVICES.append("default")  # PortAudio, whose way to the sound daemon leads through ALSA
pytestmark = [pytest.mark.system, pytest.mark.parametrize("device", DEVICES)]

PLAYER = """
import asyncio, sys
from wyoming_superwhisper.audio import AudioFormat
from wyoming_superwhisper.config.satellite_settings import SndSettings
from wyoming_superwhisper.satellite.speaker import make_speaker

async def main():
    voice = AudioFormat(22050, 2, 1)
    async with make_speaker(SndSettings(device=sys.argv[1])) as speaker:
        loop, sent = asyncio.get_running_loop(), asyncio.Queue()
        loop.add_reader(0, lambda: sent.put_nowait(sys.stdin.buffer.raw.readline()))
        playing = None
        while line := (await sent.get()).split():
            if line[0] == b"stop":
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)
                await speaker.stop()
                print("stopped", flush=True)
            else:
                audio = open(line[1], "rb").read()
                playing = asyncio.create_task(speaker.play(voice, audio))
                playing.add_done_callback(lambda done: done.cancelled() or print("played", flush=True))

asyncio.run(main())
"""
"""Plays the files it is told to, and stops when told to."""


class Player:
    """A loudspeaker of the satellite in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self._folder = folder

    async def play(self, audio: bytes) -> None:
        """Begin to play, 22,050 Hz."""
        path = self._folder / "sound.raw"
        path.write_bytes(audio)
        await self._say(f"play {path}")

    async def stop(self) -> None:
        """Cut it off."""
        await self._say("stop")
        await self.told("stopped")

    async def told(self, what: str) -> None:
        """Wait until it says so."""
        assert self.process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            assert (await self.process.stdout.readline()).decode().strip() == what

    async def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        await self.process.stdin.drain()


@asynccontextmanager
async def player(room: Room, device: str) -> AsyncIterator[Player]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PLAYER, device, env={**room.environment, "PULSE_SINK": "loud"},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Player(process, room.folder)
    finally:
        process.kill()
        await process.wait()


async def test_a_reply_is_played_whole_again_and_again(tmp_path: Path, device: str) -> None:
    """Sample by sample: nothing is missing, repeated or shifted, wherever the sound server stands when it begins."""
    async with virtual_room(tmp_path) as room, player(room, device) as one:
        for seed in range(6):
            begin = len(room.played())
            await one.play(noise(0.31 + seed * 0.07, seed))
            await one.told("played")
            await room.silent_since(0.0)
            assert likeness(room.played()[begin:].astype(float), resampled(noise(0.31 + seed * 0.07, seed))) > 0.98


async def test_a_process_that_is_held_up_plays_on_without_a_gap(tmp_path: Path, device: str) -> None:
    async with virtual_room(tmp_path) as room, player(room, device) as one:
        await one.play(noise(2.0))
        await room.sounds()
        await asyncio.sleep(0.3)
        one.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.25)  # the machine has something better to do
        one.process.send_signal(signal.SIGCONT)
        await one.told("played")
        await room.silent_since(0.0)
        assert likeness(room.played().astype(float), resampled(noise(2.0))) > 0.98


async def test_what_was_cut_off_is_not_heard_before_the_next_reply(tmp_path: Path, device: str) -> None:
    async with virtual_room(tmp_path) as room, player(room, device) as one:
        for seed in range(5):
            begin = len(room.played())
            await one.play(noise(3.0, 100))
            await room.sounds(begin)
            await asyncio.sleep(0.4 + seed * 0.013)
            await one.stop()
            await room.silent_since(0.0)
            begin = len(room.played())
            await one.play(noise(0.3, seed))
            await one.told("played")
            await room.silent_since(0.0)
            heard = np.nonzero(np.abs(room.played()[begin:].astype(int)) > 50)[0]
            assert len(heard)
            assert heard[-1] - heard[0] < 0.31 * virtual.RATE


async def test_a_sound_daemon_that_says_nothing_any_more_is_given_up(tmp_path: Path, device: str) -> None:
    async with virtual_room(tmp_path) as room, player(room, device) as one:
        await one.play(noise(3.0))
        await room.sounds()
        assert room.daemon is not None
        room.daemon.send_signal(signal.SIGSTOP)
        try:
            await one.stop()  # what is going on can be ended
            await one.play(noise(0.5))
            await one.told("played")  # as well as can be: a reply is lost, nothing else
        finally:
            room.daemon.send_signal(signal.SIGCONT)
        await room.silent_since(0.0)
        begin = len(room.played())
        await one.play(noise(0.5, 7))
        await one.told("played")
        await room.silent_since(0.0)
        assert likeness(room.played()[begin:].astype(float), resampled(noise(0.5, 7))) > 0.98
