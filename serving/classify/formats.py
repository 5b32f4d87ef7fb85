"""Files of answers in JSON Lines and CSV, written song by song and resumed by the next run."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.audio_error import INFRASTRUCTURE_REASONS, AudioError, Reason
from tumbao.components.ingest.decoders import AudioSegment
from tumbao.components.ingest.os_compat import lock
from tumbao.components.ingest.tables import csv_row, json_line, read_cell, read_json_line
from tumbao.schema.errors import UserError
from tumbao.schema.hierarchy import has_subgenres
from tumbao.serving.classify.batch import Answer
from tumbao.serving.classify.inputs import stamp
from tumbao.serving.classify.tags import Tagging
from tumbao.serving.model_info import ModelInfo
from tumbao.serving.predict import song_values, summary

Values = Mapping[str, Any]

_PART = ("path", "part_start_seconds", "part_end_seconds")
_SOURCE = ("file_bytes", "file_modified_us", "model", "synthetic_training_data", "decision")
_SONG = ("genre", "nearest", "probability", "majority", "duration_seconds", "declared_seconds")
_MAIN = ("main_genre", "main_probability")  # with sub-genres
_FLAGS = ("truncated", "padded", "silent_fragments", "fragments")
_FRAGMENT = ("fragment", "start_seconds", "end_seconds", "section_genre", "fragment_genre", "familiar")


class JsonLines:
    """Answers as one JSON object per line and song."""

    header = ""

    def __init__(self, info: ModelInfo, model: str) -> None:
        self._info, self._model = info, model

    def encode(self, answer: Answer) -> str:
        """Return the lines of one answer."""
        info, result = self._info, answer.result
        values = _source_values(answer, info, self._model)
        if isinstance(result, AudioError):
            values["error"] = {"reason": result.reason.value, "message": result.message}
        else:
            values |= song_values(result, info)
        return json_line(values | tag_values(answer.stamp, answer.tagging))

    def decode(self, file: BinaryIO) -> Iterator[tuple[dict[str, str], int]]:
        """Read a file up to an answer that was cut off: the cells of each song, none for the header, and its end."""
        end = 0
        for number, line in enumerate(file, start=1):
            whole = line.endswith(b"\n")
            if end and not whole:
                return
            try:
                values = read_json_line(line if whole else b"")
                cells = {name: _cell(values[name]) for name in _PART + _SOURCE}
                cells |= {name: _cell(values.get(name)) for name in ("genre", "duration_seconds", "tag")}
                cells["reason"] = _cell((values.get("error") or {}).get("reason"))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"line {number} is not a result of `tumbao classify` ({error})") from error
            end += len(line)
            yield cells, end

    def amend(self, written: str, values: Values) -> str:
        """Return a song's lines with some columns changed."""
        return json_line(read_json_line(written) | dict(values))


class Csv:
    """Answers as one row per fragment, with the columns of its song; a rejected song has one row."""

    def __init__(self, info: ModelInfo, model: str) -> None:
        self._info, self._model = info, model
        self._probabilities = [f"p_{genre}" for genre in info.genres]
        main = _MAIN if has_subgenres(info.genres) else ()
        columns = (*_PART, *_SOURCE, *_SONG, *main, *_FLAGS, *_FRAGMENT, *self._probabilities)
        self._columns = (*columns, "reason", "message", "tag", "tag_message")
        self.header = csv_row(self._columns)

    def encode(self, answer: Answer) -> str:
        """Return the rows of one answer."""
        info, result = self._info, answer.result
        row = _source_values(answer, info, self._model) | tag_values(answer.stamp, answer.tagging)
        if isinstance(result, AudioError):
            return self._rows([row | {"reason": result.reason.value, "message": result.message}])
        row |= summary(result, info) | {"fragments": len(result.fragments)}
        rows = []
        for index, fragment in enumerate(result.fragments):
            row |= {
                "fragment": index,
                "start_seconds": fragment.start_seconds,
                "end_seconds": fragment.end_seconds,
                "section_genre": next(
                    info.genres[section.genre]
                    for section in reversed(result.sections)
                    if section.start_seconds <= fragment.start_seconds
                ),
                "fragment_genre": info.genres[fragment.genre],
                "familiar": fragment.in_distribution,
            }
            rows.append(row | dict(zip(self._probabilities, fragment.probabilities, strict=True)))
        return self._rows(rows)

    def decode(self, file: BinaryIO) -> Iterator[tuple[dict[str, str], int]]:
        """Read a file of answers as `JsonLines.decode` does."""
        end = 0

        def lines() -> Iterator[str]:
            nonlocal end
            for line in file:
                if line.endswith(b"\n") or not end:
                    end += len(line)
                    yield line.decode()

        rows = csv.reader(lines(), strict=True)
        try:
            header = next(rows, None)
            if header is None:
                return
            if tuple(map(read_cell, header)) != self._columns:
                raise ValueError("its columns are not those of this model and version")
            yield {}, end
            for cells in rows:
                if len(cells) != len(self._columns):
                    raise ValueError(f"line {rows.line_num} is not a row of `tumbao classify`")
                row = dict(zip(self._columns, map(read_cell, cells), strict=True))
                more = int(row["fragments"] or 1) - 1
                if len(list(itertools.islice(rows, more))) < more:
                    return
                yield row, end
        except csv.Error as error:
            if "unexpected end of data" not in str(error):  # a path may contain a line end
                raise ValueError(f"line {rows.line_num} is not a row ({error})") from error

    def amend(self, written: str, values: Values) -> str:
        """Return a song's rows with some columns changed."""
        rows = csv.reader(io.StringIO(written, newline=""))
        return self._rows(
            [dict(zip(self._columns, map(read_cell, cells), strict=True)) | dict(values) for cells in rows]
        )

    def _rows(self, rows: Sequence[Values]) -> str:
        return "".join(csv_row(row.get(name) for name in self._columns) for row in rows)


Encoding = JsonLines | Csv


def tag_values(stamp: tuple[int, int] | None, tagging: Tagging | None) -> dict[str, Any]:
    """Return the columns that writing a tag changes; empty if no tag was to be written."""
    if tagging is None:
        return {}
    about = dict(zip(_SOURCE[:2], stamp or (None, None), strict=True))
    return about | {"tag": tagging.outcome.value, "tag_message": tagging.sentence}


def _source_values(answer: Answer, info: ModelInfo, model: str) -> dict[str, Any]:
    part, (size, modified) = answer.part, answer.stamp or (None, None)
    where = (part.path, part.start_seconds, part.end_seconds)
    values = (*where, size, modified, model, info.training_data.synthetic, info.decision)
    return dict(zip(_PART + _SOURCE, values, strict=True))


def _cell(value: object) -> str:
    return "" if value is None else str(value)


_TEMPORARY_REASONS = frozenset(reason.value for reason in {*INFRASTRUCTURE_REASONS, Reason.UNREADABLE, Reason.CHANGED})
"""Reasons that can disappear although the file is unchanged."""


@dataclasses.dataclass(frozen=True)
class Brief:
    """The parts of an answer that are counted; empty where they do not apply."""

    genre: str
    seconds: float
    reason: str
    tag: str


_Key = tuple[str, ...]  # path, start and end


class ResultsFile:
    """A file of answers; an answer is reused if its file (size and time) and the model are unchanged."""

    def __init__(self, file: BinaryIO, encoding: Encoding, model: str) -> None:
        self._file, self._encoding, self._model = file, encoding, model
        self._briefs: dict[_Key, tuple[_Key, Brief]] = {}  # state of file and model, and the answer
        self._spans: dict[_Key, tuple[int, int]] = {}  # position of each song's newest answer; songs in their order
        self.has_replaced = False
        self._end = 0
        file.seek(0)
        for cells, end in encoding.decode(file):
            if cells:
                key = tuple(cells[name] for name in _PART)
                brief = Brief(cells["genre"], float(cells["duration_seconds"] or 0), cells["reason"], cells["tag"])
                self._briefs[key] = tuple(cells[name] for name in _SOURCE[:3]), brief
                self._record(key, self._end, end)
            self._end = end
        file.truncate(self._end)  # drops an incomplete answer
        if not self._end:
            self._write(encoding.header)

    def find(self, part: AudioSegment) -> Brief | None:
        """Return the answer for a song if it can be reused, else None."""
        source, brief = self._briefs.get(_key(part), ((), None))
        if brief is None or brief.reason in _TEMPORARY_REASONS:
            return None
        now = stamp(part)
        return brief if now and source == (*map(str, now), self._model) else None

    def append(self, answer: Answer) -> None:
        """Write an answer; it is flushed to the file."""
        self._append(_key(answer.part), self._encoding.encode(answer))

    def amend(self, part: AudioSegment, values: Values) -> None:
        """Write a reused answer again with some columns changed."""
        self._append(_key(part), self._encoding.amend(self._read(*self._spans[_key(part)]).decode(), values))

    def newest_answers(self) -> Iterator[bytes]:
        """Return the content of the file with each later answer in the place of the one that it replaces."""
        yield self._encoding.header.encode()
        for span in self._spans.values():
            yield self._read(*span)
        if sys.platform == "win32":  # which replaces no open file
            self._file.close()

    def _append(self, key: _Key, text: str) -> None:
        begin = self._end
        self._write(text)
        self._record(key, begin, self._end)

    def _record(self, key: _Key, begin: int, end: int) -> None:
        self.has_replaced |= key in self._spans
        self._spans[key] = begin, end

    def _read(self, begin: int, end: int) -> bytes:
        self._file.seek(begin)
        return self._file.read(end - begin)

    def _write(self, text: str) -> None:
        self._end += self._file.write(text.encode())
        self._file.flush()


@contextlib.contextmanager
def open_results(path: Path, encoding: Encoding, model: str) -> Iterator[ResultsFile]:
    """Open a file of answers, or a new one, for this process alone; it is rewritten at the end of a whole run."""
    with path.open("a+b") as file:
        try:
            lock(file.fileno())
        except OSError as error:
            raise UserError(f"{path} is being written by another `tumbao classify`: wait for it.") from error
        try:
            results = ResultsFile(file, encoding, model)
        except ValueError as error:
            raise UserError(
                f"Expected results of an earlier `tumbao classify` in {path}, or no such file. "
                f"Received: {error}. Choose another file, or move this one."
            ) from error
        yield results
        if results.has_replaced:
            write_whole(path, results.newest_answers())


def _key(part: AudioSegment) -> _Key:
    return part.path, _cell(part.start_seconds), _cell(part.end_seconds)
