"""Shell commands that are run when something happens: the text on their standard input, a limit on their time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping
from typing import Self

from wyoming_superwhisper.config.satellite_settings import HookSettings
from wyoming_superwhisper.errors import SettingsError
from wyoming_superwhisper.satellite.news import KINDS, Item

logger = logging.getLogger(__name__)

AT_ONCE = 8
"""Commands that run at once; more wait."""
WAITING = 256
"""Commands that wait; what happens while there are so many has none."""


class Hooks:
    """Runs commands while the context is open; a `Reader` of the news."""

    def __init__(self, settings: HookSettings) -> None:
        """Raises `SettingsError` for an event that there is none of."""
        unknown = sorted(set(settings.commands) - set(KINDS))
        if unknown:
            raise SettingsError(f"hooks.commands: there is no event '{unknown[0]}'; there are {', '.join(KINDS)}.")
        self._commands: Mapping[str, str] = settings.commands
        self._limit_s = settings.limit_s
        self._running: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """What is running may end within its limit."""
        if self._running:
            await asyncio.wait(self._running, timeout=self._limit_s)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def __call__(self, item: Item) -> None:
        """It has happened."""
        command = self._commands.get(item.kind)
        if not command:
            return
        if len(self._running) >= AT_ONCE + WAITING:
            logger.warning("Too many hooks are waiting: none for %s", item.kind)
            return
        task = asyncio.create_task(self._run_in_turn(command, item), name=f"hook {item.kind}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run_in_turn(self, command: str, item: Item) -> None:
        async with self._places:
            await self._run(command, item)

    async def _run(self, command: str, item: Item) -> None:
        try:
            process = await asyncio.create_subprocess_shell(
                command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                env={**os.environ, "SATELLITE_EVENT": item.kind, **_environment(item.data)},
                start_new_session=True,  # so that its children end with it
            )
        except OSError as error:
            logger.warning("The hook for %s can't be run: %s", item.kind, error)
            return
        try:
            async with asyncio.timeout(self._limit_s):
                await process.communicate(item.text.encode())
            if process.returncode:
                logger.warning("The hook for %s has ended with status %d", item.kind, process.returncode)
        except TimeoutError:
            logger.warning("The hook for %s took longer than %g s and was ended", item.kind, self._limit_s)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


def _environment(data: Mapping[str, object]) -> dict[str, str]:
    return {f"SATELLITE_{key.upper()}": str(value) for key, value in data.items()}
