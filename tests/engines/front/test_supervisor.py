"""The life of a worker: deaths, loading, being replaced and unloaded; with real processes of a fake engine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.engines.front.fake_worker import ROOT, is_running, running
from tests.waiting import WAIT_S, until
from wyoming_superwhisper.engines.base import Priority
from wyoming_superwhisper.engines.front import supervisor
from wyoming_superwhisper.engines.front.availability import WorkerState
from wyoming_superwhisper.engines.front.dispatcher import WorkLimits
from wyoming_superwhisper.engines.front.jobs import Reply
from wyoming_superwhisper.engines.front.process import WorkerProcess
from wyoming_superwhisper.errors import (
    EngineLost,
    EngineUnavailable,
    ModelError,
    Stopping,
    SuperwhisperError,
    Timeout,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


# --- deaths ---


async def test_kill_in_mid_request_is_engine_lost_at_once_and_the_next_request_works() -> None:
    async with running({"capacity": 2}) as worker:
        calls = [asyncio.create_task(worker.call("block")) for _ in range(2)]
        waiting = asyncio.create_task(worker.call("echo", {"n": 1}))
        await until(lambda: worker.running == 2)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        for call in calls:
            with pytest.raises(EngineLost, match="fake engine died"):
                await call
        assert not waiting.done()
        assert (await waiting).data == {"n": 1}
        assert (worker.restarts, worker.generation, worker.state) == (1, 2, WorkerState.READY)


async def test_an_engine_that_crashes_again_and_again_is_started_again_more_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "RESTART_S", (0.0, 0.5))
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
        block = asyncio.create_task(worker.call("block"))
        bound = asyncio.create_task(worker.call("echo", generation=worker.generation))
        await until(lambda: worker.running == 1)
        worker.kill()
        with pytest.raises(EngineLost):
            await block
        with pytest.raises(EngineLost):
            await bound


async def test_an_overdue_call_is_a_timeout_and_costs_its_neighbours() -> None:
    async with running({"capacity": 2}, limits=WorkLimits(job_s=2.0)) as worker:
        overdue = asyncio.create_task(worker.call("block"))
        await asyncio.sleep(0.3)  # so that it is not overdue at the same moment
        neighbour = asyncio.create_task(worker.call("echo"))
        with pytest.raises(Timeout):
            await overdue
        with pytest.raises(EngineLost):
            await neighbour
        assert (await worker.call("echo", {"n": 1})).data == {"n": 1}


async def test_a_cancelled_call_that_the_engine_never_drops_is_overdue_too() -> None:
    async with running(limits=WorkLimits(job_s=2.0)) as worker:
        stuck = asyncio.create_task(worker.call("block"))
        await until(lambda: worker.running == 1)
        stuck.cancel()
        assert (await worker.call("echo", {"n": 1})).data == {"n": 1}
        assert worker.generation == 2


async def test_waiting_for_a_reload_has_an_end(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running({}, limits=WorkLimits(reload_s=0.3)) as worker:
        worker.configuration = {"gate": str(gate)}
        with pytest.raises(EngineLost):
            await worker.call("crash")
        for _ in range(2):
            with pytest.raises(EngineUnavailable, match="being restarted"):
                await worker.call("echo")
        gate.touch()
        await worker.ready()
        await worker.call("echo")


async def test_a_worker_that_is_not_ours_to_understand_is_replaced(tmp_path: Path) -> None:
    async with running() as worker:
        assert worker._calls.current is not None
        worker._calls.current.writer.write(b'{"type": "call", "data": {}}\n')  # makes no sense to the worker: it ends
        await until(lambda: worker.generation == 2)


# --- loading ---


async def test_calls_wait_for_the_first_load(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running({"gate": str(gate)}, ready=False) as worker:
        call = asyncio.create_task(worker.call("echo", {"n": 1}))
        await until(lambda: worker.waiting(Priority.FINAL) == 1)
        assert worker.state is WorkerState.LOADING
        gate.touch()
        assert (await call).data == {"n": 1}


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
    monkeypatch.setattr(supervisor, "LOAD_RETRY_S", (0.5,))
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
        attempts = (len(states) - 2) // 2  # one, and another where this test was slow
        assert states == [*(attempts * loading_and_failed), WorkerState.LOADING, WorkerState.READY]
        assert attempts


async def test_a_load_that_takes_too_long_fails() -> None:
    async with running({"gate": ""}, ready=False, limits=WorkLimits(load_s=0.6)) as worker:
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


async def test_signals_for_the_whole_group_do_not_reach_the_engine(shared: WorkerProcess, tmp_path: Path) -> None:
    worker, gate = shared, tmp_path / "gate"
    call = asyncio.create_task(worker.call("wait", {"gate": str(gate)}))
    await until(lambda: worker.running == 1)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGINT)
    os.kill(worker.pid, signal.SIGTERM)
    gate.touch()
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
        calls = [asyncio.create_task(worker.call("block")) for _ in range(2)]
        await until(lambda: worker.running == 1)
        await asyncio.wait_for(worker.close(), WAIT_S)
        assert not is_running(pid)
        for call in calls:
            with pytest.raises(Stopping):
                await call
        with pytest.raises(Stopping):
            await worker.call("echo")
        with pytest.raises(Stopping):
            await worker.ready()


async def test_closing_while_it_loads_or_waits_to_start_again() -> None:
    async with running({"gate": ""}, ready=False) as worker:
        await until(lambda: worker.pids)
        await asyncio.wait_for(worker.close(), WAIT_S)
    async with running(ready=False) as worker:
        await asyncio.wait_for(worker.close(), WAIT_S)
    async with running({"load": "fault"}, ready=False) as worker:
        with pytest.raises(EngineUnavailable):
            await worker.ready()
        await asyncio.wait_for(worker.close(), WAIT_S)


FRONT = """
import asyncio, sys
from wyoming_superwhisper.engines.front.process import WorkerProcess

async def main():
    worker = WorkerProcess("fake", {}, engine="tests.fakes:FakeEngine")
    await worker.start()
    await worker.ready()
    print(worker.pid, flush=True)
    await worker.call("block")

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
    async with asyncio.timeout(WAIT_S):
        rest, said = await front.communicate()  # which ends when nobody holds the pipes any more
        assert rest == b""
        assert b"prints to standard output" in said
        await until(lambda: not is_running(pid))


# --- replaced, unloaded ---


async def test_a_worker_is_replaced_beside_the_old_one_and_nobody_notices(tmp_path: Path) -> None:
    states: list[WorkerState] = []
    may_load, may_end = tmp_path / "load", tmp_path / "end"
    async with running({"capacity": 2}, on_state=lambda one: states.append(one.state)) as worker:
        old = worker.pid
        assert old is not None
        at_work = asyncio.create_task(worker.call("wait", {"gate": str(may_end)}))
        await until(lambda: worker.running == 1)
        worker.configuration = {"capacity": 2, "gate": str(may_load)}
        worker.recycle(beside=True)
        await until(lambda: len(worker.pids) == 2)
        assert (await worker.call("echo", {"n": 0})).data == {"n": 0}
        assert worker.generation == 1, "the old one serves while the new one loads"
        may_load.touch()
        await until(lambda: worker.generation == 2)
        assert worker.pid != old
        assert is_running(old), "it still has a call to finish"
        assert (await worker.call("echo", {"n": 1})).data == {"n": 1}
        may_end.touch()
        await at_work
        await until(lambda: not is_running(old))
        assert (worker.recycled, worker.restarts, worker.state) == (1, 0, WorkerState.READY)
        assert states == [WorkerState.LOADING, WorkerState.READY]


async def test_a_worker_is_replaced_between_calls_where_there_is_no_room_for_two(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running() as worker:
        old = worker.pid
        assert old is not None
        calls = [asyncio.create_task(worker.call("wait", {"gate": str(gate)})) for _ in range(3)]
        await until(lambda: worker.running == 1)
        worker.recycle(beside=False)
        gate.touch()
        await asyncio.gather(*calls)
        assert not is_running(old)
        assert (worker.recycled, worker.restarts, worker.generation) == (1, 0, 2)


async def test_a_fresh_worker_that_cannot_be_loaded_leaves_the_old_one_at_work(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as worker:
        worker.configuration = {"load": "fault"}
        worker.recycle(beside=True)
        await until(lambda: "the old one goes on" in caplog.text)
        assert (await worker.call("echo", {"n": 1})).data == {"n": 1}
        assert (worker.generation, worker.recycled, worker.state) == (1, 0, WorkerState.READY)


async def test_a_worker_that_dies_while_its_successor_loads_is_told_at_once_and_replaced(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running() as worker:
        call = asyncio.create_task(worker.call("block"))
        await until(lambda: worker.running == 1)
        worker.configuration = {"gate": str(gate)}
        worker.recycle(beside=True)
        await until(lambda: len(worker.pids) == 2)
        worker.kill()
        with pytest.raises(EngineLost):
            await asyncio.wait_for(call, WAIT_S)
        gate.touch()
        assert (await worker.call("echo", {"n": 1})).data == {"n": 1}


async def test_closing_ends_both_processes_of_a_worker_that_is_being_replaced() -> None:
    async with running() as worker:
        worker.configuration = {"gate": ""}
        worker.recycle(beside=True)
        await until(lambda: len(worker.pids) == 2)
        pids = worker.pids
        await asyncio.wait_for(worker.close(), WAIT_S)
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
        await asyncio.wait_for(worker.close(), WAIT_S)


async def test_a_worker_at_work_is_not_unloaded(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running() as worker:
        call = asyncio.create_task(worker.call("wait", {"gate": str(gate)}))
        await until(lambda: worker.running == 1)
        assert worker.idle_s == 0
        worker.unload()
        gate.touch()
        await call
        assert (worker.state, worker.generation) == (WorkerState.READY, 1)


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
