"""What `transcribe --final-audio` writes: an utterance's samples that reach the model, found as the server does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from wyoming_superwhisper.audio import AudioFormat, write_wav
from wyoming_superwhisper.engines.base import VoiceState
from wyoming_superwhisper.errors import NotSupported, SettingsError
from wyoming_superwhisper.utterance import Utterance


async def write_final_audio(path: Path, format: AudioFormat, audio: bytes) -> None:
    """Cut the audio to its final audio and write it as WAV. Raises `SettingsError` where that can't be done."""
    final = await find_final_audio(format, audio)
    try:
        write_wav(path, final)
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror or error}") from error


async def find_final_audio(format: AudioFormat, audio: bytes) -> bytes:
    """The final audio of one utterance, s16le mono 16 kHz; nothing where nobody speaks."""
    utterance = Utterance(format, _open_voice_stream(), longest_s=math.inf)
    await utterance.feed(audio)
    return (await utterance.finish()).audio


class _VoiceStream:
    """The light worker's voice activity, in this process."""

    def __init__(self, voice: Any) -> None:
        self._voice = voice

    async def feed(self, audio: bytes) -> VoiceState:
        state: VoiceState = self._voice.feed(audio)
        return state

    async def close(self) -> None:
        """Nothing is held."""


def _open_voice_stream() -> _VoiceStream:
    try:
        from wyoming_superwhisper.engines.silero import SileroVoice

        return _VoiceStream(SileroVoice())
    except ImportError as error:
        raise NotSupported(
            f"--final-audio needs the package {error.name}: pip install 'wyoming-superwhisper[server]'"
        ) from error
