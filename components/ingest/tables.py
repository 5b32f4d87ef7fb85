"""Read tables in the forms that people and spreadsheets write, and write tables that can be read again.

All tables that Tumbao writes are written here. Bytes of a file name that are not UTF-8 cannot be written as UTF-8:
`encode_text` writes each as ``‛`` (U+201B) and two hexadecimal digits, as rclone does. A spreadsheet evaluates a cell
that begins with ``= + - @``, a tab or a line break as a formula: in CSV, an apostrophe precedes such a cell. The
readers undo both.
"""

from __future__ import annotations

import codecs
import collections
import contextlib
import csv
import dataclasses
import io
import itertools
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from tumbao.components.ingest.paths import AnyPath, as_path, local_copy
from tumbao.schema.errors import UserError

T = TypeVar("T")

DELIMITERS = {".csv": ",", ".tsv": "\t"}
"""Extension of a table → its default delimiter."""

EXTENSIONS: tuple[str, ...] = (*DELIMITERS, ".jsonl")
"""Extensions of the tables that can be read."""

POSSIBLE_DELIMITERS = (",", ";", "\t", "|")
"""Delimiters that are detected."""

_LEGACY_ENCODINGS = ("cp1252", "mac_roman", "cp850")
_SPANISH = "áéíóúüñÁÉÍÓÚÜÑ"
_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_SAMPLE_BYTES = 1 << 20  # in which the encoding is detected

Rows = list[tuple[int, dict[str, str]]]
"""Pairs of the line in which a row begins, from 1, and its cells by column."""

Row = dict[str, str]
"""Column → cell; for the columns of a manifest see `library.MANIFEST_COLUMNS`."""

_QUOTE = "\u201b"
_UNWRITABLE = re.compile(f"[\0{_QUOTE}\ud800-\udfff]")
_WRITTEN = re.compile(f"{_QUOTE}({_QUOTE}|00|[89A-F][0-9A-F])")
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_QUOTED = re.compile(r"[\",;\t\r\n]|^\s|\s$")
_BREAKS = {ord(char): f"\\u{ord(char):04x}" for char in "\x85\u2028\u2029"}  # str.splitlines splits at these

csv.field_size_limit(sys.maxsize)  # a manifest may contain tags of any length


def encode_text(text: str) -> str:
    """Encode a text so that it is valid UTF-8 and `decode_text` restores it.

    The text may contain NUL, and bytes that are not UTF-8 as `os.fsdecode` returns them: the byte E9 becomes ``‛E9``.
    Other lone surrogates become U+FFFD. All other text stays as it is, except that ``‛`` is doubled.
    """
    return _UNWRITABLE.sub(_spell, text)


def _spell(found: re.Match[str]) -> str:
    char = found[0]
    if char == _QUOTE:
        return 2 * _QUOTE
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"{_QUOTE}{code:02X}" if code < 0x100 else "\ufffd"


def decode_text(encoded: str) -> str:
    """Decode a text of `encode_text`."""
    return _WRITTEN.sub(lambda found: _char(found[1]), encoded)


def _char(spelt: str) -> str:
    return spelt if spelt == _QUOTE else chr(int(spelt, 16) + 0xDC00) if spelt != "00" else "\0"


def csv_row(cells: Iterable[object]) -> str:
    """Format a row of a CSV, with a line feed at its end; None is an empty cell."""
    return ",".join(map(_csv_cell, cells)) + "\n"


def _csv_cell(value: object) -> str:
    text = "" if value is None else str(value)
    if isinstance(value, str):
        text = encode_text(text)
        text = f"'{text}" if _FORMULA.match(text) else text
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def read_cell(cell: str) -> str:
    """Decode a cell, as `csv.reader` returns it, to the value that was passed to `csv_row`."""
    return decode_text(cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell)


def write_csv(columns: Iterable[str], rows: Iterable[Iterable[object] | Mapping[str, object]]) -> str:
    """Format a CSV; the cells of a row are in order, or by column. A missing column is an empty cell."""
    columns = list(columns)
    cells = ([row.get(name) for name in columns] if isinstance(row, Mapping) else row for row in rows)
    return "".join(map(csv_row, (columns, *cells)))


def read_csv(text: str) -> list[Row]:
    """Parse a CSV of `write_csv`."""
    rows = ([read_cell(cell) for cell in cells] for cells in csv.reader(io.StringIO(text, newline="")))
    columns = next(rows, [])
    return [dict(zip(columns, cells, strict=True)) for cells in rows]


def table_rows(table: str) -> list[Row]:
    """Read a CSV of `write_csv` from a path or an address."""
    return read_csv(as_path(table).read_bytes().decode())


def split_rows(split: str, manifests: str) -> list[Row]:
    """Read a split's manifest in the folder of `library.write_manifests`, and add the column `split`."""
    return [{**row, "split": split} for row in table_rows(f"{manifests}/{split}.csv")]


def json_line(values: Mapping[str, Any]) -> str:
    """Format a line of JSON Lines that every reader takes as one line, with texts as in `encode_text`."""
    return encode_text(json.dumps(values, ensure_ascii=False)).translate(_BREAKS) + "\n"


def read_json_line(line: str | bytes) -> Any:
    """Parse a line of `json_line`, with or without its end; raises ValueError if it is not JSON in UTF-8."""
    text = line if isinstance(line, str) else line.decode()
    try:
        return json.loads(decode_text(text))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def json_lines(file: str) -> list[dict[str, Any]]:
    """Read JSON Lines from a path or an address."""
    return [read_json_line(line) for line in as_path(file).read_bytes().split(b"\n") if line]


def read_record(kind: type[T], text: str | bytes) -> T:
    """Parse a flat dataclass of plain types from the JSON of `dataclasses.asdict`.

    Unknown fields are ignored, since later versions may write them. Raises ValueError if the text is incomplete or a
    value has another type.
    """
    hints: dict[str, Any] = typing.get_type_hints(kind)
    try:
        values = {name: value for name, value in json.loads(text).items() if name in hints}
        record = kind(**values)
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    for name, value in values.items():
        wanted = typing.get_origin(hints[name]) or hints[name]
        accepted = typing.get_args(hints[name]) if wanted in (typing.Union, types.UnionType) else (wanted,)
        accepted = (*accepted, int) if float in accepted else accepted
        if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
            raise ValueError(f"{name}: {value!r}")
    return record


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: column in lower case → as written, rows by the former, and the line of each invalid row → fault."""

    columns: dict[str, str]
    rows: Rows
    faults: dict[int, str]


def read_table(file: AnyPath, names: Collection[str] = ()) -> Table:
    """Read a table with named columns: JSON Lines, or delimited text.

    The file may be in UTF-8 or UTF-16, or in a Western European encoding of Windows, Macintosh or DOS. The delimiter is
    declared by a line such as ``sep=;``, or it is the one that finds most of the columns `names` in the header. Rows in
    which every cell is empty are left out; missing cells at the end of a row are empty.
    """
    suffix = file.suffix.lower()
    if suffix not in EXTENSIONS:
        raise UserError(f"Expected a list of songs that ends in {', '.join(EXTENSIONS)}. Received: {file}")
    with _open_lines(file) as lines:
        table = _lines_of_json(lines) if suffix == ".jsonl" else _separated(file, lines, DELIMITERS[suffix], names)
    if not table.columns:
        raise UserError(f"Expected a table with named columns in {file}. Received: no columns; is it empty?")
    return table


def read_cells(file: AnyPath, delimiter: str, faults: dict[int, str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the cells of each row that is not empty, without loading the whole file; see `_rows`."""
    with _open_lines(file) as lines:
        for line, cells in _rows(lines, delimiter, faults):
            if any(cells):
                yield line, [read_cell(cell) for cell in cells]


def _rows(
    lines: Iterable[str],
    delimiter: str,
    faults: dict[int, str],
    fault_in: Callable[[list[str], int], str] = lambda cells, lines_in_row: "",
    line: int = 1,
) -> Iterator[tuple[int, list[str]]]:
    """Yield the line in which each row begins, counted from `line`, and its cells (RFC 4180).

    A row that cannot be read, or in which `fault_in` finds a fault, is added to `faults`. Its further lines are read
    again as rows of their own, since an open quote extends over all lines that follow.
    """
    while True:
        lines, ahead = itertools.tee(lines)
        reader = csv.reader(ahead, delimiter=delimiter, strict=True)
        try:
            cells = next(reader)
            fault = fault_in(cells, reader.line_num)
        except StopIteration:
            return
        except csv.Error as error:
            fault = f"expected cells with closed quotes, and each quote inside of them doubled. Received: {error}"
        if fault:
            faults[line] = fault
        else:
            yield line, cells
        used = 1 if fault else reader.line_num
        collections.deque(itertools.islice(lines, used), maxlen=0)
        line += used


@contextlib.contextmanager
def _open_lines(file: AnyPath) -> Iterator[Iterator[str]]:
    """Open text of any encoding that spreadsheets write; lines keep their ends."""
    try:
        with local_copy(file) as local, local.open("rb") as content:
            sample = content.read(_SAMPLE_BYTES)
            content.seek(0)
            if sample.startswith(_SPREADSHEETS):
                raise UserError(f"Expected text in {file}. Received: a spreadsheet. Save it as CSV UTF-8.")
            if encoding := _utf_16(sample):
                yield io.TextIOWrapper(content, encoding, newline="")
            else:
                accents = {name: sum(map(sample.decode(name, "ignore").count, _SPANISH)) for name in _LEGACY_ENCODINGS}
                legacy = max(accents, key=accents.__getitem__)
                text = io.TextIOWrapper(content, "utf-8-sig", "surrogateescape", newline="")
                yield (_repaired(line, legacy) for line in text)
    except UnicodeDecodeError as error:
        raise UserError(f"Expected text in {file}. Received: {error}. Save the file as UTF-8.") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error


def _utf_16(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if content[1:2] == b"\0":  # a header begins with an ASCII letter
        return "utf-16-le"
    return "utf-16-be" if content[:1] == b"\0" else ""


def _repaired(line: str, legacy: str) -> str:
    """Decode a line that is not UTF-8, of which other lines may be: a list can be put together from several."""
    content = line.encode(errors="surrogateescape")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode(legacy, "replace")


def _separated(file: AnyPath, content: Iterator[str], delimiter: str, names: Collection[str]) -> Table:
    lines = list(content)
    at = next((index for index, line in enumerate(lines) if line.strip()), 0)
    if declared := re.fullmatch(r'"?sep=(.)"?\s*', lines[at] if lines else "", re.IGNORECASE):
        delimiter = declared[1]
        at += 1
    else:
        delimiter = _delimiter(lines[at:], delimiter, names)
    header: list[str] = []

    def fault_in(cells: list[str], lines_in_row: int) -> str:
        filled = _filled(cells)
        if not header or not filled or (filled <= len(header) and (len(cells) >= len(header) or lines_in_row == 1)):
            return ""
        return (
            f"expected {len(header)} cells, one for each column. Received: {filled} "
            f'({", ".join(cells[:filled])[:200]}). A cell that holds "{delimiter}" must be in double quotes.'
        )

    columns: dict[str, str] = {}
    rows: Rows = []
    faults: dict[int, str] = {}
    for line, cells in _rows(lines[at:], delimiter, faults, fault_in, at + 1):
        if not header:
            if faults:
                break
            header = [read_cell(cell) for cell in cells[: _filled(cells)]]
            columns = _columns(header, f"{file}, line {line}: ")
        elif _filled(cells):
            cells += [""] * (len(header) - len(cells))
            named = ((_key(name), read_cell(cell)) for name, cell in zip(header, cells, strict=False))
            rows.append((line, {key: cell for key, cell in named if key}))
    if not header and faults:
        line, fault = next(iter(faults.items()))
        raise UserError(f"{file}, line {line}: {fault}")
    return Table(columns, rows, faults)


def _filled(cells: Sequence[str]) -> int:
    """Count the cells up to the last that is not empty."""
    return max((number for number, cell in enumerate(cells, start=1) if cell.strip()), default=0)


def _delimiter(lines: Sequence[str], default: str, names: Collection[str]) -> str:
    """Choose the delimiter that finds the most expected columns, then the most cells."""

    def fit(delimiter: str) -> tuple[int, int]:
        try:
            header = [_key(cell) for cell in next(csv.reader(lines, delimiter=delimiter), [])]
        except csv.Error:
            return 0, 0
        return sum(cell in names for cell in header), sum(map(bool, header))

    return max((default, *POSSIBLE_DELIMITERS), key=fit)


def _lines_of_json(lines: Iterable[str]) -> Table:
    table = Table({}, [], {})
    for line, content in enumerate(lines, start=1):
        if not content.strip():
            continue
        try:
            cells = _json_cells(content)
            columns = _columns(cells)
        except ValueError as error:
            table.faults[line] = str(error)
            continue
        table.columns.update({key: name for key, name in columns.items() if key not in table.columns})
        table.rows.append((line, {_key(name): cell for name, cell in cells.items() if _key(name)}))
    return table


def _json_cells(content: str) -> dict[str, str]:
    try:
        value = json.loads(content)
        if not isinstance(value, dict):
            raise UserError(f"a {type(value).__name__}")
        cells = {name: decode_text(_cell(cell)) for name, cell in value.items()}
        "".join((*cells, *cells.values())).encode(errors="surrogateescape")  # JSON can hold other surrogates too
    except (ValueError, RecursionError) as error:
        raise UserError(f'expected one JSON object, {{"file_name": …}}. Received: {error}') from error
    return cells


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _columns(names: Iterable[str], where: str = "") -> dict[str, str]:
    columns: dict[str, str] = {}
    for name in names:
        key = _key(name)
        if key in columns:
            raise UserError(f"{where}expected each column once. Received: {columns[key]}, {name}")
        if key:
            columns[key] = name.strip()
    return columns


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())
