"""What is no list of songs is refused; a row that is not right is kept with its trouble."""

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
        (b"url,genre,genre\nhttp://a/b,salsa,salsa\n", "twice: 'genre'"),
        (b"url,genre,sha256\nhttp://a/b,salsa,0\n", "sha256 of its own"),
        ("url,genre\nhttp://a/ñ,salsa\n".encode("latin-1"), "UTF-8"),
        (b'url,genre\n"http://a/b,salsa\n', "unexpected end"),
        (b"url,genre\nhttp://a/\0,salsa\n", "NUL"),
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
    assert (first.line, first.trouble, first.url, first.genre) == (2, "", "HTTP://a/b", "salsa")
    assert first.cells["note"] == "two\nlines"
    assert (second.line, second.trouble, second.cells["note"]) == (5, "", "")


@pytest.mark.parametrize(
    ("row", "trouble"),
    [
        ("http://a/b?x=1,2,salsa", "expected 2 cells, received 3"),
        (" , ", "url and genre are empty"),
        ("ftp://a/b,salsa", "http:// or https://"),
        ("a/b.mp3,salsa", "http:// or https://"),
        ("http:///b,salsa", "http:// or https://"),
        ("http://[a/b,salsa", "no address"),
    ],
)
def test_a_row_that_is_not_right_says_why(tmp_path: Path, row: str, trouble: str) -> None:
    (wanted,) = read_urls(_written(tmp_path, f"url,genre\n{row}\n".encode())).rows
    assert trouble in wanted.trouble
