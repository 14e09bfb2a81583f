"""Settings in environment variables."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wyoming_superwhisper.config.satellite_settings import SatelliteSettings
from wyoming_superwhisper.config.schema import Schema, keys
from wyoming_superwhisper.config.settings import Settings
from wyoming_superwhisper.config.source import Found, read
from wyoming_superwhisper.config.values import from_text
from wyoming_superwhisper.errors import SettingsError

PREFIX = "WYOMING_SUPERWHISPER_"
"""What the environment variables of settings begin with."""

NOT_SETTINGS = frozenset({"SETTINGS", "WORKER_SECRET"})
"""Environment variables with our prefix that are read elsewhere."""

_KUBERNETES = ("SERVICE_", "PORT")
"""Kubernetes sets WYOMING_SUPERWHISPER_SERVICE_HOST, …_PORT, …_PORT_10300_TCP for a service of our name."""


def environment_name(key: str) -> str:
    """The environment variable that sets a key."""
    return PREFIX + key.replace(".", "_").replace("-", "_").upper()


def from_environment(schema: Schema, environment: Mapping[str, str]) -> dict[str, Found]:
    """The keys that variables set, and a secret's where its variable names a file. Raises `SettingsError`."""
    names = {environment_name(key).removeprefix(PREFIX): key for key in schema.leaves}
    known_elsewhere = {environment_name(key).removeprefix(PREFIX) for kind in _KINDS for key in keys(kind)}
    found: dict[str, Found] = {}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).replace("__", "_")
        where, text = f"environment variable {variable}", environment[variable]
        key = names.get(name)
        if key is None and name.endswith("_FILE"):
            key = names.get(name.removesuffix("_FILE"))
            if key is not None:
                text = read(Path(text)).strip()
        if key is not None:
            found[key] = Found(from_text(schema.leaves[key], text, where), where)
        elif not _is_foreign(name, known_elsewhere):
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {PREFIX}{near[0]}?" if near else ""
            raise SettingsError(f"{where}: there is no such setting{hint}")
    return found


_KINDS: tuple[type[Any], ...] = (Settings, SatelliteSettings)


def _is_foreign(name: str, known_elsewhere: set[str]) -> bool:
    base = name.removesuffix("_FILE")
    return name in NOT_SETTINGS or base in known_elsewhere or name.startswith(_KUBERNETES)
