"""What others play is quieter during a turn, with a real sound daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from wyoming.asr import Transcript

from tests.satellite import room as virtual
from tests.satellite.driver import Driver
from tests.satellite.room import LISTENS, Room, RoomSatellite, begin_turn, driven_in, satellite_in, virtual_room
from tests.satellite.signals import noise
from tests.waiting import WAIT_S

pytestmark = pytest.mark.system

if not virtual.is_possible():
    pytest.skip("no PulseAudio here: script/setup --system", allow_module_level=True)

WITHOUT_SOUNDS = ("--set", "sounds.awake=off", "--set", "sounds.error=off")


@asynccontextmanager
async def music(room: Room) -> AsyncIterator[None]:
    """Somebody else plays noise on the loudspeaker, the same all the time."""
    player = await asyncio.create_subprocess_exec(
        "pacat", "--device=loud", "--raw", "--format=s16le", "--rate=22050", "--channels=1", "--latency-msec=60",
        env=room.environment, stdin=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert player.stdin is not None
    player.stdin.write(noise(60.0))
    try:
        yield
    finally:
        player.kill()
        await player.wait()


async def loudness(room: Room, wanted: float, within_s: float = WAIT_S) -> float:
    """The loudness of what is heard once it is about what is wanted, else after a while whatever it is."""
    end = asyncio.get_running_loop().time() + within_s
    while True:
        await asyncio.sleep(0.1)
        newest = room.played()[-virtual.RATE // 5 :].astype(float)
        now = float(np.sqrt(np.mean(newest**2))) if len(newest) else 0.0
        if abs(now - wanted) < 0.15 * wanted or asyncio.get_running_loop().time() > end:
            return now


async def loud(room: Room) -> float:
    """How loud the music is by itself."""
    async with asyncio.timeout(WAIT_S):
        while (before := await loudness(room, 0.0, 0.0)) < 1000:
            pass
    await asyncio.sleep(0.5)
    return await loudness(room, before, 0.0)


@asynccontextmanager
async def quieter_in_a_turn(room: Room, *options: str) -> AsyncIterator[tuple[RoomSatellite, Driver, float]]:
    """A satellite in a turn, during which the music is quieter; who drives it, and how loud the music is by itself."""
    async with driven_in(room, *WITHOUT_SOUNDS, *options) as (one, ha):
        before = await loud(room)
        await begin_turn(one, ha)
        assert await loudness(room, 0.3 * before) == pytest.approx(0.3 * before, rel=0.15)
        yield one, ha, before


async def test_others_are_quieter_during_a_turn_and_as_loud_again_after_it(tmp_path: Path) -> None:
    async with virtual_room(tmp_path) as room, music(room), quieter_in_a_turn(room) as (one, ha, before):
        await ha.send(Transcript(text="annule"))
        assert await loudness(room, before) == pytest.approx(before, rel=0.15)
        await begin_turn(one, ha)
        assert await loudness(room, 0.3 * before) == pytest.approx(0.3 * before, rel=0.15)
        await ha.send(Transcript(text="annule"))
        assert await loudness(room, before) == pytest.approx(before, rel=0.15)


async def test_somebody_who_speaks_to_it_by_another_loudspeaker_is_heard_as_loud_as_before(tmp_path: Path) -> None:
    async with virtual_room(tmp_path) as room, music(room), quieter_in_a_turn(room) as (_, ha, before):
        spoken = np.frombuffer(noise(2.0), "<i2")[:16000]
        await room.say(spoken.tobytes())
        assert await loudness(room, 0.3 * before) == pytest.approx(0.3 * before, rel=0.15)
        heard = np.frombuffer(ha.audio(), "<i2").astype(float)
        said = heard[np.nonzero(np.abs(heard) > 10)[0][0] :][:8000]
        assert np.sqrt(np.mean(said**2)) == pytest.approx(np.sqrt(np.mean(spoken.astype(float) ** 2)), rel=0.1)


async def test_also_when_the_satellite_is_ended_in_a_turn(tmp_path: Path) -> None:
    async with virtual_room(tmp_path) as room, music(room):
        async with quieter_in_a_turn(room) as (_, _, before):
            pass
        assert await loudness(room, before) == pytest.approx(before, rel=0.15)


async def be_killed_in_a_turn(room: Room) -> None:
    """Raises AssertionError: it didn't end well."""
    async with quieter_in_a_turn(room) as (one, _, _):
        one.process.kill()
        await one.process.wait()


async def test_what_a_killed_satellite_has_left_quiet_is_loud_again_once_it_is_back(tmp_path: Path) -> None:
    async with virtual_room(tmp_path) as room, music(room):
        before = await loud(room)
        with pytest.raises(AssertionError):
            await be_killed_in_a_turn(room)
        assert await loudness(room, 0.3 * before, 0.5) == pytest.approx(0.3 * before, rel=0.15)
        async with satellite_in(room, *LISTENS, *WITHOUT_SOUNDS):
            assert await loudness(room, before) == pytest.approx(before, rel=0.15)


async def test_a_volume_that_somebody_changes_meanwhile_is_left_alone(tmp_path: Path) -> None:
    async with virtual_room(tmp_path) as room, music(room), quieter_in_a_turn(room) as (one, ha, before):
        changing = await asyncio.create_subprocess_exec(
            "pactl", "set-sink-input-volume", "0", "50%", env=room.environment
        )
        assert await changing.wait() == 0
        eighth = before / 8  # volumes are cube roots
        assert await loudness(room, eighth) == pytest.approx(eighth, rel=0.15)
        await ha.send(Transcript(text="annule"))
        await one.logged("Ready")
        assert await loudness(room, eighth, 1.0) == pytest.approx(eighth, rel=0.15)


async def test_others_stay_as_loud_where_the_settings_say_so(tmp_path: Path) -> None:
    options = (*WITHOUT_SOUNDS, "--set", "snd.ducking=1.0")
    async with virtual_room(tmp_path) as room, music(room), driven_in(room, *options) as (one, ha):
        before = await loud(room)
        await begin_turn(one, ha)
        await asyncio.sleep(0.5)
        assert await loudness(room, before, 0.0) == pytest.approx(before, rel=0.15)
