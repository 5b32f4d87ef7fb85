from __future__ import annotations

import threading
import time
from collections.abc import Generator

import pytest

from tumbao.serving.classify.batch import Prefetch


def numbers(taken: list[int], count: int = 1_000_000, error: Exception | None = None) -> Generator[int, None, None]:
    try:
        for number in range(count):
            taken.append(number)
            yield number
        if error:
            raise error
    finally:
        taken.append(-1)


def wait_for_threads_to_end(before: set[threading.Thread]) -> None:
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_error_is_raised_after_the_items_before_it() -> None:
    items = Prefetch(numbers([], 2, KeyError("what")), 8)
    assert [next(items), next(items)] == [0, 1]
    for _ in range(2):
        with pytest.raises(KeyError, match="what"):
            next(items)


def test_the_buffer_is_limited() -> None:
    taken: list[int] = []
    items = Prefetch(numbers(taken), 4)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    time.sleep(0.2)
    assert 7 <= len(taken) <= 8
    items.close()


@pytest.mark.parametrize("used", [0, 2])
def test_closing_early_ends_the_thread_and_closes_the_generator(used: int) -> None:
    before, taken = set(threading.enumerate()), list[int]()
    items = Prefetch(numbers(taken), 4)
    for _ in range(used):
        next(items)
    items.close()
    wait_for_threads_to_end(before)
    assert taken[-1] == -1
