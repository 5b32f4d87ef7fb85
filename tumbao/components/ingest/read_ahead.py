"""Songs are read by several processes at the same time, and come in the order in which they were asked for."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tumbao.components.ingest.decoders import Decoders, Part
from tumbao.components.ingest.fragments import Ending, Fragment
from tumbao.schema.mel_spec import MelSpec

if TYPE_CHECKING:
    from tumbao.components.ingest.drawing import Drawing

T = TypeVar("T")

MOST_READERS = 3
"""Who takes fragments has more to do with them than a reader."""

_FRAGMENTS_AHEAD = 8  # of each song: 21 MB
_DRAWINGS_AHEAD = 64  # of each song: 5 MB


class Reading(Generic[T]):
    """One song, from the thread that has it read to the one that wants it: an iterator of pieces and an ending.

    Parameters
    ----------
    begin : callable
        Has the song read by decoders.
    ahead : int
        How many pieces may wait.
    """

    def __init__(self, begin: Callable[[Decoders], Generator[T | Ending, None, None]], ahead: int) -> None:
        self._begin = begin
        self._items: queue.Queue[T | Ending | Exception] = queue.Queue(ahead)
        self._wanted = True

    def do(self, decoders: Decoders) -> None:
        """Have the song read; for the thread.

        Parameters
        ----------
        decoders : Decoders
            Read it.
        """
        with contextlib.closing(self._begin(decoders)) as items:
            try:
                for item in items:
                    if not self._wanted:
                        return
                    self._items.put(item)
            except Exception as error:
                self._items.put(error)

    def __iter__(self) -> Iterator[T | Ending]:
        """Wait for the pieces.

        Yields
        ------
        item : T or Ending
            The ending is the last item.

        Raises
        ------
        AudioError
            As `Decoders` do.
        """
        while True:
            item = self._items.get()
            if isinstance(item, Exception):
                raise item
            yield item
            if isinstance(item, Ending):
                return

    def close(self) -> None:
        """Want no more of it: the thread, which may be waiting for room, goes on to another song."""
        self._wanted = False
        with contextlib.suppress(queue.Empty):
            self._items.get_nowait()


class ReadAhead:
    """Reads songs in the order in which they are asked for, a few at the same time, as many as there are CPUs.

    Parameters
    ----------
    most : int
        At most so many at the same time.

    Attributes
    ----------
    decoders : int
        How many songs are read at the same time.
    """

    def __init__(self, most: int = MOST_READERS) -> None:
        self.decoders = min(len(os.sched_getaffinity(0)), most)
        self._wanted: queue.SimpleQueue[Reading[Any] | None] = queue.SimpleQueue()
        for _ in range(self.decoders):  # daemons: a run that is interrupted does not wait for them
            threading.Thread(target=_work, args=(self._wanted,), daemon=True).start()
        self.close = weakref.finalize(self, _stop, self._wanted, self.decoders)
        """End the threads and their processes; also done when the object is no longer used."""

    def read(self, part: Part, spec: MelSpec, sha256: str | None) -> Reading[Fragment]:
        """Begin to read a song; the arguments are those of `Decoders.read`.

        Parameters
        ----------
        part : Part
            The song.
        spec : MelSpec
            Gives the rate and the fragments' length.
        sha256 : str or None
            Hash that the file's bytes must have, or None.

        Returns
        -------
        reading : Reading of Fragment
            To be gone over, or else closed.
        """
        return self._begin(Reading(lambda decoders: decoders.read(part, spec, sha256), _FRAGMENTS_AHEAD))

    def draw(self, part: Part, spec: MelSpec, sha256: str) -> Reading[Drawing]:
        """Begin to draw a song; the arguments are those of `Decoders.draw`.

        Parameters
        ----------
        part : Part
            The song.
        spec : MelSpec
            The front-end's parameters.
        sha256 : str
            Hash that the file's bytes must have.

        Returns
        -------
        reading : Reading of Drawing
            To be gone over, or else closed.
        """
        return self._begin(Reading(lambda decoders: decoders.draw(part, spec, sha256), _DRAWINGS_AHEAD))

    def _begin(self, reading: Reading[T]) -> Reading[T]:
        self._wanted.put(reading)
        return reading


def _work(wanted: queue.SimpleQueue[Reading[Any] | None]) -> None:
    with Decoders() as decoders:
        while reading := wanted.get():
            reading.do(decoders)


def _stop(wanted: queue.SimpleQueue[Reading[Any] | None], threads: int) -> None:
    for _ in range(threads):
        wanted.put(None)
