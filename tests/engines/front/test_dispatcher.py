"""The calls of a worker: queues, priorities, cancels, credit, memory; with real processes of a fake engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.engines.front.fake_worker import running
from tests.fakes import awaited
from tests.waiting import WAIT_S, until
from wyoming_superwhisper.engines.base import Priority
from wyoming_superwhisper.engines.front.dispatcher import WorkLimits
from wyoming_superwhisper.engines.front.jobs import Reply
from wyoming_superwhisper.engines.front.process import WorkerProcess
from wyoming_superwhisper.errors import (
    Busy,
    Internal,
    OutOfMemory,
    SuperwhisperError,
    UnknownVoice,
)
from wyoming_superwhisper.observer import JobRecord

pytestmark = pytest.mark.asyncio(loop_scope="module")


# --- calls ---


async def test_a_call_and_its_answer() -> None:
    async with running() as worker:
        reply = await worker.call("echo", {"text": "Où ? 😀"}, bytes(5_000_000))
        assert reply == Reply({"text": "Où ? 😀"}, bytes(5_000_000))
        assert worker.capabilities["configuration"] == {}
        assert worker.memory_bytes > 1_000_000
        assert worker.pid is not None


async def test_calls_run_side_by_side_up_to_the_capacity(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running({"capacity": 3}) as worker:
        tasks = [asyncio.create_task(worker.call("wait", {"gate": str(gate)})) for _ in range(6)]
        await until(lambda: (worker.running, worker.waiting(Priority.FINAL)) == (3, 3))
        assert not any(task.done() for task in tasks)
        gate.touch()
        await asyncio.gather(*tasks)
        assert (worker.running, worker.waiting(Priority.FINAL)) == (0, 0)


async def test_parts_stream_and_end_with_a_reply(shared: WorkerProcess) -> None:
    worker = shared
    async with worker.stream("parts", {"n": 5, "size": 3}) as stream:
        assert [(part.data["number"], part.payload) async for part in stream] == [(n, b"xxx") for n in range(1, 6)]
        assert stream.reply.data["sent"] == 5


async def test_a_reader_that_stops_reading_stops_the_engine_until_it_goes_on() -> None:
    async with running(limits=WorkLimits(parts=10)) as worker, worker.stream("parts", {"n": 100}) as stream:
        first = await anext(stream)
        assert first.data["number"] == 1
        await until(lambda: stream.job.parts_received == 10)
        await asyncio.sleep(0.3)
        assert stream.job.parts_received == 10
        assert [part.data["number"] async for part in stream] == list(range(2, 101))
        assert stream.reply.data["took_s"] >= 0.3


async def test_who_waits_for_its_reader_is_not_overdue() -> None:
    async with running(limits=WorkLimits(parts=2, job_s=2.0)) as worker, worker.stream("parts", {"n": 4}) as stream:
        await asyncio.sleep(2.5)
        assert [part.data["number"] async for part in stream] == [1, 2, 3, 4]
        assert worker.generation == 1


@pytest.mark.parametrize(
    ("method", "data", "error"),
    [
        ("fail", {"code": "unknown-voice", "text": "No such voice."}, UnknownVoice("No such voice.")),
        ("fail", {"code": "out-of-memory", "text": "Full."}, OutOfMemory("Full.")),
        ("fault", {}, Internal("The engine had a fault: RuntimeError: a fault in the engine")),
        ("nan", {}, Internal("The engine had a fault: ValueError: Out of range float values are not JSON compliant")),
        ("echo", {"x": float("nan")}, Internal("The server asked its engine for something that makes no sense.")),
        ("forget", {}, Internal("The engine ended its work without an answer.")),
        ("no such method", {}, Internal("The engine had a fault: ValueError: unknown method no such method")),
    ],
)
async def test_a_call_that_fails_costs_only_itself(
    method: str, data: dict[str, Any], error: SuperwhisperError, shared: WorkerProcess
) -> None:
    worker = shared
    with pytest.raises(type(error)) as caught:
        await worker.call(method, data)
    assert str(caught.value).startswith(str(error))
    assert (await worker.call("echo", {"still": "here"})).data == {"still": "here"}
    assert worker.generation == 1


async def test_half_a_surrogate_pair_costs_nothing(shared: WorkerProcess) -> None:
    assert (await shared.call("echo", {"text": "\ud800"})).data == {"text": "\ud800"}


# --- the queue ---


async def test_a_full_queue_is_busy_each_kind_for_itself() -> None:
    async with running(limits=WorkLimits(queue_final=2, queue_guess=1)) as worker:
        calls = [asyncio.create_task(worker.call("wait", {"gate": ""})) for _ in range(3)]
        calls.append(asyncio.create_task(worker.call("wait", {"gate": ""}, priority=Priority.GUESS)))
        await until(lambda: (worker.waiting(Priority.FINAL), worker.waiting(Priority.GUESS)) == (2, 1))
        for priority in Priority:
            with pytest.raises(Busy):
                await worker.call("echo", priority=priority)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_finals_are_served_before_guesses_in_order(shared: WorkerProcess, tmp_path: Path) -> None:
    worker, gate = shared, tmp_path / "gate"
    block = asyncio.create_task(worker.call("wait", {"gate": str(gate), "name": "first"}))
    await until(lambda: worker.running == 1)
    calls = [
        asyncio.create_task(
            worker.call("echo", {"name": name}, priority=Priority.GUESS if name.startswith("g") else Priority.FINAL)
        )
        for name in ("g1", "f1", "g2", "f2")
    ]
    await until(lambda: (worker.waiting(Priority.FINAL), worker.waiting(Priority.GUESS)) == (2, 2))
    gate.touch()
    await asyncio.gather(block, *calls)
    assert (await worker.call("order")).data["order"][-5:] == ["first", "f1", "f2", "g1", "g2"]


async def test_a_final_preempts_the_newest_guess_which_runs_again_later(tmp_path: Path) -> None:
    gates = [tmp_path / name for name in ("old", "new")]
    async with running({"capacity": 2}) as worker:
        guesses = [
            asyncio.create_task(worker.call("wait", {"gate": str(gate), "name": gate.name}, priority=Priority.GUESS))
            for gate in gates
        ]
        await until(lambda: all(awaited(gate).exists() for gate in gates))
        await worker.call("echo", {"name": "final"})
        assert not any(guess.done() for guess in guesses)
        for gate in gates:
            gate.touch()
        await asyncio.gather(*guesses)
        assert (await worker.call("order")).data["order"] == ["old", "new", "final", "new"]
        assert worker.preempted == 1


async def test_a_preempted_guess_that_has_begun_to_answer_is_busy(shared: WorkerProcess) -> None:
    data = {"n": 1_000_000, "pause_s": 0.02}
    worker = shared
    async with worker.stream("parts", data, priority=Priority.GUESS) as guess:
        await anext(guess)
        await worker.call("echo")
        with pytest.raises(Busy):
            async for _ in guess:
                pass


async def test_a_promoted_guess_is_served_as_a_final_and_not_preempted(shared: WorkerProcess) -> None:
    worker = shared
    running_guess = worker.submit("sleep", {"s": 1.0, "name": "running"}, priority=Priority.GUESS)
    waiting_guess = worker.submit("echo", {"name": "waiting"}, priority=Priority.GUESS)
    worker.promote(running_guess)
    worker.promote(waiting_guess)
    await worker.call("echo", {"name": "final"})
    assert running_guess.ended
    assert running_guess.reply is not None
    assert running_guess.reply.data["priority"] == Priority.FINAL, "its engine knows too"
    assert waiting_guess.ended
    assert (await worker.call("order")).data["order"][-3:] == ["running", "waiting", "final"]


# --- cancelling ---


async def test_a_cancelled_call_never_reaches_the_worker_or_leaves_it_soon(tmp_path: Path) -> None:
    records: list[JobRecord] = []
    never = tmp_path / "gate"
    async with running(on_job=records.append) as worker:
        in_worker = asyncio.create_task(worker.call("wait", {"gate": str(never), "name": "running"}))
        in_queue = asyncio.create_task(worker.call("echo", {"name": "waiting"}))
        await until(lambda: awaited(never).exists() and worker.waiting(Priority.FINAL) == 1)
        assert worker.running == 1
        in_queue.cancel()
        await asyncio.sleep(0)
        assert (worker.running, worker.waiting(Priority.FINAL)) == (1, 0)
        in_worker.cancel()
        async with asyncio.timeout(WAIT_S):
            assert (await worker.call("order")).data["order"] == ["running"]
        assert worker.cancelled == 2
        assert [record.code for record in records] == ["cancelled", "cancelled", ""]


async def test_closing_a_stream_cancels_it_even_while_it_waits_for_credit() -> None:
    async with running(limits=WorkLimits(parts=2)) as worker:
        async with worker.stream("parts", {"n": 100}) as stream:
            await anext(stream)
            await until(lambda: stream.job.parts_received >= 2)
        await worker.call("echo")
        assert worker.cancelled == 1


async def test_a_place_is_free_only_when_a_blocked_engine_has_noticed_the_cancel(
    shared: WorkerProcess, tmp_path: Path
) -> None:
    worker, gate = shared, tmp_path / "gate"
    blocked = asyncio.create_task(worker.call("block", {"gate": str(gate)}))
    await until(awaited(gate).exists)
    blocked.cancel()
    await asyncio.wait([blocked])
    assert worker.running == 1
    gate.touch()
    await worker.call("echo")
    assert worker.running == 0


# --- short of memory, other limits ---


async def test_a_call_that_finds_no_memory_is_tried_once_more_alone_and_smaller() -> None:
    records: list[JobRecord] = []
    async with running({"capacity": 3}, on_job=records.append) as worker:
        jobs = [worker.submit("no memory", {"n": n}, smaller={"little": True}) for n in range(3)]
        for job in jobs:
            assert (await job.result()).data == {"alone": True}
        with pytest.raises(OutOfMemory, match="ran out of memory"):
            await worker.call("no memory")
        assert (await worker.call("echo", {"n": 1})).data == {"n": 1}
        assert worker.generation == 1
        assert [record.code for record in records] == ["", "", "", "out-of-memory", ""]


async def test_limits_and_log_change_while_it_runs(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running() as worker:
        worker.use(WorkLimits(queue_final=1), {"level": "debug", "format": "json"})
        calls = [asyncio.create_task(worker.call("wait", {"gate": str(gate)})) for _ in range(2)]
        await until(lambda: (worker.running, worker.waiting(Priority.FINAL)) == (1, 1))
        with pytest.raises(Busy):
            await worker.call("echo")
        gate.touch()
        await asyncio.gather(*calls)
        assert worker.generation == 1
