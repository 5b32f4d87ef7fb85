"""Planted wrong labels are found, correct ones are not, and verdicts are applied without losing songs."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tumbao.analysis.curate.label_issues import (
    OUTLIER_LIMIT,
    GenreConflict,
    LabelIssues,
    genre_conflicts,
    label_issues,
    outlier_scores,
    pooled_features,
)
from tumbao.analysis.curate.verdicts import (
    COLUMNS,
    KEEP,
    REJECT,
    correct,
    read_verdicts,
    write_issues,
    write_list,
)
from tumbao.components.ingest.library import LIBRARY_FILE, Rejected, is_synthetic
from tumbao.components.ingest.listing import Entry
from tumbao.components.ingest.rendered_library import RenderedLibrary
from tumbao.components.ingest.song_list import read_manifest

GENRES = ("bachata", "cumbia", "merengue", "salsa", "vallenato")
SONGS, FRAGMENTS, PLANTED = 100, 3, 10


def made(labels: np.ndarray, fragments: int = FRAGMENTS) -> RenderedLibrary:
    """Make a library of songs with these labels."""
    names = [f"song {song:03}" for song in range(len(labels)) for _ in range(fragments)]
    numbers = np.tile(np.arange(fragments), len(labels))
    files = tuple(f"/music/{name}.mp3" for name in names)
    nothing = ("",) * len(names)
    artists = dict.fromkeys(names, "")
    members = tuple(numbers.tolist())
    return RenderedLibrary(
        GENRES,
        tuple(names),
        np.repeat(labels, fragments),
        numbers,
        30.0 * numbers,
        files,
        nothing,
        members,
        artists,
        (),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A library with wrong labels, and its label issues."""

    library: RenderedLibrary
    true: np.ndarray
    planted: frozenset[str]
    probabilities: np.ndarray
    issues: LabelIssues


@pytest.fixture(scope="module")
def case() -> Case:
    """Predict songs by their true genre, with noise; the labels of a tenth of them are wrong."""
    rng = np.random.default_rng(5)
    true = np.arange(SONGS) % len(GENRES)
    given = true.copy()
    wrong = rng.choice(SONGS, PLANTED, replace=False)
    given[wrong] = (true[wrong] + rng.integers(1, len(GENRES), PLANTED)) % len(GENRES)
    library = made(given)
    of_songs = np.repeat(3 * np.eye(len(GENRES))[true] + 0.7 * rng.normal(size=(SONGS, 5)), FRAGMENTS, axis=0)
    powers = np.exp(of_songs + 0.7 * rng.normal(size=of_songs.shape))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    names = frozenset(f"song {song:03}" for song in wrong)
    return Case(library, true, names, probabilities, label_issues(library, probabilities))


def test_planted_labels_are_ranked_first(case: Case) -> None:
    ranked = [one.song for one in case.issues.songs]
    assert len(case.planted & set(ranked[:PLANTED])) >= 0.8 * PLANTED
    assert len(case.planted & set(ranked)) >= 0.9 * PLANTED
    look_wrong = {one.song for one in case.issues.songs if one.wrong}
    assert look_wrong
    assert len(look_wrong - case.planted) <= 2
    assert len(set(ranked) - case.planted) <= 0.1 * SONGS
    found = [one for one in case.issues.songs if one.song in case.planted]
    right = [one.suggested == GENRES[case.true[int(one.song[-3:])]] for one in found]
    assert sum(right) >= 0.8 * PLANTED


def test_a_song_issue_is_described_by_its_fragments(case: Case) -> None:
    for one in case.issues.songs:
        assert {case.library.songs[row] for row in one.rows} == {one.song}
        assert len(one.rows) == FRAGMENTS
        np.testing.assert_allclose(one.probabilities, case.probabilities[list(one.rows)].mean(axis=0), atol=1e-6)
        given = GENRES.index(one.given)
        of_fragments = case.probabilities[list(one.rows)]
        assert one.disagreeing == int((of_fragments.argmax(axis=1) != given).sum())
        margins = of_fragments[:, given] - np.delete(of_fragments, given, axis=1).max(axis=1)
        assert list(margins) == sorted(margins)


def test_a_single_fragment_can_be_an_issue() -> None:
    labels = np.arange(50) % len(GENRES)
    library = made(labels)
    probabilities = np.full((150, 5), 0.02) + 0.9 * np.eye(5)[library.labels]
    probabilities[7] = 0.02 + 0.9 * np.eye(5)[(library.labels[7] + 1) % 5]
    issues = label_issues(library, probabilities)
    assert (issues.songs, issues.fragments, issues.agreeing) == ((), (7,), 50)


def test_a_duplicate_with_another_genre_is_an_issue() -> None:
    library = made(np.arange(50) % len(GENRES))
    probabilities = np.full((150, 5), 0.02) + 0.9 * np.eye(5)[library.labels]
    copy = GenreConflict("song 010", "bachata", "x.mp3", "salsa", "/music/x.mp3")
    (one,) = label_issues(library, probabilities, [copy]).songs
    assert (one.song, one.given, one.suggested, one.status) == ("song 010", "bachata", "salsa", "copied")
    assert one.conflicts == (copy,)


def test_outliers_are_far_from_other_songs() -> None:
    rng = np.random.default_rng(3)
    labels, songs = np.repeat([0, 1], 60), np.repeat(np.arange(40), 3)
    features = rng.normal(size=(120, 4, 8)) + 10 * labels[:, None, None]
    features[:3] += 6  # a whole song: its fragments are near each other
    deviations = outlier_scores(pooled_features(features), labels, songs)
    assert set(np.flatnonzero(deviations > OUTLIER_LIMIT)) == {0, 1, 2}


def entry(song: str, genre: str, **others: object) -> Entry:
    return Entry(path=f"/music/{song}", song=song, genre=genre, **others)  # type: ignore[arg-type] # by name


def rejected(song: str, number: int, duplicate_of: str = "", reason: str = "duplicate") -> Rejected:
    return Rejected(song, f"/music/{song}", reason, "", number, duplicate_of)


def test_conflicts_name_the_song_that_is_used() -> None:
    entries = [
        entry("a", "salsa"),
        entry("b", "cumbia"),
        entry("c", "salsa"),
        entry("d", "cumbia"),
        entry("e", "cumbia"),
    ]
    found = genre_conflicts(
        entries,
        [
            rejected("b", 1, "a"),
            rejected("c", 2, "a"),
            rejected("d", 3, "b"),  # which is a copy of a itself
            rejected("e", 4, reason="silent"),
        ],
    )
    assert found == (
        GenreConflict("a", "salsa", "b", "cumbia", "/music/b"),
        GenreConflict("a", "salsa", "d", "cumbia", "/music/d"),
    )


def test_songs_with_parts_that_are_duplicates_of_each_other_are_conflicts() -> None:
    entries = [entry("a", "salsa"), entry("b", "cumbia"), entry("b", "cumbia"), entry("a", "salsa")]
    found = genre_conflicts(entries, [rejected("a", 3, "b"), rejected("b", 1, "a")])
    assert {(one.song, one.duplicate) for one in found} == {("a", "b"), ("b", "a")}


ENTRIES = (
    entry('a, "b".mp3', "salsa", subgenre="dura", artist="Ñ", album="x\ny", extras={"title": "=1"}),
    entry("b.mp3", "cumbia", subgenre="sonidera", split="test", extras={"title": "", "year": "1999"}),
    entry("c", "salsa", start_seconds=0.0, end_seconds=90.5),
    entry("c", "salsa", start_seconds=90.5),
    entry("d.mp3", "merengue"),
    Entry(path="gs://music/é.mp3", song="gs://music/é.mp3", genre="salsa"),
)


def table(file: Path, rows: Sequence[Sequence[str]], columns: Sequence[str] = ("song", "given", "verdict")) -> Path:
    with file.open("w", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows([columns, *rows])
    return file


def test_verdicts_change_only_their_songs(tmp_path: Path) -> None:
    rows = [
        ('a, "b".mp3', "salsa", " cumbia "),
        ("b.mp3", "cumbia", "Keep"),
        ("c", "salsa", ""),
        ("d.mp3", "merengue", REJECT),
    ]
    corrections = correct(ENTRIES, read_verdicts(table(tmp_path / "suspects.csv", rows), GENRES))
    write_list(corrections.entries, tmp_path / "corrected.csv", synthetic=False)
    read = read_manifest(tmp_path / "corrected.csv")
    wanted = [dataclasses.replace(ENTRIES[0], genre="cumbia", subgenre=""), *ENTRIES[1:4], ENTRIES[5]]
    plain = [dataclasses.replace(one, extras={}) for one in wanted]
    assert [dataclasses.replace(one, extras={}) for one in read] == plain
    extras = [{name: cell for name, cell in one.extras.items() if cell} for one in read]
    assert extras == [{"title": "=1"}, {"year": "1999"}, {}, {}, {}]
    assert corrections.changed == (('a, "b".mp3', "salsa", "cumbia"),)
    assert corrections.rejected == (("d.mp3", "merengue"),)
    assert corrections.undecided == ("c",)
    assert not is_synthetic(tmp_path)


def test_the_written_table_is_read_again(case: Case, tmp_path: Path) -> None:
    copies = (
        GenreConflict("x", "salsa", "a.mp3", "cumbia", "/a.mp3"),
        GenreConflict("x", "salsa", "b", "merengue", "/b"),
    )
    first, *others = case.issues.songs
    write_issues(tmp_path / "suspects.csv", [dataclasses.replace(first, conflicts=copies), *others])
    with (tmp_path / "suspects.csv").open(encoding="utf-8", newline="") as text:
        header, *rows = csv.reader(text)
    assert tuple(header) == COLUMNS
    assert [row[0] for row in rows] == [one.song for one in case.issues.songs]
    assert {row[-1] for row in rows} == {""}
    assert [row[-2] for row in rows] == ["a.mp3 (cumbia); b (merengue)", *[""] * len(others)]
    verdicts = read_verdicts(tmp_path / "suspects.csv", GENRES)
    assert [verdicts[one.song].given for one in case.issues.songs] == [one.given for one in case.issues.songs]


@pytest.mark.parametrize(
    ("columns", "rows", "said"),
    [
        (("song", "verdict"), [("a", "")], "Received no given, but song, verdict"),
        (("song", "given", "verdict"), [("a", "salsa", ""), ("a", "salsa", KEEP)], "line 3: expected each song once"),
        (
            ("song", "given", "verdict"),
            [("a", "salsa", "slasa"), ("b", "salsa", KEEP, "c"), ("c", "salsa", "zouk")],
            r"line 2: .*\n  line 3: expected 3 cells.*\n  line 4: .*--genres",
        ),
    ],
)
def test_invalid_tables_are_refused(
    columns: Sequence[str], rows: Sequence[Sequence[str]], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        read_verdicts(table(tmp_path / "suspects.csv", rows, columns), GENRES)


@pytest.mark.parametrize(
    ("song", "given", "received"), [("b.mp3", "salsa", "the genre 'cumbia'"), ("x.mp3", "salsa", "no such song")]
)
def test_verdicts_on_another_library_are_refused(song: str, given: str, received: str, tmp_path: Path) -> None:
    verdicts = read_verdicts(table(tmp_path / "suspects.csv", [(song, given, KEEP)]), GENRES)
    with pytest.raises(ValueError, match=f"Line 2 of the table: .* Received: {received}"):
        correct(ENTRIES, verdicts)


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "corrected.csv").write_text("mine")
    for name, said in (("corrected.csv", "which exists"), ("corrected.txt", "another extension")):
        with pytest.raises(ValueError, match=said):
            write_list(ENTRIES, tmp_path / name, synthetic=False)
    assert (tmp_path / "corrected.csv").read_text() == "mine"


def test_a_synthetic_library_stays_synthetic(tmp_path: Path) -> None:
    write_list(ENTRIES, tmp_path / "corrected.csv", synthetic=True)
    assert is_synthetic(tmp_path)
    write_list(ENTRIES, tmp_path / "again.csv", synthetic=True)
    with pytest.raises(ValueError, match="fits the library, which is not synthetic"):
        write_list(ENTRIES, tmp_path / "real.csv", synthetic=False)
    (tmp_path / LIBRARY_FILE).write_text('{"synthetic": false}')
    with pytest.raises(ValueError, match="fits the library, which is synthetic"):
        write_list(ENTRIES, tmp_path / "composed.csv", synthetic=True)
