"""Names of files from arbitrary titles."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumbao.datasets.fetch.manifest import MAX_NAME_BYTES, clean_text, safe_name


@pytest.mark.parametrize("title", ["La Rebelión", "Óyelo — ¡ya!", "\U0001f483 salsa", "100% $5", "愛"])
def test_an_ordinary_title_is_unchanged(title: str) -> None:
    assert safe_name(title) == title


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("", "untitled"),
        ("...", "untitled"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("AC/DC", "AC_DC"),
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
