from __future__ import annotations

from pathlib import Path

import pytest

from tumbao.components.ingest.audio_error import Reason
from tumbao.components.ingest.decoders import AudioSegment
from tumbao.components.ingest.paths import as_path
from tumbao.serving.classify.inputs import find_audio_files, stamp


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "songs"
    (folder / "b [live]").mkdir(parents=True)
    for name in ("b [live]/ñ.flac", "a.wav", "text.mp3", "unknown", "cover.JPG", ".hidden.wav"):
        (folder / name).touch()
    return folder


def paths(*named: Path) -> list[str]:
    return [song.part.path for song in find_audio_files(named).songs]


def test_a_file_with_several_paths_is_listed_once(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (library.parent / "link").symlink_to("songs")
    monkeypatch.chdir(library.parent)
    named = [Path("songs/unknown"), library, Path("link"), Path("songs/../songs/a.wav"), library / ".hidden.wav"]
    found = find_audio_files(named)
    assert [Path(song.part.path).name for song in found.songs] == [
        "unknown",
        "a.wav",
        "ñ.flac",
        "text.mp3",
        ".hidden.wav",
    ]
    assert found.notes == ("2 files left out: 1 hidden file, 1 picture",)


def test_invalid_rows_are_named_with_their_line(library: Path) -> None:
    (library / "list.csv").write_text("file_name;start\na.wav;\na.wav;soon\n;1\n")
    first, *faults = find_audio_files([library / "list.csv"]).songs
    assert first.fault is None
    assert [song.fault.reason for song in faults if song.fault] == [Reason.INVALID_ROW] * 2
    assert [song.part.path for song in faults] == [f"{library / 'list.csv'}, line {line}" for line in (3, 4)]


def test_missing_paths_and_empty_folders_raise_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"No such file or folder: .*nowhere"):
        find_audio_files([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="No audio files in"):
        find_audio_files([tmp_path])


def test_a_folder_that_cannot_be_listed_is_reported(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("[live]"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    songs = find_audio_files([library]).songs
    assert [song.fault.message for song in songs if song.fault] == ["cannot be listed: Permission denied"]
    assert len(songs) == 4


def test_lists_with_songs_and_parts(library: Path, tmp_path: Path) -> None:
    rows = ["songs/a.wav,", "songs/a.wav,30", f"{library / 'unknown'},", "songs/missing.wav,"]
    file = tmp_path / "list.csv"
    file.write_text("\n".join(["file_name,start", *rows]))
    assert [song.part for song in find_audio_files([file]).songs] == [
        AudioSegment(str(library / "a.wav")),
        AudioSegment(str(library / "a.wav"), 30.0),
        AudioSegment(str(library / "unknown")),
        AudioSegment(str(library / "missing.wav")),
    ]


def test_lists_leave_their_folder_only_by_absolute_paths(library: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    file = tmp_path / "lists" / "list.csv"
    file.write_text(f"file_name\n../songs/a.wav\n{library / 'a.wav'}\n../songs/a.wav\n")
    outside, inside = find_audio_files([file]).songs
    assert outside.fault is not None
    assert outside.fault.reason is Reason.OUTSIDE
    assert inside.fault is None


@pytest.mark.parametrize("folder", ["{tmp_path}", "ram://stamps"])
def test_the_stamp_changes_with_the_file(tmp_path: Path, folder: str) -> None:
    file = as_path(folder.format(tmp_path=tmp_path)) / "a"
    assert stamp(AudioSegment(str(file))) is None
    file.write_bytes(b"1")
    first = stamp(AudioSegment(str(file)))
    assert first is not None and first == stamp(AudioSegment(str(file)))
    file.write_bytes(b"22")
    assert stamp(AudioSegment(str(file))) != first
