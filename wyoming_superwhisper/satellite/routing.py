"""Brings what the other side sends where it belongs: to the turn at work, to the timers, or to an announcement."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wyoming.event import Event

from wyoming_superwhisper.errors import SuperwhisperError, Timeout
from wyoming_superwhisper.satellite.link import Inbox, Link
from wyoming_superwhisper.satellite.timers import Timers


class Announcement:
    """Sound that the other side sends between turns."""

    def __init__(self) -> None:
        self.events = Inbox()

    def add(self, event: Event) -> None:
        """The next of it."""
        self.events.add(event)


class TurnEvents:
    """The other side's events that belong to one turn, as they come; the turn may be far behind them."""

    def __init__(self, link: Link) -> None:
        self.takes_sound = not link.wants_played
        """Whether sound that comes now is this turn's answer: before anything was understood it is an announcement."""
        self.sounding = False
        """Whether the other side has begun to send sound and not ended it."""
        self.done = False
        """Whether everything of the turn has come."""
        self.begun = False
        """Whether the turn has a connection; before that, one that is lost is none of its own."""
        self._inbox = Inbox()
        self._end = link.turn_end()

    def add(self, event: Event) -> None:
        """It has come."""
        self._end.watch(event)
        self.done = self.done or self._end.reached or event.type == "error"
        self.takes_sound = self.takes_sound or event.type in ("transcript", "synthesize")
        if event.type == "audio-start":
            self.sounding = True
        elif event.type == "audio-stop":
            self.sounding = False
        self._inbox.add(event)

    def close(self) -> None:
        """Nothing more will come."""
        self._inbox.close()

    async def receive(self, answer_s: float | None = None) -> Event:
        """See `Events`."""
        try:
            async with asyncio.timeout(answer_s):
                return await self._inbox.get()
        except TimeoutError as error:
            raise Timeout(f"There was no answer within {answer_s:g} s.") from error


class Router:
    """Takes the other side's events, whatever is going on."""

    def __init__(
        self,
        link: Link,
        turn: Callable[[], TurnEvents | None],
        on_announcement: Callable[[Announcement], None],
    ) -> None:
        """`turn`: the events of the turn at work; `on_announcement` is called when one begins."""
        self.timers: Timers | None = None
        """Takes the events of timers."""
        self._link = link
        self._turn = turn
        self._on_announcement = on_announcement
        self._announcement: Announcement | None = None
        """The one that is coming."""
        self._stale = False
        """Whether the sound that comes belongs to a turn that was cut off."""

    def drop_rest(self, coming: bool) -> None:
        """What still comes of the sound that has begun belongs to nobody any more; `coming`: whether anything does."""
        self._stale = coming

    async def run(self) -> None:
        """Bring each event where it belongs. Runs until cancelled."""
        while True:
            await self._link.connected()
            try:
                while True:
                    self._route(await self._link.receive())
            except SuperwhisperError:
                self._lose()

    def _lose(self) -> None:
        """The connection is gone: so is what still was to come."""
        self._stale = False
        events = self._turn()
        if events is not None and events.begun:
            events.close()
        if self._announcement is not None:
            self._announcement.events.close()
            self._announcement = None

    def _route(self, event: Event) -> None:
        if self.timers is not None and self.timers.take(event):
            return
        if event.type.startswith("audio-"):
            self._route_sound(event)
        elif (events := self._turn()) is not None:
            events.add(event)

    def _route_sound(self, event: Event) -> None:
        """Sound is the answer of the turn at work, or what is left of one that was cut off, or an announcement."""
        ends = event.type == "audio-stop"
        if self._stale:
            self._stale = not ends
            return
        events = self._turn()
        if self._announcement is None and events is not None and events.takes_sound and not events.done:
            events.add(event)
            return
        if self._announcement is None:
            if ends:
                return
            self._announcement = Announcement()
            self._on_announcement(self._announcement)
        self._announcement.add(event)
        if ends:
            self._announcement = None
