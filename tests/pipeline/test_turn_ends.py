"""When a turn ends by itself: by what was said and how it was asked for, by silence, by its length; a file never."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from wyoming.event import Event

from tests.pipeline.rooms import AUDIO, House, chunks, speech
from tests.pipeline.virtual_time import run_virtual
from wyoming_superwhisper.pipeline.certainty import (
    LIKELY_TALK,
    LIKELY_WHOLE,
    MANY_ENDS,
    MUCH_LOSS,
    ONE_END,
    PLACE_MAY_FOLLOW,
    SURE_TALK,
    SURELY_WHOLE,
)
from wyoming_superwhisper.pipeline.end_of_turn import DEFAULT, SENSITIVITIES

START, STOP = Event("audio-start", dict(AUDIO)), Event("audio-stop")
TURN = {"start_stage": "asr", "end_stage": "handle", "name": "salon-pi", "language": "fr"}
TWO_WORDS = ((1, 0.4), (0, 0.1), (2, 0.4))
WAITS = SENSITIVITIES[DEFAULT]


def ended(
    *spoken: tuple[int, float],
    whole: float | None = None,
    command: bool = False,
    place: Mapping[str, str] = MappingProxyType({}),
    end_logprob: float = 0.0,
    loss_without_end: float = 0.0,
    only_heard: bool = False,
    sensitivity: str = "",
    **asr: Any,
) -> tuple[str, float]:
    """The transcript of a turn that a satellite streams, silence after it, and when it came, from the beginning on."""

    async def main() -> None:
        house = House(takes_s=0.02, endpointing="server", **asr)
        house.model.whole, house.recognizer.end_logprob = whole, end_logprob
        house.recognizer.loss_without_end = loss_without_end
        house.intents.is_command, house.intents.place = lambda text: command, place
        asked = {"vad_sensitivity": sensitivity} if sensitivity else {}
        async with house.client() as client:
            run = () if only_heard else (Event("run-pipeline", TURN),)
            await client.send(*run, Event("transcribe", {"language": "fr", **asked}), START)
            began_s = asyncio.get_running_loop().time()
            streaming = asyncio.create_task(client.speak(*spoken, (0, 12.0)))
            text = (await client.until("transcript")).data["text"]
            found.append((text, asyncio.get_running_loop().time() - began_s))
            await streaming
        await house.close()

    found: list[tuple[str, float]] = []
    run_virtual(main())
    return found[0]


def waits_s(**circumstances: Any) -> float:
    """How much silence a satellite hears after two words before its turn is over."""
    text, at_s = ended(*TWO_WORDS, **circumstances)
    assert text == "un deux"
    return at_s - sum(seconds for _, seconds in TWO_WORDS)


@pytest.mark.parametrize("only_heard", [False, True])
def test_a_sentence_that_the_model_believes_is_whole_ends_as_soon_as_a_command(only_heard: bool) -> None:
    assert waits_s(whole=0.9, only_heard=only_heard) == pytest.approx(WAITS.complete, abs=0.1)


@pytest.mark.parametrize("whole", [None, 0.0, 0.1])
def test_one_that_may_go_on_is_waited_for(whole: float | None) -> None:
    assert waits_s(whole=whole) == pytest.approx(WAITS.open, abs=0.1)


@pytest.mark.parametrize(("place", "asked"), [({}, PLACE_MAY_FOLLOW), ({"area": "Salon"}, MANY_ENDS)])
@pytest.mark.parametrize(("more", "soon"), [(0.01, True), (0.0, True), (-0.001, False), (-1.0, False)])
def test_a_command_ends_soon_where_its_last_words_are_certain(
    place: dict[str, str], asked: float, more: float, soon: bool
) -> None:
    wait = waits_s(command=True, place=place, end_logprob=asked + more)
    assert wait == pytest.approx(WAITS.complete if soon else WAITS.open, abs=0.1)


@pytest.mark.parametrize(("whole", "asked"), [(LIKELY_WHOLE, LIKELY_TALK), (SURELY_WHOLE, SURE_TALK)])
@pytest.mark.parametrize(("more", "soon"), [(0.0, True), (-0.001, False)])
def test_the_surer_a_sentence_is_whole_the_less_certain_its_last_words_must_be(
    whole: float, asked: float, more: float, soon: bool
) -> None:
    wait = waits_s(whole=whole, end_logprob=asked + more)
    assert wait == pytest.approx(WAITS.complete if soon else WAITS.open, abs=0.1)


@pytest.mark.parametrize("command", [False, True])
@pytest.mark.parametrize(("loss", "soon"), [(MUCH_LOSS, True), (MUCH_LOSS + 0.001, False), (math.inf, False)])
def test_last_words_that_may_not_have_been_spoken_must_be_more_certain(command: bool, loss: float, soon: bool) -> None:
    wait = waits_s(command=command, whole=0.9, end_logprob=ONE_END - 0.001, loss_without_end=loss)
    assert wait == pytest.approx(WAITS.complete if soon else WAITS.open, abs=0.1)


@pytest.mark.parametrize("sensitivity", SENSITIVITIES)
def test_it_is_waited_as_long_as_the_request_wants(sensitivity: str) -> None:
    assert waits_s(sensitivity=sensitivity) == pytest.approx(SENSITIVITIES[sensitivity].open, abs=0.1)


def test_who_says_nothing_is_waited_for_no_longer_than_the_settings_say() -> None:
    assert ended((0, 1.0), no_speech_s=2.0) == ("", pytest.approx(2.0, abs=0.1))


def test_who_never_stops_is_cut_off_where_the_settings_say() -> None:
    text, at_s = ended((1, 20.0), longest_s=5.0)
    assert text
    assert at_s == pytest.approx(5.0, abs=0.3)


def test_a_file_is_heard_to_its_end_however_long_it_is_silent_in_between() -> None:
    async def main() -> None:
        house = House(takes_s=0.02, endpointing="server", no_speech_s=1.0)
        house.model.whole = 0.9
        async with house.client() as client:
            file = chunks(speech((0, 3.0), *TWO_WORDS, (0, 3.0), *TWO_WORDS, (0, 3.0)))
            await client.send(Event("run-pipeline", TURN), START, *file, STOP)
            assert (await client.until("transcript")).data["text"] == "un deux un deux"
            await client.until("handled")
        await house.close()

    run_virtual(main())
