"""What songs there are: nothing is lost, nothing is counted twice, and every change gives other manifests."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tumbao.components.ingest.audio_error import Reason
from tumbao.components.ingest.library import (
    FIXED,
    GIVEN,
    LIBRARY_FILE,
    MANIFEST_COLUMNS,
    Catalog,
    Rejected,
    is_synthetic,
    require_genres,
    scan,
    schema_text,
    write_manifests,
)
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS

GENRES = ("cumbia", "salsa")
WriteSong = Callable[..., Path]
MONDAY = (1_700_000_000, 1_700_000_000)


@pytest.fixture
def library(tmp_path: Path, write_song: WriteSong) -> Path:
    """Three songs of 13 s (three fragments) in each of two genres."""
    for genre in GENRES:
        for name in "abc":
            write_song(tmp_path / "library" / genre / f"{name}.wav", 13)
    return tmp_path / "library"


@pytest.fixture
def look(library: Path, small_spec: MelSpec) -> Callable[[], Catalog]:
    return lambda: scan(library, GENRES, small_spec)


@pytest.fixture
def manifests(look: Callable[[], Catalog], tmp_path: Path, small_spec: MelSpec) -> Callable[..., Path]:
    """Scan and write: manifests(protocol="song", seed=7, method="stratified") -> folder."""

    def write(protocol: str = "song", seed: int = 7, method: str = "stratified") -> Path:
        return write_manifests(
            look(),
            tmp_path / "catalogs",
            genres=GENRES,
            split_by=protocol,
            seed=seed,
            spec=small_spec,
            split_strategy=method,
        )

    return write


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def reasons(catalog: Catalog) -> dict[str, str]:
    return {item.song: item.reason for item in catalog.rejected}


def test_songs_are_named_by_their_path_and_know_genre_length_and_bytes(look: Callable[[], Catalog]) -> None:
    catalog = look()
    assert catalog.name == "library"
    assert [song.song for song in catalog.songs] == [f"{genre}/{name}.wav" for genre in GENRES for name in "abc"]
    assert {(song.genre, song.seconds) for song in catalog.songs} == {("cumbia", 13.0), ("salsa", 13.0)}
    assert len({song.sha256 for song in catalog.songs}) == catalog.found == 6
    assert not catalog.rejected


def test_every_file_is_a_song_or_rejected_with_its_reason(
    library: Path, look: Callable[[], Catalog], write_song: WriteSong
) -> None:
    write_song(library / "rock" / "x.wav", 13)
    write_song(library / "at the root.wav", 13)
    (library / "salsa" / "empty.mp3").touch()
    (library / "salsa" / "text.mp3").write_text("la la la")
    write_song(library / "salsa" / "short.wav", 2.9)
    (library / "cumbia" / "gone.mp3").symlink_to("nowhere.mp3")
    shutil.copy(library / "cumbia" / "a.wav", library / "salsa" / "copy.wav")
    catalog = look()
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


def test_silence_is_found_only_when_decoding(library: Path, look: Callable[[], Catalog], write_song: WriteSong) -> None:
    write_song(library / "salsa" / "silent.wav", 13, gain=0)
    catalog = look()
    assert "salsa/silent.wav" in [song.song for song in catalog.songs]


def test_a_header_that_tells_too_little_is_decoded(library: Path, look: Callable[[], Catalog]) -> None:
    """A wav whose header was never completed says 0 samples."""
    wav = library / "salsa" / "a.wav"
    content = bytearray(wav.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = bytes(4)
    wav.write_bytes(content)
    assert {song.song: song.seconds for song in look().songs}["salsa/a.wav"] == pytest.approx(13, abs=0.01)


def test_folders_below_a_genre_are_looked_through(
    library: Path, look: Callable[[], Catalog], write_song: WriteSong
) -> None:
    write_song(library / "salsa" / "Artist" / "Album" / "d.wav", 13)
    assert {song.song: song.genre for song in look().songs}["salsa/Artist/Album/d.wav"] == "salsa"


def test_a_linked_folder_counts_once(library: Path, tmp_path: Path, look: Callable[[], Catalog]) -> None:
    """Music often lies on another disk; and a link that leads back must not lead on for ever."""
    shutil.move(library / "salsa", tmp_path / "elsewhere")
    (library / "salsa").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(library)
    catalog = look()
    assert [song.song for song in catalog.songs if song.genre == "salsa"] == [f"salsa/{name}.wav" for name in "abc"]
    assert catalog.found == 6


def test_a_folder_that_cannot_be_listed_is_told(
    library: Path, look: Callable[[], Catalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    (library / "salsa" / "locked").mkdir()
    listing = os.scandir

    def refuse(folder: Any) -> Any:
        if os.fspath(folder).endswith("locked"):
            raise PermissionError(13, "Permission denied", os.fspath(folder))
        return listing(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    catalog = look()
    assert reasons(catalog) == {"salsa/locked": Reason.UNREADABLE.value}
    assert "Permission denied" in catalog.rejected[0].detail
    assert catalog.found == 7


def test_a_name_that_is_no_utf8_is_rejected_and_can_be_written(
    library: Path, look: Callable[[], Catalog], manifests: Callable[..., Path]
) -> None:
    names = [b"Ni\xf1o.wav", b"Ni\xf2o.wav"]  # Latin-1, from an old disk
    for name in names:
        shutil.copy(library / "salsa" / "a.wav", library / "salsa" / os.fsdecode(name))
    catalog = look()
    assert reasons(catalog) == {r"salsa/Ni\xf1o.wav": "unreadable", r"salsa/Ni\xf2o.wav": "unreadable"}
    assert "UTF-8" in catalog.rejected[0].detail
    assert {row["song"] for row in rows(manifests() / "rejected.csv")} == set(reasons(catalog))


def test_what_is_no_song_is_left_out_and_said_once(library: Path, look: Callable[[], Catalog]) -> None:
    for name in ("a.JPG", "b.jpg", "a.mp3.part", "b.crdownload", "Thumbs.db", ".DS_Store", "._a.wav", "list.M3U", "a~"):
        (library / "salsa" / name).touch()
    for folder in ("#recycle", "@eaDir", "salsa/$RECYCLE.BIN", ".Trash-1000"):
        (library / folder).mkdir()
        shutil.copy(library / "salsa" / "a.wav", library / folder / "z.wav")
    catalog = look()
    assert catalog.found == 6
    assert catalog.notes == (
        "9 files and 4 folders left out: 4 system folders, 3 system files, 2 pictures, 2 unfinished downloads, "
        "1 playlist, 1 temporary file",
    )


def test_genres_are_one_however_folders_spell_them(
    library: Path, look: Callable[[], Catalog], write_song: WriteSong, tmp_path: Path, small_spec: MelSpec
) -> None:
    for folder in ("Salsa", "SALSA ", "salza", "s\u0430lsa"):
        write_song(library / folder / "d.wav", 13)
    catalog = look()
    assert Counter(song.genre for song in catalog.songs) == {"cumbia": 3, "salsa": 5}
    assert catalog.notes == ("'SALSA ', Salsa and salsa are one genre: salsa",)
    details = {item.song: item.detail for item in catalog.rejected}
    assert details["salza/d.wav"].endswith("; received salza; did you mean salsa?")
    assert "U+0430 CYRILLIC SMALL LETTER A" in details["s\u0430lsa/d.wav"]
    decomposed = unicodedata.normalize("NFD", "Reggaetón")
    shutil.move(library / "salza", library / decomposed)
    genres = ("cumbia", "Salsa", "reggaetón")
    assert {song.genre for song in scan(library, genres, small_spec).songs} == set(genres)


def test_the_library_says_whether_it_is_synthetic(library: Path, look: Callable[[], Catalog]) -> None:
    assert look().synthetic is is_synthetic(library) is False
    (library / LIBRARY_FILE).write_text('{"synthetic": true, "seed": 7}')
    assert look().synthetic is is_synthetic(library) is True
    (library / LIBRARY_FILE).write_text("{}")
    assert is_synthetic(library) is False


@pytest.mark.parametrize("text", ["", "synthetic: true", "[true]", "3"])
def test_a_broken_description_of_the_library_is_refused(library: Path, text: str) -> None:
    (library / LIBRARY_FILE).write_text(text)
    with pytest.raises(ValueError, match=r'Expected a JSON object like \{"synthetic": true\} in .*library.json'):
        is_synthetic(library)


def test_a_genre_without_a_usable_song_ends_it_and_lists_the_rejects(
    library: Path, look: Callable[[], Catalog]
) -> None:
    for song in (library / "salsa").iterdir():
        song.write_text("la la la")
    with pytest.raises(ValueError, match=r"none of: salsa\.") as caught:
        look()
    assert all(f"rejected: salsa/{name}.wav: unsupported: " in str(caught.value) for name in "abc")


def test_genres_that_are_there_are_not_missed() -> None:
    rejected = [Rejected("salsa/x.mp3", "/x.mp3", "silent", "is silent", 0)]
    require_genres(Counter(salsa=1, cumbia=1), GENRES, rejected, "in the test split")
    with pytest.raises(ValueError, match=r"in the test split\. Received none of: cumbia.*\n.*salsa/x.mp3: silent"):
        require_genres(Counter(salsa=1), GENRES, rejected, "in the test split")


@pytest.mark.parametrize(("name", "said"), [("missing", "which does not exist"), ("file", "a list of songs that ends")])
def test_what_is_no_library_is_refused(tmp_path: Path, small_spec: MelSpec, name: str, said: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=said):
        scan(tmp_path / name, GENRES, small_spec)


def test_manifests_hold_every_song_once_and_what_is_needed_to_read_it(
    library: Path, manifests: Callable[..., Path]
) -> None:
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
    folder = manifests(protocol="fragment")
    listed = [
        (row["song"], int(index))
        for split in SPLITS
        for row in rows(folder / f"{split}.csv")
        for index in row["fragments"].split()
    ]
    songs = [f"{genre}/{name}.wav" for genre in GENRES for name in "abc"]
    assert sorted(listed) == [(song, index) for song in songs for index in range(3)]
    assert json.loads((folder / "catalog.json").read_text())["leaky"] is True


@pytest.mark.parametrize(
    "name",
    [
        "Quimbara, live.wav",
        'the "real" one.wav',
        "Año nuevo – ñ.wav",
        " spaces  inside.wav",
        "two\nlines.wav",
        "a\rb.wav",
    ],
)
@pytest.mark.parametrize("usable", [True, False])
def test_odd_names_survive(library: Path, manifests: Callable[..., Path], name: str, usable: bool) -> None:
    if usable:
        (library / "salsa" / "a.wav").rename(library / "salsa" / name)
    else:
        (library / "salsa" / name).write_text("la la la")
    folder = manifests()
    files = [f"{split}.csv" for split in SPLITS] if usable else ["rejected.csv"]
    named = {row["song"]: row["path"] for file in files for row in rows(folder / file)}
    assert named[f"salsa/{name}"] == str(library / "salsa" / name)


def test_an_equal_library_gives_the_same_folder_untouched(library: Path, manifests: Callable[..., Path]) -> None:
    first = manifests()
    before = {file.name: file.stat().st_mtime_ns for file in first.iterdir()}
    os.utime(library / "salsa" / "a.wav", MONDAY)
    assert manifests() == first
    assert {file.name: file.stat().st_mtime_ns for file in first.iterdir()} == before
    assert [folder.name for folder in first.parent.iterdir()] == [first.name]


def move_to_another_genre(library: Path) -> None:
    (library / "salsa" / "d.wav").rename(library / "cumbia" / "d.wav")


def replace_by_one_of_the_same_size_and_time(library: Path) -> None:
    file = library / "salsa" / "a.wav"
    status = file.stat()
    samples, rate = soundfile.read(file, dtype="int16")
    soundfile.write(file, np.flip(samples), rate)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file.stat().st_size == status.st_size
    assert file.stat().st_mtime_ns == status.st_mtime_ns


def add_a_broken_file(library: Path) -> None:
    (library / "salsa" / "text.mp3").write_text("la la la")


def declare_it_synthetic(library: Path) -> None:
    (library / LIBRARY_FILE).write_text('{"synthetic": true}')


@pytest.mark.parametrize(
    "change",
    [
        move_to_another_genre,
        replace_by_one_of_the_same_size_and_time,
        add_a_broken_file,
        declare_it_synthetic,
    ],
)
def test_every_change_of_the_library_gives_other_manifests(
    library: Path, manifests: Callable[..., Path], write_song: WriteSong, change: Callable[[Path], None]
) -> None:
    write_song(library / "salsa" / "d.wav", 13)
    before = manifests()
    change(library)
    assert manifests() != before
    assert before.exists()


def test_seed_and_protocol_give_other_manifests(manifests: Callable[..., Path]) -> None:
    assert len({manifests(), manifests(seed=8), manifests(protocol="fragment")}) == 3


def test_fixed_test_songs_stay_by_name_or_content_while_others_come(
    library: Path, manifests: Callable[..., Path], write_song: WriteSong
) -> None:
    first = manifests(method=FIXED)
    tests = [row["song"] for row in rows(first / "test.csv")]
    assert [rows(first / f"{split}.csv") for split in SPLITS] == [
        rows(manifests() / f"{split}.csv") for split in SPLITS
    ]
    assert manifests(method=FIXED) == first
    for genre in GENRES:
        for number in range(8):
            write_song(library / genre / f"new{number}.wav", 13)
    renamed = next(song for song in tests if song.startswith("salsa/"))
    (library / renamed).rename(library / "salsa" / "other.wav")
    tests = sorted({*tests, "salsa/other.wav"} - {renamed})
    grown = manifests(method=FIXED)
    assert [row["song"] for row in rows(grown / "test.csv")] == tests
    assert sum(len(rows(grown / f"{split}.csv")) for split in SPLITS) == 22
    assert len(rows(manifests() / "test.csv")) == 4


def test_a_song_that_takes_the_name_of_a_test_song_is_not_tested(library: Path, manifests: Callable[..., Path]) -> None:
    first = manifests(method=FIXED)
    test, train = (
        row for split in ("test", "train") for row in rows(first / f"{split}.csv") if row["genre"] == "salsa"
    )
    (library / test["song"]).rename(library / "salsa" / "renamed.wav")
    (library / train["song"]).rename(library / test["song"])
    tested = [row for row in rows(manifests(method=FIXED) / "test.csv") if row["genre"] == "salsa"]
    assert [(row["song"], row["sha256"]) for row in tested] == [("salsa/renamed.wav", test["sha256"])]


def test_a_test_song_with_other_tags_stays_one(library: Path, manifests: Callable[..., Path]) -> None:
    test = next(row["song"] for row in rows(manifests(method=FIXED) / "test.csv") if row["genre"] == "salsa")
    with (library / test).open("ab") as file:
        file.write(b"LIST")
    assert test in [row["song"] for row in rows(manifests(method=FIXED) / "test.csv")]


def test_test_songs_are_fixed_by_song_only(manifests: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=r"Expected a split by song where the test songs are fixed.*'fragment'"):
        manifests(protocol="fragment", method=FIXED)


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


def test_a_list_may_name_parts_and_only_what_lies_in_the_library(
    listed: Callable[..., Catalog], tmp_path: Path
) -> None:
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
        columns="file_name,genre,artist,start,end",
    )
    assert [(song.entry, song.seconds) for song in catalog.songs] == [(0, 4.5), (1, 8.5), (3, 13.0), (5, 13.0)]
    assert {item.entry: item.reason for item in catalog.rejected} == {
        2: Reason.TOO_SHORT.value,
        4: Reason.OUTSIDE.value,
        6: Reason.UNREADABLE.value,
        7: Reason.UNKNOWN_GENRE.value,
        8: Reason.UNREADABLE.value,
    }
    assert catalog.found == 9


def test_an_artist_stays_on_one_side_if_asked(
    listed: Callable[..., Catalog], tmp_path: Path, small_spec: MelSpec
) -> None:
    names = ["Celia", "CELIA", "Rubén", "Rubén", "Lucho", "Lucho", "Totó", "Totó"]
    names = [name if place < 6 else f"{name} {place}" for place, name in enumerate(names)]
    genres = ["salsa"] * 3 + ["salsa"] * 2 + ["cumbia"] * 3
    songs = zip("abcdefgh", genres, names, strict=True)
    catalog = listed(*(f"{name}.wav,{genre},{artist},train" for name, genre, artist in songs))

    def description(protocol: str, seed: int) -> dict[str, object]:
        folder = write_manifests(
            catalog, tmp_path / "out", genres=GENRES, split_by=protocol, seed=seed, spec=small_spec
        )
        return dict(json.loads((folder / "catalog.json").read_text()))

    by_song = [description("song", seed)["artists_on_two_sides"] for seed in range(5)]
    assert any("Rubén" in str(artists) for artists in by_song)
    assert all(description("artist", seed)["artists_on_two_sides"] == [] for seed in range(5))


def test_the_librarys_own_splits_are_taken(listed: Callable[..., Catalog], tmp_path: Path, small_spec: MelSpec) -> None:
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


def test_a_part_of_a_file_is_not_tested_because_another_part_is(
    listed: Callable[..., Catalog], tmp_path: Path, small_spec: MelSpec, write_song: WriteSong
) -> None:
    lines = [f"{genre}.wav,{genre},{genre}{n},{4 * n},{4 * n + 4}" for genre in GENRES for n in range(3)]
    for genre in GENRES:
        write_song(tmp_path / "music" / f"{genre}.wav", 13)
    catalog = listed(*lines, columns="file_name,genre,song,start,end")
    first, second = (
        write_manifests(
            catalog, tmp_path / "out", genres=GENRES, split_by="song", seed=0, spec=small_spec, split_strategy=FIXED
        )
        for _ in range(2)
    )
    assert first == second


def test_parts_of_one_song_share_a_side_and_number_their_fragments_on(
    listed: Callable[..., Catalog], tmp_path: Path, small_spec: MelSpec
) -> None:
    others = [f"{name}.wav,{genre},,," for name, genre in zip("bcdef", ["salsa"] * 2 + ["cumbia"] * 3, strict=True)]
    catalog = listed("a.wav,salsa,,0,4.5", "a.wav,salsa,,4.5,", *others, columns="file_name,genre,artist,start,end")
    for protocol in ("song", "fragment"):
        folder = write_manifests(catalog, tmp_path / "out", genres=GENRES, split_by=protocol, seed=1, spec=small_spec)
        parts = [row for split in SPLITS for row in rows(folder / f"{split}.csv") if row["song"] == "a.wav"]
        assert {(row["start"], row["first"]) for row in parts} == {("0.0", "0"), ("4.5", "1")}
    listed_fragments = sorted(int(row["first"]) + int(index) for row in parts for index in row["fragments"].split())
    assert listed_fragments == [0, 1, 2]  # 4.5 s hold one fragment of 4 s, 8.5 s hold two


@pytest.mark.parametrize("column", ["licence", "license", "License", "LICENCE"])
def test_licences_of_a_list_are_counted_by_song_and_a_library_without_any_has_no_word_of_them(
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


def test_a_run_leaves_growing_files_out_and_names_them(
    tmp_path: Path, write_song: WriteSong, small_spec: MelSpec
) -> None:
    for genre, name in itertools.product(("cumbia", "salsa"), ("a.wav", "b.wav")):
        write_song(tmp_path / genre / name, 3)
    grows = str(tmp_path / "salsa" / "b.wav")
    catalog = scan(tmp_path, ("cumbia", "salsa"), small_spec, unfinished={grows})
    assert [song.song for song in catalog.songs] == ["cumbia/a.wav", "cumbia/b.wav", "salsa/a.wav"]
    assert [(one.path, one.reason) for one in catalog.rejected] == [(grows, "still being written")]
