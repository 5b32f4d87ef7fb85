"""A file of answers that grows song by song, and that the next run goes on with, however this one ends."""

from __future__ import annotations

import dataclasses
import fcntl
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.audio_error import INFRASTRUCTURE_REASONS, Reason
from tumbao.schema.errors import UserError
from tumbao.serving.classify.inputs import stamp

if TYPE_CHECKING:
    from tumbao.components.ingest.decoders import AudioSegment
    from tumbao.serving.classify.answers import Answer
    from tumbao.serving.classify.formats import Encoding, Values

_MAY_HEAL = frozenset(reason.value for reason in {*INFRASTRUCTURE_REASONS, Reason.UNREADABLE, Reason.CHANGED})
"""Reasons that may be gone although the file is what it was."""


@dataclasses.dataclass(frozen=True)
class Brief:
    """What is counted of an answer.

    Parameters
    ----------
    genre : str
        Empty if there is none with confidence.
    seconds : float
        Length of what was decoded, in seconds.
    reason : str
        Why the song was rejected; else empty.
    tag : str
        What became of its genre tag, see `tagging.Outcome`; empty if none was to be written.
    """

    genre: str
    seconds: float
    reason: str
    tag: str


_Key = tuple[str, ...]  # path, start and end


class ResultsFile:
    """Answers in a file.

    An answer is taken over if its file has as many bytes and the same time of modification as when it was made, and the
    model is the same; else a later answer replaces it. What half an answer there is at the end is dropped.

    Parameters
    ----------
    path : Path
        Where it is or will be. One process at a time writes it.
    encoding : Encoding
        How answers are written.
    model : str
        Tells the model from others.

    Raises
    ------
    ValueError
        If it holds anything else, or another process writes it.
    OSError
        If it cannot be written.
    """

    def __init__(self, path: Path, encoding: Encoding, model: str) -> None:
        self.path = path
        self._encoding, self._model = encoding, model
        self._kept: dict[_Key, tuple[_Key, Brief]] = {}  # what it was made from, and what it says
        self._spans: dict[_Key, tuple[int, int]] = {}  # where a song's newest answer stands; songs in their order
        self._replaced = False
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            self._lock()
            self._end = self._read()
            self._file.truncate(self._end)
            self._file.seek(self._end)
            if not self._end:
                self._write(encoding.header)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Put later answers in the place of those that they replace, unless the run was interrupted."""
        try:
            if kind is None and self._replaced:
                self._rewrite()
        finally:
            self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{self.path} is being written by another `tumbao classify`: wait for it.") from error

    def _read(self) -> int:
        begin = 0
        try:
            for cells, end in self._encoding.decode(self._file):
                if cells:
                    self._take(cells, begin, end)
                begin = end
        except ValueError as error:
            raise UserError(
                f"Expected answers of an earlier `tumbao classify` in {self.path}, to go on with, or no such file. "
                f"Received: {error}. Name another file, or move this one away."
            ) from error
        return begin

    def _take(self, cells: dict[str, str], begin: int, end: int) -> None:
        key = tuple(cells[name] for name in ("path", "part_start_seconds", "part_end_seconds"))
        brief = Brief(
            genre=cells.get("genre", ""),
            seconds=float(cells.get("duration_seconds") or 0),
            reason=cells["reason"],
            tag=cells.get("tag", ""),
        )
        made_from = tuple(cells[name] for name in ("file_bytes", "file_modified_us", "model"))
        self._kept[key] = made_from, brief
        self._stands(key, begin, end)

    def _stands(self, key: _Key, begin: int, end: int) -> None:
        self._replaced |= key in self._spans
        self._spans[key] = begin, end

    def kept(self, part: AudioSegment) -> Brief | None:
        """Look up an answer that can be taken over.

        Parameters
        ----------
        part : AudioSegment
            The song. Its file is looked at only if there is an answer.

        Returns
        -------
        brief : Brief or None
            None if the song is to be classified.
        """
        made_from, brief = self._kept.get(_key(part), ((), None))
        if brief is None or brief.reason in _MAY_HEAL:
            return None
        now = stamp(part)
        return brief if now and made_from == (*map(str, now), self._model) else None

    def append(self, answer: Answer) -> None:
        """Write an answer; it is in the file when this returns.

        Parameters
        ----------
        answer : Answer
            Of one song.
        """
        self._append(_key(answer.part), self._encoding.encode(answer))

    def amend(self, part: AudioSegment, values: Values) -> None:
        """Write an answer that was taken over once more, with other values.

        Parameters
        ----------
        part : AudioSegment
            The song.
        values : dict of str to object
            By column.
        """
        begin, end = self._spans[_key(part)]
        self._file.seek(begin)
        written = self._file.read(end - begin).decode()
        self._file.seek(self._end)
        self._append(_key(part), self._encoding.amend(written, values))

    def _append(self, key: _Key, text: str) -> None:
        begin = self._end
        self._write(text)
        self._stands(key, begin, self._end)

    def _write(self, text: str) -> None:
        self._end += self._file.write(text.encode())
        self._file.flush()

    def _rewrite(self) -> None:
        write_whole(self.path, itertools.chain([self._encoding.header.encode()], self._answers()))

    def _answers(self) -> Iterator[bytes]:
        for begin, end in self._spans.values():
            self._file.seek(begin)
            yield self._file.read(end - begin)


def _key(part: AudioSegment) -> _Key:
    from tumbao.serving.classify.formats import part_values

    return tuple("" if value is None else str(value) for value in part_values(part).values())
