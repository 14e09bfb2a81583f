"""Whisper says, token for token, what plain `generate` says, one utterance or a mixed batch of them."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from tests.engines.tiny_whisper import WINDOW_S, make_checkpoint
from wyoming_superwhisper import errors
from wyoming_superwhisper.engines import whisper
from wyoming_superwhisper.engines.base import SAMPLE_RATE, Priority
from wyoming_superwhisper.engines.whisper import WhisperEngine, compression_ratio, is_speech
from wyoming_superwhisper.engines.whisper_checkpoint import Checkpoint
from wyoming_superwhisper.engines.whisper_rules import Heard, end_logprob, loss_before_last_words
from wyoming_superwhisper.engines.whisper_windows import split_into_windows

NAMES = ("Salon", "Cuisine", "Plafonnier", "Lampe de la chambre (d'amis)", "T.V.")


class RecordedCall:
    """A call that keeps its end; `cancel_after` asks before it counts as cancelled."""

    method = "transcribe"

    def __init__(
        self, audio: bytes, *, id: int = 0, priority: Priority = Priority.FINAL, cancel_after: int = -1, **data: Any
    ):
        self.id, self.payload, self.priority = id, audio, priority
        self.data = {"language": "fr", **data}
        self.asked, self.cancel_after = 0, cancel_after
        self.result: Any = None
        self.error: Exception | None = None

    @property
    def cancelled(self) -> bool:
        self.asked += 1
        return 0 <= self.cancel_after < self.asked

    def part(self, data, payload=b""):
        assert not data
        assert not payload  # a sign of life and nothing else: a transcript comes whole

    def done(self, data=None, payload=b""):
        self.result = data

    def fail(self, error):
        self.error = error


class Plain:
    """Plain transformers."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        self.model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval()
        self.processor = WhisperProcessor.from_pretrained(folder)

    def generate(self, audio: bytes, language: str = "fr", names=(), **options) -> list[int]:
        samples = np.frombuffer(audio, "<i2").astype(np.float32) / 32768
        features = self.processor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        prompt = torch.tensor(self.processor.get_prompt_ids(", ".join(names))) if names else None
        made = self.model.generate(
            features.to(self.model.dtype), language=language, task="transcribe", return_timestamps=False,
            prompt_ids=prompt, do_sample=False, num_beams=1, **options,
        )  # fmt: skip
        return made[0].tolist()


def sound(seed: int, seconds: float = 2.0) -> bytes:
    """Something with a changing spectrum, different for every seed."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    glides = sum(
        np.sin(2 * np.pi * (rng.uniform(80, 3000) * time + rng.uniform(-400, 400) * np.sin(rng.uniform(1, 9) * time)))
        for _ in range(6)
    )
    loudness = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(1, 5) * time)
    return (glides * loudness * 2500 + rng.standard_normal(len(time)) * 50).astype("<i2").tobytes()


def configuration(folder: Path, **more: Any) -> dict[str, Any]:
    plain = {"languages": ["fr", "en", "es"], "language": "fr", "compute": "auto", "device": "cpu", "gpu_uuid": ""}
    more = {"engine": "transformers", "threads": 1, "batch": 4, "window": "full", **more}
    return {"model_dir": str(folder), **plain, **more}


def open_engine(folder: Path, **more: Any) -> WhisperEngine:
    engine = WhisperEngine(configuration(folder, **more))
    engine.load()
    return engine


def run(engine: WhisperEngine, *calls: RecordedCall) -> list[Any]:
    for call in calls:
        engine.admit(call)
    while engine.step():
        pass
    return [call.result for call in calls]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module", params=["plain", "static", "ctranslate2"])
def engine(folder: Path, request: pytest.FixtureRequest) -> WhisperEngine:
    if request.param == "ctranslate2":
        pytest.importorskip("ctranslate2")
        return open_engine(folder, engine="ctranslate2")
    return open_engine(folder, decoder=request.param)


@pytest.fixture(scope="module")
def plain(folder: Path) -> Plain:
    return Plain(folder)


@pytest.mark.parametrize(("seed", "language"), [(0, "fr"), (1, "en"), (2, "fr")])
@pytest.mark.parametrize("names", [(), NAMES])
def test_tokens_are_those_of_generate(engine, plain, seed, language, names):
    audio = sound(seed, 1 + seed)
    [result] = run(engine, RecordedCall(audio, language=language, names=names))
    assert result["tokens"] == plain.generate(audio, language, names)
    assert result["language"] == language


@pytest.mark.parametrize(
    "options",
    [
        {"suppress": [6, 306, 62], "begin_suppress": [288, 320]},
        {"max_length": 12},
        {"max_length": 70, "positions": 64},
        {"suppress": [6], "max_length": 448, "positions": 80},
    ],
)
def test_tokens_are_those_of_generate_for_other_checkpoints(tmp_path, options):
    folder = make_checkpoint(tmp_path, seed=3, **options)
    engine, plain = open_engine(folder), Plain(folder)
    audios = [sound(seed) for seed in range(2)]
    results = run(engine, *[RecordedCall(audio) for audio in audios], RecordedCall(audios[0], names=("Salon",)))
    expected = [plain.generate(audio) for audio in audios] + [plain.generate(audios[0], names=("Salon",))]
    assert [result["tokens"] for result in results] == expected


def test_a_mixed_batch_is_each_by_itself(engine, plain):
    """Prompts of different lengths, languages and lengths of audio, decoded together."""
    asked = [
        (sound(11, 0.4), "fr", NAMES), (sound(12, 3), "en", ()), (sound(13, 7.9), "es", NAMES[:1]),
        (sound(14, 2), "fr", NAMES[1:3]), (sound(15, 1), "de", ()), (sound(16, 5), "fr", ()),
    ]  # fmt: skip
    results = run(engine, *[RecordedCall(audio, language=language, names=names) for audio, language, names in asked])
    assert [result["tokens"] for result in results] == [plain.generate(*request) for request in asked]


def test_rows_that_end_early_leave_the_others_as_they_are(tmp_path):
    # The end token is made to look like one that is often said: rows end at different lengths, and the batch shrinks.
    folder = make_checkpoint(tmp_path, seed=5, max_length=30)
    engine, plain = open_engine(folder), Plain(folder)
    audios = [sound(seed, 1.5) for seed in range(40, 48)]
    said = [token for audio in audios for token in plain.generate(audio)[3:]]
    often = max(set(said), key=said.count)
    end = plain.model.generation_config.eos_token_id
    with torch.no_grad():
        for model in (engine._decoder._model, plain.model):
            model.proj_out.weight[end] = 1.01 * model.proj_out.weight[often]
    results = run(engine, *[RecordedCall(audio) for audio in audios])
    assert [result["tokens"] for result in results] == [plain.generate(audio) for audio in audios]
    assert len({len(result["tokens"]) for result in results}) > 2


@pytest.mark.parametrize("compute", ["float16", "bfloat16"])
def test_tokens_are_those_of_generate_in_half_precision(folder, compute):
    engine, plain = open_engine(folder, compute=compute), Plain(folder, getattr(torch, compute))
    audio = sound(3)
    for names in ((), NAMES):  # one at a time: half precision rounds otherwise in a batch
        [result] = run(engine, RecordedCall(audio, names=names))
        assert result["tokens"] == plain.generate(audio, names=names)


def test_no_speech_and_certainty_are_those_of_transformers(engine, plain):
    audio = sound(21)
    [result] = run(engine, RecordedCall(audio, names=NAMES))
    samples = np.frombuffer(audio, "<i2").astype(np.float32) / 32768
    features = plain.processor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
    config = plain.model.generation_config
    prompt = plain.processor.get_prompt_ids(", ".join(NAMES)).tolist()
    prefix = [config.decoder_start_token_id, config.lang_to_id["<|fr|>"], config.task_to_id["transcribe"]]
    tokens = [*prompt, *prefix, config.no_timestamps_token_id, *result["tokens"]]
    with torch.no_grad():
        logits = plain.model(features, decoder_input_ids=torch.tensor([tokens])).logits[0]
    no_speech = logits[len(prompt)].softmax(-1)[config.no_timestamps_token_id - 1].item()
    assert result["no_speech_probability"] == pytest.approx(no_speech, rel=1e-3)
    logits[:, config.suppress_tokens] = -torch.inf
    logprobs = logits[len(prompt) + 3 :].log_softmax(-1)
    chosen = sum(logprobs[at, token].item() for at, token in enumerate(result["tokens"]))
    assert result["average_logprob"] == pytest.approx(chosen / (len(result["tokens"]) + 1), rel=1e-3)


def test_automatic_language_is_the_likeliest_of_the_configured_ones(folder, plain):
    audio = sound(31)
    samples = np.frombuffer(audio, "<i2").astype(np.float32) / 32768
    features = plain.processor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
    config = plain.model.generation_config
    with torch.no_grad():
        logits = plain.model(features, decoder_input_ids=torch.tensor([[config.decoder_start_token_id]])).logits[0, 0]
    ranked = sorted(config.lang_to_id, key=lambda name: -logits[config.lang_to_id[name]].item())
    for first, second in [(0, 1), (40, 60), (60, 40)]:
        codes = [ranked[first].strip("<|>"), ranked[second].strip("<|>")]
        [result] = run(open_engine(folder, languages=codes), RecordedCall(audio, language=None, names=NAMES))
        assert result["language"] == ranked[min(first, second)].strip("<|>")
        assert result["tokens"] == plain.generate(audio, result["language"], NAMES)


def test_regional_codes_are_understood_and_others_refused(engine):
    call = RecordedCall(sound(1), language="fr-CA")
    assert run(engine, call)[0]["language"] == "fr"
    unknown = RecordedCall(sound(1), language="tlh")
    run(engine, unknown)
    assert isinstance(unknown.error, errors.UnknownLanguage)


def test_half_a_sample_and_other_methods_are_refused(engine):
    half, other = RecordedCall(b"abc"), RecordedCall(b"")
    other.method = "translate"
    run(engine, half, other)
    assert isinstance(half.error, errors.BadFormat)
    assert isinstance(other.error, errors.NotSupported)


def test_no_audio_at_all_is_answered(engine):
    assert run(engine, RecordedCall(b""))[0]["language"] == "fr"


def test_names_fill_the_prompt_in_their_order_and_no_further(engine, plain):
    names = tuple(f"Pièce numéro {number}" for number in range(200))
    prompt = engine._prompt(names)
    assert prompt[0] == plain.model.generation_config.prev_sot_token_id
    assert 30 < len(prompt) <= plain.model.config.max_target_positions // 2 - 1
    text = plain.processor.tokenizer.decode(prompt[1:])
    assert text.startswith(" Pièce numéro 0, Pièce numéro 1, ")
    assert ", ".join(names).startswith(text.strip())


def test_a_prompt_can_name_no_special_token(engine):
    assert engine._prompt(("<|endoftext|>", "  ")) == engine._prompt(("endoftext|>",))
    assert engine._prompt(("<<||endoftext|>",)) == engine._prompt(("endoftext|>",))
    assert engine._prompt(("", " ")) == ()


def test_finals_go_before_guesses(engine):
    order: list[str] = []

    class Noted(RecordedCall):
        def done(self, data=None, payload=b""):
            order.append(str(self.priority.name))

    calls = [Noted(sound(n, 0.5), priority=Priority.GUESS if n < 4 else Priority.FINAL) for n in range(6)]
    run(engine, *calls)
    assert order[:2] == ["FINAL", "FINAL"]
    assert len(order) == 6


def test_a_cancelled_call_is_dropped_between_tokens(folder):
    engine = open_engine(folder)
    stays, leaves = RecordedCall(sound(1)), RecordedCall(sound(2), cancel_after=4)
    alone = run(engine, RecordedCall(sound(1)))[0]
    run(engine, leaves, stays)
    assert stays.result["tokens"] == alone["tokens"]
    assert leaves.asked < 12  # of 36 tokens
    gone = RecordedCall(sound(2), cancel_after=0)
    assert run(engine, gone) == [None]


def test_a_long_utterance_is_heard_to_its_end(engine, plain):
    pieces = [sound(seed, 5) for seed in (61, 62, 63)]
    silence = bytes(SAMPLE_RATE)
    audio = silence.join(pieces)
    [result] = run(engine, RecordedCall(audio))
    windows = split_into_windows(np.frombuffer(audio, "<i2"), WINDOW_S * SAMPLE_RATE)
    assert len(windows) == 3
    expected = [token for window in windows for token in plain.generate(window.astype("<i2").tobytes())]
    assert result["tokens"] == expected


def test_windows_are_cut_at_the_quietest_point_and_lose_nothing():
    window = 8 * SAMPLE_RATE
    loud = np.frombuffer(sound(1, 30), "<i2").copy()
    loud[6 * SAMPLE_RATE : 6 * SAMPLE_RATE + 4000] //= 50
    pieces = split_into_windows(loud, window)
    assert np.array_equal(np.concatenate(pieces), loud)
    assert all(0 < len(piece) <= window for piece in pieces)
    assert abs(len(pieces[0]) - 6 * SAMPLE_RATE - 2000) < 2000
    barely = split_into_windows(loud[: window + 160], window)
    assert [len(piece) > SAMPLE_RATE for piece in barely] == [True, True]
    assert [len(piece) for piece in split_into_windows(loud[:window], window)] == [window]
    assert [len(piece) for piece in split_into_windows(loud[:0], window)] == [0]


def test_features_are_those_of_transformers_wherever_speech_ends(plain, folder):
    engine = open_engine(folder)
    rng = np.random.default_rng(1)
    window = WINDOW_S * SAMPLE_RATE
    for length in (0, 1, 5, 159, 4000, 35_000, window - 300, window - 100, window, window + 300):
        samples = rng.integers(-3000, 3000, length).astype(np.int16)
        expected = plain.processor(
            samples.astype(np.float32) / 32768, sampling_rate=SAMPLE_RATE, return_tensors="pt"
        ).input_features[0]
        made = engine._extractor.log_mels(samples).frames(expected.shape[1])
        assert torch.allclose(made, expected, rtol=0, atol=1e-6), length


def test_encoding_only_what_was_spoken_takes_fewer_frames(folder):
    engine = open_engine(folder, window="speech")
    row = engine._row(engine._extractor.log_mels(np.frombuffer(sound(1, 2.2), "<i2")), "fr", ())
    assert row.features.shape[1] == 280
    long = sound(5, 7.8)
    assert run(engine, RecordedCall(long)) == run(open_engine(folder), RecordedCall(long))


def test_where_a_short_window_leaves_a_doubt_the_whole_is_heard(folder, plain, monkeypatch):
    """Random weights are never sure: all of them are doubtful, and what is answered is what `generate` says."""
    engine = open_engine(folder, window="speech")
    asked = [
        (sound(11, 0.4), "fr", NAMES), (sound(12, 3), "en", ()), (sound(13, 7.9), "es", NAMES[:1]),
        (sound(14, 2), "fr", ()),
    ]  # fmt: skip
    calls = [(RecordedCall(audio, language=language, names=names)) for audio, language, names in asked]
    expected = [plain.generate(*request) for request in asked]
    assert [result["tokens"] for result in run(engine, *calls)] == expected
    monkeypatch.setattr(whisper, "LEAST_MARGIN", 0.0)
    calls = [(RecordedCall(audio, language=language, names=names)) for audio, language, names in asked]
    assert [result["tokens"] for result in run(engine, *calls)] != expected


def test_rows_of_different_lengths_are_each_by_themselves(folder, monkeypatch):
    monkeypatch.setattr(whisper, "LEAST_MARGIN", 0.0)
    engine = open_engine(folder, window="speech")
    audios = [sound(seed, 0.7 + seed) for seed in range(4)]
    alone = [run(engine, RecordedCall(audio, names=NAMES[:seed]))[0] for seed, audio in enumerate(audios)]
    together = run(engine, *[RecordedCall(audio, names=NAMES[:seed]) for seed, audio in enumerate(audios)])
    assert [result["tokens"] for result in together] == [result["tokens"] for result in alone]
    assert [result["batch"] for result in together] == [4] * 4


def heard(margin=5.0, no_speech=0.0, logprob=-0.1, tokens=9) -> Heard:
    return Heard("fr", no_speech, list(range(tokens)), [logprob] * (tokens + 1), margin)


def test_how_certain_the_end_is_depends_on_the_last_words_most_and_on_how_words_begin():
    pieces = [" Allume", " la", " lu", "miè", "re", "."]

    def certainty(unsure: int | None) -> float:
        return end_logprob(pieces, [-2.0 if at == unsure else -0.05 for at in range(len(pieces) + 1)])

    assert end_logprob([], [-0.05]) == 0.0
    assert certainty(None) == certainty(len(pieces)) == pytest.approx(-0.05)  # nor does the end itself count
    assert certainty(5) < certainty(2) < certainty(1) < certainty(0) < -0.05
    assert certainty(1) < certainty(3) == pytest.approx(certainty(4))


def test_what_the_words_before_the_last_one_lose():
    pieces = [" Salle", " de", " ba", "in", " ?"]

    def of(tokens: str, *logprobs: float) -> Heard:
        return Heard("fr", tokens=list(map(ord, tokens)), logprobs=list(logprobs))

    first = of("abcde", -0.1, -0.1, -0.1, -0.1, -0.1, -0.1)
    assert loss_before_last_words(1, pieces, first, first) == 0
    again = of("abxy", -0.2, -0.4, -3.0, -3.0, -3.0)
    assert loss_before_last_words(1, pieces, first, again) == pytest.approx(0.4), (
        "the last word and what follows don't count"
    )
    assert loss_before_last_words(1, pieces, first, of("axcde", *[-0.1] * 6)) == math.inf
    assert loss_before_last_words(1, pieces, first, of("a", -0.1, -0.1)) == math.inf
    assert loss_before_last_words(1, [" Stop", "."], of("ab", -0.1, -0.1, -0.1), of("", -0.1)) == 0
    assert loss_before_last_words(3, pieces, first, again) == 0
    assert loss_before_last_words(2, pieces, first, again) == pytest.approx(0.1)
    assert loss_before_last_words(1, [], of("", -0.1), of("", -0.1)) == 0


def test_what_leaves_a_doubt():
    assert not whisper.is_doubtful(heard())
    assert whisper.is_doubtful(heard(margin=whisper.LEAST_MARGIN - 0.01))
    assert whisper.is_doubtful(heard(logprob=-0.95))
    assert whisper.is_doubtful(heard(logprob=-1.1))
    assert whisper.is_doubtful(heard(no_speech=0.55, logprob=-0.6))
    assert whisper.is_doubtful(heard(no_speech=0.9, logprob=-0.45))
    assert not whisper.is_doubtful(heard(no_speech=0.99, logprob=-0.01))


@pytest.mark.parametrize(
    ("no_speech", "logprob", "ratio", "believed"),
    [
        (0.01, -0.2, 1.0, True), (0.01, -1.2, 1.0, False), (0.01, -0.2, 2.5, False), (0.9, -0.7, 1.0, False),
        (0.9, -0.1, 1.0, True), (0.5, -0.9, 1.0, True),
    ],
)  # fmt: skip
def test_what_is_believed(no_speech, logprob, ratio, believed):
    assert is_speech(no_speech, logprob, ratio) is believed


def test_repetition_compresses():
    assert compression_ratio("Allume la lumière de la cuisine.") < 1.2
    assert compression_ratio("merci " * 40) > whisper.MOST_COMPRESSION_RATIO
    assert compression_ratio("") == 0


def test_what_is_not_believed_is_empty_but_shows_its_tokens(folder, monkeypatch):
    engine = open_engine(folder)
    monkeypatch.setattr(whisper, "LEAST_AVERAGE_LOGPROB", 0.0)
    [result] = run(engine, RecordedCall(sound(1)))
    assert result["text"] == ""
    assert result["tokens"]


def test_capabilities(folder):
    engine = WhisperEngine(configuration(folder, languages=["fr", "en-GB", "xx"]))
    capabilities = engine.load()
    assert capabilities == {"languages": ["fr", "en"], "model": folder.name, "window_s": 8.0}
    assert json.dumps(capabilities)
    assert engine.capacity == 8  # a batch at work and the next one


def test_out_of_memory_in_a_batch_is_one_after_the_other(folder):
    engine = open_engine(folder)
    decode = engine._decoder.decode

    def small_memory(rows):
        if len(rows) > 1 or rows[0].features.mean() == 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(rows)

    engine._decoder.decode = small_memory
    results = run(engine, *[RecordedCall(sound(seed)) for seed in range(3)])
    assert all(result["tokens"] for result in results)


def test_out_of_memory_alone_is_an_error_of_that_call(folder):
    engine = open_engine(folder)

    def no_memory(rows):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    engine._decoder.decode = no_memory
    calls = [RecordedCall(sound(1)), RecordedCall(sound(2))]
    run(engine, *calls)
    assert [type(call.error) for call in calls] == [errors.OutOfMemory] * 2


def test_an_unforeseen_error_leaves_the_engine_usable(folder):
    engine = open_engine(folder)
    decode = engine._decoder.decode
    engine._decoder.decode = lambda rows: 1 / 0
    engine.admit(RecordedCall(sound(1)))
    with pytest.raises(ZeroDivisionError):
        engine.step()
    engine._decoder.decode = decode
    assert run(engine, RecordedCall(sound(1)))[0]["tokens"]


def damage(folder: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("config.json", None, "has no config.json"),
        ("config.json", b"{", "cannot load the Whisper model"),
        ("model.safetensors", None, "has no model.safetensors"),
        ("model.safetensors", b"\x08\0\0\0\0\0\0\0{}", "cannot load the Whisper model"),
        ("tokenizer.json", b"[]", "cannot load the Whisper model"),
        ("processor_config.json", b"x", "cannot load the Whisper model"),
    ],
)
def test_damaged_files_are_named(folder, tmp_path, name, content, sentence):
    copy = shutil.copytree(folder, tmp_path / "copy")
    damage(copy, name, content)
    with pytest.raises(errors.ModelError, match=sentence) as caught:
        open_engine(copy)
    assert str(copy) in str(caught.value)


def test_where_a_transcript_begins_and_ends_may_stand_in_the_models_configuration(folder, tmp_path):
    whole = Checkpoint(folder).rules
    copy = shutil.copytree(folder, tmp_path / "copy")
    damage(copy, "generation_config.json", b"{}")
    rules = Checkpoint(copy).rules
    assert (rules.start, rules.ends) == (whole.start, whole.ends)
    config = json.loads((copy / "config.json").read_bytes())
    damage(copy, "config.json", json.dumps({**config, "eos_token_id": None}).encode())
    with pytest.raises(errors.ModelError, match="how a transcript begins or ends"):
        Checkpoint(copy)


def test_pickled_weights_are_never_loaded(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(errors.ModelError, match=r"no model\.safetensors"):
        open_engine(copy)


def test_a_missing_folder_names_the_remedy(tmp_path):
    with pytest.raises(errors.ModelError, match="models download"):
        open_engine(tmp_path / "gone")


def test_a_model_that_speaks_no_configured_language_is_refused(folder):
    with pytest.raises(errors.ModelError, match="none of the configured languages"):
        open_engine(folder, languages=["tlh"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there_is_an_error(folder):
    with pytest.raises(errors.ModelError, match="torch finds none"):
        open_engine(folder, device="cuda")
