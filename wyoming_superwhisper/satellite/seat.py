"""The listening side: Home Assistant, or a server that drives satellites, connects here and takes the seat.

Anybody allowed may ask what this is and whether it lives. Only whoever has taken the seat with `run-satellite` hears
the microphone and is played. The same address replaces itself at once; another one gets an error, unless the holder
has been silent for so long that it counts as gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from wyoming.audio import AudioStop
from wyoming.event import Event, Eventable
from wyoming.info import Info
from wyoming.ping import Ping, Pong
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming.snd import Played
from wyoming.wake import Detection

from wyoming_superwhisper.access import AllowList
from wyoming_superwhisper.config.satellite_settings import LinkSettings, ListenSettings
from wyoming_superwhisper.errors import BadEvent, Busy, NotAllowed, SettingsError, SuperwhisperError, Timeout
from wyoming_superwhisper.satellite.link import Ask, Inbox, LinkLost, LinkState
from wyoming_superwhisper.wire import Disconnected, EventReader, EventWriter, Limits, error_event, refuse

logger = logging.getLogger(__name__)

DEFAULT_PORT = 10700
VISITORS = 32
"""Connections at once; who has the seat is never turned away for the others."""
VISIT_S = 60.0
"""A visitor who says nothing for so long is shown out, in seconds."""
WRITE_S = 5.0
"""Time without progress after which sending is given up, in seconds."""
EVENT_S = 15.0
"""Time for a whole event from its first byte, in seconds."""


class SeatTurnEnd:
    """Knows when Home Assistant has told all of a turn: with the end of the sound that follows what was understood."""

    def __init__(self) -> None:
        self.reached = False
        self._understood = False

    def watch(self, event: Event) -> None:
        """See `TurnEnd`."""
        self._understood = self._understood or event.type in ("transcript", "synthesize")
        self.reached = self._understood and event.type == "audio-stop"


class Visitor:
    """One connection from outside."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        self.address = str(peer[0]).partition("%")[0] if isinstance(peer, tuple) else "unix"
        self.incoming = EventReader(reader, Limits(), event_s=EVENT_S)
        self.outgoing = EventWriter(writer, write_s=WRITE_S)
        self.heard_at = time.monotonic()
        self.inbox = Inbox()

    @property
    def silent_s(self) -> float:
        """How long nothing has come from it."""
        return time.monotonic() - self.heard_at

    async def send(self, event: Eventable | Event) -> None:
        """Send an event. Raises `Disconnected`."""
        await self.outgoing.write(event if isinstance(event, Event) else event.event())


class Seat:
    """Listens while the context is open; a `Link` to whoever has the seat."""

    wants_played = True

    def __init__(
        self,
        settings: ListenSettings,
        link: LinkSettings,
        info: Callable[[], Info],
        on_trigger: Callable[[], None],
        *,
        offered: bool = True,
        memory: Path | None = None,
    ) -> None:
        """`offered`: whether there is a seat to take; a satellite that dials a server only answers questions here.

        Raises `SettingsError` for an address or network that is none.
        """
        self.state = LinkState.CLOSED
        self.on_change: Callable[[], None] | None = None
        """See `Link`."""
        self.port = 0
        """The TCP port that is listened on; 0 where there is none."""
        self._settings = settings
        self._link = link
        self._info = info
        self._on_trigger = on_trigger
        self._offered = offered
        self._memory = memory if settings.remember else None
        self._allow = AllowList(settings.allow)
        self._visitors: dict[Visitor, asyncio.Task[None]] = {}
        self._holder: Visitor | None = None
        self._ready = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        parts = urlsplit(self._settings.uri)
        try:
            if parts.scheme == "unix":
                self._listener = await asyncio.start_unix_server(self._accept, parts.netloc + parts.path)
            else:
                port = DEFAULT_PORT if parts.port is None else parts.port
                self._listener = await asyncio.start_server(self._accept, parts.hostname, port)
                self.port = self._listener.sockets[0].getsockname()[1]
        except OSError as error:
            raise SettingsError(f"{self._settings.uri} can't be listened on: {error.strerror or error}.") from error
        self._set_state(LinkState.CONNECTING)
        self._watch = asyncio.create_task(self._watch_holder(), name="watch the seat")
        logger.info("Listening on %s", self.uri)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._watch is not None
        assert self._listener is not None
        self._listener.close()
        tasks = [self._watch, *self._visitors.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._set_state(LinkState.CLOSED)

    @property
    def uri(self) -> str:
        """Where it listens, with the port that was chosen for 0."""
        parts = urlsplit(self._settings.uri)
        return self._settings.uri if parts.scheme == "unix" else f"tcp://{parts.hostname}:{self.port}"

    @property
    def host(self) -> str:
        """The address that it is bound to."""
        return urlsplit(self._settings.uri).hostname or ""

    # --- a link ---

    @property
    def trouble(self) -> str:
        """See `Link`."""
        return "" if self._holder else "Nobody has connected yet."

    async def connected(self) -> None:
        """See `Link`."""
        await self._ready.wait()

    async def send(self, event: Eventable | Event) -> None:
        """See `Link`."""
        holder = self._holder
        if holder is None:
            raise LinkLost("Nobody drives this satellite.")
        try:
            await holder.send(event)
        except Disconnected as error:
            raise LinkLost(f"{holder.address} is gone.") from error

    async def receive(self, answer_s: float | None = None) -> Event:
        """See `Link`."""
        if self._holder is None:
            raise LinkLost("Nobody drives this satellite.")
        try:
            async with asyncio.timeout(answer_s):
                return await self._holder.inbox.get()
        except TimeoutError as error:
            raise Timeout(f"There was no answer within {answer_s:g} s.") from error

    def requests(self, ask: Ask) -> list[Event]:
        """See `Link`."""
        first = PipelineStage.ASR if ask.listen_for is None else PipelineStage.WAKE
        run: Event = RunPipeline(
            start_stage=first,
            end_stage=PipelineStage.TTS,
            wake_word_name=ask.wake_word or None,
            wake_word_names=list(ask.listen_for or ()) or None,
        ).event()
        extra = {"name": ask.pipeline, "language": ask.language, "voice": ask.voice, "loudness": round(ask.loudness, 1)}
        run.data |= {key: value for key, value in extra.items() if value}
        if not ask.wake_word:
            return [run]
        heard: Event = Detection(name=ask.wake_word, timestamp=time.monotonic_ns() // 1_000_000).event()
        heard.data |= {"loudness": round(ask.loudness, 1)}
        return [heard, run]

    def turn_end(self) -> SeatTurnEnd:
        """See `Link`."""
        return SeatTurnEnd()

    async def cut_off(self) -> None:
        """See `Link`. Home Assistant ends a run at the end of its audio, or when the next one begins."""
        with contextlib.suppress(LinkLost):
            await self.send(AudioStop())
            await self.send(Played())

    # --- visitors ---

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visitor = Visitor(reader, writer)
        task = asyncio.current_task()
        assert task is not None
        if visitor.address != "unix" and not self._allow.allows(visitor.address):
            logger.warning("%s may not connect (listen.allow)", visitor.address)
            await refuse(reader, visitor.outgoing, NotAllowed("This address may not connect."))
            return
        if len(self._visitors) >= VISITORS:
            await refuse(reader, visitor.outgoing, Busy("There are too many connections."))
            return
        self._visitors[visitor] = task
        try:
            await self._serve(visitor)
        except asyncio.CancelledError:
            pass  # we are leaving, or it was replaced: nobody awaits this task but the loop, which would complain
        except Exception:  # the boundary of a connection
            logger.exception("A connection failed")
        finally:
            self._visitors.pop(visitor, None)
            self._leave(visitor, "has left")
            await visitor.outgoing.close()

    async def _serve(self, visitor: Visitor) -> None:
        while True:
            try:
                async with asyncio.timeout(None if visitor is self._holder else VISIT_S):
                    event = await visitor.incoming.read()
            except (Disconnected, TimeoutError):
                return
            except SuperwhisperError as error:
                if error.framing_lost:
                    await refuse(visitor.incoming.stream, visitor.outgoing, error)
                    return
                await self._answer(visitor, error_event(error))
                continue
            if event is None:
                return
            visitor.heard_at = time.monotonic()
            if not await self._take(visitor, event):
                return

    async def _take(self, visitor: Visitor, event: Event) -> bool:
        """Handle an event of a visitor; False: the visitor has been shown out."""
        handle = _HANDLERS.get(event.type)
        if handle is not None:
            return await handle(self, visitor, event)
        if visitor is self._holder:
            await visitor.inbox.put(event)
        else:
            await self._answer(visitor, error_event(NotAllowed("Take the seat first, with run-satellite.")))
        return True

    async def _describe(self, visitor: Visitor, event: Event) -> bool:
        return await self._answer(visitor, self._info().event())

    async def _ping(self, visitor: Visitor, event: Event) -> bool:
        return await self._answer(visitor, Pong(text=event.data.get("text")).event())

    async def _pong(self, visitor: Visitor, event: Event) -> bool:
        return True

    async def _trigger(self, visitor: Visitor, event: Event) -> bool:
        self._on_trigger()
        return await self._answer(visitor, Event("triggered"))

    async def _run_satellite(self, visitor: Visitor, event: Event) -> bool:
        refusal = self._refusal(visitor)
        if refusal is not None:
            logger.warning("%s wants to drive this satellite and may not: %s", visitor.address, refusal)
            await refuse(visitor.incoming.stream, visitor.outgoing, refusal)
            return False
        if self._holder is not visitor:
            self._replace_holder(visitor)
        self._set_state(LinkState.CONNECTED)
        return True

    async def _pause_satellite(self, visitor: Visitor, event: Event) -> bool:
        if visitor is self._holder:
            logger.info("%s has muted this satellite", visitor.address)
            self._set_state(LinkState.MUTED)
        return True

    async def _answer(self, visitor: Visitor, event: Event) -> bool:
        try:
            await visitor.send(event)
        except Disconnected:
            return False
        return True

    # --- the seat ---

    def _refusal(self, visitor: Visitor) -> SuperwhisperError | None:
        """Why this visitor may not take the seat, or None."""
        if not self._offered:
            return BadEvent("This satellite dials its server; it can't be driven.")
        known = self._remembered()
        if known and known != visitor.address:
            return NotAllowed(f"This satellite belongs to {known} (listen.remember).")
        holder = self._holder
        if holder is None or holder.address == visitor.address or holder.silent_s >= self._link.lost_s:
            return None
        return Busy(f"{holder.address} drives this satellite.")

    def _replace_holder(self, visitor: Visitor) -> None:
        before = self._holder
        if before is not None:
            self._leave(before, "was replaced")
            task = self._visitors.get(before)
            if task is not None:
                task.cancel()
        self._holder = visitor
        if self._memory is not None and not self._remembered():
            with contextlib.suppress(OSError):
                self._memory.parent.mkdir(parents=True, exist_ok=True)
                self._memory.write_text(visitor.address, encoding="ascii")
        logger.info("%s drives this satellite", visitor.address)

    def _remembered(self) -> str:
        if self._memory is None:
            return ""
        try:
            return self._memory.read_text(encoding="ascii").strip()
        except OSError:
            return ""

    def _leave(self, visitor: Visitor, how: str) -> None:
        visitor.inbox.close()
        if visitor is self._holder:
            self._holder = None
            logger.warning("%s %s. Waiting for somebody to drive this satellite.", visitor.address, how)
            self._set_state(LinkState.CONNECTING)

    async def _watch_holder(self) -> None:
        """Ping whoever has the seat, and take it away from one that has fallen silent."""
        while True:
            holder = self._holder
            left_s = self._link.lost_s - holder.silent_s if holder else self._link.ping_s
            if self.state is LinkState.MUTED:  # then it has nothing to say; one that is gone holds nobody up
                left_s = self._link.ping_s
            if holder is not None and left_s <= 0:
                task = self._visitors.get(holder)
                self._leave(holder, f"has said nothing for {holder.silent_s:.0f} s")
                if task is not None:
                    task.cancel()
                continue
            if holder is not None:
                with contextlib.suppress(Disconnected, TimeoutError):
                    async with asyncio.timeout(self._link.ping_s / 2):
                        await holder.send(Ping())
            await asyncio.sleep(min(self._link.ping_s, max(left_s, 0.01)))

    def _set_state(self, state: LinkState) -> None:
        if state is self.state:
            return
        logger.debug("Seat: %s -> %s", self.state.value, state.value)
        self.state = state
        if state is LinkState.CONNECTED:
            self._ready.set()
        else:
            self._ready.clear()
        if self.on_change is not None:
            self.on_change()


_HANDLERS: dict[str, Callable[[Seat, Visitor, Event], Awaitable[bool]]] = {
    "describe": Seat._describe,
    "ping": Seat._ping,
    "pong": Seat._pong,
    "trigger": Seat._trigger,
    "run-satellite": Seat._run_satellite,
    "pause-satellite": Seat._pause_satellite,
}
