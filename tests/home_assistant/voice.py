"""Our server inside a Home Assistant: its config entry, its entities, pipelines made of them, and turns."""

from __future__ import annotations

import asyncio
import io
import time
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.conftest import RunningServer
from tests.home_assistant.link import Link
from tests.speech import speech
from wyoming_superwhisper.models.demo.domain import normalise_for_comparison

RATE = 16_000
CHUNK_MS = 30
PLATFORMS = ("stt", "tts", "conversation", "wake_word")


def said(language: str, text: str) -> bytes:
    """A sentence by espeak-ng at 16 kHz, with pauses around it."""
    return speech(text, "fr" if language == "fr" else "en-us")


def words(text: str, language: str = "fr") -> str:
    """What a text says, without the marks."""
    return normalise_for_comparison(text, language)


async def add_by_hand(link: Link, host: str, port: int) -> dict[str, Any]:
    """What the owner does under "Add integration": the flow's last answer."""
    flow = await link.post("/api/config/config_entries/flow", {"handler": "wyoming"})
    assert (flow["type"], flow["step_id"]) == ("form", "user"), flow
    path = f"/api/config/config_entries/flow/{flow['flow_id']}"
    answer: dict[str, Any] = await link.post(path, {"host": host, "port": port})
    return answer


async def remove(link: Link, entry: str) -> None:
    """Remove a config entry with everything of it."""
    await link.delete(f"/api/config/config_entries/entry/{entry}")


@dataclass
class Turn:
    """What came of one run of a pipeline."""

    events: list[dict[str, Any]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """When each event came, counted from the end of the speech (of the text) that was sent."""
    sound: bytes = b""
    """The reply as WAV, where the run has a voice."""

    def of(self, kind: str) -> dict[str, Any]:
        """The data of the first event of this type."""
        found: dict[str, Any] = next(event["data"] for event in self.events if event["type"] == kind)
        return found

    def after_s(self, kind: str) -> float:
        """When the first event of this type came, after the end of what was said."""
        return next(at for event, at in zip(self.events, self.seconds, strict=True) if event["type"] == kind)

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def error(self) -> str:
        """Code of the run's error, "" without one."""
        return next((event["data"]["code"] for event in self.events if event["type"] == "error"), "")

    @property
    def heard(self) -> str:
        return str(self.of("stt-end")["stt_output"]["text"])

    @property
    def response(self) -> dict[str, Any]:
        found: dict[str, Any] = self.of("intent-end")["intent_output"]["response"]
        return found

    @property
    def reply(self) -> str:
        """What is spoken."""
        return str(self.response["speech"].get("plain", {}).get("speech", ""))

    @property
    def conversation(self) -> str:
        return str(self.of("intent-end")["intent_output"]["conversation_id"])


@dataclass(frozen=True)
class Voice:
    """One config entry of ours, and its entities by platform."""

    link: Link
    entry: str
    entities: dict[str, str]

    @classmethod
    async def of_entry(cls, link: Link, entry: str) -> Voice:
        """Raises AssertionError where the entry is not loaded or lacks a platform."""
        [state] = [one["state"] for one in await link.call("config_entries/get") if one["entry_id"] == entry]
        assert state == "loaded", state
        registered = await link.call("config/entity_registry/list")
        entities = {
            one["entity_id"].partition(".")[0]: one["entity_id"]
            for one in registered
            if one["config_entry_id"] == entry
        }
        assert set(entities) == set(PLATFORMS), entities
        return cls(link, entry, entities)

    @asynccontextmanager
    async def pipeline(self, language: str = "fr", **changes: Any) -> AsyncIterator[str]:
        """The id of a pipeline made of our entities, as the owner makes it under "Voice assistants"."""
        tts_languages = await self.languages("tts")
        fields = {
            "name": f"Superwhisper {language}",
            "language": language,
            "conversation_engine": self.entities["conversation"],
            "conversation_language": language,
            "stt_engine": self.entities["stt"],
            "stt_language": language,
            "tts_engine": self.entities["tts"],
            "tts_language": next(one for one in tts_languages if one.startswith(language)),
            "tts_voice": None,
            "wake_word_entity": self.entities["wake_word"],
            "wake_word_id": None,
        }
        made = await self.link.call("assist_pipeline/pipeline/create", **(fields | changes))
        try:
            yield made["id"]
        finally:
            await self.link.call("assist_pipeline/pipeline/delete", pipeline_id=made["id"])

    async def languages(self, platform: str, language: str | None = None) -> list[str]:
        """What Home Assistant lists for an entity under this language (for all, without one)."""
        kind = {"stt": "stt/engine/list", "tts": "tts/engine/list", "conversation": "conversation/agent/list"}[platform]
        answer = await self.link.call(kind, **({"language": language} if language else {}))
        listed = answer.get("providers") or answer.get("agents")
        [ours] = [one for one in listed if one.get("engine_id", one.get("id")) == self.entities[platform]]
        return list(ours["supported_languages"])

    # --- one service at a time

    async def transcribe(self, audio: bytes, language: str = "fr") -> dict[str, Any]:
        """Audio (16 kHz) to text by the HTTP API: `{"text": …, "result": "success"}`."""
        layout = "format=wav; codec=pcm; sample_rate=16000; bit_rate=16; channel=1"
        headers = {"X-Speech-Content": f"{layout}; language={language}"}
        async with self.link.http.post(f"/api/stt/{self.entities['stt']}", data=audio, headers=headers) as got:
            got.raise_for_status()
            answer: dict[str, Any] = await got.json()
            return answer

    async def speak(self, text: str, language: str | None = None, **options: Any) -> bytes:
        """Text to a WAV file. Raises `aiohttp.ClientResponseError` where Home Assistant could not speak it."""
        body: dict[str, Any] = {"engine_id": self.entities["tts"], "message": text, "cache": False, "options": options}
        if language:
            body["language"] = language
        return await self.link.get((await self.link.post("/api/tts_get_url", body))["path"])

    async def ask(self, text: str, language: str = "fr", conversation: str | None = None) -> dict[str, Any]:
        """A sentence in text to our agent, as the app's dialogue does; the whole result."""
        answer: dict[str, Any] = await self.link.call(
            "conversation/process", text=text, language=language, conversation_id=conversation,
            agent_id=self.entities["conversation"],
        )  # fmt: skip
        return answer

    # --- whole turns

    async def run(
        self, pipeline: str, said: bytes | str, *, start: str = "stt", end: str = "tts", pace: float = 0.0,
        input: dict[str, Any] | None = None, fetch: bool = True, **fields: Any,
    ) -> Turn:  # fmt: skip
        """Run a pipeline on speech (16 kHz, sent `pace` times as fast as it is spoken, 0: at once) or on a text."""
        spoken = isinstance(said, bytes)
        given: dict[str, Any] = {"sample_rate": RATE} if spoken else {"text": said}
        running = await self.link.subscribe(
            "assist_pipeline/run", start_stage=start, end_stage=end, pipeline=pipeline, input=given | (input or {}),
            **fields,
        )  # fmt: skip
        turn, loop = Turn(), asyncio.get_running_loop()
        first = await running.next()
        sending = None
        ended = loop.create_future()
        if isinstance(said, bytes):
            handler = first["data"]["runner_data"]["stt_binary_handler_id"]
            sending = asyncio.create_task(self._send(handler, said, pace, ended), name="speech")
        else:
            ended.set_result(time.monotonic())
        arrived = [time.monotonic()]
        turn.events.append(first)
        try:
            while turn.types[-1] != "run-end":
                turn.events.append(await running.next())
                arrived.append(time.monotonic())
                if sending and turn.types[-1] in ("stt-end", "error"):
                    sending.cancel()  # who was understood is not listened to any more
        finally:
            if sending:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            if turn.types[-1] != "run-end":
                await self.link.call("unsubscribe_events", subscription=running.number)
        turn.seconds = [at - ended.result() for at in arrived]
        if fetch and "tts-end" in turn.types:
            turn.sound = await self.link.get(turn.of("tts-end")["tts_output"]["url"])
        return turn

    async def _send(self, handler: int, audio: bytes, pace: float, ended: asyncio.Future[float]) -> None:
        size = RATE * CHUNK_MS // 1000 * 2
        began = time.monotonic()
        try:
            for number, start in enumerate(range(0, len(audio), size), 1):
                await self.link.send_bytes(bytes([handler]) + audio[start : start + size])
                if pace:
                    await asyncio.sleep(max(0.0, began + number * CHUNK_MS / 1000 / pace - time.monotonic()))
        finally:
            ended.set_result(time.monotonic())
        await self.link.send_bytes(bytes([handler]))


async def voice_of(link: Link, server: RunningServer) -> Voice:
    """Our server in this Home Assistant: added now, or what is there already."""
    for one in await link.call("config_entries/get", domain="wyoming"):
        # The entry's own address is not told: its title and state are all there is.
        if one["state"] == "loaded" and one["title"] == "superwhisper":
            return await Voice.of_entry(link, one["entry_id"])
    answer = await add_by_hand(link, server.host, server.port)
    assert answer["type"] == "create_entry", answer
    return await Voice.of_entry(link, answer["result"]["entry_id"])


@dataclass(frozen=True)
class Wav:
    """A WAV file, also one of a stream whose length was not known when it began."""

    rate: int
    width: int
    channels: int
    samples: bytes

    @classmethod
    def of(cls, data: bytes) -> Wav:
        with wave.open(io.BytesIO(data)) as file:
            rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
        return cls(rate, width, channels, data[data.index(b"data") + 8 :])

    @property
    def seconds(self) -> float:
        return len(self.samples) / (self.rate * self.width * self.channels)
