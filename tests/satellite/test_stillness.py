"""Who dozes while a room is still misses nothing that is said in it."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from pymicro_wakeword.microwakeword import DEFAULT_STRIDE

from tests.speech import pcm, sound, speech
from wyoming_superwhisper.audio import SPEECH
from wyoming_superwhisper.config.satellite_settings import WakeWordSettings
from wyoming_superwhisper.satellite.capture import Deliver
from wyoming_superwhisper.satellite.hearing import Ears, WordListener
from wyoming_superwhisper.satellite.microphone import Microphone
from wyoming_superwhisper.satellite.stillness import HELD_S, STIRS_ON_S, DozingListener, Stillness
from wyoming_superwhisper.satellite.wake_word import FRAME_S, Detection, WakeWordListener

CHUNK_S = 0.06
CHUNK_BYTES = SPEECH.bytes_of(CHUNK_S)
SAID_AT_S = (8.3, 17.1, 21.7)
SAME_PLACE_S = CHUNK_S + 2 * DEFAULT_STRIDE * FRAME_S
"""How far apart the ends of one word may be that two listeners hear, in seconds, if they began at different times. Each
counts back from the end of the chunk that it was fed; its model answers once in so many steps, counted from where it
began, and so does the network that finds the end, which hears another second before the word. Where a certainty is on
the edge, which the rounding of another processor decides, each may come out one later."""


class CountingListener(WakeWordListener):
    """Knows how much it was really fed."""

    fed_bytes = 0

    def feed(self, chunk: bytes) -> Detection | None:
        self.fed_bytes += len(chunk)
        return super().feed(chunk)


def chunks(audio: bytes) -> list[bytes]:
    return [audio[at : at + CHUNK_BYTES] for at in range(0, len(audio), CHUNK_BYTES)]


def heard(listener: WordListener, audio: bytes) -> list[Detection]:
    return [found for chunk in chunks(audio) if (found := listener.feed(chunk)) is not None]


def said_in_noise(text: str, voice: str, kind: str, snr_db: float) -> bytes:
    """Said three times within 30 s of noise."""
    word = np.frombuffer(speech(text, voice, before_s=0.0, after_s=0.0), "<i2") / 32768
    noise = np.frombuffer(sound(kind, 30.0), "<i2") / 32768
    if noise.any():
        noise *= np.sqrt(np.mean(word**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    for at_s in SAID_AT_S:
        at = int(at_s * SPEECH.rate)
        noise[at : at + len(word)] += word
    return pcm(noise * 0.5)


@pytest.mark.parametrize(
    ("text", "voice", "kind", "snr_db"),
    [
        ("okay nabu", "en-us", "silence", 0.0),
        ("okay nabu", "en-gb-x-rp", "pink", 20.0),
        ("okay nabu", "en-us+Andrea", "white", 5.0),
        ("okay nabu", "en-us", "brown", 6.0),
        ("alexa", "en-us+m3", "pink", 10.0),
        ("alexa", "fr", "hum50", 10.0),
    ],
)
def test_the_same_words_are_heard_at_the_same_places(text: str, voice: str, kind: str, snr_db: float) -> None:
    settings = WakeWordSettings(words=("okay_nabu", "alexa"))
    audio = said_in_noise(text, voice, kind, snr_db)
    always, counting = WakeWordListener(settings), CountingListener(settings)
    dozing = DozingListener(counting)
    expected, found = heard(always, audio), heard(dozing, audio)
    assert [one.name for one in found] == [one.name for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert abs(one.end - other.end) <= SPEECH.bytes_of(SAME_PLACE_S)
    assert dozing.heard_bytes == always.heard_bytes == len(audio)
    assert counting.fed_bytes < 0.7 * len(audio)


@pytest.mark.parametrize("kind", ["silence", "white", "pink", "hum50"])
def test_nothing_is_listened_to_in_a_still_room(kind: str) -> None:
    counting = CountingListener(WakeWordSettings(words=("okay_nabu",)))
    dozing = DozingListener(counting)
    audio = sound(kind, 40.0)
    assert not heard(dozing, audio)
    assert counting.fed_bytes <= 0.15 * len(audio)


def test_a_word_counts_again_after_the_time_that_passed_not_after_what_was_listened_to() -> None:
    settings = WakeWordSettings(words=("okay_nabu",), refractory_s=10.0)
    word = speech("okay nabu", "en-us", before_s=0.0, after_s=1.0)
    dozing = DozingListener(WakeWordListener(settings))
    silence = SPEECH.silence
    assert len(heard(dozing, silence(3.0) + word + silence(4.0) + word)) == 1
    assert len(heard(dozing, silence(12.0) + word)) == 1


def test_what_was_heard_before_it_listened_anew_is_forgotten() -> None:
    word = speech("okay nabu", "en-us", before_s=0.0, after_s=0.0)
    dozing = DozingListener(WakeWordListener(WakeWordSettings(words=("okay_nabu",))))
    half = len(word) // 4 * 2
    heard(dozing, SPEECH.silence(3.0) + word[:half])
    dozing.reset()
    assert not heard(dozing, word[half:] + SPEECH.silence(2.0))
    assert dozing.heard_bytes == SPEECH.bytes_of(5.0) + len(word)


def test_a_room_is_still_again_a_while_after_a_sound() -> None:
    stillness = Stillness()
    hiss = chunks(sound("white", 12.0, level_db=-60.0))
    assert [stillness.feed(chunk) for chunk in hiss][-1] is False
    assert [stillness.feed(chunk) for chunk in chunks(speech("Bonjour.", "fr", before_s=0.0, after_s=0.0))][-1]
    after = [stillness.feed(chunk) for chunk in hiss]
    still_from_s = after.index(False) * 0.06
    assert STIRS_ON_S - 0.2 <= still_from_s <= STIRS_ON_S + HELD_S
    assert not any(after[after.index(False) + 20 :])


class StillCapture:
    """A microphone in a still room that delivers when it is asked to."""

    format = SPEECH
    finite = False
    patient = False

    def __init__(self) -> None:
        self.wanted: asyncio.Queue[bytes] = asyncio.Queue()

    async def run(self, deliver: Deliver) -> None:
        while True:
            deliver(await self.wanted.get())


async def test_the_microphone_is_asked_for_more_at_once_only_while_nothing_goes_on() -> None:
    capture = StillCapture()
    async with Microphone(capture) as microphone:
        ears = Ears(microphone, DozingListener(WakeWordListener(WakeWordSettings(words=("okay_nabu",)))))
        ears.listen_for_words(True)
        listening = asyncio.create_task(ears.run())

        async def hear(audio: bytes) -> bool:
            expected = ears.position + len(audio)
            for chunk in chunks(audio):
                capture.wanted.put_nowait(chunk)
            while ears.position < expected:  # noqa: ASYNC110 - they tell nobody how far they are
                await asyncio.sleep(0)
            return capture.patient

        assert not await hear(SPEECH.silence(STIRS_ON_S - 0.3))
        assert await hear(SPEECH.silence(3.0))
        recording = ears.record(ears.position)
        assert not capture.patient
        assert not await hear(SPEECH.silence(3.0))
        ears.close(recording)
        assert await hear(SPEECH.silence(0.12))
        ears.listen_for_voice(True)
        assert not await hear(SPEECH.silence(0.12))
        ears.listen_for_voice(False)
        assert await hear(SPEECH.silence(0.12))
        assert not await hear(speech("Bonjour.", "fr", before_s=0.0, after_s=0.0))
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
