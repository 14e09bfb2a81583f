"""Wake words."""

import numpy as np
import pytest
from wyoming.event import Event
from wyoming.wake import Detect

from tests.conftest import RunningServer
from tests.server.speech import ESPEAK_RATE, audio_events, client
from wyoming_superwhisper.models.demo import espeak


def alexa() -> bytes:
    silence = np.zeros(int(1.5 * ESPEAK_RATE), dtype=np.int16)
    return np.concatenate([silence, espeak.speak_apart("Alexa", "en-us", rate=140), silence]).tobytes()


async def test_a_wake_word_is_detected_without_an_audio_stop(server: RunningServer) -> None:
    async with client(server) as one:
        await one.send(Detect(names=["alexa"]), *audio_events(alexa(), ESPEAK_RATE)[:-1])
        detection = await one.receive()
    assert (detection.type, detection.data["name"]) == ("detection", "alexa")
    assert 1_000 < detection.data["timestamp"] < 4_000


async def test_another_word_is_not_detected_twice_in_a_row(server: RunningServer) -> None:
    async with client(server) as one:
        for _ in range(2):
            await one.send(Detect(names=["hey_jarvis"]), *audio_events(alexa(), ESPEAK_RATE))
            assert (await one.receive()).type == "not-detected"


@pytest.mark.parametrize(
    ("names", "code"), [(["open_sesame"], "unknown-model"), ("alexa", "bad-data"), ([1], "bad-data")]
)
async def test_wrong_names_are_errors(server: RunningServer, names: object, code: str) -> None:
    async with client(server) as one:
        await one.send(Event("detect", {"names": names}))
        error = await one.receive()
        assert (error.type, error.data["code"]) == ("error", code)
