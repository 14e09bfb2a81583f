"""The satellite against the real server on the demo models: spoken questions in, an audible answer out."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest
from wyoming.audio import AudioChunk, AudioStart, AudioStop

from tests.conftest import RunningServer, start_server
from tests.speech import speech
from wyoming_superwhisper import client
from wyoming_superwhisper.audio import SPEECH, AudioFormat, read_wav, write_wav
from wyoming_superwhisper.errors import UnknownVoice
from wyoming_superwhisper.models.demo.domain import normalise_for_comparison


async def satellite(server: RunningServer, said: Path, answer: Path, *options: str) -> str:
    """Run it on a recording; its log."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wyoming_superwhisper", "satellite", "--server", server.uri, "--wav", str(said),
        "--output", str(answer), *options, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, log = await asyncio.wait_for(process.communicate(), 150)
    assert process.returncode == 0, log.decode()
    return log.decode()


def loudness(path: Path) -> float:
    _, audio = read_wav(path)
    return float(np.sqrt(np.mean(np.frombuffer(audio, "<i2").astype(float) ** 2)))


async def test_a_question_is_heard_and_answered_aloud(server: RunningServer, tmp_path: Path) -> None:
    write_wav(tmp_path / "said.wav", speech("Quel jour sommes-nous ?"), SPEECH)
    log = await satellite(server, tmp_path / "said.wav", tmp_path / "answer.wav")
    assert "Heard: Quel jour sommes-nous" in log
    assert loudness(tmp_path / "answer.wav") > 300


async def test_what_is_played_are_the_words_of_the_answer(tmp_path: Path) -> None:
    # Without the voice's noise: the same text then sounds the same, and can be asked for word by word.
    still = start_server(tmp_path / "log.txt", "--set", "tts.noise_scale=0", "--set", "tts.noise_w=0")
    try:
        write_wav(tmp_path / "said.wav", speech("Raconte-moi une blague.", "fr"), SPEECH)
        log = await satellite(still, tmp_path / "said.wav", tmp_path / "answer.wav", "--language", "fr")
        reply = log.partition("Answer: ")[2].splitlines()[0]
        format, audio = read_wav(tmp_path / "answer.wav")
        heard = await client.transcribe(still.uri, audio, format, "fr")
    finally:
        still.stop()
    assert normalise_for_comparison(heard, "fr") == normalise_for_comparison(reply, "fr")


async def test_after_the_wake_word_only_the_question_is_asked(server: RunningServer, tmp_path: Path) -> None:
    said = speech("okay nabu", "en-us", after_s=0.2) + speech("Quelle heure est-il ?", before_s=0.3, after_s=2.0)
    write_wav(tmp_path / "said.wav", said + SPEECH.silence(1.0), SPEECH)
    log = await satellite(server, tmp_path / "said.wav", tmp_path / "answer.wav", "--wake-word", "okay_nabu")
    assert "Wake word: okay_nabu" in log
    assert "Heard: Quelle heure est-il" in log
    assert loudness(tmp_path / "answer.wav") > 300


async def test_silence_is_answered_with_nothing(server: RunningServer, tmp_path: Path) -> None:
    write_wav(tmp_path / "said.wav", SPEECH.silence(1.5), SPEECH)
    log = await satellite(server, tmp_path / "said.wav", tmp_path / "answer.wav")
    assert "Heard: nothing" in log
    assert not (tmp_path / "answer.wav").exists()


async def test_ten_turns_on_ten_connections_do_not_mix(server: RunningServer) -> None:
    sentences = [("fr", "Quelle heure est-il ?"), ("en", "What time is it?")] * 5

    async def turn(language: str, sentence: str) -> tuple[str, str, AudioFormat | None]:
        audio = await asyncio.to_thread(speech, sentence, "fr" if language == "fr" else "en-us")
        heard, answered_by, format = "", "", None
        async for event in client.run_pipeline(server.uri, audio, language=language, realtime=True):
            if event.type == "transcript":
                heard = event.data["text"]
            elif event.type == "handled":
                answered_by = event.data["context"]["answered_by"]
            elif event.type == "audio-chunk":
                format = client.chunk_format(event)
        return normalise_for_comparison(heard, language), answered_by, format

    results = await asyncio.gather(*(turn(*one) for one in sentences))
    for (language, sentence), (heard, answered_by, format) in zip(sentences, results, strict=True):
        assert heard == normalise_for_comparison(sentence, language)
        assert answered_by == "intent:HassGetCurrentTime"
        assert format is not None


@pytest.mark.parametrize("area", ["cuisine", "Cuisine"])
async def test_what_can_not_be_done_is_said_and_not_claimed(server: RunningServer, area: str) -> None:
    answer = await client.ask(server.uri, "Allume la lumière de la cuisine.", "fr", area=area, execute=True)
    assert answer.outcome == "not-handled"
    assert answer.answered_by == "intent:HassTurnOn"
    assert answer.text


async def test_the_server_may_listen_for_the_wake_word(server: RunningServer, tmp_path: Path) -> None:
    said = speech("okay nabu", "en-us", after_s=0.1) + speech("Quelle heure est-il ?", before_s=0.4, after_s=2.5)
    write_wav(tmp_path / "said.wav", said + SPEECH.silence(6.0), SPEECH)
    options = ("--set", "wake.mode=server", "--wake-word", "okay_nabu")
    log = await satellite(server, tmp_path / "said.wav", tmp_path / "answer.wav", *options)
    assert "Wake word: okay_nabu" in log
    assert "Heard: Quelle heure" in log
    assert loudness(tmp_path / "answer.wav") > 300


async def test_a_turn_may_be_answered_in_a_voice_of_its_own(server: RunningServer) -> None:
    audio = await asyncio.to_thread(speech, "Quelle heure est-il ?")
    with pytest.raises(UnknownVoice):
        await _ask_in_voice(server.uri, audio, "nobody")


async def _ask_in_voice(uri: str, audio: bytes, voice: str) -> None:
    async with await client.Connection.open(uri) as connection:
        request = client.pipeline_request(language="fr")
        request.data["voice"] = voice
        await connection.send(request)
        shape = {"rate": SPEECH.rate, "width": SPEECH.width, "channels": SPEECH.channels}
        await connection.send(AudioStart(**shape))
        await connection.send(AudioChunk(audio=audio, **shape))
        await connection.send(AudioStop())
        while (await connection.receive(30)).type != "audio-stop":
            pass
