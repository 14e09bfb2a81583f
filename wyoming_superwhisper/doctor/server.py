"""A server that runs: what it offers, and whether each of its engines does what it is asked, from here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence

from wyoming.info import Info

from wyoming_superwhisper import client
from wyoming_superwhisper.audio import SPEECH, AudioConverter, AudioFormat
from wyoming_superwhisper.doctor.finding import Finding, State
from wyoming_superwhisper.errors import SettingsError, SuperwhisperError

_QUESTIONS = {"fr": "Quelle heure est-il ?", "es": "¿Qué hora es?"}
_QUESTION = "What time is it?"
_LOG = "the server's own log says more; wyoming-superwhisper doctor on its machine says what is wrong there"
_QUICK_S = 0.25
"""`describe` takes this long at most where nothing is wrong."""


def check_server(uri: str) -> Iterator[Finding]:
    """Ask for all that it offers, once. Raises `SettingsError` for a URI that is none."""
    yield from asyncio.run(_examined(uri))


async def _examined(uri: str) -> Sequence[Finding]:
    return [finding async for finding in _examine(uri)]


async def _examine(uri: str) -> AsyncIterator[Finding]:
    began = time.monotonic()
    try:
        info = await client.describe(uri)
    except SettingsError:
        raise
    except SuperwhisperError as error:
        yield Finding("Server", State.PROBLEM, str(error), "wyoming-superwhisper serve; is a firewall in between?")
        return
    yield _answers(uri, info, time.monotonic() - began)
    language = _language(info)
    sound = b""
    if info.tts:
        finding, sound = await _speak(uri, language)
        yield finding
    if info.asr and sound:
        yield await _hear(uri, sound, language)
    if info.intent or info.handle:
        yield await _ask(uri, language)
    if info.wake:
        yield await _listen(uri, [model.name for program in info.wake for model in program.models])


def _answers(uri: str, info: Info, took_s: float) -> Finding:
    services = [name for name in ("asr", "tts", "intent", "handle", "wake") if getattr(info, name)]
    text = f"{uri} answers after {took_s * 1000:.0f} ms and offers {', '.join(services) or 'nothing'}"
    if not services:
        return Finding("Server", State.PROBLEM, text, "server.services of its settings says what it offers")
    if took_s > _QUICK_S:
        return Finding("Server", State.NOTE, text, "older releases of Home Assistant give up after a second")
    return Finding("Server", State.OK, text)


def _language(info: Info) -> str:
    """One that is both spoken and heard, else one that is spoken."""
    spoken = [language for program in info.tts for voice in program.voices for language in voice.languages]
    heard = {language for program in info.asr for model in program.models for language in model.languages}
    bases = [language.replace("_", "-").partition("-")[0] for language in spoken]
    return next((one for one in bases if one in heard), bases[0] if bases else "en")


def _question(language: str) -> str:
    return _QUESTIONS.get(language, _QUESTION)


async def _speak(uri: str, language: str) -> tuple[Finding, bytes]:
    """The finding, and the sound as recognition takes it."""
    began, chunks, format = time.monotonic(), [], SPEECH
    first_s = 0.0
    try:
        async for chunk in client.synthesize(uri, _question(language), language=language):
            first_s = first_s or time.monotonic() - began
            chunks.append(chunk.audio)
            format = chunk.format
    except SuperwhisperError as error:
        return Finding("Speech", State.PROBLEM, f"{error} ({error.code})", _LOG), b""
    audio = b"".join(chunks)
    text = f"{_question(language)!r} became {format.seconds(len(audio)):.1f} s of sound, the first after"
    return Finding("Speech", State.OK, f"{text} {first_s * 1000:.0f} ms"), _for_recognition(audio, format)


def _for_recognition(audio: bytes, format: AudioFormat) -> bytes:
    converter, pause = AudioConverter(format), bytes(SPEECH.bytes_of(0.5))
    return pause + converter.feed(audio) + converter.finish() + pause


async def _hear(uri: str, sound: bytes, language: str) -> Finding:
    began = time.monotonic()
    try:
        heard = await client.transcribe(uri, sound, language=language)
    except SuperwhisperError as error:
        return Finding("Recognition", State.PROBLEM, f"{error} ({error.code})", _LOG)
    if not heard:
        return Finding("Recognition", State.PROBLEM, "nothing was heard of the server's own speech", _LOG)
    return Finding("Recognition", State.OK, f"heard {heard!r} after {(time.monotonic() - began) * 1000:.0f} ms")


async def _ask(uri: str, language: str) -> Finding:
    began = time.monotonic()
    try:
        answer = await client.ask(uri, _question(language), language)
    except SuperwhisperError as error:
        return Finding("Understanding", State.PROBLEM, f"{error} ({error.code})", _LOG)
    meant = answer.answered_by or ", ".join(intent.name for intent in answer.intents) or answer.outcome
    took = f"after {(time.monotonic() - began) * 1000:.0f} ms"
    if answer.outcome == "not-recognized":
        return Finding("Understanding", State.NOTE, f"{_question(language)!r} is not understood, {took}", _LOG)
    return Finding("Understanding", State.OK, f"{_question(language)!r} is {meant}, {took}")


async def _listen(uri: str, words: Sequence[str]) -> Finding:
    try:
        heard = await client.detect(uri, bytes(SPEECH.bytes_of(1.0)))
    except SuperwhisperError as error:
        return Finding("Wake words", State.PROBLEM, f"{error} ({error.code})", _LOG)
    if heard is not None:
        return Finding("Wake words", State.PROBLEM, f"{heard} was heard in silence", _LOG)
    return Finding("Wake words", State.OK, f"listens for {', '.join(words)}")
