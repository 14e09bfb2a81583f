"""What a server does when a part of it is broken: the next best thing that is honest, and it says so."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from wyoming.asr import Transcript
from wyoming.event import Event
from wyoming.tts import Synthesize, SynthesizeVoice

from tests.conftest import RunningServer, free_port, start_server
from tests.server.speech import audio_events, client, said, sound_of
from tests.waiting import WAIT_S
from wyoming_superwhisper.models.store import DEMO_WEIGHTS


@dataclass(frozen=True)
class Breakable:
    """A server whose models are copies, to be broken."""

    server: RunningServer
    folder: Path
    page: str

    def health(self) -> dict[str, str]:
        """The state of the server, and of each engine."""
        try:
            with urllib.request.urlopen(f"http://{self.page}/health/ready", timeout=WAIT_S) as answer:
                said = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                said = json.load(error)
        return {"state": said["state"], **said["engines"]}

    async def until(self, engine: str, state: str) -> dict[str, str]:
        """Wait until an engine is in a state (or the server, as "state")."""
        deadline = time.monotonic() + 2 * WAIT_S
        while not (found := await asyncio.to_thread(self.health))[engine].startswith(state):
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.1)
        return found

    async def kill(self, engine: str) -> None:
        """Kill a worker, and wait until another one is there."""
        worker = self.server.workers()[engine]
        worker.kill()
        while self.server.workers().get(engine, worker) == worker:  # noqa: ASYNC110 - another process tells nobody
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def breakable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Breakable]:
    folder = tmp_path_factory.mktemp("breakable")
    shutil.copy(DEMO_WEIGHTS / "llama" / "demo.gguf", folder / "model.gguf")
    for suffix in (".onnx", ".onnx.json"):
        shutil.copy(DEMO_WEIGHTS / "piper" / f"fr_FR-demo-medium{suffix}", folder / f"fr_FR-other-medium{suffix}")
    page = f"127.0.0.1:{free_port()}"
    server = start_server(
        folder / "log.txt", "--metrics", page, "--set", f"llm.model={folder / 'model.gguf'}",
        "--set", f"tts.voices=[demo, {folder / 'fr_FR-other-medium.onnx'}]",
        "--set", "tts.voice=fr_FR-demo-medium",
    )  # fmt: skip
    yield Breakable(server, folder, page)
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


async def test_without_a_language_model_the_rules_still_answer_and_the_reply_says_what_is_missing(
    breakable: Breakable,
) -> None:
    await breakable.until("state", "ready")
    whole = (breakable.folder / "model.gguf").read_bytes()
    (breakable.folder / "model.gguf").write_bytes(b"no model at all")
    await breakable.kill("llama")
    found = await breakable.until("llama", "failed")
    assert found["state"] == "degraded"
    assert "model.gguf" in found["llama"]
    async with client(breakable.server) as one:
        await one.send(Transcript(text="Allume la lumière de la cuisine.", language="fr"))
        assert (await one.until("intent"))[-1].data["name"] == "HassTurnOn"
        await one.send(Transcript(text="Raconte-moi une blague.", language="fr"))
        reply = (await one.until("not-handled"))[-1].data["text"]
        assert reply, "it says that it can't answer"
        await one.send(Event("transcribe", {"language": "fr"}), *audio_events(said("Bonjour."), 22_050))
        await one.until("transcript")
    (breakable.folder / "model.gguf").write_bytes(whole)
    await breakable.until("state", "ready")  # it is tried again by itself
    async with client(breakable.server) as one:
        await one.send(Transcript(text="Raconte-moi une blague.", language="fr"))
        await one.until("handled")


async def test_where_a_voice_is_broken_another_one_of_its_language_speaks(breakable: Breakable) -> None:
    await breakable.until("state", "ready")
    other = SynthesizeVoice(name="fr_FR-other-medium")
    (breakable.folder / "fr_FR-other-medium.onnx").write_bytes(b"no voice at all")
    await breakable.kill("piper")
    await breakable.until("piper", "ready")
    async with client(breakable.server) as one:
        await one.send(Synthesize(text="Bonjour tout le monde. Il fait beau.", voice=other))
        audio, rate = sound_of(await one.until("audio-stop"))
        assert len(audio) > rate, "more than half a second"
    assert "fr_FR-demo-medium speaks instead of fr_FR-other-medium" in breakable.server.log.read_text()


async def test_an_engine_that_stands_still_holds_up_nobody_else(breakable: Breakable) -> None:
    await breakable.until("state", "ready")
    worker = breakable.server.workers()["whisper"]
    worker.suspend()  # it neither answers nor dies
    async with client(breakable.server) as one:
        await one.send(Event("describe"))
        await one.until("info")
        await one.send(Transcript(text="Quelle heure est-il ?", language="fr"))
        await one.until("intent")
    worker.resume()
    async with client(breakable.server) as one:
        assert await one.transcribe(said("Bonjour."), "fr")


async def test_a_server_that_stood_still_goes_on_and_one_that_was_killed_begins_again_on_its_port(
    breakable: Breakable, tmp_path: Path
) -> None:
    process = breakable.server.process
    async with client(breakable.server) as one:
        await one.send(Event("transcribe", {"language": "fr"}))
        process.send_signal(signal.SIGSTOP)
        await one.send(*audio_events(said("Bonjour."), 22_050))
        await asyncio.sleep(2.0)
        process.send_signal(signal.SIGCONT)
        assert (await one.until("transcript"))[-1].data["text"]
    killed = start_server(tmp_path / "log.txt", *NOTHING_LOADED)
    workers = list(killed.workers().values())
    async with client(killed) as one:
        await one.send(Event("describe"))
        await one.until("info")
        killed.process.kill()
        killed.process.wait()
    psutil.wait_procs(workers, timeout=WAIT_S)
    assert not any(worker.is_running() for worker in workers)
    again = start_server(tmp_path / "again.txt", *NOTHING_LOADED, port=killed.port)
    assert again.stop() == 0


NOTHING_LOADED = ("--set", "llm.model=off", "--set", "server.services=[intent]")


@pytest.mark.long
async def test_idle_models_leave_the_memory_and_come_back(tmp_path: Path) -> None:
    page = f"127.0.0.1:{free_port()}"
    server = start_server(tmp_path / "log.txt", "--metrics", page, "--set", "gpu.idle_unload_s=1")
    house = Breakable(server, tmp_path, page)
    try:
        for engine in ("whisper", "llama", "piper"):
            await house.until(engine, "unloaded")
        assert set(server.workers()) == {"light"}
        found = await house.until("state", "ready")
        assert found["light"] == "ready"
        async with client(server) as one:
            await one.send(Synthesize(text="Bonjour."))
            await one.until("audio-stop")
            assert await one.transcribe(said("Bonjour."), "fr")
        assert "degraded" not in (tmp_path / "log.txt").read_text()
    finally:
        assert server.stop() == 0
