"""`satellite doctor`: tries everything that the settings name and says what is wrong and what to do about it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from wyoming_superwhisper import client
from wyoming_superwhisper.config.satellite_settings import SatelliteSettings
from wyoming_superwhisper.errors import SettingsError, SuperwhisperError
from wyoming_superwhisper.satellite import levels
from wyoming_superwhisper.satellite.connection import HERE
from wyoming_superwhisper.satellite.hooks import Hooks
from wyoming_superwhisper.satellite.lights import make_lights
from wyoming_superwhisper.satellite.microphone import make_microphone
from wyoming_superwhisper.satellite.sounds import Sounds, make
from wyoming_superwhisper.satellite.speaker import make_speaker
from wyoming_superwhisper.satellite.wake_word import WakeWordListener

LISTEN_S = 2.0
SILENT_DB = -85.0
"""A microphone this quiet is switched off, in dB below full scale."""
NOISY_DB = -35.0
PLAY_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    well: bool
    text: str


def run(settings: SatelliteSettings) -> int:
    """Print the report; the exit status: 0 where nothing is wrong."""
    return asyncio.run(_report(settings))


async def _report(settings: SatelliteSettings) -> int:
    wrong = 0
    async for finding in examine(settings):
        print(f"{'ok     ' if finding.well else 'PROBLEM'}  {finding.text}", flush=True)
        wrong += not finding.well
    print("Nothing is wrong." if not wrong else f"{wrong} of these keep it from working well.")
    return 1 if wrong else 0


async def examine(settings: SatelliteSettings) -> AsyncIterator[Finding]:
    """Everything, one after another."""
    yield await _microphone(settings)
    yield await _speaker(settings)
    yield _wake_words(settings)
    yield await _other_side(settings)
    yield _hooks(settings)


async def _microphone(settings: SatelliteSettings) -> Finding:
    try:
        async with make_microphone(settings.mic) as microphone:
            level = await levels.listen(microphone, LISTEN_S)
    except SettingsError as error:
        return Finding(False, str(error))
    except TimeoutError:
        return Finding(False, "The microphone gives no sound: is it plugged in, and used by nothing else?")
    heard = f"The microphone works: noise at {level.floor_db:.0f} dB, loudest {level.peak_db:.0f} dB."
    if level.peak_db < SILENT_DB:
        return Finding(False, "The microphone gives nothing but silence: is it muted? (alsamixer, F4, shows it)")
    if level.clipped:
        return Finding(False, "The microphone is too loud: turn its gain down (alsamixer, F4; or mic.gain).")
    if level.floor_db > NOISY_DB:
        return Finding(False, f"{heard} That is a noisy room, or too much gain: turn it down, or set mic.gain.")
    return Finding(True, heard)


async def _speaker(settings: SatelliteSettings) -> Finding:
    try:
        sound = make("done")
        async with make_speaker(settings.snd) as speaker, asyncio.timeout(PLAY_S):
            await speaker.play(sound.format, sound.audio)
            works = speaker.works
    except SettingsError as error:
        return Finding(False, str(error))
    except TimeoutError:
        return Finding(False, "The loudspeaker takes no sound: is something else playing on it?")
    if not works:
        return Finding(False, "The loudspeaker does not work; the line above says why.")
    return Finding(True, "The loudspeaker works: you should have heard two tones.")


def _wake_words(settings: SatelliteSettings) -> Finding:
    if settings.wake.mode in ("server", "voice", "off") or not settings.wake.words:
        return Finding(True, f"No wake word is heard here (wake.mode: {settings.wake.mode}).")
    try:
        listener = WakeWordListener(settings.wake)
    except SettingsError as error:
        return Finding(False, str(error))
    return Finding(True, f"Wake words: {', '.join(listener.phrases)}.")


async def _other_side(settings: SatelliteSettings) -> Finding:
    if settings.listen.uri and not settings.server.uri:
        return _listening(settings.listen.uri)
    uris: tuple[str, ...] = (settings.server.uri,)
    if settings.server.uri in ("", "auto"):
        from wyoming_superwhisper import discovery

        found = await discovery.find_servers(first=True)
        uris = (HERE, *(uri for service in found for uri in service.uris))
    trouble = ""
    for uri in uris:
        try:
            info = await client.describe(uri, settings.server.connect_s)
        except SuperwhisperError as error:
            trouble = trouble or str(error)
            continue
        if info.asr and info.tts:
            return Finding(True, f"The server at {uri} answers.")
        trouble = f"{uri} is no server for satellites: it can't hear or can't speak."
    end = "" if trouble.endswith((".", "?")) else "."
    return Finding(False, f"No server: {trouble}{end} It must run, and its server.allow must let this machine in.")


def _listening(uri: str) -> Finding:
    parts = urlsplit(uri)
    if parts.scheme == "unix":
        return Finding(True, f"It listens on {uri}.")
    try:
        with socket.socket(socket.AF_INET6 if ":" in (parts.hostname or "") else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((parts.hostname or "", parts.port or 0))
    except OSError as error:
        return Finding(False, f"{uri} can't be listened on ({error.strerror}): is a satellite running already?")
    return Finding(True, f"{uri} is free. In Home Assistant it appears as a discovered Wyoming device.")


def _hooks(settings: SatelliteSettings) -> Finding:
    try:
        Hooks(settings.hooks)
        Sounds(settings.sounds)
        make_lights(settings.led)
    except SettingsError as error:
        return Finding(False, str(error))
    return Finding(True, "Sounds, hooks and lights are in order.")
