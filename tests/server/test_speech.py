"""Text in, speech out; and back to text by our own recogniser."""

import asyncio
import json
from collections.abc import Iterator

import numpy as np
import pytest
from wyoming.event import Event
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeVoice

from tests.conftest import RunningServer, start_server
from tests.server.speech import client, said, sound_of
from wyoming_superwhisper.models.demo.domain import load_domain

DOMAIN = load_domain()
SENTENCES = {
    "fr": ["Allume la lumière du salon.", "Quelle heure est-il ?", "Ouvre les volets de la cuisine."],
    "en": ["Turn on the kitchen light.", "What time is it?", "Tell me a joke."],
}


@pytest.mark.parametrize(("language", "text"), [(one, text) for one in SENTENCES for text in SENTENCES[one]])
async def test_what_is_spoken_is_heard_again(server: RunningServer, language: str, text: str) -> None:
    async with client(server) as one:
        await one.send(Synthesize(text=text))
        audio, rate = sound_of(await one.until("audio-stop"))
        heard = await one.transcribe(audio, language, rate)
    assert DOMAIN.canonical(heard, language) == DOMAIN.canonical(text, language)


async def test_streamed_text_is_spoken_once_and_as_long_as_the_whole(server: RunningServer) -> None:
    text = "Bonjour, je suis à la maison. Quelle heure est-il ? Il fait trop chaud dans la cuisine."
    async with client(server) as one:
        await one.send(Synthesize(text=text))
        whole, rate = sound_of(await one.until("audio-stop"))
        await one.send(SynthesizeStart(), *(SynthesizeChunk(text=word + " ") for word in text.split()))
        await one.send(Synthesize(text=text), SynthesizeStop())
        streamed, streamed_rate = sound_of(await one.until("synthesize-stopped"))
    assert rate == streamed_rate
    assert len(streamed) == pytest.approx(len(whole), rel=0.15), "the noise of the rhythm varies, a repetition doubles"


async def test_the_first_sentence_sounds_before_the_second_is_written(server: RunningServer) -> None:
    async with client(server) as one:
        await one.send(SynthesizeStart(), SynthesizeChunk(text="Allume la lumière du salon. Et"))
        events = await one.until("audio-chunk")
        assert [event.type for event in events] == ["audio-start", "audio-chunk"]
        await one.send(SynthesizeChunk(text=" la radio."), SynthesizeStop())
        await one.until("synthesize-stopped")


@pytest.fixture(scope="module")
def still_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose voices say the same text always alike."""
    log = tmp_path_factory.mktemp("still") / "log.txt"
    running = start_server(log, "--set", "tts.noise_scale=0", "--set", "tts.noise_w=0")
    yield running
    running.stop()


async def test_the_voice_follows_the_name_then_the_language_then_the_text(still_server: RunningServer) -> None:
    async def speech(voice: SynthesizeVoice | None, text: str = "What time is it?") -> bytes:
        await one.send(Synthesize(text=text, voice=voice))
        return sound_of(await one.until("audio-stop"))[0]

    async with client(still_server) as one:
        english = await speech(SynthesizeVoice(name="en_US-demo-medium"))
        french = await speech(SynthesizeVoice(name="fr_FR-demo-medium"))
        assert english != french
        assert await speech(None) == english
        assert await speech(SynthesizeVoice(language="en_GB")) == english
        assert await speech(SynthesizeVoice(language="fr")) == french
        bonjour = await speech(SynthesizeVoice(name="fr_FR-demo-medium"), "Bonjour, quelle heure est-il ?")
        assert await speech(None, "Bonjour, quelle heure est-il ?") == bonjour


async def test_streamed_and_whole_synthesis_are_the_same_samples(still_server: RunningServer) -> None:
    text = "Bonjour, je suis à la maison. Quelle heure est-il ? Il fait trop chaud dans la cuisine."
    async with client(still_server) as one:
        await one.send(Synthesize(text=text))
        whole, _ = sound_of(await one.until("audio-stop"))
        await one.send(SynthesizeStart(), *(SynthesizeChunk(text=letter) for letter in text), SynthesizeStop())
        streamed, _ = sound_of(await one.until("synthesize-stopped"))
    assert streamed == whole


@pytest.mark.parametrize("name", ["nobody", "../../secret", "/etc/passwd", "fr_FR-demo-medium.onnx"])
async def test_an_unknown_voice_is_an_error_and_never_a_path(server: RunningServer, name: str) -> None:
    async with client(server) as one:
        await one.send(Synthesize(text="Bonjour.", voice=SynthesizeVoice(name=name)))
        error = await one.receive()
        assert (error.type, error.data["code"]) == ("error", "unknown-voice")


@pytest.mark.parametrize("kind", ["synthesize", "synthesize-start"])
async def test_a_language_that_no_voice_speaks_is_an_error(server: RunningServer, kind: str) -> None:
    async with client(server) as one:
        await one.send(Event(kind, {"text": "Guten Tag.", "voice": {"language": "de_DE"}}))
        error = await one.receive()
        assert (error.type, error.data["code"]) == ("error", "unknown-language")


@pytest.mark.parametrize(("text", "code"), [("", "no-text"), ("   \n", "no-text"), ("a" * 10_001, "too-long")])
async def test_no_text_and_too_much_text_are_errors(server: RunningServer, text: str, code: str) -> None:
    async with client(server) as one:
        await one.send(Event("synthesize", {"text": text}))
        error = await one.receive()
        assert (error.type, error.data["code"]) == ("error", code)


@pytest.mark.parametrize("text", ["🙂", "***", "…"])
async def test_a_text_with_nothing_to_say_is_a_short_silence(server: RunningServer, text: str) -> None:
    async with client(server) as one:
        await one.send(Synthesize(text=text))
        audio, rate = sound_of(await one.until("audio-stop"))
    assert 0 < len(audio) <= rate
    assert not np.frombuffer(audio, dtype=np.int16).any()


PARTS = ("Bonjour à tous, voici", "la météo. Demain", "il fera beau sur tout le pays. Bonne")
"""A clause, and what follows up to the word after each sentence: by then it is clear that the one before is over."""


async def test_a_text_that_comes_word_by_word_is_spoken_with_no_gap_of_ours(server: RunningServer) -> None:
    async with client(server) as one:
        await one.send(SynthesizeStart())
        for part in PARTS:  # what is said of each comes although nothing more is written
            for word in part.split():
                await one.send(SynthesizeChunk(text=word + " "))
            await one.until("audio-chunk")
        await one.send(SynthesizeStop())
        await one.until("synthesize-stopped")


async def test_a_client_that_does_not_read_holds_up_nobody_but_itself(server: RunningServer) -> None:
    text = " ".join(f"Ceci est la phrase numéro {number} d'un long texte." for number in range(150))
    reader, writer = await asyncio.open_connection(server.host, server.port, limit=1024)
    writer.write(f'{{"type": "synthesize", "data": {json.dumps({"text": text})}}}\n'.encode())
    await reader.readline()  # its sound has begun, and nobody takes it
    async with client(server) as one:
        for _ in range(5):
            await one.send(Synthesize(text="Bonjour."))
            await one.until("audio-stop")
            assert await one.transcribe(said("Quelle heure est-il ?"), "fr") == "Quelle heure est-il ?"
    writer.close()
