"""Run a room's microphone and loudspeaker against a server."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from wyoming_superwhisper import __version__, logs
from wyoming_superwhisper.cli import options as shared
from wyoming_superwhisper.cli import stock_flags

logger = logging.getLogger(__name__)

EPILOG = """\
examples:
  wyoming-superwhisper satellite --server tcp://gpu-box:10300 --wake-word okay_nabu --area Salon
  wyoming-superwhisper satellite --uri tcp://0.0.0.0:10700 --wake-word okay_nabu
  wyoming-superwhisper satellite trigger --uri tcp://127.0.0.1:10700
  wyoming-superwhisper satellite --server auto --wav question.wav --output answer.wav"""

_KEYS = {
    "server": "server.uri",
    "uri": "listen.uri",
    "zeroconf": "listen.zeroconf",
    "mic": "mic.device",
    "snd": "snd.device",
    "wake_word": "wake.words",
    "name": "name",
    "area": "area",
    "language": "language",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `satellite`."""
    parser.add_argument(
        "action",
        nargs="?",
        default="run",
        choices=("run", "trigger", "setup", "doctor"),
        help="run (the default); trigger: press the button of the one that listens at --uri; setup: find microphone "
        "and loudspeaker and write the settings; doctor: say what is wrong",
    )
    parser.add_argument("--server", metavar="URI", help="server to dial; auto: the one on the network (the default)")
    parser.add_argument("--uri", metavar="URI", help="listen here, as tcp://0.0.0.0:10700, to be driven from there")
    parser.add_argument(
        "--zeroconf", action=argparse.BooleanOptionalAction, default=None, help="be advertised where it listens"
    )
    mic = parser.add_mutually_exclusive_group()
    mic.add_argument("--mic", metavar="DEVICE", help="microphone: part of a name, pulse, arecord, command:LINE")
    mic.add_argument(
        "--wav", dest="mic", type=_wav_file, metavar="FILE", help="hear this WAV file instead of a microphone"
    )
    snd = parser.add_mutually_exclusive_group()
    snd.add_argument("--snd", metavar="DEVICE", help="loudspeaker: part of a name, pulse, aplay, command:LINE, off")
    snd.add_argument(
        "--output", dest="snd", type=_wav_file, metavar="FILE", help="write the answer to this WAV file instead"
    )
    parser.add_argument(
        "--wake-word", action="append", metavar="NAME", help="wake word to listen for; repeatable (none: push to talk)"
    )
    parser.add_argument("--name", metavar="NAME", help="name of this satellite (default: the host's name)")
    parser.add_argument("--area", metavar="AREA", help="room it stands in: id or name of an area of the home")
    parser.add_argument("--language", metavar="LANGUAGE", help="language that is spoken to it")
    parser.add_argument("--folder", metavar="DIR", help="where setup writes (default: the user's settings folder)")
    parser.add_argument("--version", action="version", version=f"wyoming-superwhisper {__version__}")
    stock_flags.add_arguments(parser)
    shared.add_settings(parser, packaged="satellite")


def run(options: argparse.Namespace) -> int:
    """Run until told to stop, or do what else was asked for."""
    if options.action == "trigger":
        return _trigger(options)
    from wyoming_superwhisper.config.satellite_settings import SatelliteSettings

    stock_flags.take_log_format(options)
    settings = shared.load(SatelliteSettings, options, _KEYS, stock_flags.overrides(options))
    logs.configure(settings.log.level, settings.log.format)
    for warning in stock_flags.warnings(options):
        logger.warning("%s", warning)
    if options.action == "setup":
        from wyoming_superwhisper.satellite import setting_up

        return setting_up.run(settings, Path(options.folder) if options.folder else _own_folder())
    if options.action == "doctor":
        from wyoming_superwhisper.satellite import examination

        return examination.run(settings)
    from wyoming_superwhisper.satellite import app

    return app.run(settings)


def _wav_file(path: str) -> str:
    """The device that is this file, whatever it is called."""
    return f"wav:{path}"


def _own_folder() -> Path:
    import platformdirs

    return platformdirs.user_config_path("wyoming-superwhisper", appauthor=False)


def _trigger(options: argparse.Namespace) -> int:
    from wyoming_superwhisper.satellite import trigger

    shared.configure_log(options)
    return trigger.run(options.uri or trigger.HERE)
