"""A satellite in a virtual room by PortAudio, whose way to the sound daemon leads through ALSA."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
from pathlib import Path

import pytest
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop

from tests.satellite import room as virtual
from tests.satellite.driver import driver
from tests.satellite.room import satellite_in, virtual_room
from tests.satellite.signals import likeness, noise, resampled
from tests.satellite.test_seat import VOICE
from tests.speech import speech

pytestmark = pytest.mark.system

if not virtual.is_possible() or importlib.util.find_spec("sounddevice") is None or not virtual.ALSA_TO_PULSE.exists():
    pytest.skip("no PulseAudio, PortAudio or ALSA's plug-in here: script/setup --system", allow_module_level=True)


async def test_the_first_and_the_last_of_a_reply_are_heard_and_the_daemon_may_be_restarted(tmp_path: Path) -> None:
    async with virtual_room(tmp_path) as room:
        room.environment = {**room.environment, "PULSE_SINK": "loud", "PULSE_SOURCE": "air.monitor"}
        options = ("--uri", "tcp://127.0.0.1:0", "--no-zeroconf", "--wake-word", "okay_nabu", "--mic", "default")
        async with satellite_in(room, *options, "--snd", "default", "--set", "snd.rate=48000") as one:
            address = (await one.logged("Listening on ")).strip()
            async with driver(address) as ha:
                for seed in range(2):
                    begin = len(room.played())
                    saying = asyncio.create_task(room.say(speech("okay nabu", "en-us", before_s=0.6)))
                    await ha.expect("run-pipeline")
                    await saying
                    reply = AudioChunk(audio=noise(0.8, seed), **VOICE)
                    await ha.send(Transcript(text="x"), AudioStart(**VOICE), reply, AudioStop())
                    await ha.expect("played")
                    await room.silent_since(0.0)
                    played, expected = room.played()[begin:].astype(float), resampled(noise(0.8, seed))
                    assert likeness(played, expected[: int(0.05 * virtual.RATE)]) > 0.98
                    assert likeness(played, expected[-int(0.2 * virtual.RATE) :]) > 0.98
                    await room.close()
                    await one.logged("The microphone is gone")
                    await room.open()
                    await room.record()
                    await one.logged("The microphone is back")


async def test_devices_that_come_after_the_satellite_are_waited_for(tmp_path: Path) -> None:
    async with virtual_room(tmp_path) as room:
        room.environment = {**room.environment, "PULSE_SINK": "loud", "PULSE_SOURCE": "air.monitor"}
        await room.close()
        options = ("--uri", "tcp://127.0.0.1:0", "--no-zeroconf", "--mic", "default")
        async with satellite_in(room, *options, "--snd", "default", "--set", "snd.rate=48000") as one:
            address = (await one.logged("Listening on ")).strip()
            await one.logged("The microphone is not there")
            await room.open()
            await room.record()
            await one.logged("The microphone is back")
            async with driver(address) as ha:
                one.process.send_signal(signal.SIGUSR1)
                await ha.expect("audio-chunk")
                begin = len(room.played())
                reply = AudioChunk(audio=noise(0.5), **VOICE)
                await ha.send(Transcript(text="x"), AudioStart(**VOICE), reply, AudioStop())
                await ha.expect("played")
                await room.silent_since(0.0)
                assert likeness(room.played()[begin:].astype(float), resampled(noise(0.5))) > 0.98


async def test_a_sound_daemon_that_says_nothing_any_more_does_not_keep_the_satellite_from_ending(
    tmp_path: Path,
) -> None:
    async with virtual_room(tmp_path) as room:
        room.environment = {**room.environment, "PULSE_SINK": "loud", "PULSE_SOURCE": "air.monitor"}
        options = ("--uri", "tcp://127.0.0.1:0", "--no-zeroconf", "--mic", "default", "--snd", "default")
        assert room.daemon is not None
        try:
            async with satellite_in(room, *options) as one:
                address = (await one.logged("Listening on ")).strip()
                async with driver(address) as ha:
                    one.process.send_signal(signal.SIGUSR1)
                    await ha.expect("audio-chunk")
                room.daemon.send_signal(signal.SIGSTOP)  # leaving ends the satellite, which must end well
        finally:
            room.daemon.send_signal(signal.SIGCONT)
