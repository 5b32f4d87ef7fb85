"""A file of answers that is written song by song and can be resumed by the next run, however a run ends."""

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
"""Reasons that can disappear although the file is unchanged."""


@dataclasses.dataclass(frozen=True)
class Brief:
    """The parts of an answer that are counted.

    `genre` is empty if there is no confident answer. `seconds` is the decoded length. `reason` is the reason for
    rejection, and `tag` the outcome of tagging, see `tags.Outcome`; both may be empty.
    """

    genre: str
    seconds: float
    reason: str
    tag: str


_Key = tuple[str, ...]  # path, start and end


class ResultsFile:
    """A file of answers, written by one process at a time.

    An answer is reused if size and modification time of its file and the model are unchanged; otherwise a later answer
    replaces it. An incomplete answer at the end is dropped. Raises `ValueError` if the file has other content or is
    being written by another process.
    """

    def __init__(self, path: Path, encoding: Encoding, model: str) -> None:
        self.path = path
        self._encoding, self._model = encoding, model
        self._kept: dict[_Key, tuple[_Key, Brief]] = {}  # state of file and model, and the answer
        self._spans: dict[_Key, tuple[int, int]] = {}  # position of each song's newest answer; songs in their order
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
        """Move later answers to the places of those that they replace, unless the run was interrupted."""
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
        """Return the answer for a song if it can be reused, else None.

        The file is only accessed if there is an answer.
        """
        made_from, brief = self._kept.get(_key(part), ((), None))
        if brief is None or brief.reason in _MAY_HEAL:
            return None
        now = stamp(part)
        return brief if now and made_from == (*map(str, now), self._model) else None

    def append(self, answer: Answer) -> None:
        """Write an answer; it is flushed to the file."""
        self._append(_key(answer.part), self._encoding.encode(answer))

    def amend(self, part: AudioSegment, values: Values) -> None:
        """Write a reused answer again with some columns changed."""
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
