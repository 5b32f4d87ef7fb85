"""Run generator functions in worker processes, so that a task that crashes or hangs its process affects no other task.

A worker is a fresh interpreter with its own pipe to the process that owns the pool. It ignores SIGINT, and exits as
soon as the owner closes the pipe or ends. The workers of pebble and concurrent.futures share one pipe: a worker that is
killed while it writes leaves that pipe unusable.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, TypeVar

from tumbao.schema.errors import UnavailableError

if sys.platform == "win32":
    from multiprocessing.connection import PipeConnection as Connection
else:
    import resource
    from multiprocessing.connection import Connection

T = TypeVar("T")

MEMORY_BYTES = 1_000_000_000
"""Limit of a worker's data segment, in bytes; Windows has no such limit."""

TIMEOUT_SECONDS = 60.0
"""A worker that yields nothing for this long is killed."""

START_TIMEOUT_SECONDS = 300.0
"""A worker that is not ready after this long is killed."""

MAX_CRASHES = 2
"""A task is not tried again after it has ended this many fresh workers."""

MAX_KILLS = 5
"""Limit for fresh workers ended by SIGKILL, which a user or a system that is short of memory sends."""

_MAX_STARTS = 25
_SIGKILL = 9  # Windows has no such signal
_PROGRAM = "import sys; sys.path[:] = {path!r}; from {module} import serve; serve({descriptor})"
_READY, _ITEM, _DONE, _ERROR = "ready", "item", "done", "error"


def cpu_count() -> int:
    """Return the number of CPUs that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class WorkerTimeoutError(Exception):
    """A worker yielded nothing for too long and was killed."""


class WorkerCrashError(Exception):
    """A task ended as many fresh workers as `MAX_CRASHES` or `MAX_KILLS` allows, which is `crashes`."""

    crashes = MAX_CRASHES


class WorkerStartError(UnavailableError):
    """No worker can be started, whatever its task."""

    def __str__(self) -> str:
        return (
            f"A worker process cannot be started: {self.args[0]}. "
            "Check this machine's free memory and its limit of processes."
        )


class WorkerPool:
    """Run generator functions in worker processes; a worker is started whenever all others are busy.

    `timeout_seconds` is the time that a worker may take for one item. `initializer` is a ``module:function`` that each
    worker calls with `initargs` before its first task.
    """

    def __init__(
        self, timeout_seconds: float = TIMEOUT_SECONDS, initializer: str = "", initargs: Sequence[Any] = ()
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._initializer = (initializer, tuple(initargs))
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._busy: set[_Worker] = set()
        self._lock = threading.Lock()
        self.close = weakref.finalize(self, _close, self._lock, self._idle, self._busy)
        """Kill all workers, busy or idle; also done when the pool is deleted and at exit."""

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, function: Callable[..., Iterator[T | None]] | str, *arguments: Any) -> Generator[T, None, None]:
        """Run a generator function in a worker and yield its items; several threads may call this at the same time.

        `function` is a function of a module, or ``module:function`` to import it in the worker only. Arguments and
        items are pickled. An item of None is not yielded: it only restarts the timeout. Closing the generator kills the
        worker.

        A task whose worker dies is run again in a fresh worker, and the items that were already yielded are skipped:
        the function has to yield the same items each time.

        Raises the exceptions of the function, `WorkerTimeoutError`, `WorkerCrashError` and `WorkerStartError`.
        """
        yielded = kills = crashes = 0
        worker = self._take()
        while True:
            fresh = worker.fresh
            try:
                for number, item in enumerate(worker.run(function, arguments)):
                    if number >= yielded:
                        yielded += 1
                        yield item
                return
            except WorkerCrashError as error:
                killed = worker.process.returncode == -_SIGKILL
                kills += fresh and killed
                crashes += fresh and not killed
                if kills >= MAX_KILLS or crashes >= MAX_CRASHES:
                    error.crashes = kills + crashes
                    raise
            finally:
                self._put_back(worker)
            worker = self._start()

    def check(self) -> None:
        """Start a worker if the pool has none that is alive; raises `WorkerStartError` if that fails."""
        with self._lock:
            if any(worker.ready and worker.is_alive() for worker in self._busy):
                return
        self._put_back(self._take())

    def _take(self) -> _Worker:
        """Return an idle worker or a fresh one; remove workers that died while they were idle."""
        with contextlib.suppress(queue.Empty):
            while True:
                worker = self._idle.get_nowait()
                if worker.is_alive():
                    with self._lock:
                        self._busy.add(worker)
                    return worker
                worker.end()
        return self._start()

    def _start(self) -> _Worker:
        crash: Exception | None = None
        for _ in range(_MAX_STARTS):
            try:
                worker = _Worker(self._timeout_seconds)
            except OSError as error:
                raise WorkerStartError(error) from error
            with self._lock:
                self._busy.add(worker)
            try:
                if self.close.alive:
                    worker.initialize(*self._initializer)
                    return worker
            except WorkerCrashError as error:  # perhaps killed by the kernel, which was short of memory
                crash = error
            except Exception as error:
                raise WorkerStartError(repr(error)) from error
            finally:
                if not worker.ready:
                    self._put_back(worker)
            if not self.close.alive:
                raise WorkerStartError("the pool is closed")
        raise WorkerStartError(f"the last {crash}") from crash

    def _put_back(self, worker: _Worker) -> None:
        with self._lock:
            self._busy.discard(worker)
            reusable = worker.idle and self.close.alive
            if reusable:
                self._idle.put(worker)
        if not reusable:
            worker.end()


class _Worker:
    """One process, used by one thread at a time."""

    def __init__(self, timeout_seconds: float) -> None:
        self.ready = self.idle = False
        self.fresh = True
        self._timeout_seconds = timeout_seconds
        self._connection, theirs = multiprocessing.Pipe()
        with theirs:
            path = [str(Path(folder).absolute()) for folder in sys.path]
            program = _PROGRAM.format(path=path, module=__name__, descriptor=theirs.fileno())
            command = [sys.executable, "-I", "-c", program]
            if sys.platform == "win32":
                os.set_handle_inheritable(theirs.fileno(), True)
                startup = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [theirs.fileno()]})
                self.process = subprocess.Popen(command, startupinfo=startup)
            else:
                self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])

    def initialize(self, function: str, arguments: tuple[Any, ...]) -> None:
        self._receive(START_TIMEOUT_SECONDS)
        if function:
            self._send((function, arguments))
            kind, value = self._receive(START_TIMEOUT_SECONDS)
            if kind == _ERROR:
                raise value
        self.ready = self.idle = True

    def run(self, function: Callable[..., Iterator[T | None]] | str, arguments: tuple[Any, ...]) -> Iterator[T]:
        self.fresh = self.idle = False
        self._send((function, arguments))
        while (message := self._receive(self._timeout_seconds))[0] == _ITEM:
            if message[1] is not None:
                yield message[1]
        self.idle = True
        if message[0] == _ERROR:
            raise message[1]

    def is_alive(self) -> bool:
        """Tell whether the process runs; an idle worker sends nothing, so readable data means the end of the pipe."""
        try:
            return self.process.poll() is None and not (self.idle and self._connection.poll())
        except OSError:  # the end of the pipe on Windows
            return False

    def end(self) -> str:
        """Close the pipe, which ends the process, and return how it ended."""
        self._connection.close()
        try:
            code = self.process.wait(1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
        return f"exit code {code}" if code >= 0 else f"signal {-code}"

    def _send(self, message: object) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise WorkerCrashError(f"died by {self.end()}") from error

    def _receive(self, timeout_seconds: float) -> tuple[str, Any]:
        try:
            if self._connection.poll(timeout_seconds):
                message: tuple[str, Any] = self._connection.recv()
                return message
        except (EOFError, OSError) as error:  # OSError: it died in the middle of a message
            raise WorkerCrashError(f"died by {self.end()}") from error
        self.process.kill()
        raise WorkerTimeoutError(f"yielded nothing for {timeout_seconds:.0f} s")


def _close(lock: threading.Lock, idle: queue.SimpleQueue[_Worker], busy: set[_Worker]) -> None:
    with lock:
        for worker in busy:
            worker.process.kill()  # its thread receives the end of the pipe
    with contextlib.suppress(queue.Empty):
        while True:
            idle.get_nowait().end()


def serve(descriptor: int) -> None:
    """Run one generator function after the other until the owner closes the pipe; the main function of a worker.

    `descriptor` is that of the worker's end of the pipe, on Windows its handle.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = MEMORY_BYTES if most == resource.RLIM_INFINITY else min(MEMORY_BYTES, most)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
    connection = Connection(descriptor)
    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive_tasks, args=(connection, tasks), daemon=True).start()
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - decoders write warnings about broken files
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    _send(connection, _READY, None)
    while True:
        task = tasks.get()
        try:
            function, arguments = pickle.loads(task)
            if isinstance(function, str):
                module, _, name = function.partition(":")
                function = getattr(importlib.import_module(module), name)
            for item in function(*arguments) or ():
                _send(connection, _ITEM, item)
        except Exception as error:
            _send(connection, _ERROR, _picklable(error))
        else:
            _send(connection, _DONE, None)


def _receive_tasks(connection: Connection, tasks: queue.SimpleQueue[bytes]) -> None:
    """Receive tasks while another one runs, and exit as soon as the owner is gone."""
    try:
        while True:
            tasks.put(connection.recv_bytes())
    finally:
        os._exit(0)


def _send(connection: Connection, kind: str, value: object) -> None:
    message = ForkingPickler.dumps((kind, value))  # raises before anything is sent
    try:
        connection.send_bytes(message)
    except OSError:
        os._exit(0)  # the owner is gone


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
