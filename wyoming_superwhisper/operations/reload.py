"""Settings that are read again while the server runs (SIGHUP): what can be changed is, what can't is named."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any

from wyoming_superwhisper.config.settings import Settings
from wyoming_superwhisper.errors import SettingsError

logger = logging.getLogger(__name__)

CHANGEABLE = (
    "asr.bias", "asr.gate", "asr.guesses", "gpu.idle_unload_s", "gpu.memory_limit_mb", "home.", "limits.",
    "llm.forget_s", "log.", "record.", "server.allow", "tts.length_scale", "tts.noise_scale", "tts.noise_w",
    "tts.voice",
)  # fmt: skip
"""Keys, and beginnings of keys, that need no restart."""


class Reloader:
    """Holds the settings that are in force, and changes them."""

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Settings],
        apply: Callable[[Settings, Collection[str]], Awaitable[None]],
    ) -> None:
        """`read` raises `SettingsError`. `apply` gets the settings as they shall be, and the keys that changed."""
        self.settings = settings
        self._read = read
        self._apply = apply

    async def reload(self) -> None:
        """Read the settings and put what changed into force. Never raises for wrong settings: the old ones hold on."""
        try:
            wanted = self._read()
        except SettingsError as error:
            logger.error("the settings were not reloaded: %s", error)
            return
        changed = tuple(differences(self.settings, wanted))
        possible = tuple(key for key in changed if is_changeable(key))
        settings = taken_over(self.settings, wanted, possible)
        try:
            await self._apply(settings, possible)
        except SettingsError as error:
            logger.error("the settings were not reloaded: %s", error)
            return
        self.settings = settings
        logger.info("settings reloaded: %s", ", ".join(possible) or "nothing has changed")
        if impossible := [key for key in changed if key not in possible]:
            logger.warning("changed only by a restart: %s", ", ".join(impossible))


def is_changeable(key: str) -> bool:
    """Whether a setting can be changed while the server runs."""
    return any(key == one or (one.endswith(".") and key.startswith(one)) for one in CHANGEABLE)


def differences(old: Any, new: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys that differ."""
    for field in dataclasses.fields(old):
        key = f"{prefix}{field.name}"
        before, after = getattr(old, field.name), getattr(new, field.name)
        if dataclasses.is_dataclass(before) and not isinstance(before, type):
            yield from differences(before, after, f"{key}.")
        elif before != after:
            yield key


def taken_over(old: Any, new: Any, keys: Collection[str], prefix: str = "") -> Any:
    """`old` with the values that `new` has for these keys."""
    changes = {}
    for field in dataclasses.fields(old):
        key = f"{prefix}{field.name}"
        before = getattr(old, field.name)
        if dataclasses.is_dataclass(before) and not isinstance(before, type):
            changes[field.name] = taken_over(before, getattr(new, field.name), keys, f"{key}.")
        elif key in keys:
            changes[field.name] = getattr(new, field.name)
    return dataclasses.replace(old, **changes)
