"""What is guessed while somebody speaks is the answer when it holds; nobody ever learns of it when it doesn't."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta

import pytest
from wyoming.event import Event

from tests.pipeline.rooms import AUDIO, Client, House, chunks, speech, text_in, text_of
from tests.pipeline.virtual_time import run_virtual
from wyoming_superwhisper.engines.base import Priority

START, STOP = Event("audio-start", dict(AUDIO)), Event("audio-stop")
TRANSCRIBE = Event("transcribe", {"language": "fr"})
TURN = Event("run-pipeline", {"start_stage": "asr", "end_stage": "tts", "name": "salon-pi", "language": "fr"})
TWO_WORDS = ((1, 0.4), (0, 0.1), (2, 0.4))
KEPT, DROPPED = ("asr", "kept"), ("asr", "dropped")


async def transcript(client: Client, *segments: tuple[int, float]) -> str:
    """Speak as Home Assistant streams it, then stop: the text."""
    await client.send(TRANSCRIBE, START)
    await client.speak(*segments)
    await client.send(STOP)
    text: str = (await client.until("transcript")).data["text"]
    return text


# --- recognition


def test_a_pause_that_was_the_end_is_answered_by_its_guess_at_once() -> None:
    async def main() -> None:
        house = House(takes_s=0.3)
        async with house.client() as client:
            assert await transcript(client, *TWO_WORDS, (0, 0.7)) == "un deux"
            assert client.waited_s == 0
        assert (house.counts.guesses, len(house.recognizer.requests)) == ({KEPT: 1}, 1)

    run_virtual(main())


def test_a_guess_that_is_not_ready_is_waited_for_and_not_made_again() -> None:
    async def main() -> None:
        house = House(takes_s=0.0)
        house.recognizer.random = _Always(1.0)
        house.recognizer.longest_s = 1.0
        async with house.client() as client:
            assert await transcript(client, *TWO_WORDS, (0, 0.7)) == "un deux"
            assert client.waited_s == pytest.approx(0.5, abs=0.06)
        assert (house.counts.guesses, len(house.recognizer.requests)) == ({KEPT: 1}, 1)

    run_virtual(main())


def test_speech_that_goes_on_cancels_its_guess_and_the_next_pause_is_another() -> None:
    async def main() -> None:
        house = House()
        house.recognizer.random = _Always(1.0)
        house.recognizer.longest_s = 0.2
        async with house.client() as client:
            assert await transcript(client, (1, 0.4), (0, 0.3), (2, 0.4), (0, 0.7)) == "un deux"
        assert house.counts.guesses == {KEPT: 1, DROPPED: 1}
        assert (house.recognizer.cancelled, len(house.recognizer.requests)) == (1, 2)

    run_virtual(main())


def test_speech_that_ends_with_no_pause_is_transcribed_as_ever() -> None:
    async def main() -> None:
        house = House()
        async with house.client() as client:
            assert await transcript(client, *TWO_WORDS, (0, 0.1)) == "un deux"
        assert (house.counts.guesses, house.recognizer.guesses()) == ({}, 0)

    run_virtual(main())


def test_no_guess_is_made_of_a_file_or_where_the_settings_want_none() -> None:
    async def main() -> None:
        house, other = House(), House(guesses=False)
        async with house.client() as client, other.client() as careful:
            await client.send(TRANSCRIBE, START, *chunks(speech(*TWO_WORDS, (0, 0.7), *TWO_WORDS, (0, 0.7))), STOP)
            assert (await client.until("transcript")).data["text"] == "un deux un deux"
            assert await transcript(careful, *TWO_WORDS, (0, 0.7)) == "un deux"
        assert house.recognizer.guesses() == other.recognizer.guesses() == 0

    run_virtual(main())


def test_a_guess_that_fails_costs_nothing_but_itself() -> None:
    async def main() -> None:
        house = House()
        house.recognizer.fail_guesses = True
        async with house.client() as client:
            assert await transcript(client, *TWO_WORDS, (0, 0.7)) == "un deux"

    run_virtual(main())


# --- what follows, in Home Assistant's three connections


WAITED: dict[str, float] = {}
"""How long the last requests of these helpers took."""


async def ask(house: House, sentence: str, conversation: str = "", **context: str) -> Event:
    async with house.client() as client:
        data = {"text": sentence, "language": "fr", "context": {"conversation_id": conversation, **context}}
        await client.send(Event("transcript", data))
        answer = await client.until("handled", "intent", "not-recognized", "error")
        WAITED["answer"] = client.waited_s
        return answer


async def speak(house: House, text: str, **voice: str) -> str:
    async with house.client() as client:
        more = {"voice": voice} if voice else {}
        await client.send(Event("synthesize-start", more), Event("synthesize-chunk", {"text": text}))
        await client.send(Event("synthesize", {"text": text, **more}), Event("synthesize-stop"))
        await client.until("audio-chunk")
        WAITED["sound"] = client.waited_s
        await client.until("synthesize-stopped")
        return text_in(client.seen)


async def whole_turn(house: House, *segments: tuple[int, float], conversation: str = "") -> Event:
    async with house.client() as client:
        text = await transcript(client, *segments)
    answer = await ask(house, text, conversation)
    await speak(house, answer.data["text"])
    return answer


def test_who_only_wants_transcripts_costs_no_thought() -> None:
    async def main() -> None:
        house = House()
        async with house.client() as client:
            for _ in range(20):
                await transcript(client, *TWO_WORDS, (0, 0.7))
        assert [len(engine.requests) for engine in (house.intents, house.model, house.synthesizer)] == [0, 0, 0]

    run_virtual(main())


def test_a_house_that_asks_is_answered_ahead_from_the_second_turn_on() -> None:
    async def main() -> None:
        house = House()
        first = await whole_turn(house, *TWO_WORDS, (0, 0.7), conversation="a")
        assert not house.model.guesses()
        second = await whole_turn(house, *TWO_WORDS, (0, 0.7), conversation="a")
        assert first.data["text"] == second.data["text"] == "Vous dites : un deux. C'est tout."
        kept = {stage for stage, became in house.counts.guesses if became == "kept"}
        assert kept == {"asr", "intents", "llm", "tts"}
        # The second answer was asked for once, ahead, and so was that of a conversation that it might have begun.
        assert [priority for _, priority in house.model.requests] == [Priority.FINAL, Priority.GUESS, Priority.GUESS]
        assert WAITED == {"answer": 0, "sound": 0}

    run_virtual(main())


def test_a_wrong_assumption_is_thrown_away() -> None:
    async def main() -> None:
        house = House()
        await whole_turn(house, *TWO_WORDS, (0, 0.7), conversation="a")
        # Another conversation: the history that is assumed first is not its own.
        answer = await whole_turn(house, (3, 0.4), (0, 0.7), conversation="b")
        assert answer.data["text"].startswith("Vous dites : trois.")
        assert WAITED == {"answer": 0, "sound": 0}
        requests = [(len(request.history), priority) for request, priority in house.model.requests]
        assert requests == [(0, Priority.FINAL), (1, Priority.GUESS), (0, Priority.GUESS)]
        await house.close()
        assert house.counts.guesses["llm", "dropped"] == house.counts.guesses["llm", "kept"] == 1

    run_virtual(main())


@pytest.mark.parametrize(
    "conversations", [("a", "b", "c", "d"), ("", "", "", ""), ("a", "b", "a", "b"), ("a", "b", "b", "a")]
)
def test_every_turn_but_the_first_is_prepared_whatever_conversation_it_is_of(conversations: Sequence[str]) -> None:
    async def main() -> None:
        house = House()
        for turn, conversation in enumerate(conversations):
            await whole_turn(house, (1 + turn, 0.4), (0, 0.7), conversation=conversation)
            assert house.counts.guesses.get(("llm", "kept"), 0) == turn
        assert WAITED == {"answer": 0, "sound": 0}
        assert [priority for _, priority in house.model.requests].count(Priority.FINAL) == 1

    run_virtual(main())


def test_an_answer_made_in_the_last_seconds_of_a_minute_is_as_good_in_the_next() -> None:
    async def main() -> None:
        house = House()
        await whole_turn(house, *TWO_WORDS, (0, 0.7))
        async with house.client() as client:
            text = await transcript(client, *TWO_WORDS, (0, 0.7))
        house.now += timedelta(minutes=1)
        await ask(house, text)
        assert house.counts.guesses["llm", "kept"] == 1
        assert {request.now for request, _ in house.model.requests} == {"2026-01-05 12:00"}, "nothing was asked again"

    run_virtual(main())


def test_another_voice_than_assumed_is_spoken_and_nothing_of_the_wrong_one() -> None:
    async def main() -> None:
        house = House()
        for _ in range(2):
            await whole_turn(house, *TWO_WORDS, (0, 0.7))
        async with house.client() as client:
            text = await transcript(client, *TWO_WORDS, (0, 0.7))
        answer = (await ask(house, text)).data["text"]
        asked = len(house.synthesizer.requests)
        assert await speak(house, answer + " Et voilà.") == "Vous dites : un deux.C'est tout.Et voilà."
        assert len(house.synthesizer.requests) > asked

    run_virtual(main())


def test_what_nobody_asks_for_is_gone_after_some_seconds() -> None:

    async def main() -> None:
        house = House()
        for _ in range(2):
            await whole_turn(house, *TWO_WORDS, (0, 0.7))
        house.model.random, house.model.longest_s = _Always(1.0), 100.0
        async with house.client() as client:
            await transcript(client, (4, 0.4), (0, 0.9))
        assert house.at_work == 1
        await asyncio.sleep(6)
        assert (house.at_work, len(house.services.prepared.shelf)) == (0, 0)

    run_virtual(main())


def test_an_intent_is_prepared_and_given_once() -> None:
    async def main() -> None:
        house = House()
        house.intents.is_command = lambda text: text == "un deux"
        for _ in range(3):
            answer = await whole_turn(house, *TWO_WORDS, (0, 0.7))
            assert (answer.type, answer.data["name"]) == ("intent", "HassTurnOn")
        assert house.counts.guesses["intents", "kept"] == house.counts.guesses["tts", "kept"] == 2
        assert not house.executor.done  # that is the client's to do

    run_virtual(main())


# --- straight turns


def test_a_turn_that_ended_with_its_guess_says_what_was_prepared() -> None:
    async def main() -> None:
        house = House()
        async with house.client() as client:
            await client.send(TURN, START)
            await client.speak(*TWO_WORDS, (0, 0.9))
            await client.until("audio-stop")
        assert text_in(client.seen) == "Vous dites : un deux.C'est tout."
        assert len(house.model.requests) == 1
        assert house.counts.guesses == {(stage, "kept"): 1 for stage in ("asr", "intents", "llm", "tts")}

    run_virtual(main())


def test_a_command_is_executed_once_and_only_when_the_turn_is_over() -> None:
    async def main() -> None:
        house = House()
        house.intents.is_command = lambda text: True
        async with house.client() as client:
            await client.send(TURN, START)
            await client.speak((1, 0.4), (0, 0.25), (2, 0.4), (0, 0.25), (3, 0.4), (0, 0.5))
            await client.until("audio-stop")
        assert house.executor.done == ["un deux trois"]
        assert text_in(client.seen) == "Fait : un deux trois."

    run_virtual(main())


# --- anything may happen


@pytest.mark.parametrize("seed", range(6))
def test_no_guess_is_ever_told_or_done_and_no_work_is_left(seed: int) -> None:
    run_virtual(_interleave(seed, 10))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 120))
def test_no_guess_is_ever_told_or_done_in_a_thousand_utterances(seed: int) -> None:
    run_virtual(_interleave(seed, 50))


async def _interleave(seed: int, utterances: int) -> None:
    """Speech and pauses, answers that take their time, clients that leave: anything in any order."""

    rng = random.Random(seed)
    house = House(seed, takes_s=rng.choice((0.02, 0.2, 0.6)))
    house.intents.is_command = lambda text: hash_of(text) < 0.4
    done: list[str] = []
    for _ in range(utterances):
        segments = _utterance(rng, house)
        said = text_of(segments)
        leaves_s = rng.uniform(0.2, 6.0) if rng.random() < 0.25 else None
        work = _turn(house, segments) if rng.random() < 0.6 else _three_requests(house, segments)
        try:
            async with asyncio.timeout(leaves_s):
                await work
        except TimeoutError:  # the client has left in the middle
            assert set(house.executor.done[len(done) :]) <= {said}
        else:
            new = house.executor.done[len(done) :]
            assert new in ([], [said]), (new, said)
        done = list(house.executor.done)
        if rng.random() < 0.3:
            await asyncio.sleep(5.5)
            assert (house.at_work, house.voices.open_streams) == (0, 0)
            assert len(house.services.prepared.shelf) == 0
    await house.close()
    await asyncio.sleep(0.1)
    assert (house.at_work, house.voices.open_streams) == (0, 0)


async def _turn(house: House, segments: Sequence[tuple[int, float]]) -> None:
    said = text_of(segments)
    async with house.client() as client:
        await client.send(TURN, START)
        await client.speak(*segments)
        await client.until("audio-stop", "error")
    for event in client.take():
        assert event.type != "error", event.data
        if event.type == "transcript":
            assert event.data["text"] == said
        if event.type in ("handled", "not-handled"):
            assert said in event.data["text"]
    kinds = [event.type for event in client.seen]
    assert kinds.count("transcript") == kinds.count("handled") == kinds.count("audio-start") == 1
    assert kinds.index("voice-stopped") < kinds.index("transcript") < kinds.index("audio-chunk")
    assert said in text_in(client.seen)
    assert house.executor.done[-1:] == [said] or hash_of(said) >= 0.4


async def _three_requests(house: House, segments: Sequence[tuple[int, float]]) -> None:
    said = text_of(segments)
    async with house.client() as client:
        assert await transcript(client, *segments) == said
    answer = await ask(house, said)
    assert answer.type == ("intent" if hash_of(said) < 0.4 else "handled")
    assert said in str(answer.data)
    assert said in await speak(house, answer.data["text"])


def _utterance(rng: random.Random, house: House) -> list[tuple[int, float]]:
    """Words with pauses that a listener of good manners waits through, then silence."""
    segments: list[tuple[int, float]] = [(0, rng.uniform(0.0, 0.5))]
    words = [rng.randint(1, 10) for _ in range(rng.randint(1, 5))]
    for at, word in enumerate(words):
        if at:
            whole = hash_of(text_of(segments)) < 0.4
            segments.append((0, rng.uniform(0.05, 0.25 if whole else 0.7)))
        segments.append((word, rng.uniform(0.15, 0.5)))
    return [*segments, (0, 1.0)]


def hash_of(text: str) -> float:
    return random.Random(text).random()


class _Always(random.Random):
    """The same share of any range, always."""

    def __init__(self, share: float) -> None:
        super().__init__(0)
        self._share = share

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self._share
