"""What will run: the models found and checked, the card chosen, and what each worker is told."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wyoming_superwhisper import gpu
from wyoming_superwhisper.config.settings import Settings
from wyoming_superwhisper.engines.base import VoiceInfo, WakeWordInfo
from wyoming_superwhisper.engines.wake_word import choose_words
from wyoming_superwhisper.errors import SettingsError, UnknownModel
from wyoming_superwhisper.home import Home
from wyoming_superwhisper.language import whisper_code
from wyoming_superwhisper.models.store import ModelStore, expected_memory_mb, whisper_languages, whisper_window
from wyoming_superwhisper.models.voices import read_voices

logger = logging.getLogger(__name__)

ENGINES = frozenset({"light", "whisper", "llama", "piper"})
"""Everything that can run."""


@dataclass(frozen=True)
class Plan:
    """A set of settings, and what was found for it on this machine. Nothing of it is loaded yet."""

    settings: Settings
    home: Home
    card: gpu.GpuChoice
    whisper: Path
    llama: Path | None
    voice_files: Mapping[str, Mapping[str, str]]
    voices: tuple[VoiceInfo, ...]

    @classmethod
    def of(cls, settings: Settings, engines: Collection[str]) -> Plan:
        """The plan for these engines. Raises `SettingsError`, and `ModelError` for models that are missing or cut."""
        card = gpu.choose(settings.gpu.device, gpu.survey(), gpu.installed_builds())
        limit_mb = settings.gpu.memory_limit_mb
        budget = replace(card, memory_mb=min(card.memory_mb, limit_mb)) if limit_mb else card
        store = ModelStore(settings.models.dir, budget)
        voice_files = store.voices(settings.tts.voices) if "piper" in engines else {}
        has_llm = settings.llm.model != "off" and "llama" in engines
        whisper = store.whisper(settings.asr.model) if "whisper" in engines else None
        if whisper is not None:
            _check_languages(settings.asr.languages, whisper)
        return cls(
            settings=settings,
            home=Home(settings.home),
            card=card,
            whisper=whisper or Path(settings.asr.model),
            llama=store.llama(settings.llm.model) if has_llm else None,
            voice_files=voice_files,
            voices=tuple(read_voices(voice_files)),
        )

    def video_memory(self) -> dict[str, int]:
        """What each engine on the card is expected to take, in MiB. Raises `SettingsError` over the limit."""
        needs: dict[str, int] = {}
        if self.card.device("whisper") == "cuda":
            needs["whisper"] = expected_memory_mb("whisper", self.whisper)
        if self.llama is not None and self.card.device("llama") == "cuda":
            needs["llama"] = expected_memory_mb("llama", self.llama)
        limit_mb = self.settings.gpu.memory_limit_mb
        if limit_mb and sum(needs.values()) > limit_mb:
            each = ", ".join(f"{name} {mb}" for name, mb in needs.items())
            raise SettingsError(
                f"the models need about {sum(needs.values())} MiB of video memory ({each}), and gpu.memory_limit_mb is "
                f"{limit_mb}: choose smaller models, or raise the limit."
            )
        return needs

    def wake_words(self) -> tuple[WakeWordInfo, ...]:
        """The wake words that are offered. Raises `SettingsError` for those that are not there."""
        try:
            return choose_words(self.settings.wake.engine, self.settings.wake.words)
        except UnknownModel as error:
            raise SettingsError(f"wake.words: {error}") from error

    def voice(self, language: str) -> str:
        """The configured voice, else the first one that speaks the language of the house, else the first."""
        wanted = self.settings.tts.voice
        if wanted != "auto" and self.voices:
            if wanted not in self.voice_files:
                raise SettingsError(f"tts.voice is '{wanted}', but the voices here are: {', '.join(self.voice_files)}.")
            return wanted
        spoken = [voice for voice in self.voices if any(one.startswith(language) for one in voice.languages)]
        first = next(iter(spoken or self.voices), None)
        return first.name if first else ""

    def configurations(self) -> dict[str, Mapping[str, Any]]:
        """What each worker is told of its engine, by the worker's name."""
        configurations: dict[str, Mapping[str, Any]] = {
            "light": self._light(),
            "whisper": self._whisper(),
            "piper": self._piper(),
        }
        if self.llama is not None:
            configurations["llama"] = self._llama(self.llama)
        return configurations

    def _whisper(self) -> dict[str, Any]:
        asr = self.settings.asr
        return {
            "model_dir": str(self.whisper),
            "languages": list(asr.languages),
            "language": asr.language,
            "engine": asr.engine,
            "compute": asr.compute,
            "threads": asr.threads,
            "batch": asr.batch,
            "window": self._window(),
            **self._device("whisper"),
        }

    def _window(self) -> str:
        """What of the window is encoded: the whole, unless the model was made for less, or somebody insists.

        On a card it is the whole by default: fixed shapes are worth more there.
        """
        wanted, made_for = self.settings.asr.window, whisper_window(self.whisper)
        if wanted == "speech" != made_for:
            name = self.whisper.name
            logger.warning("asr.window is speech, and %s is not known to be made for that: words may be lost", name)
        if wanted != "auto":
            return wanted
        return "full" if self.card.device("whisper") == "cuda" else made_for

    def _llama(self, model: Path) -> dict[str, Any]:
        llm = self.settings.llm
        return {
            "model_file": str(model),
            "context": llm.context,
            "history_tokens": llm.history_tokens,
            "sequences": llm.sequences,
            "system_prompt": llm.system_prompt,
            "max_tokens": llm.max_tokens,
            "temperature": llm.temperature,
            "gpu_layers": llm.gpu_layers,
            "threads": llm.threads,
            "home": self.home.as_json(),
            **self._device("llama"),
        }

    def _piper(self) -> dict[str, Any]:
        tts = self.settings.tts
        on_card = tts.device == "cuda" and self.card.uuid
        return {
            "voices": {name: dict(files) for name, files in self.voice_files.items()},
            "default": {"length_scale": tts.length_scale, "noise_scale": tts.noise_scale, "noise_w": tts.noise_w},
            "threads": tts.threads,
            "device": "cuda" if on_card else "cpu",
            "gpu_uuid": self.card.gpu_uuid("piper") if on_card else "",
        }

    def _light(self) -> dict[str, Any]:
        wake = self.settings.wake
        return {
            "languages": list(self.settings.intents.languages),
            "home": self.home.as_json(),
            "wake": {"words": list(wake.words), "engine": wake.engine},
        }

    def _device(self, engine: str) -> dict[str, str]:
        return {"device": self.card.device(engine), "gpu_uuid": self.card.gpu_uuid(engine)}


def needed_engines(services: Collection[str]) -> frozenset[str]:
    """The engines of the services that are offered; the light one has a part in all of them."""
    of = {"asr": "whisper", "tts": "piper", "handle": "llama"}
    return frozenset({"light", *(of[service] for service in services if service in of)})


def _check_languages(wanted: Sequence[str], whisper: Path) -> None:
    """Raises `SettingsError` for a language that would be advertised and that the model can't be asked for."""
    known = whisper_languages(whisper)
    unknown = [language for language in wanted if known and whisper_code(language) not in known]
    if unknown:
        raise SettingsError(
            f"asr.languages: the recognition model {whisper.name} does not know {', '.join(unknown)}; it knows "
            f"{', '.join(sorted(known))}."
        )
