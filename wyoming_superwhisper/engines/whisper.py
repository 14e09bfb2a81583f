"""Speech recognition: a Whisper checkpoint in transformers' format, decoded by `engines.whisper_decoding`.

Several calls are decoded together, finals before guesses. What is no speech gives an empty text: by the model's own
no-speech probability, the certainty of its words, and how repetitive they are. Nothing is decoded again at a higher
temperature, and no text is carried from one call to the next.
"""

from __future__ import annotations

import logging
import math
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wyoming_superwhisper import errors
from wyoming_superwhisper.engines.base import SAMPLE_RATE, Call
from wyoming_superwhisper.engines.processors import usable_cpus
from wyoming_superwhisper.engines.whisper_rules import Heard, Row, end_logprob, loss_before_last_words
from wyoming_superwhisper.engines.whisper_windows import split_into_windows
from wyoming_superwhisper.language import whisper_code

if TYPE_CHECKING:  # these import torch, and the environment is to be prepared before that
    from wyoming_superwhisper.engines.whisper_choice import Wish
    from wyoming_superwhisper.engines.whisper_features import LogMels
    from wyoming_superwhisper.engines.whisper_rules import Decoder

logger = logging.getLogger(__name__)

# The first three are OpenAI's defaults (whisper/transcribe.py); there they lead to another try at a higher
# temperature, which makes things up more often than it helps. A command that is not sure is better asked for again.

LEAST_AVERAGE_LOGPROB = -1.0
"""Words less certain than this were not said."""

MOST_COMPRESSION_RATIO = 2.4
"""Text that shrinks more than this is the decoder running in circles."""

NO_SPEECH_PROBABILITY = 0.6
"""From here on the model believes that nobody speaks …"""

CERTAIN_AVERAGE_LOGPROB = -0.5
"""… and only words as certain as this are believed nevertheless. OpenAI's -1.0 would add nothing to the first check."""

SMALL_MODEL_PARAMETERS = 20_000_000
"""Below this one thread is faster than several: the threads would wait for each other."""

_MOST_THREADS = 8
_TOKEN_MARK = re.compile(r"<+\|+")
"""What a special token begins with, also where taking one out would leave another."""

LEAST_MARGIN = 1.0
"""Where less than the window was encoded, a token is doubtful that was chosen by less than this over the next best.

Of 3,000 sentences and sounds (reserved voices, noise down to 0 dB, with and without names in the prompt) 73 were heard
otherwise by the packaged model in a short window, the surest of them by 0.62; 12 % of all are below 1."""

_NEARLY = 0.25
"""So near one of the limits above a short window may lie on the other side of it."""

LOOKS_BACK = {"loss_without_end": (0.2, 1), "loss_without_phrase": (0.45, 3)}
"""So many seconds of voice are left out to see whether only so many words were spoken in them."""
_HANGOVER_SAMPLES = SAMPLE_RATE // 5
"""What a final audio keeps after its last voice."""
_LEAST_END_LOGPROB = -0.2
"""An end less certain than this is not looked back from: nothing would come of it."""

_KEPT_PROMPTS = 64
_SPEECH_STEP_FRAMES = 20
"""What is encoded is a multiple of this: few shapes, for which libraries keep plans."""
_SPEECH_MARGIN_FRAMES = 50
"""Silence that is encoded after what was spoken."""


@dataclass
class _Job:
    """One call, and how far it has come."""

    call: Call
    windows: list[npt.NDArray[np.int16]]
    language: str | None
    prompt: tuple[int, ...]
    heard: list[Heard] = field(default_factory=list)
    losses: dict[str, float] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return len(self.heard) == len(self.windows)

    @property
    def next_window(self) -> npt.NDArray[np.int16]:
        return self.windows[len(self.heard)]


class WhisperEngine:
    """Speech recognition in a worker; see `engines.base.Engine` for the contract.

    One call, `transcribe` {language or null, names, terms, look_back} with s16le mono 16 kHz; answered with the fields
    of `engines.base.Transcription`.
    """

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        self._configuration = configuration
        self._folder = Path(configuration["model_dir"])
        self._batch = max(1, int(configuration.get("batch") or 1))
        self._speech_window = configuration.get("window") == "speech"
        self._jobs: list[_Job] = []
        self._prompts: dict[tuple[str, ...], tuple[int, ...]] = {}
        self.capacity = 2 * self._batch  # so that the next batch is here when this one is done

    # --- loading -------------------------------------------------------------------------------------------------

    def load(self) -> Mapping[str, Any]:
        _prepare_environment()
        import torch

        from wyoming_superwhisper.engines.whisper_checkpoint import Checkpoint
        from wyoming_superwhisper.engines.whisper_choice import choose

        self._check_device()
        checkpoint = Checkpoint(self._folder)
        self._rules, self._tokenizer = checkpoint.rules, checkpoint.tokenizer
        self._extractor, self._window_frames = checkpoint.extractor, checkpoint.window_frames
        self._languages = self._choose_languages(self._configuration.get("languages") or ())
        wish = self._wish(checkpoint.parameters)
        torch.set_num_threads(wish.threads)
        self._decoder: Decoder = choose(checkpoint, wish)
        self._warm_up()
        return {
            "languages": list(self._languages),
            "model": self._folder.name,
            "window_s": self._extractor.window_samples / SAMPLE_RATE,
        }

    @property
    def _on_cuda(self) -> bool:
        return self._configuration.get("device") == "cuda"

    def _check_device(self) -> None:
        """Refuse to run on another card than the one named."""
        if not self._on_cuda:
            return
        import torch

        if not torch.cuda.is_available():
            raise errors.ModelError(
                "Whisper shall run on the GPU, but torch finds none: run script/setup --cuda, or set gpu.device to cpu"
            )
        wanted = _plain_uuid(self._configuration.get("gpu_uuid") or "")
        card = torch.cuda.get_device_properties(0)
        if wanted and not wanted.startswith("mig") and _plain_uuid(str(card.uuid)) != wanted:
            raise errors.ModelError(f"Whisper got the card {card.name} ({card.uuid}), not the one named ({wanted})")

    def _wish(self, parameters: int) -> Wish:
        from wyoming_superwhisper.engines.whisper_choice import Wish

        configuration, threads = self._configuration, self._threads(parameters)
        # Fixed shapes, and graphs of them, pay on a card only.
        decoder = configuration.get("decoder") or "auto"
        return Wish(
            engine=configuration.get("engine") or "auto",
            on_cuda=self._on_cuda,
            compute=configuration.get("compute") or "auto",
            threads=threads,
            batch=self._batch,
            static=decoder == "static" or (decoder == "auto" and self._on_cuda),
            speech_window=self._speech_window,
            languages=self._languages,
        )

    def _threads(self, parameters: int) -> int:
        chosen = int(self._configuration.get("threads") or 0)
        if chosen > 0:
            return chosen
        return 1 if parameters < SMALL_MODEL_PARAMETERS else min(_MOST_THREADS, usable_cpus())

    def _choose_languages(self, configured: Sequence[str]) -> list[str]:
        known = self._rules.languages or {"en": 0}
        languages = [language for language in dict.fromkeys(map(whisper_code, configured)) if language in known]
        if not languages:
            raise errors.ModelError(
                f"the Whisper model in {self._folder} speaks none of the configured languages ({', '.join(configured)})"
            )
        for language in configured:
            if whisper_code(language) not in languages:
                logger.warning("The Whisper model doesn't know the language %r (asr.languages)", language)
        return languages

    def _warm_up(self) -> None:
        """Make first requests as fast as later ones: with and without a prompt, alone and in a full batch."""
        silence = self._extractor.log_mels(np.zeros(SAMPLE_RATE, np.int16))
        for rows in sorted({1, self._batch}):
            for prompt in ((), self._prompt(("a", "b"))):
                self._decoder.decode([self._row(silence, None, prompt)] * rows)

    # --- calls ---------------------------------------------------------------------------------------------------

    def admit(self, call: Call) -> None:
        try:
            self._jobs.append(self._job(call))
        except errors.SuperwhisperError as error:
            call.fail(error)

    def step(self) -> bool:
        """Transcribe the next window of up to a batch of calls."""
        self._jobs = [job for job in self._jobs if not job.call.cancelled]
        self._jobs.sort(key=lambda job: job.call.priority)  # stable: first come, first served within each
        jobs = self._jobs[: self._batch]
        if not jobs:
            return False
        try:
            self._transcribe(jobs)
        except BaseException:
            self._jobs.clear()  # the worker fails them all
            raise
        for job in [job for job in jobs if job.over]:
            self._jobs.remove(job)
            job.call.done({**self._result(job), "batch": len(jobs)})
        for job in self._jobs:
            job.call.part({})  # a sign of life: long utterances take long, and the front must not think us stuck
        return bool(self._jobs)

    def _job(self, call: Call) -> _Job:
        if call.method != "transcribe":
            raise errors.NotSupported(f"the Whisper worker knows no call {call.method!r}")
        if len(call.payload) % 2:
            raise errors.BadFormat("the audio is not whole samples of 16 bits")
        language = call.data.get("language")
        if language is not None:
            language = whisper_code(language)
            if language not in (self._rules.languages or {"en": 0}):
                raise errors.UnknownLanguage(f"the Whisper model doesn't know the language {language!r}")
        samples = np.frombuffer(call.payload, "<i2")
        names = (*(call.data.get("names") or ()), *(call.data.get("terms") or ()))
        return _Job(call, split_into_windows(samples, self._extractor.window_samples), language, self._prompt(names))

    def _transcribe(self, jobs: Sequence[_Job]) -> None:
        import torch

        try:
            self._decode(jobs)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if self._on_cuda:
                torch.cuda.empty_cache()
            if len(jobs) == 1:
                self._jobs.remove(jobs[0])
                jobs[0].call.fail(errors.OutOfMemory("not enough memory to transcribe this"))
                return
            logger.warning("Not enough memory for %d utterances together: one after the other", len(jobs))
            for job in jobs:
                self._transcribe([job])

    def _decode(self, jobs: Sequence[_Job]) -> None:
        mels = [self._extractor.log_mels(job.next_window) for job in jobs]
        rows = [self._row(one, job.language, job.prompt, job.call) for one, job in zip(mels, jobs, strict=True)]
        heard = self._decoder.decode(rows)
        for again, at in self._doubtful(rows, heard, mels):
            heard[at] = again
        for job, one in zip(jobs, heard, strict=True):
            job.heard.append(one)
            job.language = one.language
        self._look_back([job for job in jobs if job.over])

    def _look_back(self, over: Sequence[_Job]) -> None:
        """Find out how certain the words before the last ones are without the end of the voice, for those who ask."""
        certain = [job for job in over if self._end_logprob(job.heard[-1]) >= _LEAST_END_LOGPROB]
        for name, (seconds, words) in LOOKS_BACK.items():
            jobs = []
            for job in [job for job in certain if name in (job.call.data.get("look_back") or ())]:
                if len(self._text(job.heard[-1]).split()) > words:
                    jobs.append(job)
                else:
                    job.losses[name] = 0.0  # of nothing
            if not jobs:
                continue
            mels = [self._extractor.log_mels(_without_end(job.windows[-1], seconds)) for job in jobs]
            rows = [self._row(one, job.language, job.prompt, job.call) for one, job in zip(mels, jobs, strict=True)]
            for job, again in zip(jobs, self._decoder.decode(rows), strict=True):
                loss = loss_before_last_words(words, self._pieces(job.heard[-1]), job.heard[-1], again)
                if math.isfinite(loss):
                    job.losses[name] = loss

    def _doubtful(
        self, rows: Sequence[Row], heard: Sequence[Heard], mels: Sequence[LogMels]
    ) -> Iterator[tuple[Heard, int]]:
        """What is heard in the whole window where it might be something else than in what was spoken."""
        short = [at for at, row in enumerate(rows) if row.features.shape[1] < self._window_frames]
        doubtful = [at for at in short if is_doubtful(heard[at])]
        if not doubtful:
            return iter(())
        whole = [replace(rows[at], features=mels[at].frames(self._window_frames)) for at in doubtful]
        return zip(self._decoder.decode(whole), doubtful, strict=True)

    def _row(self, mels: LogMels, language: str | None, prompt: tuple[int, ...], call: Call | None = None) -> Row:
        wanted = (lambda: True) if call is None else (lambda: not call.cancelled)
        return Row(mels.frames(self._frames(mels)), prompt, language, wanted)

    def _frames(self, mels: LogMels) -> int:
        """How many frames are to be encoded: the window's, or those of what was spoken."""
        if not self._speech_window:
            return self._window_frames
        spoken = mels.spoken.shape[1] + _SPEECH_MARGIN_FRAMES
        return min(self._window_frames, -(-spoken // _SPEECH_STEP_FRAMES) * _SPEECH_STEP_FRAMES)

    def _prompt(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """The prompt for these names; those of a home are the same again and again."""
        if names not in self._prompts:
            if len(self._prompts) >= _KEPT_PROMPTS:
                self._prompts.pop(next(iter(self._prompts)))
            self._prompts[names] = self._make_prompt(names)
        return self._prompts[names]

    def _make_prompt(self, names: Sequence[str]) -> tuple[int, ...]:
        """<|startofprev|> and as many of the names, the first ones first, as there is room for."""
        plain = dict.fromkeys(" ".join(_TOKEN_MARK.sub("", name).split()) for name in names)
        tokenizer, room = self._tokenizer, self._rules.prompt_tokens
        chosen: list[str] = []
        for name in filter(None, plain):
            room -= len(tokenizer(f", {name}", add_special_tokens=False).input_ids)
            if room < 0:
                break  # a client may send a thousand more
            chosen.append(name)
        if not chosen or self._rules.previous is None:
            return ()
        return tuple(tokenizer.get_prompt_ids(", ".join(chosen)).tolist()[: self._rules.prompt_tokens])

    # --- results -------------------------------------------------------------------------------------------------

    def _result(self, job: _Job) -> dict[str, Any]:
        texts = [self._text(heard) for heard in job.heard]
        believed = [self._believe(heard, text) for heard, text in zip(job.heard, texts, strict=True)]
        tokens = [token for heard in job.heard for token in heard.tokens]
        return {
            "text": " ".join(filter(None, believed)),
            "language": job.heard[0].language,
            "no_speech_probability": min(heard.no_speech for heard in job.heard),
            "average_logprob": sum(sum(heard.logprobs) for heard in job.heard) / (len(tokens) + len(job.heard)),
            "end_logprob": self._end_logprob(job.heard[-1]),
            "compression_ratio": max(map(compression_ratio, texts)),
            "tokens": tokens,
            **job.losses,
        }

    def _end_logprob(self, heard: Heard) -> float:
        return end_logprob(self._pieces(heard), heard.logprobs)

    def _pieces(self, heard: Heard) -> list[str]:
        return [self._tokenizer.decode([token]) for token in heard.tokens]

    def _text(self, heard: Heard) -> str:
        first_special = min(self._rules.ends)  # timestamps, languages and the like come after the end token
        text: str = self._tokenizer.decode([token for token in heard.tokens if token < first_special])
        return text.strip()

    def _believe(self, heard: Heard, text: str) -> str:
        if is_speech(heard.no_speech, heard.average_logprob, compression_ratio(text)):
            return text
        logger.debug("Taken for no speech: %s", heard)
        return ""


def is_doubtful(heard: Heard) -> bool:
    """Whether something else may be heard in the whole window than in what was spoken, or be believed otherwise."""
    certainty, no_speech = heard.average_logprob, heard.no_speech
    barely_said = abs(certainty - LEAST_AVERAGE_LOGPROB) < _NEARLY
    uncertain = certainty < CERTAIN_AVERAGE_LOGPROB + _NEARLY
    barely_silence = abs(no_speech - NO_SPEECH_PROBABILITY) < _NEARLY and uncertain
    barely_certain = no_speech > NO_SPEECH_PROBABILITY and abs(certainty - CERTAIN_AVERAGE_LOGPROB) < _NEARLY
    return heard.margin < LEAST_MARGIN or barely_said or barely_silence or barely_certain


def is_speech(no_speech: float, average_logprob: float, ratio: float) -> bool:
    """Whether decoded text is to be believed."""
    if average_logprob < LEAST_AVERAGE_LOGPROB or ratio > MOST_COMPRESSION_RATIO:
        return False
    return no_speech <= NO_SPEECH_PROBABILITY or average_logprob >= CERTAIN_AVERAGE_LOGPROB


def compression_ratio(text: str) -> float:
    """How many times shorter zlib makes the text; OpenAI's measure of repetition."""
    encoded = text.encode("utf-8")
    return len(encoded) / len(zlib.compress(encoded)) if encoded else 0.0


def _without_end(final_audio: npt.NDArray[np.int16], seconds: float) -> npt.NDArray[np.int16]:
    """A final audio whose voice ends so much sooner, with silence after it as ever."""
    spoken = final_audio[: max(0, len(final_audio) - _HANGOVER_SAMPLES - int(seconds * SAMPLE_RATE))]
    return np.concatenate([spoken, np.zeros(_HANGOVER_SAMPLES, np.int16)])


def _plain_uuid(uuid: str) -> str:
    return uuid.lower().removeprefix("gpu-")


def _prepare_environment() -> None:
    """What must be said before torch and transformers are imported."""
    for name, value in {
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait slow everything else on the machine
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
    }.items():
        os.environ.setdefault(name, value)


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    # torch's CPU allocator raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
