"""Reading of URLS.csv."""

from __future__ import annotations

from pathlib import Path

import pytest

from tumbao.datasets.fetch.run import read_urls


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
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_urls(_written(tmp_path, content))


def test_rows_have_lines_and_all_cells(tmp_path: Path) -> None:
    content = '\ufeffURL , genre,Género de antes\nHTTP://a/b, salsa ,"two\nlines"\n\nhttps://c/d,cumbia\n'
    first, second = read_urls(_written(tmp_path, content.encode()))[1]
    assert (first.line, first.error, first.cells["url"], first.cells["genre"]) == (2, "", "HTTP://a/b", "salsa")
    assert first.cells["Género de antes"] == "two\nlines"
    assert (second.line, second.error, second.cells["Género de antes"]) == (5, "", "")


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
def test_an_invalid_row_has_an_error(tmp_path: Path, row: str, error: str) -> None:
    (found,) = read_urls(_written(tmp_path, f"url,genre\n{row}\n".encode()))[1]
    assert error in found.error
