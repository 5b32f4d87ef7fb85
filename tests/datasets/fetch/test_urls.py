"""A file that is not a list of songs is refused; an invalid row is kept with its error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tumbao.datasets.fetch.urls import read_urls


def _written(folder: Path, content: bytes) -> Path:
    path = folder / "urls.csv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"url,genre\n", "header only"),
        (b"address,genre\nhttp://a/b,salsa\n", "url is missing"),
        (b"a,b\n1,2\n", "url and genre are missing"),
        (b"url,genre,genre\nhttp://a/b,salsa,salsa\n", "each column once"),
        (b"url,genre,sha256\nhttp://a/b,salsa,0\n", "columns sha256 itself"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_urls(_written(tmp_path, content))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.csv"):
        read_urls(tmp_path / "none.csv")


def test_rows_keep_their_lines_and_all_their_cells(tmp_path: Path) -> None:
    content = '\ufeffurl , genre,note\nHTTP://a/b, salsa ,"two\nlines"\n\nhttps://c/d,cumbia\n'
    first, second = read_urls(_written(tmp_path, content.encode())).rows
    assert (first.line, first.error, first.url, first.genre) == (2, "", "HTTP://a/b", "salsa")
    assert first.cells["note"] == "two\nlines"
    assert (second.line, second.error, second.cells["note"]) == (5, "", "")


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("http://a/b?x=1,2,salsa", "expected 2 cells, one for each column. Received: 3"),
        ('"http://a/b,salsa', "unexpected end"),
        ("http://a/\0,salsa", "NUL"),
        (",salsa", "url is empty"),
        ("ftp://a/b,salsa", "http:// or https://"),
        ("a/b.mp3,salsa", "http:// or https://"),
        ("http:///b,salsa", "http:// or https://"),
        ("http://[a/b,salsa", "not an address"),
    ],
)
def test_a_row_that_is_not_right_says_why(tmp_path: Path, row: str, error: str) -> None:
    (wanted,) = read_urls(_written(tmp_path, f"url,genre\n{row}\n".encode())).rows
    assert error in wanted.error


@pytest.mark.parametrize(
    "content",
    [
        "URL;Género de antes;genre\r\nhttp://a/b;español;salsa\r\n".encode("cp1252"),
        "sep=\t\nurl\tGénero de antes\tGenre\nhttp://a/b\tespañol\tsalsa\n".encode("utf-16"),
    ],
)
def test_a_list_from_a_spreadsheet_is_read_row_by_row(tmp_path: Path, content: bytes) -> None:
    urls = read_urls(_written(tmp_path, content))
    assert set(urls.columns) == {"url", "Género de antes", "genre"}
    assert [row.cells for row in urls.rows] == [{"url": "http://a/b", "Género de antes": "español", "genre": "salsa"}]


def test_a_row_that_cannot_be_read_costs_no_other(tmp_path: Path) -> None:
    content = b'url,genre\n"http://a/b,salsa\nhttp://c/d,cumbia\n'
    first, second = read_urls(_written(tmp_path, content)).rows
    assert (first.line, first.url) == (2, "")
    assert "closed quotes" in first.error
    assert (second.line, second.url, second.error) == (3, "http://c/d", "")
