"""Worker processes: calls, queues, cancels, deaths and restarts, with real processes of a fake engine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from tests.fakes import FAKE_ENGINE
from wyoming_superwhisper.engines import process
from wyoming_superwhisper.engines.base import Priority
from wyoming_superwhisper.engines.jobs import Reply
from wyoming_superwhisper.engines.process import JobRecord, WorkerProcess, WorkerState, WorkLimits
from wyoming_superwhisper.errors import (
    Busy,
    EngineLost,
    EngineUnavailable,
    Internal,
    ModelError,
    OutOfMemory,
    Stopping,
    SuperwhisperError,
    Timeout,
    UnknownVoice,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = str(Path(__file__).parent.parent.parent)


@asynccontextmanager
async def running(
    configuration: dict[str, Any] | None = None, *, ready: bool = True, **options: Any
) -> AsyncIterator[WorkerProcess]:
    """A worker with the fake engine."""
    environment = {"PYTHONPATH": ROOT, **options.pop("environment", {})}
    worker = WorkerProcess("fake", configuration or {}, engine=FAKE_ENGINE, environment=environment, **options)
    await worker.start()
    try:
        if ready:
            await worker.ready()
        yield worker
    finally:
        await worker.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared() -> AsyncIterator[WorkerProcess]:
    """One worker for the tests that leave it as it was."""
    async with running() as worker:
        yield worker
        assert worker.generation == 1


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# --- calls ---


async def test_a_call_and_its_answer() -> None:
    async with running() as worker:
        reply = await worker.call("echo", {"text": "Où ? 😀"}, bytes(5_000_000))
        assert reply == Reply({"text": "Où ? 😀"}, bytes(5_000_000))
        assert worker.capabilities["configuration"] == {}
        assert worker.memory_bytes > 1_000_000
        assert worker.pid is not None


async def test_calls_run_side_by_side_up_to_the_capacity() -> None:
    async with running({"capacity": 3}) as worker:
        began = time.monotonic()
        tasks = [asyncio.create_task(worker.call("sleep", {"s": 0.3})) for _ in range(6)]
        await asyncio.sleep(0.1)
        assert (worker.running, worker.waiting(Priority.FINAL)) == (3, 3)
        await asyncio.gather(*tasks)
        assert 0.6 <= time.monotonic() - began < 1.5


async def test_parts_stream_and_end_with_a_reply(shared: WorkerProcess) -> None:
    worker = shared
    async with worker.stream("parts", {"n": 5, "size": 3}) as stream:
        assert [(part.data["number"], part.payload) async for part in stream] == [(n, b"xxx") for n in range(1, 6)]
        assert stream.reply.data["sent"] == 5


async def test_a_reader_that_stops_reading_stops_the_engine_until_it_goes_on() -> None:
    async with running(limits=WorkLimits(parts=10)) as worker, worker.stream("parts", {"n": 100}) as stream:
        first = await anext(stream)
        assert first.data["number"] == 1
        await asyncio.sleep(0.3)
        assert stream.job.parts_received == 10
        assert [part.data["number"] async for part in stream] == list(range(2, 101))
        assert stream.reply.data["took_s"] >= 0.3


async def test_who_waits_for_its_reader_is_not_overdue() -> None:
    async with running(limits=WorkLimits(parts=2, job_s=0.3)) as worker, worker.stream("parts", {"n": 4}) as stream:
        await asyncio.sleep(0.8)
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
        calls = [asyncio.create_task(worker.call("sleep", {"s": 0.3})) for _ in range(3)]
        calls.append(asyncio.create_task(worker.call("sleep", {"s": 0.3}, priority=Priority.GUESS)))
        await asyncio.sleep(0)
        for priority in Priority:
            with pytest.raises(Busy):
                await worker.call("echo", priority=priority)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_finals_are_served_before_guesses_in_order(shared: WorkerProcess) -> None:
    worker = shared
    block = asyncio.create_task(worker.call("sleep", {"s": 0.2, "name": "first"}))
    await asyncio.sleep(0.05)
    calls = [
        worker.call("echo", {"name": name}, priority=Priority.GUESS if name.startswith("g") else Priority.FINAL)
        for name in ("g1", "f1", "g2", "f2")
    ]
    await asyncio.gather(block, *calls)
    assert (await worker.call("order")).data["order"][-5:] == ["first", "f1", "f2", "g1", "g2"]


async def test_a_final_preempts_the_newest_guess_which_runs_again_later() -> None:
    async with running({"capacity": 2}) as worker:
        guesses = [
            asyncio.create_task(worker.call("sleep", {"s": 0.5, "name": name}, priority=Priority.GUESS))
            for name in ("old", "new")
        ]
        await asyncio.sleep(0.1)
        await worker.call("echo", {"name": "final"})
        assert not any(guess.done() for guess in guesses)
        await asyncio.gather(*guesses)
        assert (await worker.call("order")).data["order"] == ["old", "new", "final", "new"]
        assert worker.preempted == 1


async def test_a_preempted_guess_that_has_begun_to_answer_is_busy(shared: WorkerProcess) -> None:
    data = {"n": 100, "pause_s": 0.02}
    worker = shared
    async with worker.stream("parts", data, priority=Priority.GUESS) as guess:
        await anext(guess)
        await worker.call("echo")
        with pytest.raises(Busy):
            async for _ in guess:
                pass


async def test_a_promoted_guess_is_served_as_a_final_and_not_preempted(shared: WorkerProcess) -> None:
    worker = shared
    running_guess = worker.submit("sleep", {"s": 0.2, "name": "running"}, priority=Priority.GUESS)
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


async def test_a_cancelled_call_never_reaches_the_worker_or_leaves_it_soon() -> None:
    records: list[JobRecord] = []
    async with running(on_job=records.append) as worker:
        in_worker = asyncio.create_task(worker.call("sleep", {"s": 30, "name": "running"}))
        in_queue = asyncio.create_task(worker.call("echo", {"name": "waiting"}))
        await asyncio.sleep(0.1)
        in_queue.cancel()
        await asyncio.sleep(0)
        assert (worker.running, worker.waiting(Priority.FINAL)) == (1, 0)
        began = time.monotonic()
        in_worker.cancel()
        assert (await worker.call("order")).data["order"] == ["running"]
        assert time.monotonic() - began < 0.5
        assert worker.cancelled == 2
        assert [record.code for record in records] == ["cancelled", "cancelled", ""]


async def test_closing_a_stream_cancels_it_even_while_it_waits_for_credit() -> None:
    async with running(limits=WorkLimits(parts=2)) as worker:
        async with worker.stream("parts", {"n": 100}) as stream:
            await anext(stream)
            await asyncio.sleep(0.1)
        began = time.monotonic()
        await worker.call("echo")
        assert time.monotonic() - began < 0.5
        assert worker.cancelled == 1


async def test_a_place_is_free_only_when_a_blocked_engine_has_noticed_the_cancel(shared: WorkerProcess) -> None:
    worker = shared
    blocked = asyncio.create_task(worker.call("block", {"s": 0.4}))
    await asyncio.sleep(0.1)
    blocked.cancel()
    began = time.monotonic()
    await worker.call("echo")
    assert 0.2 < time.monotonic() - began < 1


# --- deaths ---


async def test_kill_in_mid_request_is_engine_lost_at_once_and_the_next_request_works() -> None:
    async with running({"capacity": 2}) as worker:
        calls = [asyncio.create_task(worker.call("block", {"s": 30})) for _ in range(2)]
        waiting = asyncio.create_task(worker.call("echo", {"n": 1}))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        for call in calls:
            with pytest.raises(EngineLost, match="fake engine died"):
                await call
        assert time.monotonic() - began < 1
        assert not waiting.done()
        assert (await waiting).data == {"n": 1}
        assert (worker.restarts, worker.generation, worker.state) == (1, 2, WorkerState.READY)


async def test_an_engine_that_crashes_again_and_again_is_started_again_more_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "RESTART_S", (0.0, 0.5))
    async with running() as worker:
        began = time.monotonic()
        for _ in range(3):
            with pytest.raises(EngineLost):
                await worker.call("crash")
            await worker.ready()
        assert time.monotonic() - began > 1.0
        assert worker.generation == 4


async def test_what_is_bound_to_a_worker_never_runs_in_the_next_one() -> None:
    async with running() as worker:
        block = asyncio.create_task(worker.call("block", {"s": 30}))
        bound = asyncio.create_task(worker.call("echo", generation=worker.generation))
        await asyncio.sleep(0.05)
        worker.kill()
        with pytest.raises(EngineLost):
            await block
        with pytest.raises(EngineLost):
            await bound


async def test_an_overdue_call_is_a_timeout_and_costs_its_neighbours() -> None:
    async with running({"capacity": 2}, limits=WorkLimits(job_s=0.4)) as worker:
        overdue = asyncio.create_task(worker.call("block", {"s": 30}))
        await asyncio.sleep(0.2)
        neighbour = asyncio.create_task(worker.call("echo"))
        with pytest.raises(Timeout):
            await overdue
        with pytest.raises(EngineLost):
            await neighbour
        assert (await worker.call("echo", {"n": 1})).data == {"n": 1}


async def test_a_cancelled_call_that_the_engine_never_drops_is_overdue_too() -> None:
    async with running(limits=WorkLimits(job_s=0.4)) as worker:
        stuck = asyncio.create_task(worker.call("block", {"s": 30}))
        await asyncio.sleep(0.1)
        stuck.cancel()
        assert (await worker.call("echo", {"n": 1})).data == {"n": 1}
        assert worker.generation == 2


async def test_waiting_for_a_reload_has_an_end() -> None:
    async with running({}, limits=WorkLimits(reload_s=0.3)) as worker:
        worker.configuration = {"load_s": 1.2}
        with pytest.raises(EngineLost):
            await worker.call("crash")
        began = time.monotonic()
        with pytest.raises(EngineUnavailable, match="being restarted"):
            await worker.call("echo")
        assert 0.2 < time.monotonic() - began < 0.8
        with pytest.raises(EngineUnavailable):
            await worker.call("echo")
        await worker.ready()
        await worker.call("echo")


async def test_a_worker_that_is_not_ours_to_understand_is_replaced(tmp_path: Path) -> None:
    async with running() as worker:
        assert worker._current is not None
        worker._current.writer.write(b'{"type": "call", "data": {}}\n')  # makes no sense to the worker: it ends
        await until(lambda: worker.generation == 2)


# --- loading ---


async def test_calls_wait_for_the_first_load() -> None:
    async with running({"load_s": 0.5}, ready=False) as worker:
        assert worker.state is WorkerState.LOADING
        assert (await worker.call("echo", {"n": 1})).data == {"n": 1}


@pytest.mark.parametrize(
    ("how", "kind", "sentence"),
    [
        ("model-error", ModelError, "The model file is not there; fetch it."),
        ("fault", EngineUnavailable, "RuntimeError: the library choked"),
        ("crash", EngineUnavailable, "it died while it loaded (signal SIGKILL)"),
    ],
)
async def test_a_load_that_fails_is_said_at_once_and_tried_again(
    how: str, kind: type[SuperwhisperError], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LOAD_RETRY_S", (0.5,))
    states: list[WorkerState] = []
    async with running({"load": how}, ready=False, on_state=lambda worker: states.append(worker.state)) as worker:
        waiting = asyncio.create_task(worker.call("echo"))
        with pytest.raises(kind) as caught:
            await worker.ready()
        assert sentence in str(caught.value)
        with pytest.raises(EngineUnavailable) as unavailable:
            await waiting
        assert sentence in str(unavailable.value)
        with pytest.raises(EngineUnavailable):
            await worker.call("echo")
        worker.configuration = {}
        await until(lambda: worker.state is WorkerState.READY)
        await worker.call("echo")
        loading_and_failed = [WorkerState.LOADING, WorkerState.FAILED]
        assert states == [*loading_and_failed, WorkerState.LOADING, WorkerState.READY]


async def test_a_load_that_takes_too_long_fails() -> None:
    async with running({"load_s": 30}, ready=False, limits=WorkLimits(load_s=0.6)) as worker:
        with pytest.raises(EngineUnavailable, match="took longer than"):
            await worker.ready()


async def test_a_configuration_that_is_not_json_is_a_failed_load() -> None:
    async with running({"path": Path("/")}, ready=False) as worker:
        with pytest.raises(EngineUnavailable, match="not JSON serializable"):
            await worker.call("echo")


async def test_a_process_that_cannot_be_started_is_a_failed_load() -> None:
    async with running(ready=False, python="/no/such/python") as worker:
        with pytest.raises(EngineUnavailable, match="could not be started"):
            await worker.ready()


# --- the process ---


async def test_the_environment_hides_every_card_unless_one_is_named_and_holds_no_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WYOMING_SUPERWHISPER_HOME_ASSISTANT__TOKEN", "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    async with running() as worker:
        environment = psutil.Process(worker.pid).environ()
        assert environment["CUDA_VISIBLE_DEVICES"] == ""
        assert environment["OMP_WAIT_POLICY"] == "passive"
        assert environment["HF_HUB_OFFLINE"] == "1"
        assert "secret" not in environment.values()
    async with running(environment={"CUDA_VISIBLE_DEVICES": "GPU-1234"}) as worker:
        assert psutil.Process(worker.pid).environ()["CUDA_VISIBLE_DEVICES"] == "GPU-1234"


async def test_signals_for_the_whole_group_do_not_reach_the_engine(shared: WorkerProcess) -> None:
    worker = shared
    call = asyncio.create_task(worker.call("sleep", {"s": 0.4}))
    await asyncio.sleep(0.1)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGINT)
    os.kill(worker.pid, signal.SIGTERM)
    await call
    assert worker.generation == 1
    assert os.getpgid(worker.pid) != os.getpgid(0)


async def test_a_worker_is_nice() -> None:
    async with running(nice=3) as worker:
        assert psutil.Process(worker.pid).nice() == min(os.nice(0) + 3, 19)


async def test_a_loopback_connection_serves_where_sockets_cannot_be_inherited() -> None:
    async with running(loopback=True) as worker:
        assert (await worker.call("echo", {"n": 1}, b"abc")) == Reply({"n": 1}, b"abc")


async def test_closing_ends_the_process_and_what_it_was_asked() -> None:
    async with running() as worker:
        pid = worker.pid
        assert pid is not None
        calls = [asyncio.create_task(worker.call("block", {"s": 30})) for _ in range(2)]
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await worker.close()
        assert time.monotonic() - began < 1
        assert not is_running(pid)
        for call in calls:
            with pytest.raises(Stopping):
                await call
        with pytest.raises(Stopping):
            await worker.call("echo")
        with pytest.raises(Stopping):
            await worker.ready()


async def test_closing_while_it_loads_or_waits_to_start_again() -> None:
    async with running({"load_s": 30}, ready=False) as worker:
        await asyncio.sleep(0.2)
        await asyncio.wait_for(worker.close(), 1)
    async with running(ready=False) as worker:
        await asyncio.wait_for(worker.close(), 1)
    async with running({"load": "fault"}, ready=False) as worker:
        with pytest.raises(EngineUnavailable):
            await worker.ready()
        await asyncio.wait_for(worker.close(), 1)


FRONT = """
import asyncio, sys
from wyoming_superwhisper.engines.process import WorkerProcess

async def main():
    worker = WorkerProcess("fake", {}, engine="tests.fakes:FakeEngine")
    await worker.start()
    await worker.ready()
    print(worker.pid, flush=True)
    await worker.call("block", {"s": 60})

asyncio.run(main())
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
async def test_no_worker_outlives_the_front_even_inside_a_native_call(sign: signal.Signals) -> None:
    pipe = asyncio.subprocess.PIPE
    front = await asyncio.create_subprocess_exec(sys.executable, "-c", FRONT, cwd=ROOT, stdout=pipe, stderr=pipe)
    assert front.stdout is not None
    pid = int(await front.stdout.readline())  # also: what the engine prints does not land here
    await asyncio.sleep(0.1)
    front.send_signal(sign)
    async with asyncio.timeout(2):
        rest, said = await front.communicate()  # which ends when nobody holds the pipes any more
        assert rest == b""
        assert b"prints to standard output" in said
        await until(lambda: not is_running(pid))


# --- replaced, unloaded, short of memory ---


async def test_a_worker_is_replaced_beside_the_old_one_and_nobody_notices() -> None:
    states: list[WorkerState] = []
    async with running({"capacity": 2, "load_s": 0.3}, on_state=lambda one: states.append(one.state)) as worker:
        old = worker.pid
        assert old is not None
        at_work = asyncio.create_task(worker.call("sleep", {"s": 1.2}))
        await asyncio.sleep(0.05)
        worker.recycle(beside=True)
        answered = 0
        while worker.generation == 1:  # the old one serves while the new one loads
            await worker.call("echo", {"n": answered})
            answered += 1
        assert answered > 5
        assert worker.pid != old
        assert is_running(old), "it still has a call to finish"
        assert (await worker.call("echo", {"n": 1})).data == {"n": 1}
        await at_work
        await until(lambda: not is_running(old))
        assert (worker.recycled, worker.restarts, worker.state) == (1, 0, WorkerState.READY)
        assert states == [WorkerState.LOADING, WorkerState.READY]


async def test_a_worker_is_replaced_between_calls_where_there_is_no_room_for_two() -> None:
    async with running({"load_s": 0.3}) as worker:
        old = worker.pid
        assert old is not None
        calls = [asyncio.create_task(worker.call("sleep", {"s": 0.2})) for _ in range(3)]
        await asyncio.sleep(0.05)
        worker.recycle(beside=False)
        await asyncio.gather(*calls)
        assert not is_running(old)
        assert (worker.recycled, worker.restarts, worker.generation) == (1, 0, 2)


async def test_a_fresh_worker_that_cannot_be_loaded_leaves_the_old_one_at_work() -> None:
    async with running() as worker:
        worker.configuration = {"load": "fault"}
        worker.recycle(beside=True)
        await until(lambda: worker._order is None)
        assert (await worker.call("echo", {"n": 1})).data == {"n": 1}
        assert (worker.generation, worker.recycled, worker.state) == (1, 0, WorkerState.READY)


async def test_a_worker_that_dies_while_its_successor_loads_is_told_at_once_and_replaced() -> None:
    async with running({"load_s": 0.5}) as worker:
        call = asyncio.create_task(worker.call("block", {"s": 30}))
        await asyncio.sleep(0.05)
        worker.recycle(beside=True)
        await asyncio.sleep(0.1)
        worker.kill()
        with pytest.raises(EngineLost):
            await asyncio.wait_for(call, 1)
        assert (await worker.call("echo", {"n": 1})).data == {"n": 1}


async def test_closing_ends_both_processes_of_a_worker_that_is_being_replaced() -> None:
    async with running({"load_s": 5.0}) as worker:
        worker.recycle(beside=True)
        await until(lambda: len(worker.pids) == 2)
        pids = worker.pids
        await asyncio.wait_for(worker.close(), 3)
        assert not any(map(is_running, pids))


async def test_an_idle_worker_is_unloaded_and_comes_back_when_it_is_asked() -> None:
    states: list[WorkerState] = []
    async with running(on_state=lambda one: states.append(one.state)) as worker:
        old = worker.pid
        assert old is not None
        await asyncio.sleep(0.05)
        assert worker.idle_s > 0.04
        worker.unload()
        await until(lambda: worker.state is WorkerState.UNLOADED)
        await until(lambda: not is_running(old))
        await worker.ready()
        assert (await worker.call("echo", {"n": 1})).data == {"n": 1}
        assert (worker.restarts, worker.recycled) == (0, 0)
        assert states[-3:] == [WorkerState.UNLOADED, WorkerState.RELOADING, WorkerState.READY]
    async with running() as worker:
        worker.unload()
        await until(lambda: worker.state is WorkerState.UNLOADED)
        await asyncio.wait_for(worker.close(), 1)


async def test_a_worker_at_work_is_not_unloaded() -> None:
    async with running() as worker:
        call = asyncio.create_task(worker.call("sleep", {"s": 0.2}))
        await asyncio.sleep(0.05)
        assert worker.idle_s == 0
        worker.unload()
        await call
        assert (worker.state, worker.generation) == (WorkerState.READY, 1)


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


async def test_a_lost_card_costs_the_worker_which_comes_back_or_says_what_is_missing() -> None:
    def check(worker: WorkerProcess) -> None:
        if gone:
            raise EngineUnavailable("the graphics card RTX 3090 is gone: the driver does not show it")

    gone: list[bool] = []
    async with running({"capacity": 2}, before_load=check) as worker:
        with pytest.raises(EngineLost, match="graphics card"):
            await worker.call("lose card")
        await worker.ready()
        assert (await worker.call("echo", {"n": 1})).data == {"n": 1}
        gone.append(True)
        with pytest.raises(EngineLost):
            await worker.call("lose card")
        with pytest.raises(EngineUnavailable, match="RTX 3090 is gone"):
            await worker.call("echo")


async def test_limits_and_log_change_while_it_runs() -> None:
    async with running() as worker:
        worker.use(WorkLimits(queue_final=1), {"level": "debug", "format": "json"})
        calls = [asyncio.create_task(worker.call("sleep", {"s": 0.1})) for _ in range(2)]
        await asyncio.sleep(0.02)
        with pytest.raises(Busy):
            await worker.call("echo")
        await asyncio.gather(*calls)
        assert worker.generation == 1
