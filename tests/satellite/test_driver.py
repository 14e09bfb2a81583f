"""Our server's driver of satellites, with a satellite and a server that do what the test says."""

from __future__ import annotations

import asyncio

from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.handle import Handled
from wyoming.info import Attribution, Info, Satellite
from wyoming.ping import Ping
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming.snd import Played
from wyoming.vad import VoiceStopped

from tests.scripted_server import Peer, Script, scripted_server
from tests.waiting import WAIT_S
from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.pipeline.timer_news import TimerNews
from wyoming_superwhisper.satellites.arbiter import Arbiter
from wyoming_superwhisper.satellites.driver import SatelliteDriver

VOICE = {"rate": 22050, "width": 2, "channels": 1}
ROOM = Satellite(name="room", attribution=Attribution(name="", url=""), installed=True, description=None, version=None)
CHUNK = AudioChunk(rate=16000, width=2, channels=1, audio=SPEECH.silence(0.03))


class Served:
    """Serves the driver's turns: what was said ends by itself, and the answer waits until it may go on."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        peer = Peer(reader, writer)
        try:
            await peer.read_until("audio-chunk")
            await peer.send(VoiceStopped(timestamp=0), Transcript(text="Quelle heure est-il ?"))
            await self.goes_on.wait()
            await peer.send(Handled(text="Midi."), AudioStart(**VOICE), AudioChunk(audio=bytes(2), **VOICE))
            await peer.send(AudioStop())
            await peer.read_until("never")
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


async def greet(peer: Peer) -> None:
    """Be a satellite, and ask for a turn."""
    await peer.read_until("describe")
    await peer.send(Info(satellite=ROOM), RunPipeline(PipelineStage.ASR, PipelineStage.TTS), CHUNK)


async def seen(peer: Peer) -> None:
    """Return when the driver has seen all that was sent."""
    await peer.send(Ping(text="seen?"))
    await peer.read_until("pong")


async def test_a_microphone_that_is_closed_after_the_server_has_heard_enough_gets_its_answer() -> None:
    served = Served()
    answered = asyncio.Event()

    async def satellite(peer: Peer) -> None:
        await greet(peer)
        await peer.read_until("transcript")
        await peer.send(AudioStop())
        await seen(peer)
        await peer.send(CHUNK)  # what was still on its way
        await seen(peer)
        served.goes_on.set()
        await peer.read_until("audio-stop")
        answered.set()
        await peer.read_until("never")

    await drive(satellite, served, answered)


async def test_a_turn_that_is_said_to_be_played_before_its_answer_is_cut_off() -> None:
    served = Served()

    async def satellite(peer: Peer) -> None:
        await greet(peer)
        await peer.read_until("transcript")
        await peer.send(AudioStop(), Played())  # as a satellite cuts a turn off
        await peer.read_until("never")

    await drive(satellite, served, served.cancelled)


async def drive(satellite: Script, served: Served, until: asyncio.Event) -> None:
    """Drive this satellite until that has happened."""
    async with scripted_server(satellite) as there:
        driver = SatelliteDriver(there.uri, served, TimerNews(), Arbiter(lambda: 0.0))
        driving = asyncio.create_task(driver.run())
        try:
            async with asyncio.timeout(WAIT_S):
                await until.wait()
        finally:
            driving.cancel()
            await asyncio.gather(driving, return_exceptions=True)
