"""Tables: CSV, TSV and JSON Lines in UTF-8, read with the line of each row, and written so that they can be read again.

All tables that Tumbao writes are written here. UTF-8 has no spelling for the bytes of a file's name that are no UTF-8:
`encode_text` writes each as ``‛`` (U+201B) and two hexadecimal digits, as rclone does. A spreadsheet would run a cell
that begins with one of ``= + - @``, a tab or an end of line as a formula: in CSV an apostrophe stands before it.
Readers undo both.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

from tumbao.components.ingest.places import Place, local_copy

DELIMITERS = {".csv": ",", ".tsv": "\t"}
"""Ending of a file → what stands between its cells."""

EXTENSIONS: tuple[str, ...] = (*DELIMITERS, ".jsonl")
"""Endings of the tables that can be read; the ending decides, not the content."""

Rows = list[tuple[int, dict[str, str]]]
"""The line in which a row begins, from 1, and its cells by column."""

_QUOTE = "\u201b"
_UNWRITABLE = re.compile(f"[\0{_QUOTE}\ud800-\udfff]")
_WRITTEN = re.compile(f"{_QUOTE}({_QUOTE}|00|[89A-F][0-9A-F])")
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_QUOTED = re.compile(r"[\",;\t\r\n]|^\s|\s$")
_BREAKS = {ord(char): f"\\u{ord(char):04x}" for char in "\x85\u2028\u2029"}  # what str.splitlines takes for ends

csv.field_size_limit(sys.maxsize)  # a tag of any length can stand in a manifest


def encode_text(text: str) -> str:
    """Write a text so that UTF-8 can hold it and `decode_text` gives it back.

    Parameters
    ----------
    text : str
        May hold NUL and, as `os.fsdecode` writes them, bytes that are no UTF-8. Other halves of a surrogate pair are
        lost.

    Returns
    -------
    encoded : str
        The same in nearly all cases.

    Examples
    --------
    >>> encode_text("caf\udce9.mp3"), encode_text("café.mp3")
    ('caf‛E9.mp3', 'café.mp3')
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
    """Read what `encode_text` wrote.

    Parameters
    ----------
    encoded : str
        Any text.

    Returns
    -------
    text : str
        The original.
    """
    return _WRITTEN.sub(lambda found: _char(found[1]), encoded)


def _char(spelt: str) -> str:
    return spelt if spelt == _QUOTE else chr(int(spelt, 16) + 0xDC00) if spelt != "00" else "\0"


def csv_row(cells: Iterable[object]) -> str:
    """Write a row of a CSV.

    Parameters
    ----------
    cells : iterable
        Texts, numbers, and None for an empty cell.

    Returns
    -------
    row : str
        With a line feed at its end.
    """
    return ",".join(map(_csv_cell, cells)) + "\n"


def _csv_cell(value: object) -> str:
    text = "" if value is None else str(value)
    if isinstance(value, str):
        text = encode_text(text)
        text = f"'{text}" if _FORMULA.match(text) else text
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def read_cell(cell: str) -> str:
    """Read a cell of a CSV, without its quotes.

    Parameters
    ----------
    cell : str
        As `csv.reader` gives it.

    Returns
    -------
    text : str
        What `csv_row` was given.
    """
    return decode_text(cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell)


def write_csv(columns: Iterable[str], rows: Iterable[Iterable[object] | Mapping[str, object]]) -> str:
    """Write a CSV.

    Parameters
    ----------
    columns : iterable of str
        Their names.
    rows : iterable
        The cells of each, in order or by column. A cell that is missing is empty.

    Returns
    -------
    text : str
        The table; see `csv_row`.
    """
    columns = list(columns)
    cells = ([row.get(name) for name in columns] if isinstance(row, Mapping) else row for row in rows)
    return "".join(map(csv_row, (columns, *cells)))


def read_csv(text: str) -> list[dict[str, str]]:
    """Read what `write_csv` wrote.

    Parameters
    ----------
    text : str
        The table.

    Returns
    -------
    rows : list of dict of str to str
        Cells by column.
    """
    rows = ([read_cell(cell) for cell in cells] for cells in csv.reader(io.StringIO(text, newline="")))
    columns = next(rows, [])
    return [dict(zip(columns, cells, strict=True)) for cells in rows]


def json_line(values: Mapping[str, Any]) -> str:
    """Write a line of JSON Lines, which no reader takes for two.

    Parameters
    ----------
    values : mapping of str to object
        What JSON can hold.

    Returns
    -------
    line : str
        With a line feed at its end; texts are those of `encode_text`.
    """
    return encode_text(json.dumps(values, ensure_ascii=False)).translate(_BREAKS) + "\n"


def read_json_line(line: str | bytes) -> Any:
    """Read what `json_line` wrote.

    Parameters
    ----------
    line : str or bytes
        A line, with or without its end.

    Returns
    -------
    value : object
        What it holds.

    Raises
    ------
    ValueError
        If it is no JSON in UTF-8.
    """
    text = line if isinstance(line, str) else line.decode()
    try:
        return json.loads(decode_text(text))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


@dataclasses.dataclass(frozen=True)
class Table:
    """A table with named columns.

    Parameters
    ----------
    columns : dict of str to str
        Name in lower case with underscores → name as it is written; a column without a name is left out.
    rows : list of tuple of int and dict
        The line in which each row begins, from 1, and its cells by the names in lower case.
    """

    columns: dict[str, str]
    rows: Rows


def read_table(file: Place) -> Table:
    """Read a table whose columns have names: CSV, TSV or JSON Lines, by the file's ending.

    Parameters
    ----------
    file : Place
        In UTF-8, with or without a byte order mark, with any line ends.

    Returns
    -------
    table : Table
        Without the rows in which every cell is empty.

    Raises
    ------
    ValueError
        If the ending is another, the file cannot be read or is empty, two columns have one name or a row does not fit.
    """
    suffix = file.suffix.lower()
    if suffix not in EXTENSIONS:
        raise ValueError(f"Expected a list of songs that ends in {', '.join(EXTENSIONS)}. Received: {file}")
    table = _lines_of_json(file) if suffix == ".jsonl" else _separated(file, DELIMITERS[suffix])
    if not table.columns:
        raise ValueError(f"Expected a table with named columns in {file}. Received: no columns; is it empty?")
    return table


def read_cells(file: Place, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Read a CSV or TSV row by row; a file larger than the memory will do.

    Parameters
    ----------
    file : Place
        In UTF-8, quoted as in RFC 4180.
    delimiter : str
        What stands between cells.

    Yields
    ------
    line : int
        Where the row begins, from 1; a quoted cell may span lines.
    cells : list of str
        The row; those in which every cell is empty are left out.

    Raises
    ------
    ValueError
        If the file cannot be read or a quote is not closed.
    """
    with _open_text(file, newline="") as text:
        reader = csv.reader(text, delimiter=delimiter, strict=True)  # or an open quote would swallow all that follows
        line = 1
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise ValueError(
                    f"{file}, line {line}: expected cells with closed quotes, and each quote inside of them doubled. "
                    f"Received: {error}"
                ) from error
            if cells is None:
                return
            if any(cells):
                yield line, [read_cell(cell) for cell in cells]
            line = reader.line_num + 1


@contextlib.contextmanager
def _open_text(file: Place, newline: str) -> Iterator[TextIO]:
    try:
        with local_copy(file) as local, local.open(encoding="utf-8-sig", newline=newline) as text:
            yield text
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected text in UTF-8 in {file}. Received: the byte 0x{error.object[error.start]:02x} where it has no "
            "meaning. Save the file as UTF-8."
        ) from error
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error


def _separated(file: Place, delimiter: str) -> Table:
    table = read_cells(file, delimiter)
    line, header = next(table, (1, []))
    columns = _columns(file, line, header)
    rows: Rows = []
    for line, cells in table:
        if len(cells) != len(header):
            raise ValueError(
                f"{file}, line {line}: expected {len(header)} cells, one for each column. Received: {len(cells)} "
                f'({", ".join(cells)[:200]}). A cell that holds "{delimiter}" has to stand in double quotes.'
            )
        named = ((_key(name), cell) for name, cell in zip(header, cells, strict=True))
        rows.append((line, {key: cell for key, cell in named if key}))
    return Table(columns, rows)


def _lines_of_json(file: Place) -> Table:
    columns: dict[str, str] = {}
    rows: Rows = []
    with _open_text(file, newline="\n") as text:
        for line, content in enumerate(text, start=1):
            if not content.strip():
                continue
            try:
                value = json.loads(content)
                if not isinstance(value, dict):
                    raise ValueError(f"a {type(value).__name__}")
                cells = {name: _cell(cell) for name, cell in value.items()}
                "".join((*cells, *cells.values())).encode()  # JSON can spell half a character, which nobody can write
            except (ValueError, RecursionError) as error:
                raise ValueError(
                    f'{file}, line {line}: expected one JSON object, {{"file_name": …}}. Received: {error}'
                ) from error
            columns |= {key: name for key, name in _columns(file, line, cells).items() if key not in columns}
            rows.append((line, {_key(name): cell for name, cell in cells.items() if _key(name)}))
    return Table(columns, rows)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _columns(file: Place, line: int, names: Iterable[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for name in names:
        key = _key(name)
        if key in columns:
            raise ValueError(f"{file}, line {line}: expected each column once. Received: {columns[key]}, {name}")
        if key:
            columns[key] = name.strip()
    return columns


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())
