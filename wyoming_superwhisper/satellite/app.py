"""The satellite as a whole: builds its parts, in order, and closes them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from wyoming_superwhisper.audio import AudioFormat
from wyoming_superwhisper.config.satellite_settings import SatelliteSettings
from wyoming_superwhisper.satellite.button import Button
from wyoming_superwhisper.satellite.connection import ServerLink
from wyoming_superwhisper.satellite.description import describe
from wyoming_superwhisper.satellite.ducking import make_ducking
from wyoming_superwhisper.satellite.echo_canceller import EchoCanceller
from wyoming_superwhisper.satellite.hearing import Ears
from wyoming_superwhisper.satellite.link import Link, LinkLost
from wyoming_superwhisper.satellite.memory import kept_file
from wyoming_superwhisper.satellite.microphone import make_microphone
from wyoming_superwhisper.satellite.news import News
from wyoming_superwhisper.satellite.own_voice import OwnVoice
from wyoming_superwhisper.satellite.runner import Runner
from wyoming_superwhisper.satellite.seat import DEFAULT_PORT, Seat
from wyoming_superwhisper.satellite.sounds import Sounds
from wyoming_superwhisper.satellite.speaker import make_speaker
from wyoming_superwhisper.satellite.spoken_stop import SpokenStop
from wyoming_superwhisper.satellite.stillness import DozingListener
from wyoming_superwhisper.satellite.timers import Timers
from wyoming_superwhisper.satellite.wake_word import WakeWordListener
from wyoming_superwhisper.service_manager import ServiceManager

if TYPE_CHECKING:
    from wyoming_superwhisper.discovery import Advertisement

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
    """Everything is made here. Raises `SettingsError`."""
    news = News()
    microphone = make_microphone(settings.mic, endless=not _dials(settings))
    speaker = make_speaker(settings.snd)
    sounds = Sounds(settings.sounds)
    words, own_words = _make_words(settings)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(speaker)
        button = stack.enter_context(Button())
        link = await _make_link(settings, stack, button.press)
        ears = Ears(microphone, DozingListener(words) if words is not None else None)
        own_voice = OwnVoice(own_words, settings.wake.own_sound_s) if own_words else None
        runner = Runner(settings, link, ears, speaker, button, sounds, news, words, own_voice)
        stop = await _make_spoken_stop(settings, stack, link, ears, runner)
        echo = EchoCanceller() if settings.mic.echo_cancellation and not microphone.finite else None
        if echo is not None:
            ears.without_echo, speaker.on_silent = echo.clean, echo.end
        speaker.on_playing = _all_of(*(one.play for one in (own_voice, stop, echo) if one is not None))
        timers = Timers(
            settings.timers, news, None if microphone.finite else kept_file(settings.name, "timers.json"), runner.ring
        )
        runner.keep(timers)
        if microphone.finite:
            await _first_connection(link)
        await stack.enter_async_context(microphone)
        await _tell_others(settings, stack, news, runner)
        if stop is not None:
            news.subscribe(stop)
        news.tell("startup")
        manager = ServiceManager()
        news.subscribe(lambda item: manager.status(runner.state.value))
        manager.ready(runner.state.value)
        keeping = asyncio.create_task(timers.run(), name="timers")
        alive = asyncio.create_task(manager.keep_alive(), name="watchdog")
        try:
            return await runner.serve()
        finally:
            manager.stopping()
            for task in (keeping, alive):
                task.cancel()
            await asyncio.gather(keeping, alive, return_exceptions=True)
            news.tell("shutdown")


async def _tell_others(
    settings: SatelliteSettings, stack: contextlib.AsyncExitStack, news: News, runner: Runner
) -> None:
    """Everybody who is to know what happens, imported only where the settings name them. Raises `SettingsError`."""
    ducking = make_ducking(settings.snd, kept_file(settings.name, "ducked.json"))
    if ducking is not None:
        news.subscribe(await stack.enter_async_context(ducking))
    hooks = settings.hooks
    if hooks.commands:
        from wyoming_superwhisper.satellite.hooks import Hooks

        news.subscribe(await stack.enter_async_context(Hooks(hooks)))
    if hooks.event_uri:
        from wyoming_superwhisper.satellite.event_service import EventService

        news.subscribe(await stack.enter_async_context(EventService(hooks.event_uri)))
    if hooks.web != "off":
        from wyoming_superwhisper.satellite.web import Web

        actions = {"/trigger": runner.press, "/stop": runner.stop}
        web = Web(hooks.web, settings.listen.allow, lambda: runner.state.value, actions)
        news.subscribe(await stack.enter_async_context(web))
        logger.info("Events and button at http://%s", hooks.web)
    if settings.led.driver != "off":
        from wyoming_superwhisper.satellite.lights import make_lights

        lights = make_lights(settings.led)
        if lights is not None:
            news.subscribe(lights)
    if settings.led.button >= 0:
        from wyoming_superwhisper.satellite.lights import watch_button

        loop = asyncio.get_running_loop()
        button = watch_button(settings.led.button, lambda: loop.call_soon_threadsafe(runner.press))
        stack.callback(lambda: setattr(button, "when_pressed", None))


def _make_words(settings: SatelliteSettings) -> tuple[WakeWordListener | None, WakeWordListener | None]:
    """Who listens for wake words, and who listens for them in what is played; None where nobody needs to."""
    wake = settings.wake
    local = wake.mode == "local" or (wake.mode == "auto" and bool(wake.words))
    if not (local or wake.stop_words):
        return None, None
    wanted = wake if local else replace(wake, words=())
    own = WakeWordListener(wanted) if settings.turn.barge_in and settings.snd.device != "off" else None
    return WakeWordListener(wanted), own


def _all_of(*hearers: Callable[[bytes, AudioFormat], None]) -> Callable[[bytes, AudioFormat], None]:
    def hear(audio: bytes, format: AudioFormat) -> None:
        for hearer in hearers:
            hearer(audio, format)

    return hear


async def _make_spoken_stop(
    settings: SatelliteSettings, stack: contextlib.AsyncExitStack, link: Link, ears: Ears, runner: Runner
) -> SpokenStop | None:
    """Who hears "stop" said over a reply; None where nobody recognises speech, or nothing is to be interrupted."""
    turn = settings.turn
    if not turn.barge_in or not turn.stop_phrases or runner.one_turn:
        return None
    if not turn.stop_server and not isinstance(link, ServerLink):
        return None

    def server() -> str:
        return turn.stop_server or (link.uri if isinstance(link, ServerLink) else "")

    return await stack.enter_async_context(SpokenStop(turn.stop_phrases, settings.language, ears, server, runner.stop))


async def _make_link(settings: SatelliteSettings, stack: contextlib.AsyncExitStack, press: Callable[[], None]) -> Link:
    """The link to the server that is dialled, or else the seat that somebody takes; a seat's port answers for both."""
    dials = _dials(settings)
    seat: Seat | None = None
    if settings.listen.uri:
        memory = kept_file(settings.name, "driver")
        info = describe(settings)
        seat = Seat(settings.listen, settings.server, lambda: info, press, offered=not dials, memory=memory)
        await stack.enter_async_context(seat)
        if settings.listen.zeroconf and seat.port:
            await stack.enter_async_context(_advertisement(settings, seat))
    if dials or seat is None:
        return await stack.enter_async_context(ServerLink(settings.server))
    return seat


def _dials(settings: SatelliteSettings) -> bool:
    """Whether it dials a server, or else is driven by whoever takes its seat."""
    return bool(settings.server.uri) or not settings.listen.uri


def _advertisement(settings: SatelliteSettings, seat: Seat) -> Advertisement:
    from wyoming_superwhisper import discovery  # zeroconf takes a while to import: only after listening

    name = discovery.service_name("satellite", settings.listen.service_name, seat.port, DEFAULT_PORT)
    return discovery.Advertisement("satellite", name, seat.port, seat.host)


async def _first_connection(link: Link) -> None:
    """Wait for the server before a recording begins to run. Raises `LinkLost`."""
    try:
        async with asyncio.timeout(FIRST_LINK_S):
            await link.connected()
    except TimeoutError as error:
        raise LinkLost(link.trouble or "No server was found.") from error
