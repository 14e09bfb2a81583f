"""The satellite as a whole: builds its parts, waits for a wake word or a button, runs turns, ends when told to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import uuid
from dataclasses import replace

from wyoming.event import Event

from wyoming_superwhisper import client
from wyoming_superwhisper.config.satellite_settings import SatelliteSettings
from wyoming_superwhisper.errors import NoText, SuperwhisperError
from wyoming_superwhisper.satellite.button import Button
from wyoming_superwhisper.satellite.connection import LinkLost, ServerLink
from wyoming_superwhisper.satellite.microphone import Microphone, make_microphone
from wyoming_superwhisper.satellite.speaker import Speaker, make_speaker
from wyoming_superwhisper.satellite.turn import Result, Start, Turn
from wyoming_superwhisper.satellite.wake_word import WakeWordListener

logger = logging.getLogger(__name__)

FIRST_LINK_S = 15.0
"""A recording (not a microphone) waits for the server this long, in seconds."""


def run(settings: SatelliteSettings) -> int:
    """Run the satellite until it is told to end, or until the recording that it listens to has; the exit status.

    Raises `SettingsError` for what the settings name and is not there, `LinkLost` where a recording finds no server.
    """
    try:
        return asyncio.run(_run_until_stopped(_named(settings)))
    except KeyboardInterrupt:  # where there are no signal handlers (Windows)
        return 0


def _named(settings: SatelliteSettings) -> SatelliteSettings:
    return settings if settings.name else replace(settings, name=socket.gethostname().split(".")[0])


async def _run_until_stopped(settings: SatelliteSettings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(_build_and_serve(settings), name="satellite")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (stopping, serving):
            task.cancel()
        await asyncio.wait({stopping, serving})
    return 0 if serving.cancelled() else serving.result()


async def _build_and_serve(settings: SatelliteSettings) -> int:
    """Everything is made here, in order, and closed in reverse. Raises `SettingsError`."""
    microphone = make_microphone(settings.mic)
    speaker = make_speaker(settings.snd)
    wake_word = WakeWordListener(settings.wake) if settings.wake.words else None
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(speaker)
        link = await stack.enter_async_context(ServerLink(settings.server))
        button = stack.enter_context(Button())
        if microphone.finite:
            await _first_connection(link)
        await stack.enter_async_context(microphone)
        return await Satellite(settings, link, microphone, speaker, button, wake_word).serve()


async def _first_connection(link: ServerLink) -> None:
    """Wait for the server before a recording begins to run. Raises `LinkLost`."""
    try:
        async with asyncio.timeout(FIRST_LINK_S):
            await link.connected()
    except TimeoutError as error:
        raise LinkLost(link.trouble or "No server was found.") from error


class Satellite:
    """Runs one turn after another."""

    def __init__(
        self,
        settings: SatelliteSettings,
        link: ServerLink,
        microphone: Microphone,
        speaker: Speaker,
        button: Button,
        wake_word: WakeWordListener | None,
    ) -> None:
        self._settings = settings
        self._link = link
        self._microphone = microphone
        self._speaker = speaker
        self._button = button
        self._wake_word = wake_word
        self._conversation = uuid.uuid4().hex
        """Its turns share their history on the server, which forgets it after a while."""

    async def serve(self) -> int:
        """Run turns until the microphone has ended; the exit status."""
        status = 0
        while True:
            await self._link.connected()
            self._say_ready()
            start = await self._next_start()
            if start is None:
                return status
            result = await self._run_turn(start)
            status = 1 if result.error is not None and not isinstance(result.error, NoText) else 0
            if self._microphone.finite and self._wake_word is None:
                return status

    # --- waiting ---

    def _say_ready(self) -> None:
        ways = []
        if self._wake_word is not None:
            ways.append("say " + " or ".join(f'"{phrase}"' for phrase in self._wake_word.phrases))
        if self._button.on_terminal:
            ways.append("press Enter")
        if ways:
            logger.info("Ready: %s, then speak.", ", or ".join(ways))
        elif not self._microphone.finite:
            logger.info("Ready: a signal USR1 to process %d starts a turn.", os.getpid())

    async def _next_start(self) -> Start | None:
        """Wait for what begins the next turn; None: the microphone has ended, there will be no more."""
        if self._microphone.finite and self._wake_word is None:
            return Start()
        if self._settings.turn.repeat:
            self._microphone.keep_last(0.0)
            return Start()
        self._button.forget()
        waits: list[asyncio.Task[Start | None]] = [
            asyncio.create_task(self._button_pressed(), name="wait for the button"),
            asyncio.create_task(self._announcements(), name="wait for announcements"),
        ]
        if self._wake_word is not None:
            waits.append(asyncio.create_task(self._wake_word_heard(self._wake_word), name="wait for the wake word"))
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        return done.pop().result()

    async def _button_pressed(self) -> Start | None:
        await self._button.pressed()
        self._microphone.keep_last(self._settings.wake.pre_roll_s)
        return Start()

    async def _wake_word_heard(self, wake_word: WakeWordListener) -> Start | None:
        wake_word.reset()
        self._microphone.keep_last(0.0)
        while chunk := await self._microphone.read():
            name = wake_word.feed(chunk)
            if name is not None:
                logger.info("Wake word: %s", name)
                return Start(name, wake_word.pre_roll)
        return None

    async def _announcements(self) -> Start | None:
        """Play what the server sends between turns."""
        while True:
            try:
                await self._play_announcement(await self._link.receive())
            except SuperwhisperError:
                await self._speaker.stop()
                await self._link.connected()

    async def _play_announcement(self, event: Event) -> None:
        if event.type == "audio-start":
            await self._speaker.start(client.chunk_format(event))
        elif event.type == "audio-chunk":
            await self._speaker.write(event.payload or b"")
        elif event.type == "audio-stop":
            await self._speaker.finish()

    # --- running ---

    async def _run_turn(self, start: Start) -> Result:
        """One turn; a press of the button cuts it off."""
        turn = Turn(self._settings, self._link, self._microphone, self._speaker, self._conversation)
        running = asyncio.create_task(turn.run(start), name="turn")
        button = asyncio.create_task(self._button.pressed(), name="button in a turn")
        try:
            await asyncio.wait({running, button}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (running, button):
                task.cancel()
            await asyncio.wait({running, button})
        result = Result() if running.cancelled() else running.result()
        if not result.link_is_clean and not isinstance(result.error, LinkLost):
            self._link.drop()  # what the server still sends or does for this turn ends with the connection
        if result.error is not None:
            logger.log(logging.INFO if isinstance(result.error, NoText) else logging.WARNING, "%s", result.error)
        return result
