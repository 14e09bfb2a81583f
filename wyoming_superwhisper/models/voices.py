"""Piper voices as they are offered, read from the small file beside each model, and how one is chosen for a request."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wyoming_superwhisper.engines.base import VoiceInfo
from wyoming_superwhisper.errors import ModelError, UnknownVoice

_PIPER_VOICES = {"name": "Piper voices", "url": "https://huggingface.co/rhasspy/piper-voices"}


def read_voices(files: Mapping[str, Mapping[str, str]]) -> list[VoiceInfo]:
    """What each voice says of itself. Raises `ModelError` for a file that can't be read or isn't a voice's."""
    return [_read_voice(name, Path(paths["config"])) for name, paths in files.items()]


def speaker_ids(config: Mapping[str, Any]) -> dict[str, int]:
    """The speakers of a voice's settings file, by name; none where there is only one."""
    count = int(config.get("num_speakers", 1))
    if count <= 1:
        return {}
    named: Mapping[str, int] = config.get("speaker_id_map") or {str(number): number for number in range(count)}
    return {str(name): int(number) for name, number in sorted(named.items(), key=lambda item: int(item[1]))}


def choose_voice(
    voices: Sequence[VoiceInfo], *, name: str | None = None, language: str | None = None, default: str | None = None
) -> VoiceInfo:
    """The voice of that name, else one for the language: the default one if it will do, or the first; else the default.

    Raises `UnknownVoice` for a name that isn't offered, and where there are no voices at all.
    """
    if name:
        return _named(voices, name)
    preferred = _named(voices, default) if default else next(iter(voices), None)
    if preferred is None:
        raise UnknownVoice("There is no voice to speak with.")
    if not language:
        return preferred
    rest = [voice for voice in voices if voice is not preferred]
    return max([preferred, *rest], key=lambda voice: _fit(voice, language))


def find_speaker(voice: VoiceInfo, speaker: str | None) -> str | None:
    """The speaker as the voice names it; None: the voice's own choice. Raises `UnknownVoice`."""
    if speaker is None or speaker in voice.speakers:
        return speaker
    known = f"it has {_listed(voice.speakers)}" if voice.speakers else "it has only one"
    raise UnknownVoice(f"The voice {voice.name} has no speaker {speaker!r}; {known}.")


def _read_voice(name: str, path: Path) -> VoiceInfo:
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        language = config.get("language", {}).get("code") or config["espeak"]["voice"]
        attribution = config.get("attribution") or _PIPER_VOICES
        return VoiceInfo(
            name=name,
            languages=(str(language),),
            sample_rate=int(config["audio"]["sample_rate"]),
            speakers=tuple(speaker_ids(config)),
            description=_description(name, config),
            version=str(config.get("piper_version") or ""),
            attribution_name=attribution["name"],
            attribution_url=attribution["url"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"The voice {name} can't be used: {path} is not a Piper voice's settings ({error!r})."
        ) from error


def _description(name: str, config: Mapping[str, Any]) -> str:
    """As "siwis (medium), French"."""
    dataset = str(config.get("dataset") or name.split("-")[1 if name.count("-") else 0])
    quality = str(config.get("audio", {}).get("quality") or "")
    language = str(config.get("language", {}).get("name_english") or "")
    return dataset + (f" ({quality})" if quality else "") + (f", {language}" if language else "")


def _named(voices: Iterable[VoiceInfo], name: str) -> VoiceInfo:
    for voice in voices:
        if voice.name == name:
            return voice
    raise UnknownVoice(f"There is no voice {name!r}; there are {_listed(voice.name for voice in voices)}.")


def _fit(voice: VoiceInfo, language: str) -> int:
    """2: that very language and region, 1: the language, 0: another."""
    wanted = _plain(language)
    spoken = [_plain(known) for known in voice.languages]
    if wanted in spoken:
        return 2
    return int(any(known.partition("-")[0] == wanted.partition("-")[0] for known in spoken))


def _plain(language: str) -> str:
    return language.lower().replace("_", "-")


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:10]) + (" …" if len(shown) > 10 else "") if shown else "none"
