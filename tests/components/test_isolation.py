"""Processes that die, hang, raise and go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tumbao.components.ingest.isolation import MEMORY_BYTES, DiedError, HungError, Processes

TASKS = """
import os, signal, time

def number():
    yield os.getpid()

def numbers(until, wait):
    for item in range(until):
        time.sleep(wait)
        yield item

def fail():
    yield 1
    raise KeyError("what")

def die(name):
    yield 1
    if name == "exit":
        os._exit(3)
    os.kill(os.getpid(), getattr(signal, name))

def hang():
    yield 1
    time.sleep(600)

def fill(size):
    yield len(bytearray(size))

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    yield "still here"

def chatter():
    os.write(1, b"noise")
    os.write(2, b"noise")
    yield 1
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Give generator functions that a new process finds where this one does."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "isolated_tasks.py").write_text(TASKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        import isolated_tasks  # type: ignore[import-not-found]

        yield isolated_tasks


@pytest.fixture
def processes() -> Iterator[Processes]:
    with Processes(patience_seconds=1.5) as started:
        yield started


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_items_come_one_by_one_from_one_process_that_is_kept(processes: Processes, tasks: ModuleType) -> None:
    assert list(processes.run(tasks.numbers, 3, 0.0)) == [0, 1, 2]
    (first,) = processes.run(tasks.number)
    (second,) = processes.run(tasks.number)
    assert first == second != os.getpid()


def test_an_error_is_raised_here_and_leaves_the_process_in_order(processes: Processes, tasks: ModuleType) -> None:
    (before,) = processes.run(tasks.number)
    items = processes.run(tasks.fail)
    assert next(items) == 1
    with pytest.raises(KeyError, match="what"):
        next(items)
    assert list(processes.run(tasks.number)) == [before]


@pytest.mark.parametrize(
    ("name", "told"), [("exit", "exit code 3"), ("SIGSEGV", "SIGSEGV"), ("SIGKILL", "SIGKILL"), ("SIGABRT", "SIGABRT")]
)
def test_a_death_is_noticed_and_another_process_goes_on(
    processes: Processes, tasks: ModuleType, name: str, told: str
) -> None:
    items = processes.run(tasks.die, name)
    assert next(items) == 1
    with pytest.raises(DiedError, match=told):
        next(items)
    assert list(processes.run(tasks.numbers, 2, 0.0)) == [0, 1]


def test_a_process_that_gives_nothing_is_ended(processes: Processes, tasks: ModuleType) -> None:
    (pid,) = processes.run(tasks.number)
    items = processes.run(tasks.hang)
    next(items)
    with pytest.raises(HungError, match="gave nothing for 2 s"):
        next(items)
    assert not is_alive(pid)


def test_patience_is_for_one_item_not_for_all(processes: Processes, tasks: ModuleType) -> None:
    assert list(processes.run(tasks.numbers, 4, 0.5)) == [0, 1, 2, 3]


def test_memory_is_bounded(processes: Processes, tasks: ModuleType) -> None:
    assert list(processes.run(tasks.fill, MEMORY_BYTES // 2)) == [MEMORY_BYTES // 2]
    with pytest.raises(MemoryError):
        list(processes.run(tasks.fill, MEMORY_BYTES))


def test_a_task_that_is_given_up_ends_its_process(processes: Processes, tasks: ModuleType) -> None:
    (pid,) = processes.run(tasks.number)
    items = processes.run(tasks.numbers, 1_000_000, 0.0)
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert not is_alive(pid)


def test_threads_get_a_process_each(processes: Processes, tasks: ModuleType) -> None:
    items = [processes.run(tasks.numbers, 3, 0.1) for _ in range(3)]
    told: list[list[int]] = []
    threads = [threading.Thread(target=lambda one: told.append(list(one)), args=(one,)) for one in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [[0, 1, 2]] * 3


def test_closed_processes_are_gone(tasks: ModuleType) -> None:
    with Processes() as processes:
        (pid,) = processes.run(tasks.number)
    assert not is_alive(pid)


def test_interrupting_is_the_business_of_the_owner(processes: Processes, tasks: ModuleType) -> None:
    assert list(processes.run(tasks.interrupt)) == ["still here"]


def test_a_process_does_not_outlive_an_owner_that_is_killed(tmp_path: Path, tasks: ModuleType) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(Path(tasks.__file__ or '').parent)!r}); import isolated_tasks\n"
        "from tumbao.components.ingest.isolation import Processes\n"
        "processes = Processes()\n"
        "print(*processes.run(isolated_tasks.number), flush=True)\n"
        "list(processes.run(isolated_tasks.numbers, 10**9, 0.001))\n"
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


def test_what_libraries_write_to_the_terminal_is_not_seen(tasks: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    with Processes() as processes:
        list(processes.run(tasks.chatter))
    assert capfd.readouterr() == ("", "")


def test_a_process_that_cannot_start_is_no_fault_of_a_file(monkeypatch: pytest.MonkeyPatch, tasks: ModuleType) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(RuntimeError, match="A process for decoding cannot be started: it died by exit code 1"):
        list(Processes().run(tasks.number))
