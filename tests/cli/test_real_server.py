"""The commands against the real server on the demo models, and by themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.conftest import RunningServer
from tests.speech import speech
from wyoming_superwhisper.audio import SPEECH, read_wav, write_wav
from wyoming_superwhisper.models.demo.domain import normalise_for_comparison

SENTENCE = "Allume la lumière de la cuisine."


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    path = tmp_path / "spoken.wav"
    write_wav(path, speech(SENTENCE))
    return path


def test_a_spoken_sentence_is_written_down_and_its_final_audio_kept(
    command: Command, server: RunningServer, spoken: Path, tmp_path: Path
) -> None:
    final = tmp_path / "final.wav"
    outcome = command("transcribe", spoken, "--language", "fr", "--server", server.uri, "--final-audio", final)
    assert outcome.status == 0, outcome.err
    assert outcome.out == f"{SENTENCE}\n"
    format, audio = read_wav(final)
    whole = read_wav(spoken)[1]
    assert format == SPEECH
    # Nothing is cut at the start, something of the half second of silence at the end.
    assert whole.startswith(audio)
    assert 0 < len(whole) - len(audio) < SPEECH.bytes_of(0.5)


def test_what_is_said_is_understood_again(command: Command, server: RunningServer, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    assert (
        command("say", "Quelle heure est-il ?", "--language", "fr", "--server", server.uri, "--output", out).status == 0
    )
    heard = command("transcribe", out, "--language", "fr", "--server", server.uri).out
    assert normalise_for_comparison(heard, "fr") == normalise_for_comparison("Quelle heure est-il ?", "fr")


def test_a_sentence_is_answered(command: Command, server: RunningServer) -> None:
    outcome = command("ask", SENTENCE, "--language", "fr", "--server", server.uri)
    assert outcome.status == 0
    assert "intent HassTurnOn" in outcome.out
    assert "Cuisine" in outcome.out


def test_a_language_or_voice_that_nobody_speaks_is_said(command: Command, server: RunningServer, spoken: Path) -> None:
    for arguments in (
        ("transcribe", spoken, "--language", "xx"),
        ("say", "Bonjour.", "--voice", "nobody", "--output", "x"),
    ):
        outcome = command(*arguments, "--server", server.uri)
        assert outcome.status == 1
        assert len(outcome.err.splitlines()) == 1
        assert "xx" in outcome.err or "nobody" in outcome.err


def test_a_ready_server_is_well(command: Command, server: RunningServer) -> None:
    outcome = command("health", "--ready", "--timeout", "120", "--server", server.uri)
    assert outcome.status == 0
    assert "asr, tts, intent, handle, wake" in outcome.out


def test_a_command_by_itself_starts_what_it_needs_and_leaves_nothing(tmp_path: Path) -> None:
    options = ["--settings", "demo", "--set", "llm.model=off", "--language", "fr"]
    done = subprocess.run(
        [sys.executable, "-m", "wyoming_superwhisper", "ask", SENTENCE, *options],
        capture_output=True, text=True, cwd=tmp_path, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "intent HassTurnOn" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_transcribe_by_itself_prints_the_words_and_nothing_else(spoken: Path) -> None:
    command = [sys.executable, "-m", "wyoming_superwhisper", "transcribe", str(spoken), "--settings", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{SENTENCE}\n", "")


def test_engines_start_where_a_standard_file_is_closed() -> None:
    command = [sys.executable, "-m", "wyoming_superwhisper", "ask", "Quelle heure est-il ?", "--settings", "demo"]
    closed = subprocess.run(["sh", "-c", 'exec "$@" 0<&- 2>&-', "sh", *command], capture_output=True, text=True)
    assert closed.returncode == 0
    assert "intent HassGetCurrentTime" in closed.stdout
