"""Folders of any depth, with files of other programs and circular links."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tumbao.components.ingest.listing import left_out_line, read_folder, walk
from tumbao.components.ingest.paths import as_path

MP3 = b"ID3\x04" + bytes(600)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """Make 1,100 nested folders with a file in the last, and a chain whose path is longer than any system takes."""
    (tmp_path / "salsa").mkdir()
    (tmp_path / "salsa" / "a.mp3").touch()
    top = os.getcwd()  # noqa: PTH109
    for name, levels in (("d", 1_100), ("long name " * 20, 25)):
        os.chdir(tmp_path / "salsa")
        for _ in range(levels):
            Path(name).mkdir()
            os.chdir(name)
        Path("b.mp3").touch()
    os.chdir(top)
    yield tmp_path
    subprocess.run(["rm", "-rf", tmp_path / "salsa"], check=True)  # rmtree calls itself for each level


def test_folders_of_any_depth_are_listed(deep: Path) -> None:
    entries = read_folder(deep).entries
    songs = [entry.song for entry in entries if not entry.fault]
    assert songs == ["salsa/a.mp3", f"salsa/{'d/' * 1_100}b.mp3"]
    (fault,) = [entry for entry in entries if entry.fault]
    assert fault.fault == "cannot be listed: File name too long"
    assert fault.song.startswith("salsa/long name ")
    assert fault.genre == "salsa"


def test_circular_and_broken_links_are_files(tmp_path: Path) -> None:
    (tmp_path / "salsa").mkdir()
    (tmp_path / "salsa" / "circle").symlink_to("circle")
    (tmp_path / "salsa" / "gone.mp3").symlink_to("nowhere")
    (tmp_path / "salsa" / "up").symlink_to("..")
    (tmp_path / "salsa" / "self").symlink_to(".")
    listing = walk(tmp_path)
    assert [path.name for path in listing.files] == ["circle", "gone.mp3"]
    assert not listing.unlisted


def test_a_folder_that_is_deleted_meanwhile_is_unlisted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("salsa", "cumbia"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.mp3").touch()
    scandir = os.scandir

    def vanish(folder: Path) -> object:
        found = scandir(folder)
        if folder == tmp_path / "cumbia":
            shutil.rmtree(tmp_path / "salsa")
        return found

    monkeypatch.setattr(os, "scandir", vanish)
    listing = walk(tmp_path)
    assert [path.parent.name for path in listing.files] == ["cumbia"]
    (error,) = listing.unlisted
    assert error.filename == str(tmp_path / "salsa")


LEFT_OUT = {
    "unfinished download": ["a.mp3.part", "b.mp3.Download", "a.mp3.part-Frag1", "001.part.met"],
    "temporary file": ["a.tmp", "a.mp3~", "~$list.docx"],
    "system file": ["._a.mp3", "Thumbs.db", "DESKTOP.INI", "Icon\r"],
    "hidden file": [".a.mp3"],
    "system folder": ["#recycle/a.mp3", "@eaDir/a.mp3", ".Trash-1000/a.mp3", "System Volume Information/a.mp3"],
    "hidden folder": [".git/a.mp3"],
    "document": ["a.txt", "a.PDF", "songs.csv"],
    "picture": ["cover.JPEG"],
    "log or checksum": ["rip.log"],
    "archive": ["a.tar.gz"],
}


@pytest.mark.parametrize("kind", LEFT_OUT)
@pytest.mark.parametrize("where", ["here", "bucket"])
def test_other_files_are_left_out_by_their_names(tmp_path: Path, kind: str, where: str) -> None:
    root = tmp_path if where == "here" else as_path(f"ram://leftovers/{kind.replace(' ', '-')}")
    for name in (*LEFT_OUT[kind], "a.mp3"):
        file = root
        for part in f"salsa/{name}".split("/"):
            file = file / part
        if isinstance(file, Path):
            file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"1")
    listing = walk(root)
    assert [path.name for path in listing.files] == ["a.mp3"]
    assert set(listing.left_out.values()) == {kind}
    assert len(listing.left_out) == len(LEFT_OUT[kind])


@pytest.mark.parametrize("name", ["a.txt", "a.jpg", "a.nfo", "a", "a.xyz"])
@pytest.mark.parametrize(
    "content",
    [MP3, b"\xff\xfb\x90\0" + bytes(400), b"RIFF\0\0\0\0WAVEfmt ", b"fLaC\0\0\0\x22", b"OggS\0", b"\0\0\0\x20ftypM4A "],
)
def test_audio_is_tried_whatever_its_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert [path.name for path in walk(tmp_path).files] == [name]


@pytest.mark.parametrize("name", ["README", "a.xyz"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("Canción\n".encode(), "document"),
        ("Canción\n".encode("utf-16"), "document"),
        (b"%PDF-1.4\n\xff\0", "document"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "picture"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "picture"),
        (b"PK\x03\x04\0\0", "archive"),
    ],
)
def test_the_content_decides_for_unknown_names(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert list(walk(tmp_path).left_out.values()) == [kind]


def test_files_named_as_audio_or_of_unknown_content_are_tried(tmp_path: Path) -> None:
    for name in ("text.mp3", "page.flac"):
        (tmp_path / name).write_text("<html>no song</html>")
    (tmp_path / "empty").touch()
    (tmp_path / "noise").write_bytes(bytes(range(256)))
    os.mkfifo(tmp_path / "pipe")
    assert [path.name for path in walk(tmp_path).files] == ["empty", "noise", "page.flac", "pipe", "text.mp3"]


def test_left_out_files_are_counted_by_kind() -> None:
    assert left_out_line([]) == ""
    assert left_out_line(["hidden folder"]) == "1 folder left out: 1 hidden folder"
    line = left_out_line(["log or checksum", "log or checksum", "unfinished download"])
    assert line == "3 files left out: 2 logs or checksums, 1 unfinished download"
