"""The demo checkpoint hears whole sentences in voices it never met, and nothing where nobody speaks."""

import math
import random
from pathlib import Path

import pytest

from tests.engines.test_whisper import Plain, RecordedCall, open_engine, run
from tests.speech import sound, speech
from wyoming_superwhisper.engines.silero import SileroVoice
from wyoming_superwhisper.engines.whisper import WhisperEngine
from wyoming_superwhisper.models import demo
from wyoming_superwhisper.models.demo.domain import load_domain, normalise_for_comparison
from wyoming_superwhisper.models.demo.espeak import ACCENTS
from wyoming_superwhisper.models.store import whisper_window
from wyoming_superwhisper.utterance import SPEECH, Utterance

FOLDER = Path(demo.__file__).parent / "weights" / "whisper"
NAMES = ("Salon", "Cuisine", "Chambre", "Plafonnier", "Lampe du bureau", "Kitchen", "Living room", "Garage door")


@pytest.fixture(scope="module", params=["transformers", "ctranslate2"])
def engine(request: pytest.FixtureRequest) -> WhisperEngine:
    pytest.importorskip(request.param)
    assert whisper_window(FOLDER) == "speech"  # the default for it; the whole window is tests/engines/test_whisper.py's
    return open_engine(FOLDER, languages=["fr", "en"], window="speech", engine=request.param)


@pytest.fixture(scope="module")
def plain() -> Plain:
    return Plain(FOLDER)


async def final_audio(audio: bytes) -> bytes:
    class Stream:
        voice = SileroVoice()

        async def feed(self, audio):
            return self.voice.feed(audio)

        async def close(self): ...

    utterance = Utterance(SPEECH, Stream(), 60)
    await utterance.feed(audio)
    return (await utterance.finish()).audio


def spoken(language: str, count: int) -> list[tuple[str, bytes]]:
    """Reserved sentences in reserved voices."""
    domain, rng = load_domain(), random.Random(f"test {language}")
    voices = [f"{accent}+{variant}" for accent in ACCENTS[language][:2] for variant in domain.reserved_voices]
    sentences = domain.sample(language, rng, count, reserved=True)
    return [(text, speech(text, rng.choice(voices), rate=rng.randint(140, 180))) for text in sentences]


def same(language: str, one: str, other: str) -> bool:
    return normalise_for_comparison(one, language) == normalise_for_comparison(other, language)


@pytest.mark.parametrize("language", ["fr", "en"])
async def test_sentences_are_heard_exactly_and_as_generate_hears_them(engine, plain, language):
    pairs = [(text, await final_audio(audio)) for text, audio in spoken(language, 8)]
    for names in ((), NAMES):
        results = run(engine, *[RecordedCall(audio, language=language, names=names) for _, audio in pairs])
        assert [result["tokens"] for result in results] == [
            plain.generate(audio, language, names) for _, audio in pairs
        ]
        right = [same(language, result["text"], text) for result, (text, _) in zip(results, pairs, strict=True)]
        assert sum(right) >= 7, [result["text"] for result in results]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", ["fr", "en"])
async def test_hundreds_of_sentences_in_noise_are_heard_as_generate_hears_them(engine, plain, language):
    """Other than what the threshold of doubt was found with: other sentences, other noise."""
    rng = random.Random(f"long {language}")
    different = []
    for number, (text, clean) in enumerate(spoken(language, 150)):
        noisy = speech(text, language, rate=rng.randint(130, 200), noise="pink", snr_db=rng.uniform(0, 25), seed=number)
        for audio in (clean, noisy):
            names = NAMES[: rng.randint(0, len(NAMES))]
            final = await final_audio(audio)
            [result] = run(engine, RecordedCall(final, language=language, names=names))
            if result["tokens"] != plain.generate(final, language, names):
                different.append((text, result["text"]))
    assert not different


@pytest.mark.parametrize("language", ["fr", "en"])
def test_the_language_is_heard(engine, language):
    results = run(engine, *[RecordedCall(audio, language=None) for _, audio in spoken(language, 5)])
    assert [result["language"] for result in results] == [language] * 5


@pytest.mark.parametrize("kind", ["silence", "white", "pink", "brown", "hum50", "hum60", "tone", "chord", "clicks"])
def test_without_any_gate_sounds_are_empty(engine, kind):
    calls = [RecordedCall(sound(kind, 1 + seed, -10 - 8 * seed, seed), names=NAMES[:seed]) for seed in range(4)]
    assert [result["text"] for result in run(engine, *calls)] == [""] * 4


async def test_where_the_last_word_was_not_said_those_before_it_lose_more_without_the_end(engine):
    async def loss(text: str) -> float:
        [result] = run(engine, RecordedCall(await final_audio(speech(text, "fr")), look_back=["loss_without_end"]))
        print(text, "→", result["text"], result["end_logprob"], result.get("loss_without_end"))
        return result.get("loss_without_end", math.inf)

    for began in (
        "Éteins la lumière de la salle de",
        "Ajoute du pain à la liste de",
        "Mets la lampe du salon à 40 pour",
    ):
        rest = {"salle": "bain.", "liste": "courses."}.get(began.split()[-2], "cent.")
        assert await loss(f"{began} {rest}") < await loss(began)


async def test_before_a_single_word_there_is_nothing_to_lose(engine):
    [result] = run(engine, RecordedCall(await final_audio(speech("Bonsoir.", "fr")), look_back=["loss_without_end"]))
    assert (result["text"], result["loss_without_end"]) == ("Bonsoir.", 0.0)


async def test_nobody_looks_back_unasked(engine):
    [result] = run(engine, RecordedCall(await final_audio(speech("Éteins la salle de bain.", "fr"))))
    assert "loss_without_end" not in result


def test_two_commands_longer_than_the_window_are_both_heard(engine):
    first = speech("Allume la lumière de la cuisine.", "fr", rate=150, before_s=1, after_s=1)
    second = speech("Éteins la lumière du salon.", "fr", rate=150, before_s=3, after_s=1)
    assert len(first + second) / 32000 > 8
    [result] = run(engine, RecordedCall(first + second))
    assert "cuisine" in result["text"]
    assert "salon" in result["text"]
