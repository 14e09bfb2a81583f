"""`endpointing: server` on the real models: soon after a whole command, patient where one hesitates, no file is cut."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import soxr
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart
from wyoming.event import Event

from tests.conftest import RunningServer, start_server
from tests.demo_home import demo_home
from tests.server.speech import ESPEAK_RATE, audio_events, client, said
from wyoming_superwhisper.engines.rules.hassil import HassilIntents
from wyoming_superwhisper.models.demo.domain import load_domain

RATE = 16_000
AUDIO = {"rate": RATE, "width": 2, "channels": 1}
WHOLE = ("Quelle heure est-il ?", "Éteins la cuisine.", "Annule le minuteur.", "Allume le garage.")
HESITATIONS = (
    ("Allume la lumière de", "la cuisine."), ("Mets un minuteur de", "10 minutes."),
    ("Ferme les", "volets du salon."), ("Éteins", "la cuisine."),
)  # fmt: skip


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = start_server(tmp_path_factory.mktemp("ends") / "log.txt", "--set", "asr.endpointing=server")
    asyncio.run(_until_loaded(server))
    yield server
    server.stop()


async def _until_loaded(server: RunningServer) -> None:
    async with client(server) as one:
        await one.transcribe(said("Bonjour."), "fr")


def voiced(text: str, voice: str = "fr", rate: int = 165) -> np.ndarray:
    """Speech from its first to its last sample above -40 dB."""
    samples = np.frombuffer(said(text, voice, rate), np.int16).astype(np.float32) / 32768
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    return soxr.resample(samples[loud[0] : loud[-1] + 1], ESPEAK_RATE, RATE)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE), np.float32)


async def until_it_ends(server: RunningServer, *parts: np.ndarray, **request: str) -> tuple[str, float]:
    """The transcript of speech that goes on in silence, and the time from its end to that; below zero: it was cut."""
    audio = (np.concatenate([silence(0.3), *parts, silence(12)]) * 32767).astype("<i2").tobytes()
    async with client(server) as one:
        await one.send(Transcribe(language="fr", **request), AudioStart(**AUDIO))
        answer = asyncio.create_task(one.until("transcript"))
        began = time.monotonic()
        for at in range(0, len(audio), 320):
            if answer.done():
                break
            await one.send(AudioChunk(audio=audio[at : at + 320], **AUDIO))
            await asyncio.sleep(max(0.0, began + (at + 320) / (2 * RATE) - time.monotonic()))
        events = await answer
        return events[-1].data["text"], time.monotonic() - began - 0.3 - sum(map(len, parts)) / RATE


async def all_of_them(server: RunningServer, utterances: Sequence[Sequence[np.ndarray]]) -> list[tuple[str, float]]:
    """Two at a time: more would make this machine the slow one."""
    found = []
    for at in range(0, len(utterances), 2):
        found += await asyncio.gather(*(until_it_ends(server, *parts) for parts in utterances[at : at + 2]))
    return found


async def test_a_whole_command_is_over_sooner_than_where_one_is_relaxed(patient: RunningServer) -> None:
    soon_s = relaxed_s = 0.0
    for expected in WHOLE:  # side by side, so that both meet the same load
        (text, took), (_, relaxed) = await asyncio.gather(
            until_it_ends(patient, voiced(expected)),
            until_it_ends(patient, voiced(expected), vad_sensitivity="relaxed"),
        )
        assert text == expected
        assert took > 0
        soon_s, relaxed_s = soon_s + took, relaxed_s + relaxed
    assert soon_s < relaxed_s


async def test_who_hesitates_in_a_sentence_is_heard_to_its_end(patient: RunningServer) -> None:
    ends = await all_of_them(patient, [[voiced(first), silence(0.55), voiced(then)] for first, then in HESITATIONS])
    assert all(took > 0 for _, took in ends), ends


async def test_a_file_is_never_cut(patient: RunningServer) -> None:
    audio = np.concatenate([voiced("Allume la cuisine."), silence(3)])
    *events, stop = audio_events((audio * 32767).astype("<i2").tobytes(), RATE)
    async with client(patient) as one:
        await one.send(Event("transcribe", {"language": "fr"}), *events)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(one.receive(), 1.5)
        await one.send(stop)
        assert (await one.until("transcript"))[-1].data["text"] == "Allume la cuisine."


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_hesitations_at_any_word_are_not_the_end(patient: RunningServer) -> None:
    rng, domain, rules, utterances = random.Random(5), load_domain(), HassilIntents(("fr",), demo_home()), []
    while len(utterances) < 100:
        [sentence] = domain.sample("fr", rng, 1)
        words = sentence.split()
        cut = rng.randint(1, max(1, len(words) - 2))
        first, then = " ".join(words[:cut]), " ".join(words[cut:])
        if then and not rules.recognize(first, "fr"):
            voice = rng.choice(("fr", "fr-be", "fr-ch"))
            utterances.append([voiced(first, voice), silence(rng.uniform(0.3, 0.6)), voiced(then, voice)])
    ends = await all_of_them(patient, utterances)
    assert not [end for end in ends if end[1] < 0]
