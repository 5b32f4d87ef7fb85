"""Iterate over a generator that a thread runs ahead of the consumer."""

from __future__ import annotations

import contextlib
import queue
import threading
import weakref
from collections.abc import Generator, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Iterator over a generator's items; a thread keeps up to `buffer_size` of them ready.

    The thread starts at once, and runs and closes the generator. An exception is raised after the items before it.
    """

    def __init__(self, items: Generator[T, None, None], buffer_size: int) -> None:
        self._items: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
        self._room = threading.Semaphore(buffer_size)
        closed = threading.Event()
        arguments = (items, self._items, self._room, closed)  # not this object, so that it can be garbage-collected
        threading.Thread(target=_fill, args=arguments, name="prefetch", daemon=True).start()
        self.close = weakref.finalize(self, _close, self._room, closed)
        """Stop the thread after its current item; also called when the object is garbage-collected."""

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        item = self._items.get()
        if not isinstance(item, _End):
            self._room.release()
            return item
        self._items.put(item)  # for later calls
        if item.error is not None:
            raise item.error
        raise StopIteration


class _End:
    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def _fill(
    source: Generator[Any, None, None],
    items: queue.SimpleQueue[Any],
    room: threading.Semaphore,
    closed: threading.Event,
) -> None:
    end = _End()
    try:
        with contextlib.closing(source):
            for item in source:
                room.acquire()
                if closed.is_set():
                    return
                items.put(item)
    except BaseException as error:
        end = _End(error)
    finally:
        items.put(end)


def _close(room: threading.Semaphore, closed: threading.Event) -> None:
    closed.set()
    room.release()
