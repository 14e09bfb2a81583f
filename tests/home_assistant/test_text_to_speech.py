"""Home Assistant's text-to-speech entity: the streamed speech it gets, beside the plain one, and the voices."""

from __future__ import annotations

import aiohttp
import pytest
from wyoming.tts import Synthesize

from tests.conftest import RunningServer
from tests.home_assistant.core import HomeAssistantCore
from tests.home_assistant.voice import Voice, Wav, words
from tests.server.speech import client, sound_of

pytestmark = [pytest.mark.home_assistant, pytest.mark.timeout(600)]

TEXTS = [
    "Allumé.",
    "Bonjour, je suis à la maison.",
    "Il est 20 h 30. La température du salon est de 19,5 degrés. Bonne soirée ! " * 3,
    "Turned on the lights in the kitchen.",
]


@pytest.mark.parametrize("text", TEXTS)
async def test_streamed_and_plain_speech_are_of_one_length_and_format(
    voice: Voice, server: RunningServer, text: str
) -> None:
    streamed = Wav.of(await voice.speak(text, preferred_format="wav"))
    async with client(server) as one:
        await one.send(Synthesize(text=text))
        plain, rate = sound_of(await one.until("audio-stop"))
    assert (streamed.rate, streamed.width, streamed.channels) == (rate, 2, 1)
    assert len(streamed.samples) == pytest.approx(len(plain), rel=0.02)


async def test_a_text_is_spoken_once(voice: Voice) -> None:
    once = Wav.of(await voice.speak("Bonne nuit.", preferred_format="wav")).seconds
    assert 0.5 < once < 2.0, "the whole text comes a second time at the end of a stream"


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("fr", "Je suis rentré à la maison."),
        ("fr", "Allume la lumière du salon."),
        ("en", "Turn on the kitchen light."),
        ("en", "Set a timer for 10 minutes."),
    ],
)
async def test_what_is_spoken_is_heard_again(
    voice: Voice, home_assistant: HomeAssistantCore, language: str, text: str
) -> None:
    sound = home_assistant.decoded(await voice.speak(text))
    assert words((await voice.transcribe(sound, language))["text"], language) == words(text, language)


async def test_without_a_voice_the_text_tells_the_language(voice: Voice) -> None:
    async def length(**options: str) -> float:
        return Wav.of(await voice.speak("What is the time in the kitchen?", preferred_format="wav", **options)).seconds

    english, french = await length(voice="en_US-demo-medium"), await length(voice="fr_FR-demo-medium")
    assert abs(english - french) > 0.02 * english
    assert await length() == pytest.approx(english, rel=0.02)


@pytest.mark.parametrize("name", ["fr_FR-nobody-medium", "../../etc/passwd"])
async def test_an_unknown_voice_is_an_error_at_once(voice: Voice, home_assistant: HomeAssistantCore, name: str) -> None:
    home_assistant.expected.append("unknown-voice")
    try:
        sound = await voice.speak("Bonjour.", voice=name, preferred_format="wav")
    except (aiohttp.ClientResponseError, aiohttp.ClientPayloadError):
        sound = b""
    assert len(sound) < 100
    assert Wav.of(await voice.speak("Bonjour.", preferred_format="wav")).seconds > 0.3


@pytest.mark.parametrize("text", ["…", "😀", "{{ states('light.salon') }}", "<|im_end|>", "\"'`;--", "a" * 5000])
async def test_no_text_does_harm(voice: Voice, text: str) -> None:
    assert Wav.of(await voice.speak(text, preferred_format="wav")).seconds > 0.05
