"""Read tables in the forms that people and spreadsheets write, and write tables that can be read again.

All tables that Tumbao writes are written here. Bytes of a file name that are not UTF-8 cannot be written as UTF-8:
`encode_text` writes each as ``‛`` (U+201B) and two hexadecimal digits, as rclone does. A spreadsheet evaluates a cell
that begins with ``= + - @``, a tab or a line break as a formula: in CSV, an apostrophe precedes such a cell. The
readers undo both.
"""

from __future__ import annotations

import codecs
import csv
import dataclasses
import io
import json
import re
import sys
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from tumbao.components.ingest.paths import AnyPath, as_path
from tumbao.schema.errors import UserError

T = TypeVar("T")

DELIMITERS = {".csv": ",", ".tsv": "\t"}
"""Extension of a table → its default delimiter."""

EXTENSIONS: tuple[str, ...] = (*DELIMITERS, ".jsonl")
"""Extensions of the tables that can be read."""

_POSSIBLE_DELIMITERS = (",", ";", "\t", "|")
_QUOTES_EXPECTED = "expected cells with closed quotes, and each quote inside of them doubled. Received: "
_LEGACY_ENCODINGS = ("cp1252", "mac_roman", "cp850")
_SPANISH = "áéíóúüñÁÉÍÓÚÜÑ"
_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")

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

    A byte E9 that is not UTF-8, as `os.fsdecode` returns it, becomes ``‛E9``; other lone surrogates become U+FFFD.
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
    """Parse a flat dataclass of plain types from the JSON of `dataclasses.asdict`; unknown fields are ignored.

    Raises ValueError if the text is incomplete or a value has another type.
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
    """A table: column in lower case → name as written, rows by those columns, and line → problem of unreadable rows."""

    columns: dict[str, str]
    rows: Rows
    faults: dict[int, str]


def read_table(file: AnyPath, names: Collection[str] = ()) -> Table:
    """Read a table with named columns: JSON Lines, or delimited text.

    The file may be in UTF-8, in UTF-16 with a byte order mark, or in a Western European encoding of Windows, Macintosh
    or DOS, with any line ends. Delimiters are commas, semicolons, tabs or bars, as a line such as ``sep=;`` before the
    header says; otherwise the one that finds most of the columns `names` in the header.

    Rows in which every cell is empty are left out; missing cells at the end of a row are empty. Raises UserError if the
    file has another extension, cannot be read, is not text or is empty, or if two columns have the same name.
    """
    suffix = file.suffix.lower()
    if suffix not in EXTENSIONS:
        raise UserError(f"Expected a list of songs that ends in {', '.join(EXTENSIONS)}. Received: {file}")
    lines = list(io.StringIO(_read_text(file), newline=""))
    table = _lines_of_json(file, lines) if suffix == ".jsonl" else _separated(file, lines, DELIMITERS[suffix], names)
    if not table.columns:
        raise UserError(f"Expected a table with named columns in {file}. Received: no columns; is it empty?")
    return table


def _read_text(file: AnyPath) -> str:
    """Decode text of any encoding that spreadsheets write."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    if content.startswith(_SPREADSHEETS):
        raise UserError(f"Expected text in {file}. Received: a spreadsheet. Save it as CSV UTF-8.")
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise UserError(f"Expected text in {file}. Received: {error}. Save the file as UTF-8.") from error
    legacy = max(_LEGACY_ENCODINGS, key=lambda name: sum(map(content.decode(name, "ignore").count, _SPANISH)))
    return content.decode(legacy, "replace")


def _split_rows(lines: Sequence[str], delimiter: str) -> Iterator[tuple[range, list[str] | csv.Error]]:
    """Yield the indexes of each row's lines, and its cells, or why it cannot be read (RFC 4180)."""
    begin = 0
    while begin < len(lines):
        offset, reader = begin, csv.reader(lines[begin:], delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                yield range(begin, offset + reader.line_num), cells
                begin = offset + reader.line_num
        except csv.Error as error:
            yield range(begin, begin + 1), error  # an open quote extends over the lines that follow: read them again
            begin += 1


def _separated(file: AnyPath, lines: Sequence[str], delimiter: str, names: Collection[str]) -> Table:
    at = next((index for index, line in enumerate(lines) if line.strip()), len(lines))
    if declared := re.fullmatch(r'"?sep=(.)"?\s*', lines[at] if at < len(lines) else "", re.IGNORECASE):
        delimiter = declared[1]
        at += 1
    else:
        delimiter = _delimiter(lines[at:], delimiter, names)
    columns: dict[str, str] = {}
    header: list[str] = []
    rows: Rows = []
    faults: dict[int, str] = {}
    for place, cells in _split_rows(lines[at:], delimiter):
        line = at + place.start + 1
        if isinstance(cells, csv.Error):
            faults[line] = f"{_QUOTES_EXPECTED}{cells}"
            if not header:
                raise UserError(f"{file}, line {line}: {faults[line]}")
            continue
        filled = max((number for number, cell in enumerate(cells, start=1) if cell.strip()), default=0)
        if not filled:
            continue
        if not header:
            header = [read_cell(cell) for cell in cells[:filled]]
            columns = _columns(file, line, header)
        elif filled > len(header) or (len(cells) < len(header) and len(place) > 1):
            faults[line] = (
                f"expected {len(header)} cells, one for each column. Received: {filled} "
                f'({", ".join(cells[:filled])[:200]}). A cell that holds "{delimiter}" must be in double quotes.'
            )
        else:
            cells += [""] * (len(header) - len(cells))
            named = ((_key(name), read_cell(cell)) for name, cell in zip(header, cells, strict=False))
            rows.append((line, {key: cell for key, cell in named if key}))
    return Table(columns, rows, faults)


def _delimiter(lines: Sequence[str], default: str, names: Collection[str]) -> str:
    """Choose the delimiter that finds the most expected columns, then the most cells."""

    def fit(delimiter: str) -> tuple[int, int]:
        try:
            header = [_key(cell) for cell in next(csv.reader(lines, delimiter=delimiter), [])]
        except csv.Error:
            return 0, 0
        return sum(cell in names for cell in header), sum(map(bool, header))

    return max((default, *_POSSIBLE_DELIMITERS), key=fit)


def _lines_of_json(file: AnyPath, lines: Sequence[str]) -> Table:
    columns: dict[str, str] = {}
    rows: Rows = []
    faults: dict[int, str] = {}
    for line, content in enumerate(lines, start=1):
        if not content.strip():
            continue
        try:
            value = json.loads(content)
            if not isinstance(value, dict):
                raise UserError(f"a {type(value).__name__}")
            cells = {name: decode_text(_cell(cell)) for name, cell in value.items()}
            "".join((*cells, *cells.values())).encode(errors="surrogateescape")  # JSON can hold other surrogates too
        except (ValueError, RecursionError) as error:
            faults[line] = f'expected one JSON object, {{"file_name": …}}. Received: {error}'
            continue
        try:
            here = _columns(file, line, cells)
        except ValueError as error:
            faults[line] = str(error).partition(": ")[2]
            continue
        columns |= {key: name for key, name in here.items() if key not in columns}
        rows.append((line, {_key(name): cell for name, cell in cells.items() if _key(name)}))
    return Table(columns, rows, faults)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _columns(file: AnyPath, line: int, names: Iterable[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for name in names:
        key = _key(name)
        if key in columns:
            raise UserError(f"{file}, line {line}: expected each column once. Received: {columns[key]}, {name}")
        if key:
            columns[key] = name.strip()
    return columns


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())
