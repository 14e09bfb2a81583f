"""Workers killed, queues full, clients that leave: told at once, and nobody else notices."""

import asyncio
import urllib.request
from pathlib import Path

import psutil
import pytest
from wyoming.asr import Transcript
from wyoming.event import Event
from wyoming.tts import Synthesize

from tests.conftest import RunningServer, free_port, start_server
from tests.server.speech import Client, audio_events, client, said
from tests.waiting import WAIT_S, until

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


@pytest.mark.parametrize("engine", ["light", "whisper", "llama", "piper"])
async def test_a_killed_worker_is_told_and_replaced(tmp_path: Path, engine: str) -> None:
    metrics = f"127.0.0.1:{free_port()}"
    server = start_server(tmp_path / "log.txt", "--metrics", metrics)
    try:
        await _kill_at_work(server, metrics, engine)
    finally:
        server.stop()


async def _kill_at_work(server: RunningServer, metrics: str, engine: str) -> None:
    async with client(server) as one:
        await ASK[engine](one)  # loaded
    worker = server.workers()[engine]
    worker.suspend()  # so that the request is surely in the worker when it dies
    async with client(server) as victim:
        await victim.send(*REQUEST[engine])
        while not await asyncio.to_thread(_is_at_work, metrics, engine):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
        worker.kill()
        while (event := await victim.receive()).type != "error":
            pass
        assert event.data["code"] == "engine-lost"
    async with client(server) as one:
        assert await ASK[engine](one)


def _is_at_work(metrics: str, engine: str) -> bool:
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=WAIT_S) as page:
        return f'jobs_running{{engine="{engine}"}} 0.0' not in page.read().decode()


async def test_a_client_that_leaves_takes_its_work_with_it(own_server: RunningServer) -> None:
    async with client(own_server) as one:
        await ask_piper(one)
        piper = own_server.workers()["piper"]
        before = piper.cpu_times().user
        await one.send(Synthesize(text=LONG_TEXT))
        await one.until("audio-stop")
        whole_s = piper.cpu_times().user - before
    before = piper.cpu_times().user
    async with client(own_server) as leaving:
        await leaving.send(Synthesize(text=LONG_TEXT))
        await leaving.until("audio-chunk")
    used, last = piper.cpu_times().user, -1.0
    while used != last:  # until it rests
        await asyncio.sleep(1.0)
        used, last = piper.cpu_times().user, used
    assert used - before < 0.5 * whole_s, "the worker still spoke for somebody who left"


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
        await until(lambda: sum(one.done() for one in asked) == 6)
        worker.resume()
        results = await asyncio.gather(*asked)
    finally:
        server.stop()
    assert set(results) == {"busy", "audio-stop"}
    assert results.count("audio-stop") == 2 + 4, "two wait, four are in the worker"


async def test_no_worker_outlives_the_front(own_server: RunningServer) -> None:
    async with client(own_server) as one:
        for ask in ASK.values():
            await ask(one)
    workers = own_server.workers()
    assert set(workers) == {"light", "whisper", "llama", "piper"}
    own_server.process.kill()
    own_server.process.wait()
    _, left = psutil.wait_procs(list(workers.values()), timeout=WAIT_S)
    assert not [worker for worker in left if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE]
