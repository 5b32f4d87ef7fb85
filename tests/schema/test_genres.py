"""Spellings of a genre."""

from __future__ import annotations

import unicodedata

import pytest

from tumbao.schema.genres import find_genre, genre_key, one_spelling, unknown_genre

GENRES = ("cumbia", "reggaetón", "salsa", "vals peruano")


@pytest.mark.parametrize(
    ("name", "genre"),
    [
        ("Salsa", "salsa"),
        (" CUMBIA ", "cumbia"),
        ("salsa\u00a0", "salsa"),
        ("\tsalsa\n", "salsa"),
        ("Vals  Peruano", "vals peruano"),
        (unicodedata.normalize("NFD", "REGGAETÓN"), "reggaetón"),
        ("reggaeton", ""),
        ("salsa\u200b", ""),
        ("", ""),
    ],
)
def test_a_genre_is_found_by_any_spelling(name: str, genre: str) -> None:
    assert find_genre(name, GENRES) == genre


@pytest.mark.parametrize("name", ["STRASSE", "Straße", "ÉŁAN", "\u1fb7", "ΒΑΛΣ"])
def test_a_key_is_the_same_for_all_unicode_forms(name: str) -> None:
    assert (
        len({genre_key(unicodedata.normalize(form, one)) for form in ("NFC", "NFD") for one in (name, name.casefold())})
        == 1
    )


def test_the_runs_spelling_is_preferred_then_the_most_frequent() -> None:
    names = ["Salsa", "SALSA", "SALSA", "Tango", "tango", "", "Salsa/Dura"]
    assert one_spelling(names)[0] == {
        "Salsa": "SALSA",
        "SALSA": "SALSA",
        "Tango": "Tango",
        "tango": "Tango",
        "": "",
        "Salsa/Dura": "Salsa/Dura",
    }
    spelling, merged = one_spelling(names, ["salsa"])
    assert (spelling["SALSA"], spelling["Salsa/Dura"], spelling["tango"]) == ("salsa", "salsa/Dura", "Tango")
    assert merged == ("SALSA and Salsa are one genre: salsa", "Tango and tango are one genre: Tango")


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("salza", "received salza; did you mean salsa?"),
        ("reggaeton", "received reggaeton; did you mean reggaetón?"),
        ("salsa\u200b", r"received 'salsa\u200b'; did you mean salsa?"),
        ("música", "received música"),
        ("salsa/dura", "name the genre salsa alone, or ask for sub-genres with --subgenres"),
        (" ", "received no genre"),
    ],
)
def test_an_unknown_genre_is_shown_with_its_difference(name: str, end: str) -> None:
    assert unknown_genre(name, GENRES).endswith(end)
