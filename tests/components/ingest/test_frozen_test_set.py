"""Frozen test songs are found again, and songs of earlier training data are not chosen silently."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import tensorflow as tf

from tumbao.components.ingest.frozen_test_set import (
    LEARNED,
    TEST_SONGS_FILE,
    FrozenSplit,
    newly_chosen,
    read_test_songs,
    save_test_songs,
    split_with_test_songs,
)
from tumbao.components.ingest.paths import RemotePath
from tumbao.components.ingest.splits import Assignment, split_songs

COLUMNS = ("song", "genre", "sha256", "start", "end")
Library = Mapping[str, Mapping[str, str]]
Run = Callable[[Library], FrozenSplit]


def songs(genre: str, numbers: range) -> dict[str, str]:
    """Name → content."""
    return {f"{genre}/{number:02}": f"{genre} {number}" for number in numbers}


SMALL = {genre: songs(genre, range(20)) for genre in ("cumbia", "salsa")}


def table(library: Library, members: Mapping[str, object], file: Path) -> str:
    """Write the manifest of a split's songs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(COLUMNS)
        for genre, contents in library.items():
            writer.writerows((song, genre, contents[song], "0.0", "") for song in contents if song in members)
    return file.read_text()


@pytest.fixture
def learn(tmp_path: Path) -> Callable[[Library, Assignment], str]:
    """Write the manifests of a run: learn(library, assignment) -> the test songs' manifest."""
    numbers = itertools.count()

    def write(library: Library, assignment: Assignment) -> str:
        folder = tmp_path / "catalogs" / str(next(numbers))
        return [table(library, assignment[split], folder / f"{split}.csv") for split in ("train", "val", "test")][-1]

    return write


@pytest.fixture
def run(tmp_path: Path, learn: Callable[[Library, Assignment], str]) -> Run:
    """Split a library and save its test songs: run(library) -> split."""

    def split_library(library: Library) -> FrozenSplit:
        split = split_with_test_songs(counts(library), contents(library), tmp_path / "catalogs", seed=7)
        save_test_songs(split, learn(library, split.assignment), tmp_path / "catalogs")
        return split

    return split_library


def counts(library: Library) -> dict[str, dict[str, int]]:
    return {genre: dict.fromkeys(names, 2) for genre, names in library.items()}


def contents(library: Library) -> dict[tuple[str, str, str], str]:
    return {(sound, "0.0", ""): song for names in library.values() for song, sound in names.items()}


def chosen_of(split: FrozenSplit, genre: str) -> set[str]:
    return {song for song in split.assignment["test"] if song.startswith(f"{genre}/")}


def test_a_new_genre_gets_test_songs_once_and_the_others_stay(run: Run, tmp_path: Path) -> None:
    first = run(SMALL)
    before = read_test_songs(tmp_path / "catalogs")
    grown = run({**SMALL, "tango": songs("tango", range(30))})
    assert chosen_of(grown, "salsa") | chosen_of(grown, "cumbia") == first.assignment["test"].keys()
    assert len(chosen_of(grown, "tango")) == 3
    assert not grown.learned
    again = run({**SMALL, "tango": songs("tango", range(80))})
    assert again.assignment["test"] == grown.assignment["test"]
    message = newly_chosen(before, read_test_songs(tmp_path / "catalogs"))
    assert message == "New test songs, which later runs keep: 3 of tango."
    assert newly_chosen(read_test_songs(tmp_path / "catalogs"), read_test_songs(tmp_path / "catalogs")) == ""


def test_genres_that_are_left_out_once_keep_their_test_songs(run: Run) -> None:
    both = run(SMALL)
    run({"cumbia": SMALL["cumbia"]})
    assert run(SMALL).assignment == both.assignment


def test_a_new_leaf_gets_learned_songs_only_if_it_has_no_others(run: Run, tmp_path: Path) -> None:
    first = run(SMALL)
    learned = sorted(SMALL["salsa"].keys() - first.assignment["test"].keys())
    before = read_test_songs(tmp_path / "catalogs")
    for leaf, old, new in (("salsa/brava", learned[:9], {"brava": "new"}), ("salsa/dura", learned[9:], {})):
        members = {song: SMALL["salsa"][song] for song in old} | new
        rest = {song: sound for song, sound in SMALL["salsa"].items() if song not in members}
        split = run({"cumbia": SMALL["cumbia"], "salsa": rest, leaf: members})
        (chosen,) = split.assignment["test"].keys() & members.keys()
        assert chosen in (new or old)
        assert split.learned == ({chosen} if leaf == "salsa/dura" else set())
        assert split.assignment["test"].keys() == first.assignment["test"].keys() | {chosen}
    assert newly_chosen(before, read_test_songs(tmp_path / "catalogs")) == (
        "New test songs, which later runs keep: 1 of salsa/brava, 1 of salsa/dura. Earlier models were trained on 1 "
        "of them: their test figures are too optimistic."
    )
    assert run({"cumbia": SMALL["cumbia"], "salsa": rest, leaf: members}) == split


def test_the_first_choice_avoids_earlier_training_data(run: Run, learn: Callable[[Library, Assignment], str]) -> None:
    stable = split_songs(counts(SMALL), "song", 1, split_strategy="stable")
    learn(SMALL, stable)
    split = run(SMALL)
    assert split.assignment["test"].keys() <= stable["test"].keys()
    assert not split.learned


def test_each_library_has_its_own_test_songs(run: Run) -> None:
    here = run(SMALL)
    there = run({genre: {f"{genre}/b{n}": f"other {genre} {n}" for n in range(20)} for genre in SMALL})
    assert not there.learned
    assert len(there.missing) == len(here.assignment["test"]) == len(there.assignment["test"])
    assert run(SMALL).assignment["test"] == here.assignment["test"]


def test_a_genre_whose_test_songs_are_missing_gets_new_ones_or_is_refused(run: Run, tmp_path: Path) -> None:
    first = run(SMALL)
    tests = chosen_of(first, "salsa")
    left = {**SMALL, "salsa": {song: sound for song, sound in SMALL["salsa"].items() if song not in tests}}
    with pytest.raises(
        ValueError, match=rf"test songs of salsa in the library.*delete {tmp_path}/catalogs/{TEST_SONGS_FILE}"
    ):
        run(left)
    new = songs("salsa", range(90, 94))
    assert chosen_of(run({**left, "salsa": left["salsa"] | new}), "salsa") <= new.keys()
    assert chosen_of(run({**SMALL, "salsa": SMALL["salsa"] | new}), "salsa") > tests
    (tmp_path / "catalogs" / TEST_SONGS_FILE).unlink()
    split = run(left)
    assert chosen_of(split, "salsa") == split.learned != set()
    assert chosen_of(split, "cumbia") == chosen_of(first, "cumbia")


def renumbered(salsa: Mapping[str, str], gone: str) -> dict[str, str]:
    """Delete a song and give its number to the next one, and so on."""
    return dict(zip(salsa, (sound for song, sound in salsa.items() if song != gone), strict=False))


def test_a_learned_song_with_the_name_of_a_missing_one_is_not_in_test(run: Run) -> None:
    first = run(SMALL)
    gone, *others = sorted(chosen_of(first, "salsa"))
    later = renumbered(SMALL["salsa"], gone)
    split = run({**SMALL, "salsa": later})
    assert {later[song] for song in chosen_of(split, "salsa")} == {SMALL["salsa"][song] for song in others}


def test_a_test_song_with_other_tags_or_another_name_stays(run: Run) -> None:
    test = min(chosen_of(run(SMALL), "salsa"))
    salsa = {**SMALL["salsa"], test: "the same, with other tags"}
    assert test in run({**SMALL, "salsa": salsa}).assignment["test"]
    salsa["salsa/renamed"] = salsa.pop(test)
    assert "salsa/renamed" in run({**SMALL, "salsa": salsa}).assignment["test"]


def test_test_songs_are_saved_in_a_bucket() -> None:
    bucket = RemotePath("ram://fixed/catalogs")
    manifest = "song,genre,sha256,start,end\r\na,salsa,1,0.0,\r\n"
    assert read_test_songs(bucket) == []
    split = split_with_test_songs({"salsa": dict.fromkeys("abc", 1)}, {}, bucket, seed=0)
    save_test_songs(split, manifest, bucket)
    assert [(row["song"], row[LEARNED]) for row in read_test_songs(bucket)] == [("a", "")]
    assert split_with_test_songs({"salsa": dict.fromkeys("abcd", 1)}, {}, bucket, seed=0).assignment["test"] == {
        "a": [0]
    }
    tf.io.gfile.rmtree("ram://fixed")
