"""Lists of songs in the forms that people and spreadsheets write; invalid rows are faults with their line."""

from __future__ import annotations

import csv
import json
import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from tumbao.components.ingest.audio_error import Reason
from tumbao.components.ingest.listing import Entry, is_outside, read_folder
from tumbao.components.ingest.song_list import read_entries, read_manifest

ODD_NAMES = [
    "with space.mp3",
    " leading and trailing .mp3",
    "acción ñandú.mp3",
    "🎺🥁.mp3",
    "two\nlines.mp3",
    "comma, 'single' and \"double\" quotes.mp3",
    "tab\there.mp3",
    "#hash;semicolon|bar.mp3",
    "-dash.mp3",
    "é" * 125 + "a.mp3",  # 255 bytes
    "no ending",
]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a file of the library: write(name, content) -> path; folders are made."""

    def write_file(name: str, content: str | bytes = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


Write = Callable[..., Path]


def table_in(form: str, rows: list[dict[str, str]], file: Path) -> Path:
    """Write the rows as the standard library does, which is the oracle for quoting."""
    path = file.with_suffix(form)
    with path.open("w", encoding="utf-8", newline="") as text:
        if form == ".jsonl":
            text.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(text, list(rows[0]), delimiter="," if form == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("form", [".csv", ".tsv", ".jsonl"])
def test_odd_names_are_read_in_every_format(tmp_path: Path, form: str) -> None:
    rows = [{"file_name": name, "genre": "salsa, dura", "artist": f"«{name}»".strip()} for name in ODD_NAMES]
    entries = read_manifest(table_in(form, rows, tmp_path / "songs"))
    assert [entry.path for entry in entries] == [str(tmp_path / name) for name in ODD_NAMES]
    assert [entry.song for entry in entries] == ODD_NAMES
    assert [entry.artist for entry in entries] == [row["artist"] for row in rows]
    assert {entry.genre for entry in entries} == {"salsa, dura"}


@pytest.mark.parametrize("form", [".csv", ".tsv", ".jsonl"])
def test_columns_become_fields_and_others_extras(tmp_path: Path, form: str) -> None:
    row = {
        "file_name": "salsa/a.mp3",
        "genre": "salsa",
        "song": "s1",
        "artist": "Celia",
        "album": "Bravo",
        "split": "validation",
        "start": "1.5",
        "end": "31.5",
        "Mood of the Day": "alegre\n¡muy!",
        "bpm": "",
    }
    (entry,) = read_manifest(table_in(form, [row], tmp_path / "songs"))
    assert entry == Entry(
        path=str(tmp_path / "salsa/a.mp3"),
        song="s1",
        genre="salsa",
        artist="Celia",
        album="Bravo",
        split="val",
        start_seconds=1.5,
        end_seconds=31.5,
        extras={"Mood of the Day": "alegre\n¡muy!", "bpm": ""},
        relative=True,
    )


@pytest.mark.parametrize(
    "content",
    [
        b"file_name,genre\na.mp3,salsa\n",
        b"\xef\xbb\xbffile_name,genre\r\na.mp3,salsa\r\n",
        b'\xef\xbb\xbf"file_name","genre"\r\n"a.mp3","salsa"',
        b"File Name, GENRE \na.mp3, salsa \n",
        b"GENRE,FILE-NAME\nsalsa,a.mp3\n",
        b"\n\nfile_name,genre\n\na.mp3,salsa\n,\n\n",
        b",file_name,label\n0,a.mp3,salsa\n",  # pandas writes an index without a name
    ],
)
def test_equivalent_tables(write: Write, tmp_path: Path, content: bytes) -> None:
    assert read_manifest(write("songs.CSV", content)) == [
        Entry(path=str(tmp_path / "a.mp3"), song="a.mp3", genre="salsa", relative=True)
    ]


def test_a_list_of_one_column_may_have_other_delimiters_in_its_cells(write: Write, tmp_path: Path) -> None:
    file = write("songs.tsv", "file_name\nJoe Arroyo, La rebelión.mp3\na; b|c.mp3\n")
    entries = read_entries(file, root=tmp_path, required=("file_name",))
    assert [entry.song for entry in entries] == ["Joe Arroyo, La rebelión.mp3", "a; b|c.mp3"]


def test_a_label_beside_a_genre_is_an_extra(write: Write) -> None:
    (entry,) = read_manifest(write("songs.csv", "file_name,label,genre\na.mp3,7,salsa\n"))
    assert (entry.genre, entry.extras) == ("salsa", {"label": "7"})


def test_json_values_become_text(write: Write) -> None:
    line = {"file_name": "a.mp3", "genre": None, "start": 2, "end": 3.5, "year": 1999, "tags": ["ñ"], "live": True}
    (entry,) = read_manifest(write("songs.jsonl", json.dumps(line) + "\r\n\r\n"))
    assert (entry.genre, entry.start_seconds, entry.end_seconds) == ("", 2.0, 3.5)
    assert entry.extras == {"year": "1999", "tags": '["ñ"]', "live": "true"}


def test_lines_of_json_may_have_different_keys(write: Write) -> None:
    lines = '{"file_name": "a.mp3", "genre": "salsa"}\n{"Genre": "cumbia", "mood": "\u2028", "file_name": "b.mp3"}\n'
    first, second = read_manifest(write("songs.jsonl", lines))
    assert (first.extras, second.extras) == ({"mood": ""}, {"mood": "\u2028"})
    assert second.genre == "cumbia"


def test_paths_relative_absolute_and_in_a_bucket(write: Write, tmp_path: Path) -> None:
    names = ["./x/../a.mp3", str(tmp_path / "lists" / "b.mp3"), "/elsewhere/c.mp3", "gs://bucket/d e.mp3"]
    entries = read_manifest(write("lists/songs.csv", "file_name,genre\n" + "".join(f"{n},salsa\n" for n in names)))
    assert [entry.song for entry in entries] == ["a.mp3", "b.mp3", "/elsewhere/c.mp3", "gs://bucket/d e.mp3"]
    assert [entry.relative for entry in entries] == [True, False, False, False]
    assert entries[3].path == "gs://bucket/d e.mp3"


def test_a_manifest_named_from_the_working_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("songs.csv", "file_name,genre\na.mp3,salsa\n")
    monkeypatch.chdir(tmp_path)
    (entry,) = read_manifest(Path("songs.csv"))
    assert (entry.path, entry.song) == (str(tmp_path / "a.mp3"), "a.mp3")


def test_parts_of_one_file_are_one_song(write: Write) -> None:
    entries = read_manifest(write("songs.csv", "file_name,genre,start,end\na.mp3,salsa,0,30\n./a.mp3,salsa,30,\n"))
    assert [(e.song, e.start_seconds, e.end_seconds) for e in entries] == [("a.mp3", 0, 30), ("a.mp3", 30, None)]


REFUSED = {
    "no genre": ("file_name,genre_name\na.mp3,salsa\n", r"file_name, genre .*Did you mean genre by genre_name"),
    "no file_name": ("filename,genre\na.mp3,salsa\n", "Did you mean file_name by filename"),
    "no columns": ("", "is it empty"),
    "a column twice": ("file_name,genre,Genre\na,b,c\n", "line 1: expected each column once"),
    "an open quote in the header": ('file_name,"genre\na.mp3,salsa\n', "line 1: expected cells with closed quotes"),
    "a spreadsheet": (b"PK\x03\x04\x14\0", "a spreadsheet. Save it as CSV UTF-8"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_invalid_table_is_refused(write: Write, case: str) -> None:
    content, message = REFUSED[case]
    file = write("songs.csv", content)
    with pytest.raises(ValueError, match=message) as caught:
        read_manifest(file)
    assert str(file) in str(caught.value)


ROWS = {
    "too many cells": ("a, b.mp3,salsa", "expected 2 cells.*Received: 3"),
    "a decimal comma": ("a.mp3,salsa,30,5", "double quotes"),
    "an open quote": ('"b.mp3,salsa', "expected cells with closed quotes"),
    "a quote inside": ('"12" mix.mp3",salsa', "expected cells with closed quotes"),
    "no path": (" ,salsa", "expected a path"),
    "another address": ("s3://b/a.mp3,salsa", "gs://.*Received: 's3://b/a.mp3'"),
    "a drive of Windows": (r"C:\Music\a.mp3,salsa", r"relative to the list.*Received a path of Windows: 'C:"),
    "a share of Windows": (r"\\nas\music\a.mp3,salsa", "Received a path of Windows"),
    "half an address": ("file:///a%00b.mp3,salsa", "expected a path"),
    "a drive in an address": ("file:///C:/Music/a.mp3,salsa", "Received a path of Windows"),
    "two genres": ("first.mp3,cumbia", "'first.mp3'.*one genre.*'cumbia', but 'salsa' in line 2"),
}


@pytest.mark.parametrize("case", ROWS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_an_invalid_row_is_a_fault(write: Write, case: str, end: str) -> None:
    row, message = ROWS[case]
    file = write("songs.csv", end.join(("file_name,genre", "first.mp3,salsa", row, "last.mp3,salsa", "")))
    first, fault, last = read_manifest(file)
    assert (first.song, fault.song, last.song) == ("first.mp3", "songs.csv, line 3", "last.mp3")
    assert re.search(message, fault.fault)
    assert (first.fault, fault.fault_reason, last.fault) == ("", Reason.INVALID_ROW, "")


CELLS = {
    "split": ("trian", "expected a split out of train"),
    "start": ("1:75", "expected seconds as start.*'1:75'"),
    "Start": ("1.02:05", "expected seconds as start"),
    "end": ("nan", "expected seconds as end"),
    "End": ("1e999", "expected seconds as end"),
    "START": ("-1", "expected seconds as start"),
    "desde": ("9" * 5_000 + ":00", "expected seconds as start"),
    "inicio": ("pronto", "expected seconds as start"),
    "start,end": ("30,30", "expected an end after the start"),
    "song,artist": ("first,B", "one artist"),
}


@pytest.mark.parametrize("column", CELLS)
def test_an_invalid_cell_is_a_fault_of_its_row(write: Write, column: str) -> None:
    cell, message = CELLS[column]
    before = "first,A" if column == "song,artist" else "," * column.count(",")
    lines = f"file_name,genre,{column}\nfirst.mp3,salsa,{before}\nb.mp3,salsa,{cell}\n"
    first, fault = read_manifest(write("songs.csv", lines))
    assert not first.fault
    assert re.search(message, fault.fault)


def test_lines_in_cells_are_counted(write: Write) -> None:
    _, fault = read_manifest(write("songs.csv", 'file_name,genre\n"a\nb",salsa\n,salsa\n'))
    assert fault.song == "songs.csv, line 4"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "expected one JSON object.*a list"),
        ("{", "expected one JSON object"),
        ("[" * 100_000, "expected one JSON object"),
        (r'{"file_name": "\ud800.mp3", "genre": "salsa"}', "expected one JSON object"),
        (r'{"file_name": "a\u0000b.mp3", "genre": "salsa"}', "expected a path"),
        ('{"file_name": "a.mp3", "genre": "salsa", "start": NaN}', "expected seconds as start"),
        ('{"file_name": "a.mp3", "File Name": "b.mp3"}', "expected each column once"),
        ('{"genre": "salsa"}', "expected a path"),
    ],
)
def test_an_invalid_line_of_json_is_a_fault(write: Write, line: str, message: str) -> None:
    first, fault = read_manifest(write("songs.jsonl", '{"file_name": "a.mp3", "genre": "salsa"}\n' + line + "\n"))
    assert (first.fault, fault.song) == ("", "songs.jsonl, line 2")
    assert re.search(message, fault.fault)


SPANISH = (
    "archivo;Género;artista;inicio;fin;;\r\nacción.mp3;Salsa;Ñico;0:30;1:02,5;;\r\n;;;;;;\r\nb.mp3;salsa;;30,5\r\n"
)


@pytest.mark.parametrize(
    "content",
    [
        SPANISH.encode("utf-8"),
        SPANISH.encode("utf-8-sig"),
        SPANISH.encode("utf-16"),
        SPANISH.encode("utf-16-le"),
        b"\xfe\xff" + SPANISH.encode("utf-16-be"),
        SPANISH.encode("cp1252"),
        SPANISH.replace("\r\n", "\r").encode("mac_roman"),
        SPANISH.encode("cp850"),
        b"sep=;\r\n" + SPANISH.encode("cp1252"),
        SPANISH.replace(";", "\t").encode("utf-16"),
        SPANISH.replace(";", "|").encode(),
        '"sep=\t"\n'.encode("utf-16") + SPANISH.replace(";", "\t").encode("utf-16-le"),
        unicodedata.normalize("NFD", SPANISH[:20]).encode() + SPANISH[20:].encode("cp1252"),  # put together from two
    ],
)
@pytest.mark.parametrize("name", ["songs.csv", "songs.tsv"])
def test_lists_of_a_spanish_spreadsheet_are_read(write: Write, content: bytes, name: str) -> None:
    first, second = read_manifest(write(name, content))
    assert (first.song, first.genre, first.artist) == ("acción.mp3", "Salsa", "Ñico")
    assert (first.start_seconds, first.end_seconds) == (30.0, 62.5)
    assert (second.song, second.start_seconds, second.end_seconds) == ("b.mp3", 30.5, None)
    assert not first.fault + second.fault


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("30,5", 30.5), ("30.5", 30.5), ("0:30", 30), ("1:02,5", 62.5), ("01:01:01", 3_661), ("90:00", 5_400)],
)
def test_ways_to_write_a_time(write: Write, text: str, seconds: float) -> None:
    (entry,) = read_manifest(write("songs.csv", f'file_name,genre,end\na.mp3,salsa,"{text}"\n'))
    assert entry.end_seconds == seconds


@pytest.mark.parametrize(
    "name",
    [
        r"salsa\mi canción.mp3",
        r".\salsa\mi canción.mp3",
        '"""salsa/mi canción.mp3"""',
        "“salsa/mi canción.mp3”",
        " salsa/mi canción.mp3 ",
        "file://{here}/salsa/mi%20canci%C3%B3n.mp3",
        "file://localhost{here}/salsa/mi%20canci%C3%B3n.mp3",
        "file:{here}/salsa/mi%20canci%C3%B3n.mp3",
        unicodedata.normalize("NFD", "salsa/mi canción.mp3"),
        "SALSA/Mi Canción.MP3",
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_in_forms_of_other_systems_are_found(
    write: Write, tmp_path: Path, name: str, form: Literal["NFC", "NFD"]
) -> None:
    file = write(unicodedata.normalize(form, "salsa/mi canción.mp3"))
    (entry,) = read_manifest(write("songs.csv", f"file_name,genre\n{name.format(here=tmp_path)},salsa\n"))
    assert Path(entry.path) == file
    assert entry.song == unicodedata.normalize(form, "salsa/mi canción.mp3")


def test_backslashes_and_quotes_may_be_part_of_a_name(write: Write, tmp_path: Path) -> None:
    names = ["a\\b.mp3", "'c'.mp3", "C:\\d.mp3"]
    for name in names:
        write(name)
    rows = [{"file_name": name, "genre": "salsa"} for name in names]
    assert [entry.song for entry in read_manifest(table_in(".csv", rows, tmp_path / "songs"))] == names


def test_all_paths_of_one_file_are_one_song(write: Write, tmp_path: Path) -> None:
    song = write("music/salsa/a.mp3")
    (tmp_path / "link").symlink_to("music")
    (song.parent / "b.mp3").symlink_to("a.mp3")
    names = [
        "salsa/a.mp3",
        "./salsa/../salsa/a.mp3",
        str(song),
        str(tmp_path / "link" / "salsa" / "a.mp3"),
        f"file://{song}",
        "salsa/b.mp3",
    ]
    rows = [{"file_name": name, "genre": "salsa", "start": str(30 * i)} for i, name in enumerate(names)]
    for order in (rows, rows[::-1]):
        for folder in ("music", "link"):
            entries = read_manifest(table_in(".csv", order, tmp_path / folder / "songs"))
            assert len({entry.song for entry in entries}) == 1
            assert not any(entry.fault for entry in entries)


def test_a_row_without_a_song_has_that_of_its_file(write: Write, tmp_path: Path) -> None:
    lines = f"file_name,genre,song,start,end\na.mp3,salsa,x,0,30\n{tmp_path}/a.mp3,salsa,,30,\nb.mp3,salsa,,,\n"
    assert [entry.song for entry in read_manifest(write("songs.csv", lines))] == ["x", "x", "b.mp3"]


def test_other_extensions_and_missing_files_are_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.csv, \.tsv, \.jsonl\. Received: .*songs\.xlsx"):
        read_manifest(write("songs.xlsx"))
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_manifest(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        read_manifest(tmp_path / "folder.csv")


def test_relative_paths_out_of_the_library_are_outside(write: Write, tmp_path: Path) -> None:
    root = write("library/songs.csv").parent
    secret, song = write("secret.mp3"), write("library/salsa/a.mp3")
    (root / "leak.mp3").symlink_to(secret)
    (root / "out").symlink_to(tmp_path)
    (root / "again.mp3").symlink_to(song)
    (root / "circle.mp3").symlink_to("circle.mp3")
    expected = {
        "salsa/a.mp3": False,
        "salsa/../salsa/a.mp3": False,
        "again.mp3": False,
        "circle.mp3": False,
        "missing.mp3": False,
        "x" * 300 + ".mp3": False,
        str(secret): False,  # absolute: meant
        "gs://bucket/a.mp3": False,
        "../secret.mp3": True,
        "../library-2/a.mp3": True,
        "out/secret.mp3": True,
        "leak.mp3": True,
        "salsa/../../secret.mp3": True,
    }
    rows = [{"file_name": name, "genre": "salsa"} for name in expected]
    entries = read_manifest(table_in(".csv", rows, root / "songs"))
    assert {name: is_outside(entry, root) for name, entry in zip(expected, entries, strict=True)} == expected


def test_a_linked_library_is_not_outside_of_itself(write: Write, tmp_path: Path) -> None:
    write("library/songs.csv", "file_name,genre\na.mp3,salsa\n")
    (tmp_path / "link").symlink_to("library")
    (entry,) = read_manifest(tmp_path / "link" / "songs.csv")
    assert not is_outside(entry, tmp_path / "link")


def test_a_folder_of_genres_and_of_splits(write: Write, tmp_path: Path) -> None:
    names = ["salsa/a.mp3", "salsa/disc 1/b.mp3", "Train/salsa/c.mp3", "dev/cumbia/disc/d.mp3", "test/e.mp3", "f.mp3"]
    for name in [*names, "salsa/cover.jpg", "salsa/.hidden.mp3"]:
        write(name)
    entries = {entry.song: entry for entry in read_folder(tmp_path).entries}
    assert {song: (entry.split, entry.genre) for song, entry in entries.items()} == {
        "salsa/a.mp3": ("", "salsa"),
        "salsa/disc 1/b.mp3": ("", "salsa"),
        "Train/salsa/c.mp3": ("train", "salsa"),
        "dev/cumbia/disc/d.mp3": ("val", "cumbia"),
        "test/e.mp3": ("test", ""),
        "f.mp3": ("", ""),
    }
    assert all(entry.path == str(tmp_path / song) for song, entry in entries.items())


def test_odd_names_in_a_folder(write: Write, tmp_path: Path) -> None:
    for name in ODD_NAMES:
        write(f'salsa\n🎺, "s"/{name}')
    assert {Path(entry.song).name for entry in read_folder(tmp_path).entries} == set(ODD_NAMES)


def test_links_in_a_folder_are_followed_once(write: Write, tmp_path: Path) -> None:
    write("disk/a.mp3")
    write("library/salsa/b.mp3")
    (tmp_path / "library" / "cumbia").symlink_to(tmp_path / "disk")
    (tmp_path / "library" / "salsa" / "loop").symlink_to(tmp_path / "library")
    entries = read_folder(tmp_path / "library").entries
    assert [entry.song for entry in entries] == ["cumbia/a.mp3", "salsa/b.mp3"]
    assert not any(is_outside(entry, tmp_path / "library") for entry in entries)


def test_no_folder(write: Write, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        read_folder(tmp_path / "none")
    with pytest.raises(ValueError, match="is no folder"):
        read_folder(write("file"))


@pytest.mark.parametrize("form", ["csv", "jsonl", "jsonl in ASCII"])
def test_a_reversed_apostrophe_in_a_name_is_resolved_by_existing_files(
    tmp_path: Path, write: Callable[..., Path], form: str
) -> None:
    for name in ("‛80s.mp3", os.fsdecode(b"caf\xe9.mp3")):
        write(name)
    named = ["‛80s.mp3", "caf‛E9.mp3"] if form != "jsonl in ASCII" else ["‛80s.mp3", "caf\udce9.mp3"]
    lines = ["file_name,genre", *(f"{name},salsa" for name in named)]
    if form != "csv":
        lines = [json.dumps({"file_name": name, "genre": "salsa"}, ensure_ascii="ASCII" in form) for name in named]
    file = tmp_path / f"list.{form[:5].strip()}"
    file.write_text("\n".join(lines))
    assert [entry.path for entry in read_manifest(file)] == [
        str(tmp_path / "‛80s.mp3"),
        os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp3"),
    ]
