"""A title becomes one harmless part of a path, whatever it holds."""

from __future__ import annotations

import itertools
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest

from tumbao.datasets.fetch.names import LONGEST_BYTES, clean_text, numbered, safe_name


@pytest.mark.parametrize(
    "title", ["La Rebelión", "Óyelo — ¿qué tal?".replace("?", ""), "\U0001f483 salsa", "100% $5", "愛"]
)
def test_an_ordinary_title_stays_as_it_is(title: str) -> None:
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
        (unicodedata.normalize("NFD", "Rebelión"), "Rebelión"),
    ],
)
def test_what_is_harmful_is_taken_out(title: str, name: str) -> None:
    assert safe_name(title) == name


def test_any_text_gives_a_name_that_a_file_can_have(rng: np.random.Generator, tmp_path: Path) -> None:
    alphabet = [*map(chr, range(160)), *"\ud800\udfff\u2028\u202eéñ\U0001f483/\\.. "]
    for length in rng.integers(0, 400, 200):
        name = safe_name("".join(rng.choice(alphabet, length)))
        assert 1 <= len(name.encode()) <= LONGEST_BYTES
        assert PurePosixPath(name).parts == PureWindowsPath(name).parts == (name,)
        assert not name.startswith(".") and clean_text(name) == name
        (tmp_path / name).touch()
        assert (tmp_path / name).parent == tmp_path


def test_a_long_title_is_cut_between_characters() -> None:
    assert safe_name("\U0001f483" * 100) == "\U0001f483" * (LONGEST_BYTES // 4)


def test_names_are_numbered_from_the_second() -> None:
    assert list(itertools.islice(numbered("Son", "opus"), 3)) == ["Son.opus", "Son (2).opus", "Son (3).opus"]
