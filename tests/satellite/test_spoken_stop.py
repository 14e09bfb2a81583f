"""What "stop" does, said over a reply or a ringing timer, recognised by the real server on the demo models."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from wyoming.timer import TimerFinished, TimerStarted

from tests.conftest import RunningServer
from tests.satellite import room as virtual
from tests.satellite.driver import driver
from tests.satellite.test_seat import answer, loud_s, satellite, say
from tests.speech import sound, speech
from tests.waiting import WAIT_S
from wyoming_superwhisper import client
from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.config.satellite_settings import TurnSettings
from wyoming_superwhisper.satellite.hearing import Ears
from wyoming_superwhisper.satellite.known_sound import KnownSound
from wyoming_superwhisper.satellite.news import Item
from wyoming_superwhisper.satellite.spoken_stop import SpokenStop

CHUNK = SPEECH.bytes_of(0.03)
PHRASES = TurnSettings().stop_phrases


class NoMicrophone:
    """Ears that are fed by hand need none."""

    finite = False

    async def read(self) -> bytes:
        return b""

    def be_patient(self, patient: bool) -> None:
        """Nothing waits here."""


class Room:
    """Ears, and who listens for "stop" in them."""

    def __init__(self, server: str, language: str = "fr") -> None:
        self.ears = Ears(NoMicrophone(), None)  # type: ignore[arg-type]
        self.stops = 0
        self.stop = SpokenStop(PHRASES, language, self.ears, lambda: server, self._stopped)

    def _stopped(self) -> None:
        self.stops += 1

    async def hear(self, audio: bytes) -> None:
        """Hear it, and wait until it is known what was said."""
        for at in range(0, len(audio), CHUNK):
            self.ears._hear(audio[at : at + CHUNK])
        if self.stop._asking is not None:
            await asyncio.wait([self.stop._asking], timeout=WAIT_S)


@pytest.mark.parametrize(("text", "language", "stops"), [
    ("Stop.", "fr", 1), ("Stop.", "en", 1), ("Merci.", "fr", 0), ("Allume la lumière du salon.", "fr", 0),
])  # fmt: skip
async def test_only_the_phrase_alone_stops(server: RunningServer, text: str, language: str, stops: int) -> None:
    await client.wait_ready(server.uri)
    room = Room(server.uri, language)
    room.stop(Item("speaking"))
    await room.hear(speech(text, "fr" if language == "fr" else "en-us", after_s=0.8))
    assert room.stops == stops


async def test_nothing_is_asked_while_nothing_is_said_or_rings(server: RunningServer) -> None:
    room = Room(server.uri)
    for kind in ("speaking", "idle"):
        room.stop(Item(kind))
    await room.hear(speech("Stop.", after_s=0.8))
    assert room.stop._asking is None
    assert room.stops == 0


async def test_what_is_asked_is_forgotten_when_the_reply_ends(server: RunningServer) -> None:
    room = Room(server.uri)
    room.stop(Item("ringing"))
    audio = speech("Stop.", after_s=0.8)
    for at in range(0, len(audio), CHUNK):
        room.ears._hear(audio[at : at + CHUNK])
    asking = room.stop._asking
    assert asking is not None
    room.stop(Item("listening"))
    await asyncio.gather(asking, return_exceptions=True)
    assert asking.cancelled()
    assert room.stops == 0


async def test_a_server_that_is_not_there_stops_nothing(unused_tcp_port: int) -> None:
    room = Room(f"tcp://127.0.0.1:{unused_tcp_port}")
    room.stop(Item("speaking"))
    await room.hear(speech("Stop.", after_s=0.8))
    assert room.stops == 0
    assert room.stop._asking is None


def test_an_echo_is_known_and_who_speaks_over_it_is_louder() -> None:
    now = time.monotonic()
    known = KnownSound(lambda: now)
    reply = np.frombuffer(sound("pink", 3.0, -20), "<i2")
    exceeded = []
    for at in range(0, len(reply) - 480, 480):
        chunk = reply[at : at + 480]
        known.play(chunk.tobytes(), SPEECH)
        now += 0.03
        spoken = 3 if at > 32000 else 0  # as loud as the reply, in the last second
        exceeded.append(known.is_exceeded_by((chunk * (0.3 + spoken)).astype("<i2").tobytes()))
    assert sum(exceeded[:66]) <= 2
    assert sum(exceeded[70:85]) >= 13
    now += 5
    assert known.is_exceeded_by(bytes(960))  # nothing is played any more


async def test_stop_ends_a_ringing_timer_and_a_reply(server: RunningServer, tmp_path: Path) -> None:
    await client.wait_ready(server.uri)
    options = ("--set", f"turn.stop_server={server.uri}", "--language", "fr")
    async with satellite(tmp_path, *options) as one, driver(one.uri) as ha:
        await ha.send(TimerStarted(id="a", total_seconds=3600, name="pizza"), TimerFinished(id="a"))
        await one.logged("A timer has finished: pizza")
        await one.sounds(0.3)
        say(tmp_path, speech("Stop.", after_s=1.0))
        await one.logged("Stopped by: Stop")
        one.process.send_signal(signal.SIGUSR1)
        await ha.expect("audio-chunk")
        await answer(ha, "Il était une fois", seconds=60)
        heard = loud_s(one.played)
        await one.sounds(heard + 0.8)
        say(tmp_path, speech("Stop.", after_s=1.0))
        await ha.expect("played")
        assert loud_s(one.played) < heard + 50


@pytest.mark.system
@pytest.mark.skipif(not virtual.is_possible(), reason="no PulseAudio here: script/setup --system")
async def test_stop_silences_a_reply_in_the_room_within_150_ms(server: RunningServer, tmp_path: Path) -> None:
    await client.wait_ready(server.uri)
    options = ("--language", "fr", "--set", f"turn.stop_server={server.uri}")
    async with virtual.virtual_room(tmp_path) as room, virtual.driven_in(room, *options) as (one, ha):
        await virtual.begin_turn(one, ha)
        await answer(ha, "Il était une fois", seconds=20)
        await room.sounds()
        await asyncio.sleep(1.5)  # well into the reply
        saying = asyncio.create_task(room.say(speech("Stop.", before_s=0.1, after_s=1.0)))
        await one.logged("Stopped by: Stop")
        assert await room.silent_since(time.monotonic()) < 0.15
        await saying
        await ha.expect("played")
