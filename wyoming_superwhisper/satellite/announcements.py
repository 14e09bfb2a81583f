"""Announcements: sound that the other side sends between turns, played one after another."""

from __future__ import annotations

import logging
from collections import deque

from wyoming_superwhisper import client
from wyoming_superwhisper.errors import SuperwhisperError
from wyoming_superwhisper.satellite.link import Link, tell_played
from wyoming_superwhisper.satellite.news import News
from wyoming_superwhisper.satellite.routing import Announcement
from wyoming_superwhisper.satellite.speaker import Speaker

logger = logging.getLogger(__name__)

WAITING = 16
"""Announcements that wait their turn; more are dropped, the newest first."""


class Announcements:
    """Those that wait to be played."""

    def __init__(self, link: Link, speaker: Speaker, news: News) -> None:
        self._link = link
        self._speaker = speaker
        self._news = news
        self._waiting: deque[Announcement] = deque()

    def __bool__(self) -> bool:
        """Whether any waits."""
        return bool(self._waiting)

    def add(self, announcement: Announcement) -> None:
        """It is to be played, if not too many are."""
        if len(self._waiting) < WAITING:
            self._waiting.append(announcement)

    async def play_next(self) -> None:
        """Play the oldest as it comes, up to its end, and say that it was played, however it ended."""
        announcement = self._waiting.popleft()
        self._news.tell("announcement")
        try:
            await self._play(announcement)
        except SuperwhisperError as error:
            logger.warning("An announcement was cut off: %s", error)
        finally:
            await self._speaker.stop()
            await tell_played(self._link)
        self._news.tell("played")

    async def _play(self, announcement: Announcement) -> None:
        while (event := await announcement.events.get()).type != "audio-stop":
            if event.type != "audio-chunk":
                continue
            if not self._speaker.playing:
                await self._speaker.start(client.chunk_format(event))
            await self._speaker.write(event.payload or b"")
        await self._speaker.finish()
