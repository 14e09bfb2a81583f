"""The satellite in a virtual room with a real sound daemon, against the real server on the demo models."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop

from tests.conftest import RunningServer, start_server
from tests.satellite import room as virtual
from tests.satellite.driver import Driver
from tests.satellite.room import RoomSatellite, begin_turn, driven_in, satellite_in, virtual_room
from tests.satellite.signals import likeness, noise, resampled
from tests.satellite.test_seat import VOICE, answer
from tests.speech import pcm, speech
from wyoming_superwhisper import client
from wyoming_superwhisper.models.demo.domain import normalise_for_comparison

pytestmark = pytest.mark.system

if not virtual.is_possible():
    pytest.skip("no PulseAudio here: script/setup --system", allow_module_level=True)

WORDS = {"okay_nabu": "okay nabu", "alexa": "alexa"}


def spoken(text: str, voice: str = "fr") -> npt.NDArray[np.int16]:
    """A text spoken, with the silence at its ends cut off."""
    samples = np.frombuffer(speech(text, voice, before_s=0.0, after_s=0.0), "<i2")
    loud = np.nonzero(np.abs(samples.astype(int)) > 300)[0]
    return samples[loud[0] : loud[-1]]


def turn_audio(word: str, command: str, gap_s: float, noise_db: float | None = None) -> bytes:
    """Wake word and command with a gap between, perhaps in noise of this signal to noise ratio."""
    silence = np.zeros(int(gap_s * 16000), "<i2")
    both = np.concatenate([spoken(WORDS[word], "en-us"), silence, spoken(command)]).astype(float) / 32768
    padded = np.concatenate([np.zeros(8000), both, np.zeros(24000)])
    if noise_db is not None:
        level = np.sqrt(np.mean(both**2)) * 10 ** (-noise_db / 20)
        padded = padded + np.random.default_rng(1).standard_normal(len(padded)) * level
    return pcm(padded)


@pytest.fixture(scope="module")
def still_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose voice speaks the same text the same way each time."""
    log = tmp_path_factory.mktemp("still") / "log.txt"
    running = start_server(log, "--set", "tts.noise_scale=0", "--set", "tts.noise_w=0")
    asyncio.run(client.wait_ready(running.uri))
    yield running
    running.stop()


async def one_turn(
    room: virtual.Room, one: RoomSatellite, server: RunningServer, audio: bytes, expected: str = "Quelle heure est-il ?"
) -> None:
    """Say it; the transcript must be right, and the answer must come out of the loudspeaker."""
    begin = len(room.played())
    saying = asyncio.create_task(room.say(audio))
    heard = await one.logged("Heard: ")
    reply = await one.logged("Answer: ")
    await one.logged("Ready")
    await saying
    await room.silent_since(0.0)
    assert normalise_for_comparison(heard, "fr") == normalise_for_comparison(expected, "fr")
    chunks = [chunk async for chunk in client.synthesize(server.uri, reply, language="fr")]
    sound = resampled(b"".join(chunk.audio for chunk in chunks), chunks[0].format.rate)
    assert likeness(room.played()[begin:].astype(float), sound) > 0.9, reply


@pytest.mark.parametrize("word", ["okay_nabu", "alexa"])
async def test_a_wake_word_and_a_command_are_answered_aloud(
    still_server: RunningServer, tmp_path: Path, word: str
) -> None:
    async with (
        virtual_room(tmp_path) as room,
        satellite_in(room, "--server", still_server.uri, "--wake-word", word, "--language", "fr") as one,
    ):
        await one.logged("Ready")
        await one_turn(room, one, still_server, turn_audio(word, "Quelle heure est-il ?", 0.4))


@pytest.mark.parametrize("word", ["okay_nabu", "alexa"])
async def test_also_without_a_pause_and_in_noise(still_server: RunningServer, tmp_path: Path, word: str) -> None:
    async with (
        virtual_room(tmp_path) as room,
        satellite_in(room, "--server", still_server.uri, "--wake-word", word, "--language", "fr") as one,
    ):
        await one.logged("Ready")
        for gap_s, noise_db in ((0.0, None), (0.4, 15.0)):
            await one_turn(room, one, still_server, turn_audio(word, "Quelle heure est-il ?", gap_s, noise_db))


@pytest.mark.long
async def test_twenty_turns_in_a_row_without_a_miss(still_server: RunningServer, tmp_path: Path) -> None:
    async with (
        virtual_room(tmp_path) as room,
        satellite_in(
            room, "--server", still_server.uri, "--wake-word", "okay_nabu", "--wake-word", "alexa", "--language", "fr"
        ) as one,
    ):
        await one.logged("Ready")
        for number in range(20):
            word = ("okay_nabu", "alexa")[number % 2]
            await one_turn(room, one, still_server, turn_audio(word, "Quelle heure est-il ?", 0.4))


async def test_the_first_and_the_last_of_a_reply_and_the_first_of_a_command_are_heard(tmp_path: Path) -> None:
    """And `played` is told when the last sample has left, not before."""
    async with virtual_room(tmp_path) as room, driven_in(room, "--wake-word", "okay_nabu") as (_, ha):
        command = spoken("Quelle heure est-il ?")
        await asyncio.sleep(0.5)
        await room.say(turn_audio("okay_nabu", "Quelle heure est-il ?", 0.15))
        await ha.expect("run-pipeline")
        spoken_answer = noise(1.0)
        began = time.monotonic()
        await answer_with(ha, spoken_answer)
        await ha.expect("played")
        told = time.monotonic()
        assert told - began >= 0.95
        assert await room.silent_since(told) < 0.1
        heard = np.frombuffer(ha.audio(), "<i2").astype(float)
        assert likeness(heard, command[: int(0.2 * 16000)].astype(float)) > 0.9
        played = room.played().astype(float)
        reply = resampled(spoken_answer)
        assert likeness(played, reply[: int(0.05 * virtual.RATE)]) > 0.98
        assert likeness(played, reply[-int(0.2 * virtual.RATE) :]) > 0.98


async def answer_with(ha: Driver, audio: bytes) -> None:
    """An answer with this sound."""
    await ha.send(Transcript(text="x"), AudioStart(**VOICE), AudioChunk(audio=audio, **VOICE), AudioStop())


async def test_the_wake_word_silences_a_reply_within_150_ms_and_cancels_it(tmp_path: Path) -> None:
    options = ("--wake-word", "okay_nabu", "--set", "sounds.awake=off", "--log-level", "debug")
    async with virtual_room(tmp_path) as room, driven_in(room, *options) as (one, ha):
        await begin_turn(one, ha)
        await answer(ha, "Il était une fois", seconds=20)
        await room.sounds()
        await asyncio.sleep(1.5)  # well into the reply
        saying = asyncio.create_task(room.say(speech("okay nabu", "en-us", before_s=0.1, after_s=0.1)))
        await one.logged("Wake word: ")
        detected = time.monotonic()
        assert await room.silent_since(detected) < 0.15
        await saying
        await ha.expect("detection")
        await ha.expect("run-pipeline")
        await answer(ha)
        await ha.expect("played")


async def test_the_sound_daemon_may_be_restarted(tmp_path: Path) -> None:
    async with virtual_room(tmp_path) as room, driven_in(room, "--wake-word", "okay_nabu") as (one, ha):
        for _ in range(2):
            await asyncio.sleep(0.5)
            saying = asyncio.create_task(room.say(speech("okay nabu", "en-us")))
            await ha.expect("run-pipeline")
            await saying
            await answer(ha)
            await ha.expect("played")
            await room.close()
            await one.logged("The microphone is gone")
            await room.open()
            await one.logged("The microphone is back")
