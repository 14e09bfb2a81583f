"""A real server as those see it who look after it: figures, health, signals, log, recordings."""

from __future__ import annotations

import asyncio
import bisect
import json
import signal
import socket
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from wyoming.asr import Transcript
from wyoming.event import Event
from wyoming.tts import Synthesize

from tests.conftest import RunningServer, free_port, start_server
from tests.server.speech import Client, audio_events, client, said
from tests.waiting import WAIT_S, until
from wyoming_superwhisper.operations.metrics import SECONDS

Figures = dict[tuple[str, frozenset[str]], float]


@dataclass(frozen=True)
class Operated:
    """A server, its page, its settings, its service manager and its recordings."""

    server: RunningServer
    page: str
    settings: Path
    manager: socket.socket
    recordings: Path

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.page}{path}", timeout=WAIT_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def figures(self) -> Figures:
        """All samples by name (without its prefix) and the values of their labels."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return {
            (sample.name.removeprefix("wyoming_superwhisper_"), frozenset(sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
        }

    def told(self) -> str:
        """What the service manager is told next, the watchdog's signs apart."""
        while (said := self.manager.recv(1000).decode()) == "WATCHDOG=1":
            pass
        return said

    def log(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.server.log.read_text("utf-8").splitlines() if line.startswith("{")]


def key(name: str, *labels: str) -> tuple[str, frozenset[str]]:
    return name, frozenset(labels)


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    folder = tmp_path_factory.mktemp("operated")
    settings = folder / "settings.yaml"
    settings.write_text("limits: {text_chars: 5000}\n")
    page = f"127.0.0.1:{free_port()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, pytest.MonkeyPatch.context() as environment:
        manager.bind(str(folder / "notify"))
        manager.settimeout(WAIT_S)
        environment.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        environment.setenv("WATCHDOG_USEC", "1000000")
        server = start_server(
            folder / "log.txt", "--metrics", page, "--record", str(folder / "kept"), "--log-level", "debug",
            "--log-format", "json", *DEMO, settings=str(settings),
        )  # fmt: skip
        yield Operated(server, page, settings, manager, folder / "kept")
        if server.process.poll() is None:
            assert server.stop() == 0


DEMO = tuple(
    part
    for assignment in (
        "asr.model=demo", "asr.languages=[fr,en]", "intents.languages=[fr,en]", "llm.model=demo", "llm.context=4096",
        "llm.max_tokens=96", "tts.voices=[demo]", "gpu.device=cpu",
        "home.areas=[{id: salon, name: Salon}]",
    )
    for part in ("--set", assignment)
)  # fmt: skip


async def speak(one: Client, text: str = "Bonjour.") -> None:
    await one.send(Synthesize(text=text))
    await one.until("audio-stop")


async def test_it_starts_tells_the_manager_and_is_alive_before_it_is_ready(operated: Operated) -> None:
    told = operated.told()
    assert told in ("READY=1\nSTATUS=starting", "READY=1\nSTATUS=ready")
    status, body = operated.get("/health/live")
    assert status == 200
    state = json.loads(body)
    assert state["state"] in ("starting", "ready")
    assert set(state["engines"]) == {"light", "whisper", "llama", "piper"}
    if state["state"] == "starting":
        assert operated.get("/health/ready")[0] in (200, 503)
    if told.endswith("starting"):
        assert operated.told() == "STATUS=ready"
    status, body = operated.get("/health/ready")
    assert (status, json.loads(body)["state"]) == (200, "ready")
    assert operated.get("/other")[0] == 404


async def test_the_counts_are_those_of_the_clients(operated: Operated) -> None:
    speech = said("Quelle heure est-il ?")
    before = operated.figures()
    seen = {"asr": 0, "tts": 0, "conversation": 0, "describe": 0, "errors": 0}

    async def live(number: int) -> None:
        async with client(operated.server) as one:
            for _ in range(3):
                assert await one.transcribe(speech, "fr")
                await speak(one)
                await one.send(Transcript(text="Quelle heure est-il ?", language="fr"))
                await one.until("intent")
                await one.send(Event("describe"))
                await one.until("info")
            seen["asr"] += 3
            seen["tts"] += 3
            seen["conversation"] += 3
            seen["describe"] += 3
            await one.send(Event("made-up"))
            assert (await one.receive()).data["code"] == "bad-event"
            await one.send(Synthesize(text="", voice=None))
            assert (await one.receive()).data["code"] == "no-text"
            seen["errors"] += 2

    await asyncio.gather(*(live(number) for number in range(4)))
    async with client(operated.server) as leaving:
        await leaving.send(Synthesize(text="Bonjour tout le monde. " * 40))
        await leaving.until("audio-chunk")
    left, here = key("requests_total", "tts", "left"), key("connections")
    after = operated.figures()
    async with asyncio.timeout(WAIT_S):  # that a client has left is known after a while
        while after.get(left, 0) == before.get(left, 0) or after[here] != before[here]:
            await asyncio.sleep(0.1)
            after = operated.figures()

    def more(name: str, *labels: str) -> float:
        return after.get(key(name, *labels), 0) - before.get(key(name, *labels), 0)

    for service in ("asr", "tts", "conversation", "describe"):
        assert more("requests_total", service, "ok") == seen[service], service
        assert more("request_seconds_count", service) == seen[service], service
    assert more("requests_total", "tts", "left") == 1
    assert more("requests_total", "tts", "no-text") == 4
    assert more("errors_total", "bad-event") + more("errors_total", "no-text") == seen["errors"]
    assert more("events_total", "other", "bad-event") == 4
    assert more("events_total", "transcribe", "ok") == 12
    assert more("events_total", "synthesize", "ok") == 12
    assert more("events_total", "synthesize", "no-text") == 4
    assert more("events_total", "synthesize", "left") == 1
    assert more("connections_total", "accepted") == 5
    assert after[key("connections")] == before[key("connections")]
    assert more("engine_seconds_count", "whisper") + more("guesses_total", "asr", "kept") >= 12
    assert after[key("worker_memory_bytes", "whisper")] > 50e6


@pytest.mark.parametrize("service", ["asr", "tts", "conversation"])
async def test_the_latencies_are_in_the_buckets_that_the_client_saw(operated: Operated, service: str) -> None:
    """Never above it; and in the same or the next one below, unless this test was held up on the way, every time."""
    bounds = [*SECONDS, float("inf")]
    seen = []
    async with client(operated.server) as one:
        for _ in range(10):
            before = operated.figures()
            took = await _take(one, service)
            after = operated.figures()
            index = next(
                index
                for index, bound in enumerate(bounds)
                if after[name := _bucket(service, bound)] > before.get(name, 0)
            )
            assert (bounds[index - 1] if index else 0) <= took
            seen.append((took, bounds[index]))
            if bisect.bisect_left(bounds, took) - index <= 1:
                return
    raise AssertionError(f"{service}: taken, and the bucket: {seen}")


async def _take(one: Client, service: str) -> float:
    """Make a request of this kind; how long its first answer took, in seconds."""
    if service == "asr":
        events = [Event("transcribe", {"language": "fr"}), *audio_events(said("Bonjour."), 22_050)]
        await one.send(*events[:-1])
        await one.send(Event("ping"))
        await one.until("pong")  # all of it has been read
        request, answer, end = events[-1], "transcript", "transcript-stop"
    elif service == "tts":
        request, answer, end = Synthesize(text="Bonjour.").event(), "audio-chunk", "audio-stop"
    else:
        request = Transcript(text="Raconte-moi une blague.", language="fr").event()
        answer, end = "handled", "handled-stop"
    began = time.monotonic()
    await one.send(request)
    await one.until(answer)
    took = time.monotonic() - began
    await one.until(end)
    return took


def _bucket(service: str, bound: float) -> tuple[str, frozenset[str]]:
    return key("request_seconds_bucket", service, "+Inf" if bound == float("inf") else str(float(bound)))


def _answers(operated: Operated) -> list[dict[str, str]]:
    return [line for line in operated.log() if line["logger"].endswith("traffic")]


async def test_nothing_that_is_said_is_in_the_log_and_each_turn_has_an_id(operated: Operated) -> None:
    sentence = "Combien de kilomètres y a-t-il jusqu'à la Lune argentée ?"
    before = len(_answers(operated))
    async with client(operated.server) as one:
        heard = await one.transcribe(said("Allume la lumière de la cuisine."), "fr")
        await speak(one, "Les hippopotames dansent merveilleusement.")
        await one.send(Transcript(text=sentence, language="fr"))
        await one.until("handled", "not-recognized", "intent", "not-handled")
    await until(lambda: len(_answers(operated)) >= before + 3)  # a line comes a moment after what it tells of
    text = operated.server.log.read_text("utf-8")
    for word in ("hippopotames", "kilomètres", "argentée", "merveilleusement", *heard.strip(".").split()[-1:]):
        assert word not in text, word
    lines = operated.log()
    assert {line["level"] for line in lines} >= {"debug", "info"}
    answered = _answers(operated)[before:]
    assert [line["message"].split("] ")[1].split(":")[0] for line in answered] == ["asr", "tts", "conversation"]
    assert len({line["turn"] for line in answered}) == 3
    assert all(len(line["turn"]) == 8 for line in answered)


async def test_what_is_said_is_recorded_where_it_is_asked_for(operated: Operated) -> None:
    before = set(operated.recordings.iterdir())
    async with client(operated.server) as one:
        heard = await one.transcribe(said("Bonjour."), "fr")
        await speak(one)

    def new_files() -> list[Path]:
        return sorted(set(operated.recordings.iterdir()) - before)

    await until(lambda: len(new_files()) >= 2)
    new = new_files()
    assert [path.suffix for path in new] == [".json", ".wav"]
    assert json.loads(new[0].read_text("utf-8"))["text"] == heard
    assert {stat.S_IMODE(path.stat().st_mode) for path in new} == {0o600}


async def test_sighup_changes_what_can_be_changed_and_names_the_rest(operated: Operated) -> None:
    operated.settings.write_text("limits: {text_chars: 50}\nllm: {sequences: 3}\nserver: {name: other}\n")
    operated.server.process.send_signal(signal.SIGHUP)
    assert (await asyncio.to_thread(operated.told)).startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert (await asyncio.to_thread(operated.told)).startswith("READY=1")
    lines = [line["message"] for line in operated.log() if line["logger"].endswith("reload")]
    assert lines == ["settings reloaded: limits.text_chars", "changed only by a restart: server.name, llm.sequences"]
    async with client(operated.server) as one:
        await one.send(Synthesize(text="Bonjour. " * 20))
        assert (await one.receive()).data["code"] == "too-long"
    operated.settings.write_text("limits: {text_chars: many}\n")
    operated.server.process.send_signal(signal.SIGHUP)
    await asyncio.to_thread(operated.told)
    await asyncio.to_thread(operated.told)
    told = [line["message"] for line in operated.log() if line["logger"].endswith(("reload", "app"))]
    assert "not reloaded" in told[-1]


async def test_sigterm_tells_the_manager_and_those_whose_time_is_up(operated: Operated) -> None:
    async with client(operated.server) as idle, client(operated.server) as speaking, client(operated.server) as asking:
        await idle.send(Event("ping"))
        await idle.until("pong")
        speech = audio_events(said("Bonjour."), 22_050)
        await speaking.send(Event("transcribe", {"language": "fr"}), *speech[:4], Event("ping"))
        await asking.send(Event("transcribe", {"language": "fr"}), *speech[:-1], Event("ping"))
        for one in (speaking, asking):
            await one.until("pong")
        began = time.monotonic()
        operated.server.process.send_signal(signal.SIGTERM)
        assert (await asyncio.to_thread(operated.told)) == "STOPPING=1\nSTATUS=stopping"
        assert await idle.at_end()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((operated.server.host, operated.server.port), timeout=WAIT_S).close()
        await asking.send(speech[-1])
        assert (await asking.until("transcript"))[-1].data["text"], "an utterance that ends in time is answered"
        assert (await speaking.receive()).data["code"] == "stopping"
        assert time.monotonic() - began > 4
    assert await asyncio.to_thread(operated.server.process.wait, WAIT_S) == 0
    assert "Traceback" not in operated.server.log.read_text("utf-8")
