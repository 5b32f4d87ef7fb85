"""Reading of URLS.csv, and names of files from arbitrary titles."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumbao.datasets.fetch.run import MAX_NAME_BYTES, read_urls, safe_name
from tumbao.datasets.fetch.source import clean_text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("url,genre\n", "header only"),
        ("address,genre\nhttp://a/b,salsa\n", "columns url and genre"),
        ("url,genre,sha256\nhttp://a/b,salsa,0\n", "columns sha256 itself"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "urls.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_urls(path)


def test_each_row_has_its_line_its_cells_or_its_error(tmp_path: Path) -> None:
    errors = [
        ("http://a/b?x=1,2,salsa", "expected 3 cells, one for each column. Received: 4"),
        (",salsa", "no url"),
        ("ftp://a/b,salsa", "http:// or https://"),
        ("a/b.mp3,salsa", "http:// or https://"),
        ("http:///b,salsa", "http:// or https://"),
        ("http://[a/b,salsa", "not an address"),
    ]
    content = 'URL , genre,Género de antes\nHTTP://a/b, salsa ,"two\nlines"\n\nhttps://c/d,cumbia\n'
    path = tmp_path / "urls.csv"
    path.write_text(content + "".join(f"{row},x\n" for row, _ in errors), encoding="utf-8-sig")
    _, (first, second, *others) = read_urls(path)
    assert first == (2, {"url": "HTTP://a/b", "genre": "salsa", "Género de antes": "two\nlines"}, "")
    assert second == (5, {"url": "https://c/d", "genre": "cumbia", "Género de antes": ""}, "")
    for line, (row, (_, error)) in enumerate(zip(others, errors, strict=True), start=6):
        assert row.line == line and error in row.error


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Óyelo — ¡ya! \U0001f483 100% $5 愛", "Óyelo — ¡ya! \U0001f483 100% $5 愛"),
        ("", "untitled"),
        ("...", "untitled"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("line\r\nend\0", "line end"),
        (".hidden", "hidden"),
        ("half \ud83d of a pair", "half of a pair"),
        ("\U0001f483" * 100, "\U0001f483" * (MAX_NAME_BYTES // 4)),
        (unicodedata.normalize("NFD", "Rebelión"), "Rebelión"),
    ],
)
def test_unsafe_characters_are_replaced(title: str, name: str) -> None:
    assert safe_name(title) == name


@given(st.text(max_size=300))
def test_any_title_becomes_one_valid_file_name(tmp_path_factory: pytest.TempPathFactory, title: str) -> None:
    name = safe_name(title)
    assert 1 <= len(name.encode()) <= MAX_NAME_BYTES
    assert PurePosixPath(name).parts == PureWindowsPath(name).parts == (name,)
    assert not name.startswith(".") and clean_text(name) == name
    (tmp_path_factory.getbasetemp() / name).touch()
