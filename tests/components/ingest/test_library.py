"""Each file of a library is a song or rejected, and every change of a library gives other manifests."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import os
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tumbao.components.ingest.audio_error import Reason
from tumbao.components.ingest.library import (
    FIXED,
    GIVEN,
    LIBRARY_FILE,
    MANIFEST_COLUMNS,
    Catalog,
    Rejected,
    is_synthetic,
    scan,
    schema_text,
    write_manifests,
)
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS

GENRES = ("cumbia", "salsa")
WriteSong = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("scan_in_process")
MONDAY = (1_700_000_000, 1_700_000_000)


@pytest.fixture
def library(tmp_path: Path, write_song: WriteSong) -> Path:
    """Three songs of 13 s (three fragments) in each of two genres."""
    for genre in GENRES:
        for name in "abc":
            write_song(tmp_path / "library" / genre / f"{name}.wav", 13)
    return tmp_path / "library"


@pytest.fixture
def scanned(library: Path, small_spec: MelSpec) -> Callable[[], Catalog]:
    return lambda: scan(library, GENRES, small_spec)


@pytest.fixture
def manifests(scanned: Callable[[], Catalog], tmp_path: Path, small_spec: MelSpec) -> Callable[..., Path]:
    """Scan and write: manifests(split_by="song", seed=7, split_strategy="stratified") -> folder."""

    def write(split_by: str = "song", seed: int = 7, split_strategy: str = "stratified") -> Path:
        return write_manifests(
            scanned(),
            tmp_path / "catalogs",
            genres=GENRES,
            split_by=split_by,
            seed=seed,
            spec=small_spec,
            split_strategy=split_strategy,
        )

    return write


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def reasons(catalog: Catalog) -> dict[str, str]:
    return {item.song: item.reason for item in catalog.rejected}


def test_songs_have_their_path_as_name_and_genre_length_and_hash(scanned: Callable[[], Catalog]) -> None:
    catalog = scanned()
    assert catalog.name == "library"
    assert [song.song for song in catalog.songs] == [f"{genre}/{name}.wav" for genre in GENRES for name in "abc"]
    assert {(song.genre, song.seconds) for song in catalog.songs} == {("cumbia", 13.0), ("salsa", 13.0)}
    assert len({song.sha256 for song in catalog.songs}) == catalog.found == 6
    assert not catalog.rejected


def test_a_file_that_is_listed_twice_is_used_once(library: Path, small_spec: MelSpec) -> None:
    rows = [f"{genre}/{name}.wav,{genre}" for genre in GENRES for name in "abc"]
    (library / "songs.csv").write_text("\n".join(["file_name,genre", *rows, rows[0]]))
    catalog = scan(library / "songs.csv", GENRES, small_spec)
    (repeated,) = catalog.rejected
    assert len(catalog.songs) == 6
    assert (repeated.entry, repeated.reason, repeated.detail) == (6, "duplicate", "it is listed more than once")


def test_every_file_is_a_song_or_rejected_with_its_reason(
    library: Path, scanned: Callable[[], Catalog], write_song: WriteSong
) -> None:
    write_song(library / "rock" / "x.wav", 13)
    write_song(library / "at the root.wav", 13)
    (library / "salsa" / "empty.mp3").touch()
    (library / "salsa" / "text.mp3").write_text("la la la")
    write_song(library / "salsa" / "short.wav", 2.9)
    (library / "cumbia" / "gone.mp3").symlink_to("nowhere.mp3")
    shutil.copy(library / "cumbia" / "a.wav", library / "salsa" / "copy.wav")
    catalog = scanned()
    assert reasons(catalog) == {
        "rock/x.wav": Reason.UNKNOWN_GENRE.value,
        "at the root.wav": Reason.UNKNOWN_GENRE.value,
        "salsa/empty.mp3": Reason.EMPTY.value,
        "salsa/text.mp3": Reason.UNSUPPORTED.value,
        "salsa/short.wav": Reason.TOO_SHORT.value,
        "cumbia/gone.mp3": Reason.UNREADABLE.value,
        "salsa/copy.wav": Reason.DUPLICATE.value,
    }
    assert len(catalog.songs) == 6
    assert catalog.found == 13
    details = {item.song: item.detail for item in catalog.rejected}
    assert details["rock/x.wav"] == "expected one of cumbia, salsa; received rock"
    assert "received no genre" in details["at the root.wav"]
    assert details["salsa/copy.wav"] == "the same bytes as cumbia/a.wav"
    assert {item.song: item.duplicate_of for item in catalog.rejected if item.duplicate_of} == {
        "salsa/copy.wav": "cumbia/a.wav"
    }
    assert "2.9 s" in details["salsa/short.wav"]


def test_a_name_that_is_not_utf8_is_rejected_and_can_be_written(
    library: Path, scanned: Callable[[], Catalog], manifests: Callable[..., Path]
) -> None:
    names = [b"Ni\xf1o.wav", b"Ni\xf2o.wav"]  # Latin-1, from an old disk
    for name in names:
        shutil.copy(library / "salsa" / "a.wav", library / "salsa" / os.fsdecode(name))
    catalog = scanned()
    assert reasons(catalog) == {r"salsa/Ni\xf1o.wav": "unreadable", r"salsa/Ni\xf2o.wav": "unreadable"}
    assert "UTF-8" in catalog.rejected[0].detail
    assert {row["song"] for row in rows(manifests() / "rejected.csv")} == set(reasons(catalog))


def test_spellings_of_a_genre_are_merged(
    library: Path, scanned: Callable[[], Catalog], write_song: WriteSong, tmp_path: Path, small_spec: MelSpec
) -> None:
    for folder in ("Salsa", "SALSA ", "salza", "s\u0430lsa"):
        write_song(library / folder / "d.wav", 13)
    catalog = scanned()
    assert Counter(song.genre for song in catalog.songs) == {"cumbia": 3, "salsa": 5}
    assert catalog.notes == ("'SALSA ', Salsa and salsa are one genre: salsa",)
    details = {item.song: item.detail for item in catalog.rejected}
    assert details["salza/d.wav"].endswith("; received salza; did you mean salsa?")
    assert "received s\u0430lsa" in details["s\u0430lsa/d.wav"]
    decomposed = unicodedata.normalize("NFD", "Reggaetón")
    shutil.move(library / "salza", library / decomposed)
    genres = ("cumbia", "Salsa", "reggaetón")
    assert {song.genre for song in scan(library, genres, small_spec).songs} == set(genres)


def test_a_library_declares_whether_it_is_synthetic(library: Path, scanned: Callable[[], Catalog]) -> None:
    assert scanned().synthetic is False
    (library / LIBRARY_FILE).write_text('{"synthetic": true, "seed": 7}')
    assert scanned().synthetic is True
    for text in ("", "[true]", "3"):
        (library / LIBRARY_FILE).write_text(text)
        with pytest.raises(ValueError, match=r'Expected a JSON object like \{"synthetic": true\} in .*library.json'):
            is_synthetic(library)


def test_a_genre_without_a_usable_song_is_an_error_that_lists_the_rejected_files(
    library: Path, scanned: Callable[[], Catalog]
) -> None:
    for song in (library / "salsa").iterdir():
        song.write_text("la la la")
    with pytest.raises(ValueError, match=r"none of: salsa\.") as caught:
        scanned()
    assert all(f"\n  salsa/{name}.wav: unsupported: " in str(caught.value) for name in "abc")


def test_manifests_contain_every_song_once_with_its_columns(library: Path, manifests: Callable[..., Path]) -> None:
    folder = manifests()
    found = {split: rows(folder / f"{split}.csv") for split in SPLITS}
    assert {split: len(songs) for split, songs in found.items()} == {"train": 2, "val": 2, "test": 2}
    songs = {row["song"]: row for split in SPLITS for row in found[split]}
    assert len(songs) == 6
    for song, row in songs.items():
        assert tuple(row) == MANIFEST_COLUMNS
        assert row["path"] == str(library / song)
        assert row["genre"] == song.split("/")[0]
        assert (row["seconds"], row["fragments"]) == ("13.0", "")
    assert json.loads((folder / "catalog.json").read_text()) == {
        "library": "library",
        "synthetic": False,
        "found": 6,
        "genres": list(GENRES),
        "protocol": "song",
        "method": "stratified",
        "artists_on_two_sides": [],
        "leaky": False,
        "seed": 7,
    }
    assert (folder / "schema.pbtxt").read_text() == schema_text(GENRES)


def test_by_fragment_the_manifests_list_every_fragment_once(manifests: Callable[..., Path]) -> None:
    folder = manifests(split_by="fragment")
    listed = [
        (row["song"], int(index))
        for split in SPLITS
        for row in rows(folder / f"{split}.csv")
        for index in row["fragments"].split()
    ]
    songs = [f"{genre}/{name}.wav" for genre in GENRES for name in "abc"]
    assert sorted(listed) == [(song, index) for song in songs for index in range(3)]
    assert json.loads((folder / "catalog.json").read_text())["leaky"] is True


def test_an_equal_library_gives_the_same_folder_untouched(library: Path, manifests: Callable[..., Path]) -> None:
    first = manifests()
    before = {file.name: file.stat().st_mtime_ns for file in first.iterdir()}
    os.utime(library / "salsa" / "a.wav", MONDAY)
    assert manifests() == first
    assert {file.name: file.stat().st_mtime_ns for file in first.iterdir()} == before
    assert [folder.name for folder in first.parent.iterdir()] == [first.name]


def test_every_change_of_the_library_gives_other_manifests(
    scanned: Callable[[], Catalog], tmp_path: Path, small_spec: MelSpec
) -> None:
    catalog = scanned()
    song, *others = catalog.songs
    changed = [
        dataclasses.replace(catalog, songs=(dataclasses.replace(song, **change), *others))
        for change in ({"song": "cumbia/z.wav"}, {"sha256": "0" * 64}, {"seconds": 14.0}, {"artist": "Joe"})
    ]
    changed.append(dataclasses.replace(catalog, synthetic=True))
    changed.append(dataclasses.replace(catalog, rejected=(Rejected("x.mp3", "/x.mp3", "silent", "is silent", 6),)))

    def write(catalog: Catalog, split_by: str = "song", seed: int = 7) -> Path:
        folder = tmp_path / "catalogs"
        return write_manifests(catalog, folder, genres=GENRES, split_by=split_by, seed=seed, spec=small_spec)

    folders = {write(catalog), write(catalog, seed=8), write(catalog, "fragment"), *map(write, changed)}
    assert len(folders) == 3 + len(changed)


def test_fixed_test_songs_stay_while_others_are_added_or_renamed(
    library: Path, manifests: Callable[..., Path], write_song: WriteSong
) -> None:
    first = manifests(split_strategy=FIXED)
    tests = [row["song"] for row in rows(first / "test.csv")]
    assert [rows(first / f"{split}.csv") for split in SPLITS] == [
        rows(manifests() / f"{split}.csv") for split in SPLITS
    ]
    assert manifests(split_strategy=FIXED) == first
    for genre in GENRES:
        for number in range(8):
            write_song(library / genre / f"new{number}.wav", 13)
    renamed = next(song for song in tests if song.startswith("salsa/"))
    (library / renamed).rename(library / "salsa" / "other.wav")
    tests = sorted({*tests, "salsa/other.wav"} - {renamed})
    grown = manifests(split_strategy=FIXED)
    assert [row["song"] for row in rows(grown / "test.csv")] == tests
    assert sum(len(rows(grown / f"{split}.csv")) for split in SPLITS) == 22
    assert len(rows(manifests() / "test.csv")) == 4


def test_test_songs_are_fixed_by_song_only(manifests: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=r"Expected a split by song where the test songs are fixed.*'fragment'"):
        manifests(split_by="fragment", split_strategy=FIXED)


def test_too_few_songs_leave_nothing_behind(library: Path, manifests: Callable[..., Path], tmp_path: Path) -> None:
    (library / "salsa" / "a.wav").unlink()
    with pytest.raises(ValueError, match="salsa has 2 and needs 1 more"):
        manifests()
    assert not (tmp_path / "catalogs").exists()


@pytest.fixture
def listed(tmp_path: Path, write_song: WriteSong, small_spec: MelSpec) -> Callable[..., Catalog]:
    """Scan a list of songs: listed("a.wav,salsa", ...) with the columns given; every file lasts 13 s."""

    def scan_list(*lines: str, columns: str = "file_name,genre,artist,split") -> Catalog:
        for gain, name in enumerate("abcdefgh", start=1):
            write_song(tmp_path / "music" / f"{name}.wav", 13, gain=gain / 10)
        write_song(tmp_path / "elsewhere.wav", 13)
        file = tmp_path / "music" / "songs.csv"
        file.write_text("\n".join([columns, *lines]), "utf-8")
        return scan(file, GENRES, small_spec)

    (tmp_path / "music").mkdir()
    return scan_list


def test_a_list_may_name_parts_and_only_files_in_the_library(listed: Callable[..., Catalog], tmp_path: Path) -> None:
    catalog = listed(
        "a.wav,salsa,,0,4.5",
        "a.wav,salsa,,4.5,",
        "a.wav,salsa,,12,",
        "b.wav,cumbia,,,",
        "../elsewhere.wav,cumbia,,,",
        f"{tmp_path}/elsewhere.wav,cumbia,,,",
        "ram://bucket/not there.wav,cumbia,,,",
        "c.wav,tango,,,",
        "missing.wav,salsa,,,",
        "h.wav,salsa,,soon,",
        columns="file_name,genre,artist,start,end",
    )
    assert [(song.entry, song.seconds) for song in catalog.songs] == [(0, 4.5), (1, 8.5), (3, 13.0), (5, 13.0)]
    assert {item.entry: item.reason for item in catalog.rejected} == {
        2: Reason.TOO_SHORT.value,
        4: Reason.OUTSIDE.value,
        6: Reason.UNREADABLE.value,
        7: Reason.UNKNOWN_GENRE.value,
        8: Reason.UNREADABLE.value,
        9: Reason.INVALID_ROW.value,
    }
    assert catalog.found == 10


def test_by_artist_an_artist_is_in_one_split(
    listed: Callable[..., Catalog], tmp_path: Path, small_spec: MelSpec
) -> None:
    names = ["Celia", "CELIA", "Rubén", "Rubén", "Lucho", "Lucho", "Totó", "Totó"]
    names = [name if place < 6 else f"{name} {place}" for place, name in enumerate(names)]
    genres = ["salsa"] * 3 + ["salsa"] * 2 + ["cumbia"] * 3
    songs = zip("abcdefgh", genres, names, strict=True)
    catalog = listed(*(f"{name}.wav,{genre},{artist},train" for name, genre, artist in songs))

    def description(split_by: str, seed: int) -> dict[str, object]:
        folder = write_manifests(
            catalog, tmp_path / "out", genres=GENRES, split_by=split_by, seed=seed, spec=small_spec
        )
        return dict(json.loads((folder / "catalog.json").read_text()))

    by_song = [description("song", seed)["artists_on_two_sides"] for seed in range(5)]
    assert any("Rubén" in str(artists) for artists in by_song)
    assert all(description("artist", seed)["artists_on_two_sides"] == [] for seed in range(5))


def test_the_librarys_own_splits_are_used(listed: Callable[..., Catalog], tmp_path: Path, small_spec: MelSpec) -> None:
    sides = ["train", "valid", "test"] * 2
    genres = ["salsa"] * 3 + ["cumbia"] * 3
    catalog = listed(
        *(f"{name}.wav,{genre},,{side}" for name, genre, side in zip("abcdef", genres, sides, strict=True))
    )
    folder = write_manifests(
        catalog, tmp_path / "out", genres=GENRES, split_by="song", seed=0, spec=small_spec, split_strategy=GIVEN
    )
    found = {split: [row["song"] for row in rows(folder / f"{split}.csv")] for split in SPLITS}
    assert found == {"train": ["a.wav", "d.wav"], "val": ["b.wav", "e.wav"], "test": ["c.wav", "f.wav"]}


def test_parts_of_one_song_are_in_one_split_with_consecutive_fragments(
    listed: Callable[..., Catalog], tmp_path: Path, small_spec: MelSpec
) -> None:
    others = [f"{name}.wav,{genre},,," for name, genre in zip("bcdef", ["salsa"] * 2 + ["cumbia"] * 3, strict=True)]
    catalog = listed("a.wav,salsa,,0,4.5", "a.wav,salsa,,4.5,", *others, columns="file_name,genre,artist,start,end")
    for split_by in ("song", "fragment"):
        folder = write_manifests(catalog, tmp_path / "out", genres=GENRES, split_by=split_by, seed=1, spec=small_spec)
        parts = [row for split in SPLITS for row in rows(folder / f"{split}.csv") if row["song"] == "a.wav"]
        assert {(row["start"], row["first"]) for row in parts} == {("0.0", "0"), ("4.5", "1")}
    listed_fragments = sorted(int(row["first"]) + int(index) for row in parts for index in row["fragments"].split())
    assert listed_fragments == [0, 1, 2]  # 4.5 s hold one fragment of 4 s, 8.5 s hold two


@pytest.mark.parametrize("column", ["licence", "License"])
def test_licences_of_a_list_are_counted_by_song(
    library: Path, manifests: Callable[..., Path], small_spec: MelSpec, tmp_path: Path, column: str
) -> None:
    assert "licences" not in json.loads((manifests() / "catalog.json").read_text())
    licences = {"cumbia/a.wav": "CC BY 4.0", "salsa/b.wav": " CC BY 4.0 "}
    with (library / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file_name", "genre", column))
        for genre in GENRES:
            writer.writerows((name, genre, licences.get(name, "")) for name in (f"{genre}/{one}.wav" for one in "abc"))
    catalog = scan(library / "list.csv", GENRES, small_spec)
    folder = write_manifests(catalog, tmp_path / "out", genres=GENRES, split_by="song", seed=7, spec=small_spec)
    assert json.loads((folder / "catalog.json").read_text())["licences"] == {"": 4, "CC BY 4.0": 2}


def test_unfinished_files_are_rejected(tmp_path: Path, write_song: WriteSong, small_spec: MelSpec) -> None:
    for genre, name in itertools.product(("cumbia", "salsa"), ("a.wav", "b.wav")):
        write_song(tmp_path / genre / name, 3)
    grows = str(tmp_path / "salsa" / "b.wav")
    catalog = scan(tmp_path, ("cumbia", "salsa"), small_spec, unfinished={grows})
    assert [song.song for song in catalog.songs] == ["cumbia/a.wav", "cumbia/b.wav", "salsa/a.wav"]
    assert [(one.path, one.reason) for one in catalog.rejected] == [(grows, "still being written")]
