"""Makes what others play on the satellite's loudspeaker quieter during a turn, and as loud again after it.

What was made quieter is written down first, with the volume it had: a satellite that was killed in a turn mends that at
its next start. A volume that somebody else has changed meanwhile is left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
import queue
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from wyoming_superwhisper.config.satellite_settings import SndSettings
from wyoming_superwhisper.satellite.device import parse_device
from wyoming_superwhisper.satellite.news import Item

logger = logging.getLogger(__name__)

QUIET = frozenset({"listening", "thinking", "speaking"})
"""In these states others are quiet."""
LOUD = frozenset({"idle", "disconnected", "muted", "ringing", "shutdown"})
"""In these they are as they were; what else happens changes nothing."""
ENDING_S = 2.0
"""Longest wait for the sound server when the satellite ends, in seconds."""
NOBODY = 0xFFFFFFFF
"""In the place of the program that plays a stream: the sound server itself does."""
SAME = 0.005
"""Volumes that differ by less are the same: the sound server rounds them."""


@dataclass(frozen=True, slots=True)
class Ducked:
    """A stream of somebody else that was made quieter."""

    index: int
    """Its number at the sound server, which gives none twice."""
    before: list[float]
    """Its volume by channel, as it was; 1.0: 100 %."""
    now: list[float]
    """Its volume as we have made it."""


class Ducking:
    """Follows what the satellite does, while the context is open; a `Reader` of the news. Never waits for sound."""

    def __init__(self, loudspeaker: str, factor: float, kept: Path) -> None:
        """`loudspeaker`: its name at the sound server, "" for the default one; `factor`: on the loudness of others;
        `kept`: the file in which they are written down meanwhile."""
        self._loudspeaker = loudspeaker
        self._factor = factor
        self._kept = kept
        self._wanted: queue.SimpleQueue[bool | None] = queue.SimpleQueue()
        """Whether others are to be quiet; None: the end."""
        self._quiet = False
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._work, name="ducking", daemon=True)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._wanted.put(None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ENDING_S):
                await self._ended.wait()

    def __call__(self, item: Item) -> None:
        """Something has happened."""
        quiet = item.kind in QUIET or (self._quiet and item.kind not in LOUD)
        if quiet != self._quiet:
            self._quiet = quiet
            self._wanted.put(quiet)

    # --- below: the thread, since the sound server is waited for ---

    def _work(self) -> None:
        self._try(self._restore)  # what a satellite that was killed has left
        while (quiet := self._wanted.get()) is not None:
            self._try(self._duck if quiet else self._restore)
        self._try(self._restore)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._ended.set)

    def _try(self, work: Any) -> None:
        """A sound server that isn't there has nothing to be made quieter."""
        try:
            work()
        except (OSError, _library().PulseError) as error:
            logger.debug("Others could not be made quieter or louder: %s", error)

    def _duck(self) -> None:
        with _library().Pulse("wyoming-superwhisper") as server:
            sinks = self._sinks(server)
            ducked = [
                Ducked(stream.index, stream.volume.values, [self._lower(one) for one in stream.volume.values])
                for stream in server.sink_input_list()
                if stream.sink in sinks and _is_of_others(stream)
            ]
            if not ducked:
                return
            kept = {"server": server.server_info().cookie, "streams": [asdict(one) for one in ducked]}
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            self._kept.write_text(json.dumps(kept))
            for one in ducked:
                _set_volume(server, one.index, one.now)

    def _sinks(self, server: Any) -> set[int]:
        """The loudspeaker, and what it plays on in turn where it is an echo canceller's."""
        named = {sink.name: sink for sink in server.sink_list()}
        found: set[int] = set()
        name = self._loudspeaker or server.server_info().default_sink_name
        while (sink := named.pop(name, None)) is not None:
            found.add(sink.index)
            name = sink.proplist.get("device.master_device", "")
        return found

    def _lower(self, volume: float) -> float:
        """The sound server's volumes are the cube root of loudness."""
        return float(volume * self._factor ** (1 / 3))

    def _restore(self) -> None:
        if not self._kept.exists():
            return
        with _library().Pulse("wyoming-superwhisper") as server:
            for one in self._read(server.server_info().cookie):
                if _has_volume(server, one.index, one.now):
                    _set_volume(server, one.index, one.before)
        self._kept.unlink(missing_ok=True)

    def _read(self, cookie: int) -> list[Ducked]:
        """What was made quieter, if it was at this very sound server."""
        try:
            kept = json.loads(self._kept.read_text())
            return [Ducked(**one) for one in kept["streams"]] if kept["server"] == cookie else []
        except (ValueError, KeyError, TypeError):  # a file that was cut off
            return []


def make_ducking(settings: SndSettings, kept: Path) -> Ducking | None:
    """Where the loudspeaker is one of the sound server, and the settings want others to be quieter; else None."""
    device = parse_device(settings.device)
    if settings.ducking == 1.0 or device.kind != "pulse":
        return None
    if importlib.util.find_spec("pulsectl") is None:
        logger.info("Others are not made quieter (snd.ducking): that needs the package pulsectl.")
        return None
    return Ducking(device.name, settings.ducking, kept)


def _library() -> ModuleType:
    return importlib.import_module("pulsectl")


def _is_of_others(stream: Any) -> bool:
    """Whether another program plays it, and not the sound server itself, which passes on what we play."""
    return stream.client != NOBODY and str(stream.proplist.get("application.process.id", "")) != str(os.getpid())


def _has_volume(server: Any, index: int, volume: list[float]) -> bool:
    """Whether it is still there, and as loud as that."""
    try:
        values = server.sink_input_info(index).volume.values
    except _library().PulseIndexError:
        return False
    return len(values) == len(volume) and all(abs(a - b) < SAME for a, b in zip(values, volume, strict=True))


def _set_volume(server: Any, index: int, volume: list[float]) -> None:
    """Where it is still there."""
    library = _library()
    with contextlib.suppress(library.PulseOperationFailed):
        server.sink_input_volume_set(index, library.PulseVolumeInfo(volume))
