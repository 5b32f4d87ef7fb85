"""Sub-genres with few songs are merged into their genre."""

from __future__ import annotations

import csv
import json
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tumbao.components.ingest.audio_error import Reason
from tumbao.components.ingest.library import scan, write_manifests
from tumbao.components.ingest.listing import Entry, SongList
from tumbao.components.ingest.song_list import read_manifest
from tumbao.components.ingest.subgenres import choose_leaves, scan_subgenres, split_subgenres
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS

GENRES = ("salsa", "cumbia")
WriteSong = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("scan_in_process")


@pytest.mark.parametrize(
    ("songs", "leaves", "merged"),
    [
        ({"": 3}, {"": "salsa"}, []),
        ({"": 10, "a": 10}, {"": "salsa", "a": "salsa/a"}, []),
        ({"": 20, "a": 9}, {"": "salsa", "a": "salsa"}, ["salsa/a: 9 songs, merged into salsa"]),
        (
            {"a": 4, "b": 6, "c": 20},
            {"a": "salsa", "b": "salsa", "c": "salsa/c"},
            ["salsa/a: 4 songs, merged into salsa", "salsa/b: 6 songs, merged into salsa"],
        ),
        (
            {"a": 1, "b": 15, "c": 20, "d": 30},
            {"a": "salsa", "b": "salsa", "c": "salsa/c", "d": "salsa/d"},
            [
                "salsa/a: 1 song, merged into salsa",
                "salsa/b: 15 songs, merged into salsa, which had only 1 beside it",
            ],
        ),
        ({"a": 40}, {"a": "salsa"}, ["salsa/a: 40 songs, merged into salsa: there is no other leaf"]),
    ],
)
def test_choose_leaves_by_hand(songs: dict[str, int], leaves: dict[str, str], merged: list[str]) -> None:
    leaf_of, too_small = choose_leaves("salsa", songs, min_songs=10)
    assert leaf_of == leaves
    assert too_small == merged


def test_each_of_several_leaves_has_enough_songs() -> None:
    for own in range(13):
        for first in range(1, 13):
            for second in range(1, 13):
                songs = {"": own, "a": first, "b": second}
                leaf_of, _ = choose_leaves("salsa", songs, min_songs=6)
                sizes = Counter[str]()
                for name, leaf in leaf_of.items():
                    sizes[leaf] += songs[name]
                sizes = +sizes
                assert sum(sizes.values()) == own + first + second
                assert min(sizes.values()) >= 6 or set(sizes) == {"salsa"}
                assert len(sizes) > 1 or set(sizes) == {"salsa"}


@pytest.fixture
def library(tmp_path: Path, write_song: WriteSong) -> Path:
    """Cumbia without sub-genres; of salsa five dura, four romantica (one deeper, one of another kind) and brava."""
    root = tmp_path / "library"
    for name in "abc":
        write_song(root / "cumbia" / f"{name}.wav", 13)
    for name in "abcde":
        write_song(root / "salsa" / "dura" / f"{name}.wav", 13)
    for name in ("a", "b", "c", "Album/d"):
        write_song(root / "salsa" / "romantica" / f"{name}.wav", 13)
    write_song(root / "salsa" / "brava" / "a.wav", 13)
    for name in "ab":
        write_song(root / "salsa" / f"{name}.wav", 13)
    return root


def genres_of(songs: Path) -> Counter[str]:
    with songs.open(encoding="utf-8", newline="") as lines:
        return Counter(row["genre"] for row in csv.DictReader(lines))


def test_folders_become_leaves_in_all_manifests(library: Path, tmp_path: Path, small_spec: MelSpec) -> None:
    catalog, leaves = scan_subgenres(library, GENRES, small_spec, min_songs=3)
    assert leaves == ("cumbia", "salsa", "salsa/dura", "salsa/romantica")
    assert Counter(song.genre for song in catalog.songs) == dict(zip(leaves, (3, 3, 5, 4), strict=True))
    folder = write_manifests(catalog, tmp_path, genres=leaves, split_by="song", seed=7, spec=small_spec)
    per_split = [genres_of(folder / f"{split}.csv") for split in SPLITS]
    assert all(set(counts) == set(leaves) for counts in per_split)
    assert sum(per_split, Counter()) == Counter(song.genre for song in catalog.songs)
    description = json.loads((folder / "catalog.json").read_text())
    assert description["genres"] == list(leaves)
    assert description["folded"] == ["salsa/brava: 1 song, merged into salsa"]
    assert 'value: "salsa/romantica"' in (folder / "schema.pbtxt").read_text()


def test_with_a_high_minimum_the_genre_is_one_leaf(library: Path, small_spec: MelSpec) -> None:
    catalog, leaves = scan_subgenres(library, GENRES, small_spec, min_songs=6)
    assert leaves == ("cumbia", "salsa")
    assert [one.partition(":")[0] for one in catalog.merged] == ["salsa/brava", "salsa/romantica", "salsa/dura"]
    plain = scan(library, GENRES, small_spec)
    assert [song.genre for song in catalog.songs] == [song.genre for song in plain.songs]


def test_a_list_may_name_sub_genres_in_two_ways(tmp_path: Path) -> None:
    lines = (
        "file_name,Genre,Subgenre",
        "a.mp3,salsa/romantica,",
        "b.mp3,salsa,romantica",
        "c.mp3, salsa / romantica / 80s ,romantica",
        "d.mp3,salsa,",
        "e.mp3,Old-Time / Historic,",
    )
    (tmp_path / "songs.csv").write_text("\n".join(lines))
    entries = read_manifest(tmp_path / "songs.csv")
    assert [entry.genre for entry in entries][:2] == ["salsa/romantica", "salsa"]
    names = [(entry.genre, entry.subgenre) for entry in split_subgenres(SongList(entries), GENRES).entries]
    assert names == [("salsa", "romantica")] * 3 + [("salsa", ""), ("Old-Time / Historic", "")]


@pytest.mark.parametrize(
    ("first", "second", "received"),
    [
        (("salsa/dura", ""), ("salsa/romantica", ""), "salsa/dura, salsa/romantica"),
        (("salsa/dura", ""), ("salsa", ""), "salsa, salsa/dura"),
        (("salsa/dura", "romantica"), ("salsa/dura", "romantica"), "salsa/dura, salsa/romantica"),
    ],
)
def test_a_song_with_two_sub_genres_is_rejected(first: tuple[str, str], second: tuple[str, str], received: str) -> None:
    parts = [Entry(path="a.mp3", song="a", genre=genre, subgenre=sub) for genre, sub in (first, second)]
    other = Entry(path="b.mp3", song="b", genre="salsa", subgenre="dura")
    *faults, last = split_subgenres(SongList([*parts, other]), GENRES).entries
    assert {entry.fault_reason for entry in faults} == {Reason.INVALID_ROW}
    assert all(entry.fault.endswith(f"received {received}") for entry in faults)
    assert not last.fault


def test_spellings_of_a_sub_genre_are_merged() -> None:
    names = [
        ("Salsa/Dura", ""),
        ("salsa", "dura "),
        ("SALSA / dura", ""),
        ("salsa", unicodedata.normalize("NFD", "romántica")),
    ]
    names += [("salsa", "Romántica"), ("salsa", "Romántica")]
    songs = [Entry(path=f"{i}.mp3", song=str(i), genre=genre, subgenre=sub) for i, (genre, sub) in enumerate(names)]
    found = split_subgenres(SongList(songs), GENRES)
    assert {(entry.genre, entry.subgenre) for entry in found.entries} == {("salsa", "dura"), ("salsa", "Romántica")}
    assert len(found.notes) == 2


def test_a_leaf_with_too_few_songs_is_an_error(library: Path, tmp_path: Path, small_spec: MelSpec) -> None:
    catalog, leaves = scan_subgenres(library, GENRES, small_spec, min_songs=1)
    with pytest.raises(ValueError, match=r"salsa/brava has 1 and needs 2 more.*higher --min-songs\.$"):
        write_manifests(catalog, tmp_path, genres=leaves, split_by="song", seed=7, spec=small_spec)


def test_genres_that_are_sub_genres_are_refused(library: Path, small_spec: MelSpec) -> None:
    with pytest.raises(ValueError, match=r"Received: salsa/dura\. Write --genres salsa"):
        scan_subgenres(library, ("cumbia", "salsa/dura"), small_spec, min_songs=3)
