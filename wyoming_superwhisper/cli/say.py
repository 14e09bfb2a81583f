"""Speak a text: through the loudspeaker, or into a WAV file."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wyoming_superwhisper.cli import options as shared
from wyoming_superwhisper.errors import SettingsError

if TYPE_CHECKING:
    from wyoming_superwhisper.satellite.speaker import Speaker

EPILOG = """\
examples:
  wyoming-superwhisper say "Le dîner est prêt." --server tcp://gpu-box:10300
  echo "Hello." | wyoming-superwhisper say - --language en --output hello.wav --settings demo"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `say`."""
    parser.add_argument("text", metavar="TEXT", help="what to say; - reads it from standard input")
    parser.add_argument(
        "--output", metavar="WAV", help="write the sound there instead of playing it; - is standard output"
    )
    parser.add_argument("--voice", metavar="NAME", help="voice (default: the one for the language)")
    parser.add_argument("--speaker", metavar="NAME", help="speaker of a voice that has several")
    parser.add_argument("--language", metavar="LANGUAGE", help="language, where no voice is named")
    parser.add_argument("--snd", metavar="DEVICE", default="default", help="loudspeaker, as the satellite's snd.device")
    shared.add_server(parser)
    shared.add_models(parser)
    shared.add_settings(parser)


def run(options: argparse.Namespace) -> int:
    """Speak the text."""
    text = sys.stdin.read() if options.text == "-" else options.text
    if not text.strip():
        raise SettingsError("there is nothing to say: the text is empty")
    if options.output:
        _write(options.output, asyncio.run(_speak(options, text)))
    else:
        asyncio.run(_play(options, text))
    return 0


async def _speak(options: argparse.Namespace, text: str) -> bytes:
    """The text spoken, as the bytes of a WAV file."""
    from wyoming_superwhisper import client
    from wyoming_superwhisper.audio import wav_bytes
    from wyoming_superwhisper.errors import Internal

    async with shared.server_uri(options, "piper") as uri:
        spoken = client.synthesize(uri, text, options.voice, options.language, options.speaker)
        chunks = [chunk async for chunk in spoken]
    if not chunks:
        raise Internal("the server said nothing")
    return wav_bytes(b"".join(chunk.audio for chunk in chunks), chunks[0].format)


def _write(output: str, content: bytes) -> None:
    if output == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        Path(output).write_bytes(content)
    except OSError as error:
        raise SettingsError(f"cannot write {output}: {error.strerror or error}") from error


async def _play(options: argparse.Namespace, text: str) -> None:
    from wyoming_superwhisper import client

    try:
        speaker = _loudspeaker(options.snd)
    except (SettingsError, OSError) as error:
        raise SettingsError(f"{str(error).rstrip('.')}; --output FILE writes a WAV instead") from error
    async with speaker, shared.server_uri(options, "piper") as uri:
        async for chunk in client.synthesize(uri, text, options.voice, options.language, options.speaker):
            if not speaker.playing:
                await speaker.start(chunk.format)
            await speaker.write(chunk.audio)
        await speaker.finish()


def _loudspeaker(device: str) -> Speaker:
    """Raises `SettingsError`, OSError where it isn't there now: a satellite waits for one, a command doesn't."""
    from wyoming_superwhisper.config.satellite_settings import SndSettings
    from wyoming_superwhisper.satellite.device import parse_device
    from wyoming_superwhisper.satellite.port_audio import find_device
    from wyoming_superwhisper.satellite.speaker import make_speaker

    parsed = parse_device(device)
    if parsed.kind == "portaudio":
        find_device(parsed.name, "output")
    return make_speaker(SndSettings(device=device))
