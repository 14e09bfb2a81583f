"""How well a Whisper checkpoint hears the demo domain: every reserved voice, with and without names, and no words."""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wyoming_superwhisper.models.demo import espeak
from wyoming_superwhisper.models.demo.domain import FOLDER, LANGUAGES, load_domain, normalise_for_comparison
from wyoming_superwhisper.models.demo.whisper_clips import SAMPLE_RATE, as_16_khz
from wyoming_superwhisper.models.demo.whisper_prompts import choose_names
from wyoming_superwhisper.models.demo.whisper_sounds import SOUNDS, make_sound

RATES = (120, 150, 180, 210)

Signal = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Utterance:
    """Something to be heard, and by whom it is said."""

    samples: Signal
    text: str
    language: str
    speaker: str


@dataclass
class Tally:
    """How many were heard exactly, by speaker, and what the others were taken for."""

    right: dict[str, int] = field(default_factory=dict)
    heard: dict[str, int] = field(default_factory=dict)
    mistakes: list[tuple[str, str, str]] = field(default_factory=list)

    def count(self, speaker: str, said: str, heard: str, language: str) -> None:
        """Take one result in."""
        exact = normalise_for_comparison(said, language) == normalise_for_comparison(heard, language)
        self.heard[speaker] = self.heard.get(speaker, 0) + 1
        self.right[speaker] = self.right.get(speaker, 0) + exact
        if not exact:
            self.mistakes.append((speaker, said, heard))

    @property
    def share(self) -> float:
        """The share of all that were heard exactly."""
        return sum(self.right.values()) / max(1, sum(self.heard.values()))

    def shares(self) -> dict[str, float]:
        """The share of each speaker, the worst first."""
        shares = {speaker: self.right[speaker] / count for speaker, count in self.heard.items()}
        return dict(sorted(shares.items(), key=lambda item: item[1]))


class Listener:
    """Stock transformers: a checkpoint and what belongs to it."""

    def __init__(self, checkpoint: Path) -> None:
        import torch
        from transformers import WhisperForConditionalGeneration, WhisperProcessor

        self._torch = torch
        self._model = WhisperForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
        self._processor: Any = WhisperProcessor.from_pretrained(checkpoint)

    def hear(self, signals: Sequence[Signal], language: str | None, names: str = "") -> list[str]:
        """Transcribe several signals; the names, where given, are the prompt of all."""
        features = self._processor(list(signals), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        options: dict[str, Any] = {"task": "transcribe", "language": language}
        if names:
            options["prompt_ids"] = self._processor.get_prompt_ids(names, return_tensors="pt")
        with self._torch.inference_mode():
            rows = self._model.generate(features, **options).tolist()
        return [self._text(row) for row in rows]

    def _text(self, tokens: list[int]) -> str:
        # A prompt comes back in front of the text.
        start = self._model.generation_config.decoder_start_token_id
        said = tokens[tokens.index(start) :] if start in tokens else tokens
        return str(self._processor.decode(said, skip_special_tokens=True)).strip()


def main(argv: Sequence[str] | None = None) -> None:
    """Print the figures, and write them into the checkpoint's card when asked to."""
    arguments = _parse(argv)
    results: list[str] = []
    for title, tally in _measure(arguments):
        results.append(_figures(title, tally))
        print(results[-1], flush=True)
        for speaker, said, heard in tally.mistakes[: arguments.mistakes]:
            print(f"    {speaker}: {said!r} -> {heard!r}")
    if arguments.card:
        _write_card(arguments.checkpoint / "README.md", results)


def _measure(arguments: argparse.Namespace) -> Iterator[tuple[str, Tally]]:
    listener = Listener(arguments.checkpoint)
    voices = load_domain().reserved_voices if arguments.reserved else _dev_variants()
    for language in LANGUAGES:
        utterances = list(spoken(language, voices, arguments.count, arguments.reserved, random.Random(arguments.seed)))
        names = random.Random(arguments.seed)
        yield f"{language}, without names", listen(listener, utterances, language, None)
        yield f"{language}, with 3 to 60 names", listen(listener, utterances, language, names)
        yield f"{language}, language not told", listen(listener, utterances, None, None)
    yield "sounds without words", listen_to_sounds(listener, arguments.count)


def spoken(
    language: str, variants: Sequence[str], count: int, reserved: bool, rng: random.Random
) -> Iterator[Utterance]:
    """So many sentences, the variants in turn, in all accents and at several speeds."""
    from wyoming_superwhisper.models.demo.whisper_batches import is_held_out

    sentences = load_domain().sample(language, rng, count * (1 if reserved else 40), reserved=reserved, fixed=0.0)
    if not reserved:
        sentences = [sentence for sentence in sentences if is_held_out(sentence)][:count]
    for number, sentence in enumerate(sentences):
        variant = variants[number % len(variants)]
        accents = (espeak.DEFAULT_VOICES[language], rng.choice(espeak.ACCENTS[language]))
        voice = f"{rng.choice(accents)}+{variant}"
        samples = as_16_khz(espeak.speak(sentence, voice, rng.choice(RATES)), espeak.SAMPLE_RATE)
        yield Utterance(with_silence(samples, rng), sentence, language, variant)


def with_silence(samples: npt.NDArray[np.int16], rng: random.Random) -> Signal:
    """A clip as it comes from the endpointing: some silence before, 200 ms after."""
    before = np.zeros(int(rng.uniform(0.1, 0.6) * SAMPLE_RATE), np.float32)
    after = np.zeros(SAMPLE_RATE // 5, np.float32)
    return np.concatenate([before, samples.astype(np.float32) / 32768, after])


def listen(
    listener: Listener, utterances: Sequence[Utterance], language: str | None, names: random.Random | None
) -> Tally:
    """Have everything heard, in groups; each group has other names to bias towards, if any."""
    tally = Tally()
    for at in range(0, len(utterances), 20):
        group = utterances[at : at + 20]
        prompt = _prompt(names, group[0].language) if names else ""
        heard = listener.hear([utterance.samples for utterance in group], language, prompt)
        for utterance, text in zip(group, heard, strict=True):
            tally.count(utterance.speaker, utterance.text, text, utterance.language)
    return tally


def listen_to_sounds(listener: Listener, count: int) -> Tally:
    """Have sounds without words heard, some of each kind: each should come out as nothing."""
    tally = Tally()
    numbers = np.random.default_rng(90)
    for kind in SOUNDS:
        signals = [
            make_sound(numbers, numbers.uniform(0.7, 4.0), kind) * np.float32(10 ** (-numbers.uniform(6, 40) / 20))
            for _ in range(-(-count // len(SOUNDS)))
        ]
        # In either language's turn, the languages being told: else Whisper guesses one.
        half = -(-len(signals) // 2)
        for language, some in zip(LANGUAGES, (signals[:half], signals[half:]), strict=True):
            for heard in listener.hear(some, language):
                tally.count(kind, "", heard, language)
    return tally


def _prompt(rng: random.Random, language: str) -> str:
    return ", ".join(choose_names(rng, language, "", rng.choice([3, 10, 25, 60])))


def _dev_variants() -> Sequence[str]:
    from wyoming_superwhisper.models.demo.whisper_voices import DEV_VARIANTS

    return DEV_VARIANTS


def _figures(title: str, tally: Tally) -> str:
    worst = ", ".join(f"{speaker} {share:.0%}" for speaker, share in tally.shares().items())
    return f"{title}: {tally.share:.1%} of {sum(tally.heard.values())} ({worst})"


def _write_card(card: Path, results: Sequence[str]) -> None:
    text = card.read_text(encoding="utf-8").split("\n## Figures")[0].rstrip()
    figures = "\n".join(f"- {line}" for line in results)
    told = "Sentences heard exactly (case and punctuation apart), by voice; stock transformers, float32, full window."
    card.write_text(f"{text}\n\n## Figures\n\n{told}\n\n{figures}\n", encoding="utf-8")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m wyoming_superwhisper.models.demo evaluate-whisper", description=__doc__
    )
    parser.add_argument("--checkpoint", type=Path, default=FOLDER / "weights" / "whisper")
    parser.add_argument("--count", type=int, default=300, help="sentences in each language")
    parser.add_argument("--mistakes", type=int, default=5, help="how many mistakes to show of each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--card", action="store_true", help="write the figures into the checkpoint's README.md")
    parser.add_argument(
        "--dev",
        dest="reserved",
        action="store_false",
        help="the held-out voices and sentences that checkpoints are chosen by, instead of the reserved ones",
    )
    return parser.parse_args(argv)
