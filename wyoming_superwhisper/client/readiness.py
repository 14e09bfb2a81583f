"""Waiting for a server: until it listens, and until its models are loaded."""

from __future__ import annotations

import asyncio
import time

from wyoming.info import Info

from wyoming_superwhisper.client.requests import ask, describe, synthesize, transcribe
from wyoming_superwhisper.errors import SuperwhisperError, Timeout

RETRY_S = 0.1
"""Pause between two looks whether a server is there yet, in seconds."""


async def wait_listening(uri: str, timeout_s: float = 30.0) -> Info:
    """Wait until the server answers `describe`. Raises `Timeout`."""
    ends = time.monotonic() + timeout_s
    while True:
        try:
            return await describe(uri)
        except SuperwhisperError as error:
            if time.monotonic() >= ends:
                raise Timeout(f"{uri} is not ready after {timeout_s:g} s: {error}") from error
        await asyncio.sleep(RETRY_S)


async def wait_ready(uri: str, timeout_s: float = 120.0) -> Info:
    """Wait until the server has spoken, heard and answered something, so that its models are loaded.

    Raises `Timeout`, and what the server reports.
    """
    info = await wait_listening(uri, timeout_s)
    try:
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
            group.create_task(_speak_and_hear(uri, info, timeout_s), name="try speech")
            group.create_task(_try_answer(uri, info, timeout_s), name="try answer")
    except TimeoutError as error:
        raise Timeout(f"{uri} is not ready after {timeout_s:g} s") from error
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return info


async def _speak_and_hear(uri: str, info: Info, timeout_s: float) -> None:
    language = _first_language(info)
    if not (info.tts and info.asr):
        return
    text = _GREETING.get(language, _GREETING["en"])
    chunks = [chunk async for chunk in synthesize(uri, text, language=language, answer_s=timeout_s)]
    if chunks:
        audio = b"".join(chunk.audio for chunk in chunks)
        await transcribe(uri, audio, chunks[0].format, language, answer_s=timeout_s)


async def _try_answer(uri: str, info: Info, timeout_s: float) -> None:
    if info.handle or info.intent:
        language = _first_language(info)
        await ask(uri, _GREETING.get(language, _GREETING["en"]), language, answer_s=timeout_s)


_GREETING = {"fr": "Bonjour.", "en": "Hello.", "es": "Hola."}


def _first_language(info: Info) -> str:
    return next((language for program in info.asr for model in program.models for language in model.languages), "en")
