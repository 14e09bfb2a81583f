"""Workers killed, queues full, clients that leave: told at once, and nobody else notices."""

import asyncio
import time
from pathlib import Path

import psutil
import pytest
from wyoming.asr import Transcript
from wyoming.event import Event
from wyoming.tts import Synthesize

from tests.conftest import RunningServer, start_server
from tests.server.speech import Client, audio_events, client, said

LONG_TEXT = "Bonjour, je suis à la maison et il fait trop chaud. " * 60


async def ask_whisper(one: Client) -> str:
    return await one.transcribe(said("Bonjour."), "fr")


async def ask_llama(one: Client) -> str:
    await one.send(Transcript(text="Raconte-moi une blague.", language="fr"))
    return str((await one.until("handled"))[-1].data["text"])


async def ask_light(one: Client) -> str:
    await one.send(Transcript(text="Quelle heure est-il ?", language="fr"))
    return str((await one.until("intent"))[-1].data["name"])


async def ask_piper(one: Client) -> str:
    await one.send(Synthesize(text="Bonjour."))
    return str(len(await one.until("audio-stop")))


ASK = {"light": ask_light, "whisper": ask_whisper, "llama": ask_llama, "piper": ask_piper}
REQUEST = {
    "light": [Transcript(text="Quelle heure est-il ?", language="fr").event()],
    "whisper": [Event("transcribe", {"language": "fr"}), *audio_events(said("Bonjour."), 22_050)],
    "llama": [Transcript(text="Raconte-moi une blague.", language="fr").event()],
    "piper": [Synthesize(text=LONG_TEXT).event()],
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("engine", ["light", "whisper", "llama", "piper"])
async def test_a_killed_worker_is_told_and_replaced(own_server: RunningServer, engine: str) -> None:
    async with client(own_server) as one:
        await ASK[engine](one)  # loaded
    worker = own_server.workers()[engine]
    worker.suspend()  # so that the request is surely in the worker when it dies
    async with client(own_server) as victim:
        await victim.send(*REQUEST[engine])
        await asyncio.sleep(2.0)  # by then the request waits in the worker, which is stopped
        worker.kill()
        killed = time.monotonic()
        while (event := await victim.receive()).type != "error":
            pass
        assert event.data["code"] == "engine-lost"
        assert time.monotonic() - killed < 1.0
    async with client(own_server) as one:
        assert await ASK[engine](one)


@pytest.mark.timeout(120)
async def test_a_client_that_leaves_takes_its_work_with_it(own_server: RunningServer) -> None:
    async with client(own_server) as one:
        await ask_piper(one)
    piper = own_server.workers()["piper"]
    async with client(own_server) as leaving:
        await leaving.send(Synthesize(text=LONG_TEXT))
        await leaving.until("audio-chunk")
    await asyncio.sleep(1.5)  # more than the grace for a client that only closed its sending side
    before = piper.cpu_times().user
    await asyncio.sleep(1.0)
    assert piper.cpu_times().user - before < 0.2, "the worker still speaks for somebody who left"


@pytest.mark.timeout(120)
async def test_a_full_queue_says_busy_and_the_waiting_are_served(tmp_path: Path) -> None:

    server = start_server(tmp_path / "log.txt", "--set", "limits.queue_final=2")
    try:
        async with client(server) as one:
            await ask_piper(one)
        worker = server.workers()["piper"]
        worker.suspend()

        async def speak() -> str:
            async with client(server) as one:
                await one.send(Synthesize(text="Bonjour."))
                while (event := await one.receive()).type not in ("audio-stop", "error"):
                    pass
                return str(event.data.get("code", event.type))

        asked = [asyncio.create_task(speak()) for _ in range(12)]
        await asyncio.sleep(1.0)
        worker.resume()
        results = await asyncio.gather(*asked)
    finally:
        server.stop()
    assert set(results) == {"busy", "audio-stop"}
    assert results.count("audio-stop") == 2 + 4, "two wait, four are in the worker"


@pytest.mark.timeout(120)
async def test_no_worker_outlives_the_front(own_server: RunningServer) -> None:
    async with client(own_server) as one:
        for ask in ASK.values():
            await ask(one)
    workers = own_server.workers()
    assert set(workers) == {"light", "whisper", "llama", "piper"}
    own_server.process.kill()
    own_server.process.wait()
    _, left = psutil.wait_procs(list(workers.values()), timeout=2.0)
    assert not [worker for worker in left if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE]
