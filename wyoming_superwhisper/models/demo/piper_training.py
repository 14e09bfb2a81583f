"""Makes the demo Piper voices from espeak-ng speech: `python -m wyoming_superwhisper.models.demo piper`.

French and English. Five minutes a voice on a core that has nothing else to do, nine on a busy one. What was measured
and trained is kept in a work folder, so that a run that was broken off goes on where it stood; the same seed gives the
same voices (on the same machine and torch).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wyoming_superwhisper.models.demo.piper_corpus import training_texts
from wyoming_superwhisper.models.demo.piper_speech import HOP, SAMPLE_RATE, Misaligned, Utterance, observe, takes_time

WEIGHTS = Path(__file__).parent / "weights" / "piper"

_TEXTS, _STEPS = 1000, 2000


@dataclass(frozen=True)
class Voice:
    """A voice to be made."""

    name: str
    espeak_voice: str
    language: str
    details: dict[str, str]


VOICES = (
    Voice(
        "fr_FR-demo-medium",
        "fr",
        "fr",
        {
            "family": "fr",
            "region": "FR",
            "name_native": "Français",
            "name_english": "French",
            "country_english": "France",
        },
    ),
    Voice(
        "en_US-demo-medium",
        "en-us",
        "en",
        {
            "family": "en",
            "region": "US",
            "name_native": "English",
            "name_english": "English",
            "country_english": "United States",
        },
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the voices; returns the exit status."""
    options = _parser().parse_args(argv)
    import torch

    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    options.output.mkdir(parents=True, exist_ok=True)
    for voice in VOICES:
        if options.language in (None, voice.language):
            _make(voice, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wyoming_superwhisper.models.demo piper", description=(__doc__ or "").split(":")[0] + "."
    )
    parser.add_argument("--work", type=Path, default=Path("build/demo-piper"), help="where unfinished work is kept")
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="where the voices are written")
    parser.add_argument("--language", choices=[voice.language for voice in VOICES], help="make only this one")
    parser.add_argument("--texts", type=int, default=_TEXTS, help="how many sentences to learn from")
    parser.add_argument("--steps", type=int, default=_STEPS, help="training steps")
    parser.add_argument("--threads", type=int, default=1, help="threads for training")
    parser.add_argument("--seed", type=int, default=1)
    return parser


def _make(voice: Voice, options: argparse.Namespace) -> None:
    from wyoming_superwhisper.models.demo.piper_acoustic import train
    from wyoming_superwhisper.models.demo.piper_voice_graph import write_voice

    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{voice.name} [{time.monotonic() - started:5.0f} s] {text}", flush=True)

    ids = _id_map()
    say(f"speaking and measuring {options.texts} sentences")
    utterances = _utterances(voice, options)
    seconds = sum(len(one.envelope) for one in utterances) * HOP / SAMPLE_RATE
    say(f"{len(utterances)} sentences, {seconds / 60:.0f} minutes; training for {options.steps} steps")
    model = train(
        [([ids[phoneme][0] for phoneme in one.phonemes], one) for one in utterances],
        _timed(ids),
        options.steps,
        options.work / f"{voice.name}-{options.texts}-{options.steps}-{options.seed}.pt",
        lambda at: say(f"step {at.step} of {at.steps}, loss {at.loss:.3f}"),
        options.seed,
    )
    path = options.output / f"{voice.name}.onnx"
    write_voice(model, path, "A small demonstration voice of wyoming-superwhisper, made from espeak-ng speech.")
    path.with_suffix(".onnx.json").write_text(
        json.dumps(_config(voice, ids), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    say(f"written to {path} ({path.stat().st_size / 1e6:.2f} MB)")


def _utterances(voice: Voice, options: argparse.Namespace) -> list[Utterance]:
    """The measured sentences, from the work folder if they are there."""
    kept = options.work / f"{voice.name}-{options.texts}-{options.seed}.npz"
    if not kept.exists():
        texts = training_texts(voice.language, options.texts, options.seed)
        # espeak-ng holds one voice per process: Piper's phonemes come from another one than the speech.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as phonemiser:
            written = phonemiser.submit(_phonemise, voice.espeak_voice, texts).result()
        _keep(kept, list(_observed(voice, texts, written)))
    return _kept(kept)


def _phonemise(espeak_voice: str, texts: Sequence[str]) -> list[list[list[str]]]:
    from piper.phonemize_espeak import EspeakPhonemizer

    phonemizer = EspeakPhonemizer()
    return [phonemizer.phonemize(espeak_voice, text) for text in texts]


def _observed(voice: Voice, texts: Sequence[str], written: Sequence[list[list[str]]]) -> Any:
    known = _id_map()
    for text, sentences in zip(texts, written, strict=True):
        if len(sentences) != 1 or any(phoneme not in known for phoneme in sentences[0]):
            continue
        try:
            yield observe(text, voice.espeak_voice, sentences[0])
        except Misaligned:
            continue  # a few in a hundred, where espeak-ng speaks other sounds than it writes


def _keep(path: Path, utterances: Sequence[Utterance]) -> None:
    arrays: dict[str, Any] = {}
    for number, one in enumerate(utterances):
        arrays[f"{number}/phonemes"] = np.array(one.phonemes)
        arrays[f"{number}/durations"], arrays[f"{number}/pitch"] = one.durations, one.pitch
        arrays[f"{number}/envelope"], arrays[f"{number}/voicing"] = one.envelope, one.voicing
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **arrays)
    partial.replace(path)


def _kept(path: Path) -> list[Utterance]:
    with np.load(path) as arrays:
        count = len(arrays.files) // 5
        return [
            Utterance(
                tuple(str(phoneme) for phoneme in arrays[f"{number}/phonemes"]),
                arrays[f"{number}/durations"],
                arrays[f"{number}/envelope"],
                arrays[f"{number}/voicing"],
                arrays[f"{number}/pitch"],
            )
            for number in range(count)
        ]


def _id_map() -> dict[str, list[int]]:
    from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP

    return DEFAULT_PHONEME_ID_MAP


def _timed(ids: dict[str, list[int]]) -> list[bool]:
    timed = [False] * (max(number for numbers in ids.values() for number in numbers) + 1)
    for phoneme, numbers in ids.items():
        timed[numbers[0]] = takes_time(phoneme)
    return timed


def _config(voice: Voice, ids: dict[str, list[int]]) -> dict[str, Any]:
    """What Piper reads beside the model."""
    code = f"{voice.details['family']}_{voice.details['region']}"
    return {
        "dataset": "demo",
        "audio": {"sample_rate": SAMPLE_RATE, "quality": "medium"},
        "espeak": {"voice": voice.espeak_voice},
        "language": {"code": code, **voice.details},
        "inference": {"noise_scale": 0.333, "length_scale": 1, "noise_w": 0.333},
        "phoneme_type": "espeak",
        "phoneme_map": {},
        "phoneme_id_map": ids,
        "num_symbols": len(_timed(ids)),
        "num_speakers": 1,
        "speaker_id_map": {},
        "hop_length": HOP,
        "attribution": {"name": "wyoming-superwhisper", "url": "https://github.com/espeak-ng/espeak-ng"},
        "piper_version": "1.0.0",
    }


if __name__ == "__main__":
    raise SystemExit(main())
