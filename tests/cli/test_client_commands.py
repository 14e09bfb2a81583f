from __future__ import annotations

import io
import json
import sys
import wave
from pathlib import Path
from typing import Any

import pytest
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.handle import Handled, HandledChunk, HandledStart, HandledStop
from wyoming.info import Attribution, Info, TtsProgram
from wyoming.intent import Entity, Intent

from tests.cli.conftest import Command
from tests.scripted_server import Peer
from wyoming_superwhisper.audio import AudioFormat, read_wav, write_wav

PCM = bytes(range(200)) * 20


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "in.wav"
    write_wav(path, bytes(32_000), AudioFormat(16_000, 2, 1))
    return path


async def transcribes(peer: Peer) -> None:
    request = await peer.read_until("transcribe")
    await peer.read_until("audio-stop")
    await peer.send(Transcript(text=f"bonjour ({request.data.get('language')})"))


async def speaks(peer: Peer) -> None:
    request = await peer.read_until("synthesize")
    assert request.data["text"]
    await peer.send(
        AudioStart(rate=22050, width=2, channels=1),
        AudioChunk(rate=22050, width=2, channels=1, audio=PCM),
        AudioChunk(rate=22050, width=2, channels=1, audio=PCM),
        AudioStop(),
    )


# --- transcribe -------------------------------------------------------------------------------------------------


def test_transcribe_prints_the_text_alone(command: Command, scripted: Any, recording: Path) -> None:
    server = scripted(transcribes)
    outcome = command("transcribe", recording, "--server", server.uri, "--language", "fr")
    assert outcome.status == 0
    assert outcome.out == "bonjour (fr)\n"
    assert outcome.err == ""
    assert len(server.peers[0].audio()) == 32_000


def test_transcribe_refuses_what_is_no_wav_before_it_asks_anybody(command: Command, tmp_path: Path) -> None:
    (tmp_path / "no.wav").write_bytes(b"ID3")
    outcome = command("transcribe", tmp_path / "no.wav", "--server", "tcp://127.0.0.1:9")
    assert outcome.status == 2
    assert "no.wav: not a PCM WAV file" in outcome.err
    write_wav(tmp_path / "odd.wav", bytes(40), AudioFormat(16_000, 2, 1))
    content = bytearray((tmp_path / "odd.wav").read_bytes())
    content[24:28] = (192_000).to_bytes(4, "little")
    (tmp_path / "odd.wav").write_bytes(content)
    outcome = command("transcribe", tmp_path / "odd.wav", "--server", "tcp://127.0.0.1:9")
    assert outcome.status == 2
    assert "192000" in outcome.err


def test_an_error_of_the_server_is_said_in_its_words(command: Command, scripted: Any, recording: Path) -> None:
    async def refuses(peer: Peer) -> None:
        await peer.read_until("audio-stop")
        await peer.send(Error(text="nobody speaks Klingon here", code="unknown-language"))

    outcome = command("transcribe", recording, "--server", scripted(refuses).uri)
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == "wyoming-superwhisper: nobody speaks Klingon here\n"


def test_a_server_that_is_not_there_is_status_1(command: Command, recording: Path) -> None:
    outcome = command("transcribe", recording, "--server", "tcp://127.0.0.1:9")
    assert outcome.status == 1
    assert "tcp://127.0.0.1:9" in outcome.err


def test_the_final_audio_of_silence_is_empty(command: Command, scripted: Any, recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "final.wav"
    server = scripted(transcribes)
    assert command("transcribe", recording, "--server", server.uri, "--final-audio", out).status == 0
    assert read_wav(out) == (AudioFormat(16_000, 2, 1), b"")
    outcome = command("transcribe", recording, "--server", server.uri, "--final-audio", tmp_path / "no" / "x.wav")
    assert outcome.status == 2
    assert "cannot write" in outcome.err


# --- say --------------------------------------------------------------------------------------------------------


def test_say_writes_a_wav_file(command: Command, scripted: Any, tmp_path: Path) -> None:
    server, out = scripted(speaks), tmp_path / "out.wav"
    outcome = command("say", "Bonjour.", "--server", server.uri, "--output", out, "--voice", "v", "--speaker", "s")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    assert read_wav(out) == (AudioFormat(22050, 2, 1), PCM * 2)
    assert server.peers[0].received[0].data["voice"] == {"name": "v", "speaker": "s"}


def test_say_reads_standard_input_and_writes_standard_output(
    command: Command, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = scripted(speaks)
    monkeypatch.setattr(sys, "stdin", io.StringIO("Bonjour."))
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written))
    assert command("say", "-", "--server", server.uri, "--output", "-").status == 0
    with wave.open(io.BytesIO(written.getvalue())) as reader:
        assert reader.getframerate() == 22050
        assert reader.readframes(10**6) == PCM * 2
    assert server.peers[0].received[0].data["text"] == "Bonjour."


def test_say_plays_through_the_named_loudspeaker(command: Command, scripted: Any, tmp_path: Path) -> None:
    out = tmp_path / "played.wav"
    assert command("say", "Bonjour.", "--server", scripted(speaks).uri, "--snd", out).status == 0
    _, audio = read_wav(out)
    assert len(audio) >= len(PCM * 2)


def test_say_without_a_loudspeaker_names_the_way_out(command: Command) -> None:
    outcome = command("say", "Bonjour.", "--server", "tcp://127.0.0.1:9", "--snd", "no such loudspeaker")
    assert outcome.status == 2
    assert "--output" in outcome.err


def test_a_server_that_says_nothing_is_an_error(command: Command, scripted: Any, tmp_path: Path) -> None:
    async def silent(peer: Peer) -> None:
        await peer.read_until("synthesize")
        await peer.send(AudioStart(rate=22050, width=2, channels=1), AudioStop())

    outcome = command("say", "Bonjour.", "--server", scripted(silent).uri, "--output", tmp_path / "out.wav")
    assert outcome.status == 1
    assert "said nothing" in outcome.err


# --- ask --------------------------------------------------------------------------------------------------------


async def lights(peer: Peer) -> None:
    await peer.read_until("transcript", "recognize")
    entities = [Entity(name="area", value="Cuisine")]
    await peer.send(Intent(name="HassTurnOn", entities=entities, text="Lumière allumée."))


async def jokes(peer: Peer) -> None:
    await peer.read_until("transcript")
    text = "Toc toc. Qui est là ?"
    await peer.send(HandledStart(), HandledChunk(text="Toc toc. "), HandledChunk(text="Qui est là ?"))
    await peer.send(HandledStop(), Handled(text=text, context={"answered_by": "llm:demo"}))


def test_ask_prints_the_reply_and_the_intents(command: Command, scripted: Any) -> None:
    outcome = command("ask", "Allume la cuisine.", "--server", scripted(lights).uri, "--language", "fr")
    assert outcome.status == 0
    assert outcome.out.splitlines() == ["Lumière allumée.", 'intent HassTurnOn {"area": "Cuisine"}']


def test_ask_streams_free_text(command: Command, scripted: Any) -> None:
    assert command("ask", "Une blague ?", "--server", scripted(jokes).uri).out == "Toc toc. Qui est là ?\n"


def test_ask_as_json_holds_everything(command: Command, scripted: Any) -> None:
    answer = json.loads(command("ask", "Une blague ?", "--server", scripted(jokes).uri, "--json").out)
    assert answer == {
        "outcome": "handled", "text": "Toc toc. Qui est là ?", "answered_by": "llm:demo", "intents": [],
    }  # fmt: skip
    answer = json.loads(command("ask", "Allume.", "--server", scripted(lights).uri, "--json").out)
    assert answer["intents"] == [{"name": "HassTurnOn", "slots": {"area": "Cuisine"}}]


# --- health ----------------------------------------------------------------------------------------------------


async def describes(peer: Peer) -> None:
    await peer.read_until("describe")
    maker = Attribution(name="", url="")
    tts = TtsProgram(name="p", attribution=maker, installed=True, description=None, version=None, voices=[])
    await peer.send(Info(tts=[tts]))


def test_health_says_well_or_not_by_its_status(command: Command, scripted: Any) -> None:
    outcome = command("health", "--server", scripted(describes).uri)
    assert outcome.status == 0
    assert "is well: tts" in outcome.out
    outcome = command("health", "--server", "tcp://127.0.0.1:9", "--timeout", "1")
    assert outcome.status == 1
    assert "tcp://127.0.0.1:9" in outcome.err
