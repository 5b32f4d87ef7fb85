"""Layouts of published libraries are detected, and their tables are joined with the files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tumbao.components.ingest.audio_error import Reason
from tumbao.components.ingest.formats import LAYOUTS, find_layout, read_library
from tumbao.components.ingest.listing import Entry, is_outside

FMA = """\
,album,album,artist,set,set,track,track,track
,information,title,name,split,subset,genre_top,genres,title
track_id,,,,,,,,
2,"<p>two
lines, ""quoted""</p>",AWOL,Ana,training,small,International,"[2, 171]",Food
5,,,Beto,validation,medium,,[171],
140,,,Ana,test,large,Rock,"[12, 171, 186]",Title
999999,,,Nadie,training,large,Rock,[],Not on this disk
"""
FMA_GENRES = "genre_id,#tracks,parent,title,top_level\n2,9,0,International,2\n171,9,2,Salsa,2\n186,9,2,Cumbia,2\n"
JAMENDO_HEADER = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\r\n"
JAMENDO = [
    "track_0000214\tartist_000014\talbum_000031\t14/214.mp3\t124.6\tgenre---latin\tgenre---salsa\tmood/theme---love\r\n",
    "track_0000215\tartist_000014\talbum_000031\t15/215.mp3\t151.4\tgenre---metal\r\n",
    "track_0000316\tartist_000015\talbum_000032\t16/316.mp3\t90.0\tinstrument---piano\r\n",
    "track_0009999\tartist_000015\talbum_000032\t99/9999.mp3\t90.0\tgenre---salsa\r\n",
]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Write files and give their folder: make({name: content}) -> folder."""

    def make_files(files: dict[str, str] | Sequence[str]) -> Path:
        for name in files:
            path = tmp_path / "library" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((files[name] if isinstance(files, dict) else "").encode())
        return tmp_path / "library"

    return make_files


Make = Callable[..., Path]


def by_song(entries: list[Entry]) -> dict[str, Entry]:
    songs = {entry.song: entry for entry in entries}
    assert len(songs) == len(entries)
    return songs


def test_metadata_beside_the_songs_of_an_audiofolder(make: Make) -> None:
    library = make(
        {"metadata.csv": "file_name,label,mood\nx/a.wav,salsa,alegre\n./b.wav,cumbia,\n", "x/a.wav": "", "b.wav": ""}
    )
    songs = by_song(read_library(library).entries)
    assert {song: entry.genre for song, entry in songs.items()} == {"x/a.wav": "salsa", "b.wav": "cumbia"}
    assert songs["x/a.wav"].extras == {"mood": "alegre"}
    assert songs["b.wav"].path == str(library / "b.wav")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_metadata_in_the_split_folders_of_an_audiofolder(make: Make, form: str) -> None:
    row = "file_name,genre\n1.wav,salsa\n" if form == "csv" else '{"file_name": "1.wav", "genre": "salsa"}\n'
    library = make({f"{split}/{name}": row for split in ("train", "test") for name in (f"metadata.{form}", "1.wav")})
    songs = by_song(read_library(library).entries)
    assert {song: entry.split for song, entry in songs.items()} == {"train/1.wav": "train", "test/1.wav": "test"}
    assert {entry.genre for entry in songs.values()} == {"salsa"}


def test_metadata_without_genres_leaves_them_to_the_folders(make: Make) -> None:
    library = make({"metadata.csv": "file_name,artist\ntrain/salsa/a.wav,Celia\n", "train/salsa/a.wav": ""})
    (entry,) = read_library(library).entries
    assert (entry.split, entry.genre, entry.artist) == ("train", "salsa", "Celia")


def test_an_audiofolder_lists_missing_and_unlisted_files(make: Make) -> None:
    metadata = "file_name,genre\nsalsa/gone.wav,salsa\n../../etc/passwd,salsa\nsalsa/a.wav,salsa\n"
    library = make({"metadata.csv": metadata, "salsa/a.wav": "", "salsa/unlisted.wav": ""})
    entries = read_library(library).entries
    assert [Path(entry.path).name for entry in entries] == ["gone.wav", "passwd", "a.wav", "unlisted.wav"]
    assert [entry.genre for entry in entries] == ["salsa", "salsa", "salsa", ""]
    assert [is_outside(entry, library) for entry in entries] == [False, True, False, False]


def test_invalid_metadata_is_refused(make: Make) -> None:
    library = make({"metadata.parquet": "", "salsa/a.wav": ""})
    with pytest.raises(ValueError, match=r"Expected metadata.csv.*Received: .*metadata\.parquet.*--layout folder"):
        read_library(library)
    make({"metadata.csv": "filename,genre\nsalsa/a.wav,salsa\n"})
    with pytest.raises(ValueError, match="Did you mean file_name by filename"):
        read_library(library)
    make({"metadata.jsonl": ""})
    with pytest.raises(ValueError, match="one metadata file in a folder"):
        read_library(library)
    assert "salsa" in {entry.genre for entry in read_library(library, "folder").entries}


@pytest.fixture
def fma(make: Make) -> Path:
    return make(
        {
            "fma_metadata/tracks.csv": FMA,
            "fma_metadata/genres.csv": FMA_GENRES,
            "fma_small/README.txt": "",
            "fma_small/checksums": "",
            "fma_small/000/000002.mp3": "",
            "fma_small/000/000005.mp3": "",
            "fma_small/000/000140.mp3": "",
            "fma_small/001/001234.mp3": "",
        }
    )


def test_fma_is_joined_with_its_tables(fma: Path) -> None:
    songs = by_song(read_library(fma, genres=("cumbia", "salsa")).entries)
    assert {song: (entry.genre, entry.split, entry.artist) for song, entry in songs.items()} == {
        "fma_small/000/000002.mp3": ("salsa", "train", "Ana"),
        "fma_small/000/000005.mp3": ("salsa", "val", "Beto"),
        "fma_small/000/000140.mp3": ("cumbia, salsa", "test", "Ana"),
        "fma_small/001/001234.mp3": ("", "", ""),
        "fma_small/checksums": ("", "", ""),
    }
    food = songs["fma_small/000/000002.mp3"]
    assert (food.path, food.album) == (str(fma / "fma_small/000/000002.mp3"), "AWOL")
    assert food.extras == {"track_id": "2", "title": "Food", "subset": "small", "genres": "International, Salsa"}


def test_fma_by_top_genre(fma: Path) -> None:
    assert [entry.genre for entry in read_library(fma).entries] == ["International", "Salsa", "Rock", "", ""]
    (fma / "fma_metadata" / "genres.csv").unlink()
    assert [entry.genre for entry in read_library(fma, "fma").entries] == ["International", "", "Rock", "", ""]


def test_one_subset_of_fma_with_the_metadata_beside_it(fma: Path) -> None:
    assert find_layout(fma / "fma_small") == "fma"
    assert "000/000002.mp3" in by_song(read_library(fma / "fma_small").entries)


@pytest.mark.parametrize(
    ("tracks", "message"),
    [
        (FMA.replace("genre_top", "genre"), r"Expected FMA's columns.*'genre_top'"),
        (FMA.splitlines()[0], "Expected FMA's columns"),
    ],
)
def test_a_damaged_table_of_fma(fma: Path, tracks: str, message: str) -> None:
    (fma / "fma_metadata" / "tracks.csv").write_text(tracks)
    with pytest.raises(ValueError, match=message):
        read_library(fma)


@pytest.mark.parametrize(
    "row", ["x,,,,,,,,", "7,,", '7,,,,,,,"[1, __import__(""os"")]",', '7,"open,,,,,,,', '7,"a" b,,,,,,,']
)
def test_an_invalid_row_of_fma_is_a_fault(fma: Path, row: str) -> None:
    before = read_library(fma).entries
    lines = FMA.splitlines(keepends=True)
    (fma / "fma_metadata" / "tracks.csv").write_text("".join((*lines[:3], f"{row}\n", *lines[3:])))
    *entries, fault = read_library(fma).entries
    assert entries == before
    assert fault.song == "tracks.csv, line 4"
    assert fault.fault_reason is Reason.INVALID_ROW
    assert fault.fault.startswith("expected ")


def test_jamendo_is_joined_with_its_tables_and_splits(make: Make) -> None:
    clone = make(
        {
            "data/autotagging.tsv": JAMENDO_HEADER,
            "data/autotagging_genre.tsv": JAMENDO_HEADER + "".join(JAMENDO),
            "data/splits/split-0/autotagging_genre-train.tsv": JAMENDO_HEADER + JAMENDO[0],
            "data/splits/split-0/autotagging_genre-validation.tsv": JAMENDO_HEADER + JAMENDO[1],
            "data/splits/split-0/autotagging_genre-test.tsv": JAMENDO_HEADER + JAMENDO[3],
            "data/splits/split-1/autotagging_genre-test.tsv": JAMENDO_HEADER + JAMENDO[0],
            "audio/00/unknown.mp3": "",
            "audio/14/214.mp3": "",
            "audio/15/215.low.mp3": "",
            "audio/16/316.mp3": "",
        }
    )
    expected = {
        "00/unknown.mp3": ("", "", ""),
        "14/214.mp3": ("salsa", "train", "artist_000014"),
        "15/215.low.mp3": ("metal", "val", "artist_000014"),
        "16/316.mp3": ("", "", "artist_000015"),
    }
    for source, prefix in ((clone, "audio/"), (clone / "audio", ""), (clone / "data/autotagging_genre.tsv", "audio/")):
        songs = by_song(read_library(source, genres=["salsa"]).entries)
        found = {song: (entry.genre, entry.split, entry.artist) for song, entry in songs.items()}
        assert found == {prefix + song: entry for song, entry in expected.items()}
        assert songs[prefix + "14/214.mp3"].path == str(clone / "audio/14/214.mp3")
        assert songs[prefix + "14/214.mp3"].extras == {
            "track_id": "track_0000214",
            "duration": "124.6",
            "tags": "genre---latin genre---salsa mood/theme---love",
        }


def test_a_damaged_table_of_jamendo(make: Make) -> None:
    table = JAMENDO_HEADER + "track_1\tartist_1\n" + JAMENDO[0]
    song, fault = read_library(make({"autotagging.tsv": table, "14/214.mp3": ""}), genres=["salsa"]).entries
    assert (song.genre, fault.song, fault.fault_reason) == ("salsa", "autotagging.tsv, line 2", Reason.INVALID_ROW)
    assert fault.fault.startswith("expected a track with tags")


def test_layouts_are_detected(make: Make) -> None:
    library = make(["salsa/a.mp3", "salsa/metadata.csv", "fma_metadata/notes.csv", "data/other.tsv"])
    assert find_layout(library) == "folder"
    make({"data/autotagging_genre.tsv": JAMENDO_HEADER})
    assert find_layout(library) == find_layout(library / "data/autotagging_genre.tsv") == "jamendo"
    assert find_layout(library / "salsa") == "audiofolder"
    make({"fma_metadata/tracks.csv": FMA})
    assert find_layout(library) == "fma"
    make(["Dev/metadata.csv"])
    assert find_layout(library) == "audiofolder"
    for name in ("songs.csv", "songs.tsv", "songs.jsonl"):
        assert find_layout(make([name]) / name) == "manifest"


def test_a_folder_beside_a_table_is_not_its_audio(make: Make) -> None:
    library = make(
        {"data/autotagging_genre.tsv": JAMENDO_HEADER, "fma_metadata/tracks.csv": FMA, "mine/salsa/a.mp3": ""}
    )
    assert find_layout(library / "mine") == "folder"


def test_another_tracks_csv_is_not_fmas(make: Make) -> None:
    assert find_layout(make({"tracks.csv": "number,title\n1,Cielo\n", "salsa/a.mp3": ""})) == "folder"


def test_a_file_is_read_as_a_list(make: Make) -> None:
    library = make({"songs.tsv": "file_name\tgenre\nx/a.mp3\tsalsa\n"})
    assert read_library(library / "songs.tsv").entries == read_library(library / "songs.tsv", "manifest").entries
    assert read_library(library / "songs.tsv").entries[0].path == str(library / "x/a.mp3")


def test_a_layout_that_does_not_match_is_refused(make: Make) -> None:
    library = make(["salsa/a.mp3", "songs.csv"])
    with pytest.raises(ValueError, match="does not exist"):
        read_library(library / "none")
    for layout, message in {
        "fma": "Expected FMA's tracks.csv",
        "jamendo": "Expected a table of MTG-Jamendo's",
        "audiofolder": "Expected metadata.csv",
        "manifest": r"that ends in \.csv",
    }.items():
        with pytest.raises(ValueError, match=message):
            read_library(library, layout)
    for layout in set(LAYOUTS) - {"auto"}:
        with pytest.raises(ValueError, match="Expected"):
            read_library(library / "salsa" / "a.mp3", layout)
