"""Guesses on the real models: ready when the client stops, and the very text of plain `generate` on the final audio."""

from __future__ import annotations

import asyncio
import random
import re
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soxr
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event

from tests.conftest import RunningServer, free_port, start_server
from tests.server.speech import ESPEAK_RATE, Client, client, said
from tests.waiting import WAIT_S
from wyoming_superwhisper.models.demo.domain import load_domain

RATE = 16_000
AUDIO = {"rate": RATE, "width": 2, "channels": 1}
SILENCE_S = 0.7
"""What Home Assistant waits for before it stops."""
AT_ONCE = 2
"""Streams side by side: more would make the tests' own machine the slow one."""


@dataclass(frozen=True)
class Served:
    server: RunningServer
    metrics: int

    def guesses(self, stage: str, result: str) -> float:
        page = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=WAIT_S).read().decode()
        name = "wyoming_superwhisper_guesses_total"
        found = re.search(rf'^{name}{{result="{result}",stage="{stage}"}} (\S+)', page, re.MULTILINE)
        return float(found[1]) if found else 0.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    metrics = free_port()
    log = tmp_path_factory.mktemp("guesses") / "log.txt"
    server = start_server(log, "--metrics", f"127.0.0.1:{metrics}", "--set", "asr.bias=false")
    asyncio.run(_until_loaded(server))
    yield Served(server, metrics)
    server.stop()
    assert "Traceback" not in log.read_text()


async def _until_loaded(server: RunningServer) -> None:
    async with client(server) as one:
        assert await one.transcribe(said("Bonjour."), "fr") == "Bonjour."


def spoken(text: str, voice: str, rate: int = 165, after_s: float = SILENCE_S) -> bytes:
    samples = np.frombuffer(said(text, voice, rate), np.int16).astype(np.float32) / 32768
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    speech = soxr.resample(samples[: loud[-1] + 1], ESPEAK_RATE, RATE)
    return (np.concatenate([speech, np.zeros(int(after_s * RATE))]) * 32767).astype("<i2").tobytes()


async def stream(one: Client, audio: bytes, language: str) -> str:
    """As Home Assistant does it: 10 ms at a time, as it is spoken."""
    await one.send(Transcribe(language=language), AudioStart(**AUDIO))
    began = time.monotonic()
    for at in range(0, len(audio), 320):
        await one.send(AudioChunk(audio=audio[at : at + 320], **AUDIO))
        await asyncio.sleep(max(0.0, began + (at + 320) / (2 * RATE) - time.monotonic()))
    await one.send(AudioStop())
    text: str = (await one.until("transcript"))[-1].data["text"]
    await one.until("transcript-stop")
    return text


async def stream_all(server: RunningServer, utterances: Sequence[tuple[bytes, str]]) -> list[str]:
    waiting = list(enumerate(utterances))
    heard: dict[int, str] = {}

    async def speaker() -> None:
        while waiting:
            number, (audio, language) = waiting.pop(0)
            async with client(server) as one:
                heard[number] = await stream(one, audio, language)

    await asyncio.gather(*(speaker() for _ in range(AT_ONCE)))
    return [heard[number] for number in range(len(utterances))]


def utterances(count: int, seed: int) -> list[tuple[bytes, str]]:
    rng, domain = random.Random(seed), load_domain()
    voices = {"fr": ("fr", "fr-be", "fr-ch"), "en": ("en-us", "en", "en-gb-scotland")}
    made = []
    for number in range(count):
        language = ("fr", "en")[number % 2]
        [sentence] = domain.sample(language, rng, 1)
        made.append((spoken(sentence, rng.choice(voices[language]), rng.randint(140, 190)), language))
    return made


def plain_texts(made: Sequence[tuple[bytes, str]]) -> list[str]:
    """What `generate` says of the final audio of each."""
    import torch
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    from wyoming_superwhisper.endpointing import final_audio_samples
    from wyoming_superwhisper.engines.silero import SileroVoice

    torch.set_num_threads(1)
    folder = Path(__file__).parents[2] / "wyoming_superwhisper" / "models" / "demo" / "weights" / "whisper"
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype="float32").eval()
    processor, texts = WhisperProcessor.from_pretrained(folder), []
    for audio, language in made:
        state = SileroVoice().feed(audio)
        samples = np.frombuffer(audio, "<i2")[: final_audio_samples(state, len(audio) // 2)]
        features = processor(samples.astype(np.float32) / 32768, sampling_rate=RATE, return_tensors="pt").input_features
        tokens = model.generate(features, language=language, task="transcribe", return_timestamps=False)[0]
        texts.append(processor.decode(tokens, skip_special_tokens=True).strip())
    return texts


async def check_streams(served: Served, count: int, seed: int) -> None:
    made = utterances(count, seed)
    kept = served.guesses("asr", "kept")
    heard = await stream_all(served.server, made)
    assert heard == await asyncio.to_thread(plain_texts, made)
    assert served.guesses("asr", "kept") - kept >= int(0.9 * count)


async def test_commands_are_answered_by_guesses_with_the_text_of_generate(served: Served) -> None:
    await check_streams(served, 8, seed=1)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_two_hundred_commands_are_answered_with_the_text_of_generate(served: Served) -> None:
    await check_streams(served, 200, seed=2)


async def test_the_second_turn_is_prepared_through_home_assistants_three_connections(served: Served) -> None:
    question = spoken("Raconte-moi une blague.", "fr")
    before = {stage: served.guesses(stage, "kept") for stage in ("llm", "tts")}
    # The second may go on with the first one's conversation, which this client doesn't: a new one is made after that.
    for turn in range(4):
        async with client(served.server) as one:
            text = await stream(one, question, "fr")
        async with client(served.server) as one:
            context = {"conversation_id": f"ours {turn}"}
            await one.send(Event("transcript", {"text": text, "language": "fr", "context": context}))
            answer = (await one.until("handled"))[-1].data["text"]
        async with client(served.server) as one:
            await one.send(Event("synthesize", {"text": answer}))
            assert (await one.until("audio-stop"))[0].type == "audio-start"
    assert served.guesses("llm", "kept") - before["llm"] >= 1
    assert served.guesses("tts", "kept") - before["tts"] >= 1


async def test_a_client_that_leaves_in_the_middle_takes_its_guesses_along(served: Served) -> None:
    audio = spoken("Allume la lumière du salon.", "fr", after_s=0.4)
    async with client(served.server) as one:
        await one.send(Transcribe(language="fr"), AudioStart(**AUDIO))
        began = time.monotonic()
        for at in range(0, len(audio), 320):
            await one.send(AudioChunk(audio=audio[at : at + 320], **AUDIO))
            await asyncio.sleep(max(0.0, began + (at + 320) / (2 * RATE) - time.monotonic()))
    async with client(served.server) as one:  # and everybody else is served as ever
        assert await stream(one, spoken("Quelle heure est-il ?", "fr"), "fr") == "Quelle heure est-il ?"
