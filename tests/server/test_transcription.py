"""Speech in, text out."""

import asyncio
import random

import numpy as np
import pytest
from wyoming.event import Event

from tests.conftest import RunningServer
from tests.server.speech import ESPEAK_RATE, audio_events, client, said
from wyoming_superwhisper.models.demo.domain import load_domain

DOMAIN = load_domain()
VOICES = {"fr": ("fr", "fr-be", "fr-ch"), "en": ("en-us", "en", "en-gb-scotland")}


def reserved_speech(language: str, count: int) -> list[tuple[str, bytes]]:
    """Sentences, voices and speeds that no demo model was trained on."""
    rng = random.Random(f"heard in {language}")
    spoken = []
    for sentence in DOMAIN.sample(language, rng, count, reserved=True):
        voice = f"{VOICES[language][0]}+{rng.choice(DOMAIN.reserved_voices)}"
        spoken.append((sentence, said(sentence, voice, rate=rng.randint(130, 200))))
    return spoken


@pytest.mark.parametrize("language", ["fr", "en"])
async def test_unseen_sentences_of_unseen_voices_are_heard(server: RunningServer, language: str) -> None:
    spoken = reserved_speech(language, 40)
    async with client(server) as one:
        heard = [await one.transcribe(audio, language) for _, audio in spoken]
    wrong = [
        (sentence, text)
        for (sentence, _), text in zip(spoken, heard, strict=True)
        if DOMAIN.canonical(sentence, language) != DOMAIN.canonical(text, language)
    ]
    assert len(wrong) <= 2, wrong


@pytest.mark.parametrize("language", ["fr", "en"])
async def test_the_language_is_detected_where_none_is_named(server: RunningServer, language: str) -> None:
    sentence = {"fr": "Quelle heure est-il ?", "en": "What time is it?"}[language]
    async with client(server) as one:
        text = await one.transcribe(said(sentence, VOICES[language][0]), "auto")
        assert DOMAIN.canonical(text, language) == DOMAIN.canonical(sentence, language)
        assert one.seen[-2].data["language"] == language


async def test_silence_noise_and_tones_are_nothing(server: RunningServer) -> None:
    rng = np.random.default_rng(5)
    seconds = np.arange(3 * ESPEAK_RATE) / ESPEAK_RATE
    sounds = {
        "silence": np.zeros(seconds.size),
        "white noise": rng.normal(0, 0.05, seconds.size),
        "brown noise": np.cumsum(rng.normal(0, 0.002, seconds.size)) % 0.5,
        "hum": 0.2 * np.sin(2 * np.pi * 50 * seconds) + 0.1 * np.sin(2 * np.pi * 100 * seconds),
        "tone": 0.3 * np.sin(2 * np.pi * 880 * seconds),
        "chord": 0.1 * np.sin(2 * np.pi * np.outer((262, 330, 392), seconds)).sum(axis=0),
    }
    async with client(server) as one:
        heard = {
            name: await one.transcribe((sound * 32_767).astype(np.int16).tobytes(), "fr")
            for name, sound in sounds.items()
        }
        await one.send(*audio_events(b"", 16_000))
        heard["nothing at all"] = (await one.until("transcript"))[-1].data["text"]
    assert not any(heard.values()), heard


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize(("width", "channels"), [(2, 1), (1, 2), (3, 2), (4, 1)])
async def test_every_accepted_format_is_heard(server: RunningServer, rate: int, width: int, channels: int) -> None:
    sentence = "Allume la lumière du salon."
    audio = in_format(said(sentence), rate, width, channels)
    async with client(server) as one:
        await one.send(*audio_events(audio, rate, width, channels))
        text = (await one.until("transcript"))[-1].data["text"]
    assert DOMAIN.canonical(text, "fr") == DOMAIN.canonical(sentence, "fr") or ((rate == 8_000 or width == 1) and text)


def in_format(audio: bytes, rate: int, width: int, channels: int) -> bytes:
    """s16le mono at espeak's rate as another format, by plain arithmetic."""
    samples = np.frombuffer(audio, dtype=np.int16).astype(np.float64) / 32_768
    at = np.arange(int(samples.size * rate / ESPEAK_RATE)) * ESPEAK_RATE / rate
    resampled = np.interp(at, np.arange(samples.size), samples)
    whole = np.round(resampled * (2 ** (8 * width - 1) - 1)).astype("<i8")
    packed = whole.view(np.uint8).reshape(-1, 8)[:, :width]
    return np.repeat(packed, channels, axis=0).tobytes()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"rate": 1, "width": 2, "channels": 1}, "bad-format"),
        ({"rate": 64_000, "width": 2, "channels": 9}, "bad-format"),
        ({"rate": 16_000, "width": 0, "channels": 1}, "bad-format"),
        ({"rate": "16000", "width": 2, "channels": 1}, "bad-data"),
        ({"rate": True, "width": 2, "channels": 1}, "bad-data"),
        ({}, "bad-data"),
    ],
)
async def test_any_other_format_is_an_error_and_the_connection_lives(
    server: RunningServer, data: dict[str, object], code: str
) -> None:
    async with client(server) as one:
        await one.send(Event("transcribe"), Event("audio-start", data), Event("audio-chunk", data, bytes(99)))
        error = await one.receive()
        assert (error.type, error.data["code"]) == ("error", code)
        assert await one.transcribe(said("Bonjour."), "fr") == "Bonjour."


async def test_the_transcript_does_not_depend_on_the_chunks(server: RunningServer) -> None:
    audio = said("Mets un minuteur de 12 minutes.")
    heard = set()
    async with client(server) as one:
        for chunk_ms in (10, 37, 100, 3_000):
            await one.send(*audio_events(audio, ESPEAK_RATE, chunk_ms=chunk_ms))
            heard.add((await one.until("transcript"))[-1].data["text"])
    assert len(heard) == 1


async def test_twenty_clients_at_once_each_get_their_own_words(server: RunningServer) -> None:
    spoken = reserved_speech("fr", 20)

    async def ask(audio: bytes) -> str:
        async with client(server) as one:
            return await one.transcribe(audio, "fr")

    alone = [await ask(audio) for _, audio in spoken]
    together = await asyncio.gather(*(ask(audio) for _, audio in spoken))
    assert together == alone


@pytest.mark.parametrize(
    ("request_data", "code"),
    [
        ({"language": "tlh"}, "unknown-language"),
        ({"name": "../weights"}, "unknown-model"),
        ({"language": 5}, "bad-data"),
    ],
)
async def test_a_wrong_request_gets_an_error(server: RunningServer, request_data: dict[str, object], code: str) -> None:
    async with client(server) as one:
        await one.send(Event("transcribe", request_data))
        error = await one.receive()
        assert (error.type, error.data["code"]) == ("error", code)
