"""How the server ends, and what it says when it can't begin."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from wyoming.tts import Synthesize

from tests.conftest import RunningServer
from tests.server.speech import client, said
from tests.server.test_faults import LONG_TEXT, ask_piper
from tests.waiting import WAIT_S


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_in_mid_answer_ends_the_server_cleanly(own_server: RunningServer, sign: int) -> None:
    async with client(own_server) as one, client(own_server) as speaker:
        # While it still loads: what is under way then is set aside by the collector, and freed at the end all the same.
        await speaker.transcribe(said("Bonjour."), "fr")
        await ask_piper(one)
        await one.send(Synthesize(text="Bonjour tout le monde. " * 8 if sign == signal.SIGTERM else LONG_TEXT))
        await one.until("audio-chunk")
        own_server.process.send_signal(sign)
        while (event := await one.receive()).type not in ("audio-stop", "error"):
            pass
        assert event.type == "audio-stop" or event.data["code"] == "stopping"
        if sign == signal.SIGTERM:
            assert event.type == "audio-stop", "a short answer is finished"
    status = await asyncio.to_thread(own_server.process.wait, WAIT_S)
    assert status == 0
    log = own_server.log.read_text()
    assert "Traceback" not in log
    assert "leaked" not in log, "libraries have nothing to say at the end"


def serve(*options: str, stdin: int | None = subprocess.DEVNULL, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wyoming_superwhisper", "serve", "--no-zeroconf", *options]
    return subprocess.run(command, stdin=stdin, capture_output=True, text=True, timeout=2 * WAIT_S)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--settings", "demo", "--uri", "tcp://127.0.0.1:99999"], "99999"),
        (["--settings", "demo", "--uri", "http://here"], "http://here"),
        (["--settings", "demo", "--uri", f"unix://{__file__}"], "there is a file of that name"),
        (["--settings", "demo", "--uri", "unix:///nowhere/at/all"], "a folder that exists"),
        (["--settings", "demo", "--set", "asr.langage=fr"], "asr.language"),
        (["--settings", "no-such-file.yaml"], "no-such-file.yaml"),
        (["--settings", "demo", "--set", "asr.model=/nowhere/at/all"], "/nowhere/at/all"),
        (["--settings", "demo", "--set", "server.allow=[everybody]"], "everybody"),
        (["--settings", "demo", "--set", "asr.languages=[fr,xx]"], "does not know xx; it knows af, am, ar"),
        (["--settings", "demo", "--set", "wake.words=[computer]"], "wake.words: no wake word 'computer'; there are"),
        (
            ["--settings", "demo", "--metrics", "192.0.2.1:1"],
            "can't be listened on: Cannot assign requested address. C",
        ),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_a_wrong_start_is_one_sentence_and_status_2(options: list[str], said: str) -> None:
    ended = serve(*options)
    assert ended.returncode == 2, ended.stderr
    assert said in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    assert not ended.stdout


def test_a_port_in_use_is_named(server: RunningServer) -> None:
    ended = serve("--settings", "demo", "--uri", server.uri)
    assert ended.returncode == 2
    assert f"{server.uri} is in use" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr


def test_a_model_that_is_no_model_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"this is no model" * 100)
    ended = serve("--settings", "demo", "--set", f"llm.model={broken}")
    assert ended.returncode == 2
    assert "broken.gguf" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_stdio_answers_everything_then_ends_with_its_input() -> None:
    command = [sys.executable, "-m", "wyoming_superwhisper", "serve", "--settings", "demo", "--uri", "stdio://"]
    asked = b'{"type": "describe"}\n{"type": "ping", "data": {"text": "?"}}\n' + (
        b'{"type": "transcript", "data": {"text": "Quelle heure est-il ?", "language": "fr"}}\n'
    )
    ended = subprocess.run(command, input=asked, capture_output=True, timeout=2 * WAIT_S)
    assert ended.returncode == 0, ended.stderr
    for kind in (b'"info"', b'"pong"', b'"intent"'):
        assert b'"type": ' + kind in ended.stdout
    assert ended.stdout.startswith(b"{"), "nothing but events may be on standard output"


def test_stdio_may_be_files(tmp_path: Path) -> None:
    asked, said = tmp_path / "asked", tmp_path / "said"
    asked.write_bytes(b'{"type": "describe"}\n')
    command = [sys.executable, "-m", "wyoming_superwhisper", "serve", "--settings", "demo", "--uri", "stdio://"]
    command += ["--set", "llm.model=off"]
    with asked.open("rb") as stdin, said.open("wb") as stdout:
        ended = subprocess.run(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, timeout=2 * WAIT_S)
    assert (ended.returncode, b"Traceback" in ended.stderr) == (0, False), ended.stderr
    assert said.read_bytes().startswith(b'{"type": "info"')


def test_stdio_without_any_input_ends_at_once() -> None:
    ended = serve("--settings", "demo", "--uri", "stdio://", "--set", "llm.model=off")
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert "Traceback" not in ended.stderr
