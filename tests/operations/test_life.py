"""The server's state follows from those of its engines."""

from __future__ import annotations

from dataclasses import dataclass

from wyoming_superwhisper.engines.front.availability import WorkerState
from wyoming_superwhisper.errors import EngineUnavailable
from wyoming_superwhisper.operations.life import Life, State


@dataclass
class Engine:
    name: str
    state: WorkerState = WorkerState.LOADING
    generation: int = 0
    failure: Exception | None = None


def living(*names: str) -> tuple[Life, dict[str, Engine], list[State]]:
    engines = {name: Engine(name) for name in names}
    life, told = Life(), list[State]()
    life.tell(told.append)
    life.watch(engines)
    return life, engines, told


def test_it_starts_until_all_are_loaded_then_is_ready() -> None:
    life, engines, told = living("light", "whisper", "piper", "llama")
    assert (life.state, life.serves) == (State.STARTING, False)
    for engine in engines.values():
        engine.state = WorkerState.READY
        life.look()
    assert (life.state, life.serves, told) == (State.READY, True, [State.READY])


def test_what_is_unloaded_or_replaced_on_purpose_is_no_loss() -> None:
    life, engines, told = living("whisper", "piper")
    for state in (WorkerState.READY, WorkerState.UNLOADED, WorkerState.RELOADING, WorkerState.READY):
        for engine in engines.values():
            engine.state = state
        life.look()
    assert told == [State.READY]


def test_a_lost_engine_degrades_until_it_is_back() -> None:
    life, engines, told = living("whisper", "llama")
    for engine in engines.values():
        engine.state = WorkerState.READY
    life.look()
    for state in (WorkerState.LOST, WorkerState.LOADING, WorkerState.READY):
        engines["llama"].state = state
        life.look()
        assert life.serves, "the rules answer without a language model"
    engines["whisper"].state = WorkerState.LOST
    life.look()
    assert not life.serves
    assert told == [State.READY, State.DEGRADED, State.READY, State.DEGRADED]


def test_an_engine_that_cannot_be_loaded_says_why() -> None:
    life, engines, _ = living("whisper", "llama")
    engines["whisper"].state = WorkerState.READY
    engines["llama"].state = WorkerState.FAILED
    engines["llama"].failure = EngineUnavailable("it needs about 7200 MiB")
    life.look()
    assert (life.state, life.serves) == (State.DEGRADED, True)
    assert life.engines() == {"whisper": "ready", "llama": "failed: it needs about 7200 MiB"}


def test_nothing_follows_stopping() -> None:
    life, engines, told = living("whisper")
    life.stopping()
    engines["whisper"].state = WorkerState.READY
    life.look()
    assert (life.state, life.serves, told) == (State.STOPPING, False, [State.STOPPING])
