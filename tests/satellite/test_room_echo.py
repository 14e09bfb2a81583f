"""A virtual room in which the microphone hears the loudspeaker: who speaks over a reply is heard all the same."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.tts import Synthesize

from tests.conftest import RunningServer
from tests.satellite import room as virtual
from tests.satellite.room import begin_turn, driven_in, virtual_room
from tests.satellite.test_seat import VOICE
from tests.speech import speech
from wyoming_superwhisper import client
from wyoming_superwhisper.audio import SPEECH, AudioFormat, convert

pytestmark = [pytest.mark.system, pytest.mark.long]

if not virtual.is_possible():
    pytest.skip("no PulseAudio here: script/setup --system", allow_module_level=True)

TALE = (
    "Il était une fois une petite fille qui vivait dans une grande maison. Elle aimait beaucoup la lumière du matin. "
    "Un jour elle ouvrit la porte du jardin et vit un chat noir. Le chat lui dit bonjour, et lui demanda son nom."
)
KNOWN_S = 3.0
"""By then the echo of a reply is known, in seconds."""

LEFT_S = 2.0
"""The tale would go on for longer than that, in seconds."""


@pytest.mark.parametrize("level_db", [-20, -10])
@pytest.mark.parametrize(("said", "voice", "told"), [("Stop.", "fr", "Stopped by"), ("alexa", "en-us", "Wake word: ")])
async def test_who_speaks_over_an_echo_of_the_reply_silences_it(
    server: RunningServer, tmp_path: Path, said: str, voice: str, told: str, level_db: int
) -> None:
    await client.wait_ready(server.uri)
    options = (
        "--wake-word", "alexa", "--language", "fr",
        "--set", f"turn.stop_server={server.uri}", "--set", "sounds.awake=off",
    )  # fmt: skip
    async with virtual_room(tmp_path) as room, driven_in(room, *options) as (one, ha):
        await room.hear_loudspeaker(level_db)
        await begin_turn(one, ha)
        tale = convert(speech(TALE, "fr", before_s=0.0, after_s=0.0), SPEECH, AudioFormat(**VOICE))
        await ha.send(Transcript(text="Raconte."), Synthesize(text="Il était une fois"), AudioStart(**VOICE))
        await ha.send(AudioChunk(audio=tale, **VOICE), AudioStop())
        await room.sounds()
        await asyncio.sleep(KNOWN_S)
        twice = 2 * speech(said, voice, before_s=0.1, after_s=1.2)  # as anybody would: a busy machine may stand still
        saying = asyncio.create_task(room.say(twice))
        await one.logged(told)
        detected = time.monotonic()
        assert await room.silent_since(detected) < LEFT_S
        await saying
