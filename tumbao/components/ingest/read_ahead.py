"""Songs are decoded by threads, each with a process, while the one before is drawn."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import weakref
from collections.abc import Iterator

from tumbao.components.ingest.decoders import Decoders, Part
from tumbao.components.ingest.fragments import Ending, Fragment
from tumbao.schema.mel_spec import MelSpec

_FRAGMENTS_AHEAD = 8  # of each song: 21 MB
_MOST_DECODERS = 3  # drawing takes a third of the time that decoding takes


class Reading:
    """One song, from the thread that decodes it to the one that wants it: an iterator of fragments and an ending.

    Parameters
    ----------
    part : Part
        The song.
    spec : MelSpec
        Gives the rate and the fragments' length.
    sha256 : str or None
        Hash that the file's bytes must have, see `Decoders.read`.
    """

    def __init__(self, part: Part, spec: MelSpec, sha256: str | None) -> None:
        self._order = (part, spec, sha256)
        self._items: queue.Queue[Fragment | Ending | Exception] = queue.Queue(_FRAGMENTS_AHEAD)
        self._wanted = True

    def do(self, decoders: Decoders) -> None:
        """Decode the song; for the thread.

        Parameters
        ----------
        decoders : Decoders
            Read it.
        """
        with contextlib.closing(decoders.read(*self._order)) as items:
            try:
                for item in items:
                    if not self._wanted:
                        return
                    self._items.put(item)
            except Exception as error:
                self._items.put(error)

    def __iter__(self) -> Iterator[Fragment | Ending]:
        """Wait for the items.

        Yields
        ------
        item : Fragment or Ending
            The ending is the last item.

        Raises
        ------
        AudioError
            As `Decoders.read` does.
        """
        item: Fragment | Ending | None = None
        while not isinstance(item, Ending):
            received = self._items.get()
            if isinstance(received, Exception):
                raise received
            yield (item := received)

    def close(self) -> None:
        """Want no more of it: the thread, which may be waiting for room, goes on to another song."""
        self._wanted = False
        with contextlib.suppress(queue.Empty):
            self._items.get_nowait()


class ReadAhead:
    """Decodes songs in the order in which they are asked for, a few at the same time, as many as there are CPUs.

    Attributes
    ----------
    decoders : int
        How many songs are decoded at the same time.
    """

    def __init__(self) -> None:
        self.decoders = min(len(os.sched_getaffinity(0)), _MOST_DECODERS)
        self._wanted: queue.SimpleQueue[Reading | None] = queue.SimpleQueue()
        for _ in range(self.decoders):  # daemons: a run that is interrupted does not wait for them
            threading.Thread(target=_work, args=(self._wanted,), daemon=True).start()
        self.close = weakref.finalize(self, _stop, self._wanted, self.decoders)
        """End the threads and their processes; also done when the object is no longer used."""

    def read(self, part: Part, spec: MelSpec, sha256: str | None) -> Reading:
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
        reading : Reading
            To be gone over, or else closed.
        """
        reading = Reading(part, spec, sha256)
        self._wanted.put(reading)
        return reading


def _work(wanted: queue.SimpleQueue[Reading | None]) -> None:
    with Decoders() as decoders:
        while reading := wanted.get():
            reading.do(decoders)


def _stop(wanted: queue.SimpleQueue[Reading | None], threads: int) -> None:
    for _ in range(threads):
        wanted.put(None)
