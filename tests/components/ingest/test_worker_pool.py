"""Worker processes that die, hang or raise errors."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.components.ingest import worker_tasks as tasks
from tests.processes import children
from tumbao.components.ingest import worker_pool
from tumbao.components.ingest.worker_pool import (
    MAX_CRASHES,
    MAX_KILLS,
    MEMORY_BYTES,
    WorkerCrashError,
    WorkerPool,
    WorkerStartError,
    WorkerTimeoutError,
)


@pytest.fixture(autouse=True)
def path_of_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide IPython's package `tests`, which a worker would import instead of this one."""
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if "IPython" not in folder])


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with WorkerPool() as started:
        yield started


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_items_of_several_tasks_come_from_one_process(pool: WorkerPool) -> None:
    assert list(pool.run(tasks.numbers, 3, 0.0)) == [0, 1, 2]
    (first,) = pool.run(tasks.number)
    (second,) = pool.run(tasks.number)
    assert first == second != os.getpid()


def test_an_error_is_raised_and_the_worker_stays_usable(pool: WorkerPool) -> None:
    (before,) = pool.run(tasks.number)
    items = pool.run(tasks.fail)
    assert next(items) == 1
    with pytest.raises(KeyError, match="what"):
        next(items)
    assert list(pool.run(tasks.number)) == [before]


@pytest.mark.parametrize(
    ("name", "message"),
    [("exit", "exit code 3"), ("SIGSEGV", "SIGSEGV"), ("SIGKILL", "SIGKILL")],
)
def test_a_task_that_ends_every_worker_is_given_up(pool: WorkerPool, name: str, message: str) -> None:
    items = pool.run(tasks.die, name)
    assert next(items) == 1
    with pytest.raises(WorkerCrashError, match=f"^died by .*{message}") as caught:
        next(items)
    assert caught.value.crashes == (MAX_KILLS if name == "SIGKILL" else MAX_CRASHES)
    assert list(pool.run(tasks.numbers, 2, 0.0)) == [0, 1]


@pytest.mark.parametrize(
    ("by", "deaths", "passes"),
    [("SIGSEGV", 2, True), ("SIGSEGV", 3, False), ("SIGKILL", 5, True), ("SIGKILL", 6, False)],
)
def test_a_task_is_run_again_and_yields_each_item_once(
    pool: WorkerPool, tmp_path: Path, by: str, deaths: int, passes: bool
) -> None:
    list(pool.run(tasks.number))  # a worker that is not fresh: its death does not count
    file = tmp_path / "deaths"
    file.write_bytes(bytes(deaths))
    items = pool.run(tasks.count_down, str(file), 2, by)
    if not passes:
        with pytest.raises(WorkerCrashError):
            list(items)
        return
    found = list(items)
    assert [item for item, _ in found] == [0, 1, 2, 3]
    assert len({pid for _, pid in found}) == 2


def test_a_worker_killed_in_the_middle_of_a_message_is_replaced(
    pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "deaths"
    file.write_bytes(bytes(1))
    receive = Connection.recv

    def slowly(connection: Connection) -> Any:
        time.sleep(0.1)  # the message is larger than the pipe, and half of it was written
        return receive(connection)

    monkeypatch.setattr(Connection, "recv", slowly)
    assert list(pool.run(tasks.count_down, str(file), 1, "SIGKILL", 3, 50_000_000)) == [0, 1, 2]


def test_idle_workers_that_are_killed_are_replaced(pool: WorkerPool) -> None:
    for _ in range(3):
        running = [pool.run(tasks.count, 2) for _ in range(3)]
        pids = {pid for items in zip(*running, strict=True) for pid in items}
        for items in running:
            assert list(items) == []
        assert len(pids) == 3
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        pool.check()
        (alive,) = pool.run(tasks.number)
        assert alive not in pids


def test_busy_workers_that_are_killed_at_once_are_replaced(pool: WorkerPool) -> None:
    running = [pool.run(tasks.numbers, 5, 0.01) for _ in range(3)]
    firsts = [next(items) for items in running]
    for child in children():
        os.kill(child, signal.SIGKILL)
    assert [[first, *items] for first, items in zip(firsts, running, strict=True)] == [[0, 1, 2, 3, 4]] * 3


def test_crashes_of_starting_workers_do_not_count_for_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "_MAX_STARTS", 7)
    file = tmp_path / "deaths"
    file.write_bytes(bytes(MAX_KILLS + 1))
    with WorkerPool(initializer="tests.components.ingest.worker_tasks:initialize", initargs=[str(file)]) as pool:
        assert list(pool.run(tasks.numbers, 2, 0.0)) == [0, 1]
        assert file.read_bytes() == b""
    file.write_bytes(bytes(100))
    with WorkerPool(initializer="tests.components.ingest.worker_tasks:initialize", initargs=[str(file)]) as pool:
        for _ in range(2):
            with pytest.raises(WorkerStartError, match=r"cannot be started: the last died by signal SIGKILL\."):
                pool.check()
        file.write_bytes(b"")
        pool.check()  # the cause is gone
        assert list(pool.run(tasks.numbers, 2, 0.0)) == [0, 1]


def test_a_system_without_free_processes_is_a_start_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with WorkerPool() as pool, monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", mock.Mock(side_effect=BlockingIOError(11, "Resource unavailable")))
        with pytest.raises(WorkerStartError, match=r"cannot be started: .*Resource unavailable"):
            list(pool.run(tasks.number))


def test_a_failing_initializer_is_a_start_error() -> None:
    initializer = "tests.components.ingest.worker_tasks:initialize"
    with (
        WorkerPool(initializer=initializer, initargs=(None, True)) as pool,
        pytest.raises(WorkerStartError, match="no front-end"),
    ):
        pool.check()


def test_a_worker_ignores_interrupts_and_discards_output(capfd: pytest.CaptureFixture[str]) -> None:
    with WorkerPool() as pool:
        assert list(pool.run(tasks.interrupt)) == ["still here"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("what", "message"), [("item", "lambda"), ("error", "OddError: odd"), ("value", "lambda")])
def test_what_cannot_be_pickled_is_an_error_and_the_worker_stays_usable(
    pool: WorkerPool, what: str, message: str
) -> None:
    (before,) = pool.run(tasks.number)
    with pytest.raises(Exception, match=message):
        list(pool.run(tasks.odd, what))
    with pytest.raises(ConnectionResetError):
        list(pool.run(tasks.reset))
    assert list(pool.run(tasks.number)) == [before]
    with pytest.raises((AttributeError, pickle.PicklingError)):
        list(pool.run(tasks.numbers, lambda: None))
    assert list(pool.run(tasks.numbers, 2, 0.0)) == [0, 1]


def test_closing_a_pool_ends_busy_and_idle_workers(pool: WorkerPool) -> None:
    items, others = pool.run(tasks.hang), pool.run(tasks.numbers, 1, 0.0)
    next(items)
    assert list(others) == [0]
    pids = children()
    assert len(pids) == 2
    threading.Timer(0.2, pool.close).start()
    with pytest.raises(WorkerStartError, match="closed"):
        next(items)
    assert not any(map(is_alive, pids))
    with pytest.raises(WorkerStartError, match="closed"):
        list(pool.run(tasks.number))


def test_a_worker_that_yields_nothing_is_killed() -> None:
    with WorkerPool(timeout_seconds=1.5) as pool:
        assert list(pool.run(tasks.numbers, 4, 0.7)) == [0, 1, 2, 3]  # the timeout is for one item
        items = pool.run(tasks.hang)
        with pytest.raises(WorkerTimeoutError, match="yielded nothing for 2 s"):
            list(items)
        assert not children()


def test_memory_is_bounded(pool: WorkerPool) -> None:
    assert list(pool.run(tasks.fill, MEMORY_BYTES // 2)) == [MEMORY_BYTES // 2]
    with pytest.raises(MemoryError):
        list(pool.run(tasks.fill, MEMORY_BYTES))


def test_closing_the_generator_ends_the_worker(pool: WorkerPool) -> None:
    (pid,) = pool.run(tasks.number)
    items = pool.run(tasks.numbers, 1_000_000, 0.0)
    next(items)
    items.close()
    assert not is_alive(pid)


@pytest.mark.parametrize("task", ["worker_tasks.numbers, 10**9, 0.001", "worker_tasks.hang"])
def test_a_worker_ends_with_an_owner_that_is_killed(task: str) -> None:
    program = (
        "from tests.components.ingest import worker_tasks\n"
        "from tumbao.components.ingest.worker_pool import WorkerPool\n"
        "pool = WorkerPool()\n"
        "print(*pool.run(worker_tasks.number), flush=True)\n"
        f"list(pool.run({task}))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        pid = int(owner.stdout.readline())
        assert is_alive(pid)
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(pid)


def test_a_worker_that_cannot_import_is_a_start_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(WorkerStartError, match="A worker process cannot be started: the last died by exit code 1"):
        list(WorkerPool().run(tasks.number))
