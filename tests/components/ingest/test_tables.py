"""Tables are read as they were written, whatever their text, and contain no formula for a spreadsheet."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tumbao.analysis.curate.label_issues import SongIssue
from tumbao.analysis.curate.verdicts import read_verdicts, write_issues, write_list
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.listing import Entry
from tumbao.components.ingest.song_list import read_manifest
from tumbao.components.ingest.tables import (
    decode_text,
    encode_text,
    json_line,
    read_cells,
    read_csv,
    read_json_line,
    read_table,
    write_csv,
)
from tumbao.datasets.fetch.run import FAILED_COLUMNS, MANIFEST_COLUMNS, Manifest, UrlRow, read_urls

ODD_TEXTS = [
    *("Icon\r", "a\nb", "a\x85b", "a\u2028b", "a\x0bb\x1cc", "\0", "caf\udce9", "\udcff\udcfe", "é", "e\u0301"),
    *("=1+1", "+a", "-a", "@a", "\ta", "\r=a", "'=a", "''=a", "'a", "＝a", " a ", '"', '"a"', 'a"b', "a,b", "a;=b"),
    *("\ufeffa", "\u201b", "\u201bFF", "\u201b\u201bFF", "\u201b\udce9", "\u201b00", "\\udce9", "\ufffd", ""),
    "x" * 200_000,
]
often = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
PIECES = st.sampled_from([*"\r\n\t\0\x0b\x1c\x85\u2028=+-@'\"\u201bFE0,; \ufeffé.", "e\u0301", "\udcff", "\udce9"])
TEXTS = st.text() | st.lists(PIECES).map("".join) | st.binary().map(os.fsdecode) | st.sampled_from(ODD_TEXTS)
NAMES = TEXTS.map(lambda text: text.replace("\0", "").replace("/", "")).filter(
    lambda text: 0 < len(os.fsencode(encodable(text))) <= 255 and text not in (".", "..")
)
"""Names of files."""


def encodable(text: str) -> str:
    """Remove surrogates that stand for no byte."""
    return "".join(char for char in text if not "\ud800" <= char <= "\udc7f" and not "\udd00" <= char <= "\udfff")


@often
@given(TEXTS.map(encodable))
def test_any_text_is_encoded_in_utf8(text: str) -> None:
    written = encode_text(text)
    assert decode_text(written.encode().decode()) == text
    assert "\0" not in written


@often
@given(st.lists(st.tuples(TEXTS.map(encodable), TEXTS.map(encodable)), min_size=1))
def test_a_csv_is_read_as_it_was_written(rows: list[tuple[str, str]]) -> None:
    written = write_csv(("path", "=title"), rows).encode()
    assert read_csv(written.decode()) == [{"path": path, "=title": title} for path, title in rows]


@often
@given(st.lists(TEXTS.map(encodable), min_size=1))
def test_a_csv_contains_no_formula(cells: list[str]) -> None:
    text = write_csv(["path"], [[cell] for cell in cells])
    for row in csv.reader(io.StringIO(text, newline="")):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝")) for cell in row)


def test_numbers_stay_numbers() -> None:
    assert write_csv(["a", "b", "c", "d"], [[-1, -0.5, None, True]]) == "a,b,c,d\n-1,-0.5,,True\n"


@often
@given(st.dictionaries(TEXTS.map(encodable), TEXTS.map(encodable)))
def test_a_line_of_json_is_one_line(values: dict[str, str]) -> None:
    line = json_line(values)
    assert line.splitlines(keepends=True) == [line]
    assert read_json_line(line.encode()) == values


@often
@given(TEXTS.map(encodable).filter(str.strip))
def test_a_written_csv_is_a_valid_list(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("list") / "list.csv"
    write_whole(file, write_csv(("file_name", "genre"), [[text, "salsa"]]).encode())
    ((_, row),) = read_table(file).rows
    assert row == {"file_name": text, "genre": "salsa"}
    assert [cells for _, cells in read_cells(file, ",", {})][1] == [text, "salsa"]


def test_white_space_in_the_last_cell_is_preserved(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file_name,note\na.mp3, \nb.mp3,\x0c,,\n")
    assert [row["note"] for _, row in read_table(tmp_path / "list.csv").rows] == [" ", "\x0c"]


@often
@given(st.lists(NAMES.map(encodable), min_size=1, max_size=4, unique=True))
def test_a_corrected_list_names_the_same_songs(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    file = tmp_path_factory.mktemp("corrected") / "corrected.csv"
    entries = [
        Entry(path=f"/m/salsa/{name}", song=f"salsa/{name}", genre="salsa", extras={"note": name}) for name in names
    ]
    write_list(entries, file, synthetic=False)
    assert read_manifest(file) == entries


@often
@given(st.lists(NAMES.map(encodable), min_size=1, max_size=4, unique=True))
def test_verdicts_name_the_songs_of_the_table(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    file = tmp_path_factory.mktemp("suspects") / "suspects.csv"
    issues = [song_issue(f"salsa/{name}") for name in names]
    write_issues(file, issues)
    assert list(read_verdicts(file, ("salsa", "cumbia"))) == [f"salsa/{name}" for name in names]


def song_issue(song: str) -> SongIssue:
    return SongIssue(
        song, song, "salsa", "cumbia", 0.1, wrong=False, probabilities=(0.4, 0.6), rows=(0,), disagreeing=1
    )


@often
@given(st.lists(TEXTS.map(encodable), min_size=1, max_size=3))
def test_tables_of_fetch_are_read_as_written(tmp_path_factory: pytest.TempPathFactory, titles: list[str]) -> None:
    out = tmp_path_factory.mktemp("fetched")
    manifest = Manifest(out)
    for number, title in enumerate(titles):
        named = {"source": f"http://a/{number}", "song": title, "note": title}
        manifest.record(dict.fromkeys(MANIFEST_COLUMNS, "") | named)
    cells = {"url": "http://a/b", "genre": "salsa", "note": titles[0]}
    manifest.fail(tuple(cells), UrlRow(2, cells, ""), titles[-1])
    columns, (wanted,) = read_urls(out / "failed.csv")
    assert Manifest(out).rows == manifest.rows
    assert wanted.cells == {"url": "http://a/b", "genre": "salsa", "note": titles[0].strip()}
    assert not set(FAILED_COLUMNS) & set(columns)


def test_the_longest_names_can_be_written(tmp_path: Path) -> None:
    for name in ("x" * 255, "ñ" * 127, os.fsdecode(b"\xff" * 255)):
        write_whole(tmp_path / name, b"one")
        write_whole(tmp_path / name, [b"t", b"wo"])
        assert (tmp_path / name).read_bytes() == b"two"
    assert len(list(tmp_path.iterdir())) == 3


def test_replacing_a_file_preserves_mode_and_link(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"one")
    file.chmod(0o640)
    link.symlink_to(file)
    write_whole(link, b"two")
    assert (link.is_symlink(), file.read_bytes(), file.stat().st_mode & 0o777) == (True, b"two", 0o640)


def test_a_failed_write_leaves_the_old_file_only(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes(b"one")
    program = f"""if True:
        import resource
        from pathlib import Path
        from tumbao.components.ingest.atomic_write import write_whole
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
        try:
            write_whole(Path({str(file)!r}), bytes(10_000))
        except OSError as error:
            print(error.filename, error.strerror)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"{file} File too large\n"
    assert file.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [file]
