"""Write down what is said in a WAV file. Only the text goes to standard output; silence gives an empty line."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from wyoming_superwhisper.cli import options as shared
from wyoming_superwhisper.errors import SettingsError

EPILOG = """\
examples:
  wyoming-superwhisper transcribe sentence.wav --server tcp://gpu-box:10300
  wyoming-superwhisper transcribe sentence.wav --language en --settings demo

Any PCM WAV of 8 to 48 kHz, 8 to 32 bits, one or two channels will do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `transcribe`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the WAV file")
    parser.add_argument("--language", metavar="LANGUAGE", help="language that is spoken (default: as the settings say)")
    parser.add_argument(
        "--final-audio",
        metavar="OUT.wav",
        type=Path,
        help="also write what reaches the model: 16 kHz, up to 200 ms after the last voice",
    )
    shared.add_server(parser)
    shared.add_models(parser)
    shared.add_settings(parser)


def run(options: argparse.Namespace) -> int:
    """Transcribe the file."""
    print(asyncio.run(_transcribe(options)))
    return 0


async def _transcribe(options: argparse.Namespace) -> str:
    from wyoming_superwhisper import client
    from wyoming_superwhisper.audio import AudioConverter, read_wav
    from wyoming_superwhisper.errors import BadFormat

    try:
        format, audio = read_wav(options.file)
        AudioConverter(format)  # before anything is loaded: an unheard-of rate is the caller's to put right
    except BadFormat as error:
        raise SettingsError(str(error)) from error
    if options.final_audio:
        from wyoming_superwhisper.cli.final_audio import write_final_audio

        await write_final_audio(options.final_audio, format, audio)
    async with shared.server_uri(options, "light", "whisper") as uri:
        return await client.transcribe(uri, audio, format, options.language)
