"""Work in processes of their own: what kills or hangs a decoder costs one file, not the run.

A process is a fresh interpreter that imports what it is asked to run and nothing else; it lives on from task to task,
ignores Ctrl-C, which is its owner's business, and ends when its owner ends, however that happens.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing.connection
import os
import queue
import resource
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

MEMORY_BYTES = 1_000_000_000
"""More memory a process cannot have for its data, in bytes."""

PATIENCE_SECONDS = 60.0
"""A process that gives nothing for so long is taken for hung."""

_PROGRAM = "import sys; sys.path[:] = {path!r}; from {module} import serve; serve({descriptor})"
_READY, _END = "ready", "end"


class HungError(Exception):
    """A process gave nothing for too long and was ended."""


class DiedError(Exception):
    """A process ended in the middle of its work."""


def serve(descriptor: int) -> None:
    """Be one of `Processes`: run one generator function after the other.

    Parameters
    ----------
    descriptor : int
        Of the socket to the owner.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = MEMORY_BYTES if most == resource.RLIM_INFINITY else min(MEMORY_BYTES, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
    connection = multiprocessing.connection.Connection(descriptor)
    connection.send((_READY, None))
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - decoders talk to themselves about broken files
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    with contextlib.suppress(EOFError, ConnectionError):  # the owner is gone
        while True:
            function, arguments = connection.recv()
            try:
                if isinstance(function, str):
                    module, _, name = function.partition(":")
                    function = getattr(importlib.import_module(module), name)
                for item in function(*arguments):
                    connection.send((None, item))
                connection.send((_END, None))
            except ConnectionError:
                raise
            except Exception as error:
                connection.send((_END, error))


class _Process:
    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        ours, theirs = socket.socketpair()
        with theirs:
            path = [str(Path(place).absolute()) for place in sys.path]
            program = _PROGRAM.format(path=path, module=__name__, descriptor=theirs.fileno())
            self._popen = subprocess.Popen([sys.executable, "-I", "-c", program], pass_fds=[theirs.fileno()])
        self._connection = multiprocessing.connection.Connection(ours.detach())
        try:
            self._receive()
        except DiedError as error:
            raise RuntimeError(f"A process for decoding cannot be started: {error}.") from error

    def run(self, function: Callable[..., Iterator[T]] | str, arguments: tuple[Any, ...]) -> Iterator[T]:
        self._connection.send((function, arguments))
        while True:
            kind, item = self._receive()
            if kind == _END:
                break
            yield item
        if item is not None:
            raise item

    def _receive(self) -> Any:
        if not self._connection.poll(self._patience_seconds):
            raise HungError(f"gave nothing for {self._patience_seconds:.0f} s")
        try:
            return self._connection.recv()
        except (EOFError, ConnectionError) as error:
            code = self.end()
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            raise DiedError(f"it died by {how}") from error

    def end(self) -> int:
        """Kill the process; give its return code, that of its own death if it was dead."""
        self._connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._popen.wait(1)  # the socket is closed: it ends by itself if it can
        self._popen.kill()
        return self._popen.wait()


class Processes:
    """Processes that run generator functions; one is started whenever all are at work.

    Parameters
    ----------
    patience_seconds : float
        How long a process may take for one item.

    Examples
    --------
    >>> with Processes() as processes:
    ...     list(processes.run(range, 3))
    [0, 1, 2]
    """

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self.close = weakref.finalize(self, _end_all, self._idle)
        """End the processes that are not at work."""

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, function: Callable[..., Iterator[T]] | str, *arguments: Any) -> Iterator[T]:
        """Run a generator function in a process; may be called from several threads at the same time.

        Parameters
        ----------
        function : callable or str
            Of a module, or written ``module:function`` to import it there only; gives an iterator of what can be
            pickled. One that raises leaves its process in order.
        *arguments : object
            What it is called with; can be pickled.

        Yields
        ------
        item : object
            What the function yields, as it comes.

        Raises
        ------
        HungError
            If it gives nothing for too long.
        DiedError
            If the process ends.
        Exception
            Whatever the function raises.
        """
        try:
            process = self._idle.get_nowait()
        except queue.Empty:
            process = _Process(self._patience_seconds)
        in_order = False
        try:
            yield from process.run(function, arguments)
            in_order = True
        except (HungError, DiedError, GeneratorExit):
            raise
        except Exception:
            in_order = True
            raise
        finally:
            if in_order:
                self._idle.put(process)
            else:
                process.end()


def _end_all(processes: queue.SimpleQueue[_Process]) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            processes.get_nowait().end()
