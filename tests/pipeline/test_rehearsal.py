"""A turn that is rehearsed ends sooner where the language model believes that the sentence is whole."""

from __future__ import annotations

import asyncio

import pytest
from wyoming.event import Event

from tests.pipeline.rooms import AUDIO, House
from tests.pipeline.virtual_time import run_virtual
from wyoming_superwhisper.pipeline.end_of_turn import DEFAULT, SENSITIVITIES

TURN = Event("run-pipeline", {"start_stage": "asr", "end_stage": "handle", "name": "salon-pi", "language": "fr"})
WAITS = SENSITIVITIES[DEFAULT]


def waits_s(whole: float | None) -> float:
    """How much silence a satellite hears before its turn is over, where a sentence is for the language model."""

    async def main() -> None:
        house = House(longest_s=0.02)
        house.model.whole = whole
        async with house.client() as client:
            await client.send(TURN, Event("audio-start", dict(AUDIO)))
            await client.speak((1, 0.4), (0, 0.1), (2, 0.4))
            ended_s = asyncio.get_running_loop().time()
            silence = asyncio.create_task(client.speak((0, 3.0)))
            assert (await client.until("transcript")).data["text"] == "un deux"
            waited.append(asyncio.get_running_loop().time() - ended_s)
            await client.until("handled")
            await silence
        await house.close()

    waited: list[float] = []
    run_virtual(main())
    return waited[0]


def test_a_sentence_that_the_model_believes_is_whole_ends_as_soon_as_a_command() -> None:
    assert waits_s(0.9) == pytest.approx(WAITS.complete, abs=0.1)


@pytest.mark.parametrize("whole", [None, 0.0, 0.1])
def test_one_that_may_go_on_is_waited_for(whole: float | None) -> None:
    assert waits_s(whole) == pytest.approx(WAITS.open, abs=0.1)
