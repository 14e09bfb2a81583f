"""What Home Assistant does to a satellite besides a plain turn: announce, mute, fail and vanish in every state."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.satellite import PauseSatellite
from wyoming.timer import TimerCancelled, TimerFinished, TimerStarted, TimerUpdated
from wyoming.tts import Synthesize
from wyoming.vad import VoiceStarted, VoiceStopped
from wyoming.wake import Detect

from tests.conftest import free_port
from tests.satellite.driver import Driver, driver
from tests.satellite.test_faults import holds_no_more, resources, state_at
from tests.satellite.test_seat import REPLY, VOICE, Satellite, answer, loud_s, satellite
from tests.speech import speech
from tests.waiting import LOOK_S, WAIT_S, until
from wyoming_superwhisper.audio import SPEECH, read_wav, write_wav

pytestmark = pytest.mark.timeout(300)


async def press(one: Satellite, ha: Driver) -> None:
    """Begin a turn by the button."""
    one.process.send_signal(signal.SIGUSR1)
    await ha.expect("run-pipeline")
    await ha.expect("audio-chunk")


async def announce(ha: Driver) -> None:
    await ha.send(AudioStart(timestamp=0, **VOICE))
    for at in range(0, len(REPLY), 2048):
        await ha.send(AudioChunk(audio=REPLY[at : at + 2048], timestamp=0, **VOICE))
    await ha.send(AudioStop())


async def idle(one: Satellite, ha: Driver) -> None:
    pass


async def listening(one: Satellite, ha: Driver) -> None:
    await press(one, ha)
    await ha.send(Transcribe(language="fr"), VoiceStarted(timestamp=0))


async def thinking(one: Satellite, ha: Driver) -> None:
    await listening(one, ha)
    await ha.send(VoiceStopped(timestamp=900))
    await ha.expect("audio-stop")


async def speaking(one: Satellite, ha: Driver) -> None:
    await press(one, ha)
    before = loud_s(one.played)
    await answer(ha, seconds=3)
    await one.sounds(before + 0.3)


async def replying(one: Satellite, ha: Driver) -> None:
    """It speaks, and more is to come."""
    await thinking(one, ha)
    before = loud_s(one.played)
    await ha.send(Transcript(text="x"), AudioStart(**VOICE), AudioChunk(audio=REPLY, **VOICE))
    await one.sounds(before + 0.3)


async def announcing(one: Satellite, ha: Driver) -> None:
    before = loud_s(one.played)
    await announce(ha)
    await one.sounds(before + 0.3)


async def ringing(one: Satellite, ha: Driver) -> None:
    before = loud_s(one.played)
    await ha.send(TimerStarted(id="a", total_seconds=60), TimerFinished(id="a"))
    await one.sounds(before + 0.3)


State = Callable[[Satellite, Driver], Awaitable[None]]
STATES: tuple[State, ...] = (idle, listening, thinking, speaking, announcing, ringing)


async def whole_turn(one: Satellite, ha: Driver) -> None:
    """A turn with a short answer."""
    await press(one, ha)
    await ha.send(Transcript(text="x"), AudioStart(**VOICE), AudioChunk(audio=REPLY[:8820], **VOICE), AudioStop())
    await ha.expect("played")


async def test_an_announcement_is_played_at_once_where_it_ends_a_turn_that_nobody_answers(tmp_path: Path) -> None:
    async with satellite(tmp_path) as one, driver(one.uri) as ha:
        for state in (idle, listening, thinking):
            before = loud_s(one.played)
            await state(one, ha)
            await announce(ha)
            await ha.expect("played")
            assert 0.9 < loud_s(one.played) - before < 1.05
        count = len(ha.audio())
        await ha.expect("pong")
        assert len(ha.audio()) == count  # the microphone is closed
        await whole_turn(one, ha)


async def test_an_announcement_over_a_reply_waits_until_that_was_played(tmp_path: Path) -> None:
    async with satellite(tmp_path) as one, driver(one.uri) as ha:
        await press(one, ha)
        await answer(ha)
        await announce(ha)
        await ha.expect("played")
        assert loud_s(one.played) > 0.9
        await ha.expect("played")
        assert 1.9 < loud_s(one.played) < 2.05


async def test_a_reply_that_was_told_by_its_text_alone_is_the_turns(tmp_path: Path) -> None:
    async with satellite(tmp_path) as one, driver(one.uri) as ha:
        await press(one, ha)
        await ha.send(Detect(), Synthesize(text="Il est midi."))
        await announce(ha)
        await ha.expect("played")
        await one.logged("Answer: Il est midi.")
        await press(one, ha)


@asynccontextmanager
async def watched(folder: Path, *options: str) -> AsyncIterator[tuple[Satellite, int]]:
    """A satellite, and the port at which it tells its state."""
    web = free_port()
    async with satellite(folder, "--set", f"hooks.web=127.0.0.1:{web}", *options) as one:
        yield one, web


async def becomes(web: int, state: str) -> None:
    """Wait until the satellite is in this state."""
    async with asyncio.timeout(WAIT_S):
        while await state_at(web) != state:  # noqa: ASYNC110 - another process
            await asyncio.sleep(LOOK_S)


async def test_an_error_ends_a_turn_in_every_state_and_the_next_one_works(tmp_path: Path) -> None:
    async with watched(tmp_path) as (one, web), driver(one.uri) as ha:
        for number, state in enumerate((listening, thinking, replying)):
            await state(one, ha)
            await ha.send(Error(text=f"trouble {number}", code="intent-failed"))
            await one.logged(f"trouble {number}")
            await becomes(web, "idle")
        await press(one, ha)
        await answer(ha)
        await ha.expect("played")


async def test_muting_closes_the_microphone_in_every_state_and_what_it_says_is_said(tmp_path: Path) -> None:
    async with watched(tmp_path) as (one, web):
        for state in STATES:
            async with driver(one.uri) as ha:
                await state(one, ha)
                muted = one.times_logged("has muted")
                await ha.send(PauseSatellite())
                await one.logged("has muted", times=muted + 1)
                if state in (speaking, announcing):
                    await ha.expect("played")
                if state is ringing:  # the button still ends that
                    one.process.send_signal(signal.SIGUSR1)
                await becomes(web, "muted")
                await ha.caught_up()
                count = len(ha.audio())
                one.process.send_signal(signal.SIGUSR1)
                await ha.caught_up()
                assert len(ha.audio()) == count
            async with driver(one.uri) as ha:  # as Home Assistant unmutes
                await whole_turn(one, ha)


@pytest.mark.parametrize("rounds", [1, pytest.param(4, marks=pytest.mark.long)])
async def test_home_assistant_may_vanish_in_every_state_and_nothing_is_left_behind(tmp_path: Path, rounds: int) -> None:
    async with watched(tmp_path) as (one, web):
        held: list[dict[str, int]] = []
        for _ in range(rounds):
            for state in STATES:
                async with driver(one.uri) as ha:
                    await state(one, ha)
                    ha.writer.transport.abort()
                await waits(one, web)
                async with driver(one.uri) as ha:
                    await whole_turn(one, ha)
                    await becomes(web, "idle")
                    if len(held) < 3:  # by then all that is made once is there
                        held.append(await resources(one, web))
                    else:
                        await holds_no_more(one, web, held[2])


async def waits(one: Satellite, web: int) -> None:
    """Wait until it waits for somebody; what rings is ended."""
    async with asyncio.timeout(WAIT_S):
        while (state := await state_at(web)) != "waiting":
            if state == "ringing":
                one.process.send_signal(signal.SIGUSR1)
            await asyncio.sleep(LOOK_S)


async def test_timers_are_followed_and_each_that_rings_is_told_once(tmp_path: Path) -> None:
    told = tmp_path / "told.txt"
    hooks = [
        f"hooks.commands.{kind}=echo {kind} $(cat) $SATELLITE_ID $SATELLITE_SECONDS $SATELLITE_ACTIVE >> {told}"
        for kind in ("timer-started", "timer-updated", "timer-cancelled", "timer-finished", "ringing", "silenced")
    ]
    options = [word for hook in hooks for word in ("--set", hook)]
    async with watched(tmp_path, *options) as (one, web), driver(one.uri) as ha:
        await ha.send(TimerStarted(id="a", total_seconds=300, name="pizza", start_minutes=5))
        await ha.send(TimerStarted(id="b", total_seconds=60), TimerUpdated(id="b", is_active=False, total_seconds=50))
        await ha.send(TimerCancelled(id="a"), TimerUpdated(id="b", is_active=True, total_seconds=80))
        await ha.send(TimerStarted(id="c", total_seconds=9, name="thé"), TimerFinished(id="b"))
        await becomes(web, "ringing")
        await ha.send(TimerFinished(id="c"))
        await one.logged("A timer has finished: thé")
        one.process.send_signal(signal.SIGUSR1)
        await becomes(web, "idle")
        expected = [
            "timer-started pizza a 300.0", "timer-started b 60.0", "timer-updated b 50.0 False",
            "timer-cancelled pizza a", "timer-updated b 80.0 True", "timer-started thé c 9.0", "timer-finished b",
            "ringing b", "timer-finished thé c", "ringing thé c", "silenced",
        ]  # fmt: skip
        await until(lambda: told.exists() and sorted(told.read_text().splitlines()) == sorted(expected), told.read_text)


# --- files as microphone and loudspeaker ------------------------------------------------------------------------


async def test_a_recording_is_heard_once_somebody_listens_and_silence_after_it(tmp_path: Path) -> None:
    said, played = tmp_path / "said.wav", tmp_path / "played.wav"
    write_wav(said, speech("okay nabu", "en-us", before_s=0.5, after_s=0.3), SPEECH)
    files = ("--mic", str(said), "--snd", str(played))
    async with satellite(tmp_path, *files, "--wake-word", "okay_nabu") as one:
        await asyncio.sleep(2.0)  # longer than the recording
        async with driver(one.uri) as ha:
            assert (await ha.expect("detection")).data["name"] == "okay_nabu"
            await ha.expect("run-pipeline")
            await answer(ha)
            await ha.expect("played")
            assert read_wav(played)[1].endswith(REPLY)
            await announce(ha)
            await ha.expect("played")
            assert read_wav(played)[1].endswith(2 * REPLY)


async def test_a_recording_without_a_wake_word_is_heard_from_its_beginning_with_each_press(tmp_path: Path) -> None:
    said = tmp_path / "said.wav"
    write_wav(said, speech("Quelle heure est-il ?", "fr", before_s=0.0, after_s=0.0), SPEECH)
    async with satellite(tmp_path, "--mic", str(said)) as one, driver(one.uri) as ha:
        for _ in range(2):
            begin = len(ha.audio())
            await press(one, ha)
            while len(ha.audio()) - begin < SPEECH.bytes_of(1.0):
                await ha.expect("audio-chunk")
            assert read_wav(said)[1][: SPEECH.bytes_of(0.5)] in ha.audio()[begin:]
            await answer(ha)
            await ha.expect("played")
