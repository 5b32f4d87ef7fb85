"""Generator functions that the tests of the worker pool run in worker processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any


def number() -> Iterator[int]:
    yield os.getpid()


def count(times: int) -> Iterator[int]:
    for _ in range(times):
        yield os.getpid()


def numbers(until: int, wait: float) -> Iterator[int]:
    for item in range(until):
        time.sleep(wait)
        yield item


def fail() -> Iterator[int]:
    yield 1
    raise KeyError("what")


def reset() -> Iterator[int]:
    yield 1
    raise ConnectionResetError(104, "Connection reset by peer")


class OddError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("odd")


def odd(what: str) -> Iterator[object]:
    yield 1
    if what == "item":
        yield lambda: None
    if what == "error":
        raise OddError(1, 2)
    raise ValueError(lambda: None)


def _dies(file: str) -> bool:
    """Tell whether to die: as often as the file has bytes."""
    left = os.path.getsize(file)  # noqa: PTH202
    os.truncate(file, max(left - 1, 0))
    return left > 0


def count_down(file: str, die_at: int, by: str = "SIGKILL", until: int = 4, size: int = 0) -> Iterator[Any]:
    for item in range(until):
        yield None
        if item == die_at and _dies(file):
            if size:  # in the middle of a message
                threading.Timer(0.05, os.kill, (os.getpid(), getattr(signal, by))).start()
                yield bytes(size)
            os.kill(os.getpid(), getattr(signal, by))
        yield item if size else (item, os.getpid())


def initialize(file: str | None = None, fails: bool = False) -> None:
    if file and _dies(file):
        os.kill(os.getpid(), signal.SIGKILL)
    if fails:
        raise RuntimeError("no front-end")


def die(name: str) -> Iterator[int]:
    yield 1
    if name == "exit":
        os._exit(3)
    os.kill(os.getpid(), getattr(signal, name))


def hang() -> Iterator[int]:
    yield 1
    time.sleep(600)


def fill(size: int) -> Iterator[int]:
    yield len(bytearray(size))


def interrupt() -> Iterator[str]:
    os.write(1, b"noise")
    os.write(2, b"noise")
    os.kill(os.getpid(), signal.SIGINT)
    yield "still here"
