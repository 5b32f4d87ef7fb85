"""A second scan of a library hashes only changed files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tumbao.components.ingest import library as library_module
from tumbao.components.ingest import scan_cache
from tumbao.components.ingest.decoders import AudioSegment
from tumbao.components.ingest.library import Catalog, scan
from tumbao.components.ingest.scan_cache import ScanCache
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema.mel_spec import MelSpec

WriteSong = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("scan_in_process")


@pytest.fixture
def library(tmp_path: Path, write_song: WriteSong) -> Path:
    for name in "abc":
        write_song(tmp_path / "library" / "salsa" / f"{name}.wav", 9)
    write_song(tmp_path / "library" / "salsa" / "short.wav", 1)
    return tmp_path / "library"


@pytest.fixture
def scanned_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the names of the files that are really read; no file counts as changed just now."""
    names: list[str] = []
    scan_song = library_module.scan_song

    def noted(pool: WorkerPool, part: AudioSegment, spec: MelSpec) -> object:
        names.append(Path(part.path).name)
        return scan_song(pool, part, spec)

    monkeypatch.setattr(library_module, "scan_song", noted)
    monkeypatch.setattr(scan_cache, "_SETTLED_SECONDS", 0.0)
    return names


def scan_library(library: Path, spec: MelSpec, state: str = "0a1b2c3d") -> Catalog:
    return scan(library, ["salsa"], spec, scan_cache=ScanCache(library.parent / "work" / "scan_cache.sqlite", state))


def test_unchanged_files_are_not_read_again(library: Path, scanned_files: list[str], small_spec: MelSpec) -> None:
    first = scan_library(library, small_spec)
    assert sorted(scanned_files) == ["a.wav", "b.wav", "c.wav", "short.wav"]
    scanned_files.clear()
    assert scan_library(library, small_spec) == first
    assert scanned_files == ["short.wav"]  # a rejected file is read again: it may have been repaired


@pytest.mark.parametrize("change", ["bytes", "times", "another file"])
def test_changed_files_are_read_again(
    library: Path, scanned_files: list[str], small_spec: MelSpec, write_song: WriteSong, change: str
) -> None:
    before = {song.song: song.sha256 for song in scan_library(library, small_spec).songs}
    path = library / "salsa" / "b.wav"
    times = path.stat()
    if change == "bytes":  # as many of them, at the same time as far as a file can lie about it
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "times":
        path.touch()
    else:
        shutil.copy2(write_song(library.parent / "other.wav", 9), path)
    scanned_files.clear()
    after = {song.song: song.sha256 for song in scan_library(library, small_spec).songs}
    assert sorted(scanned_files) == ["b.wav", "short.wav"]
    assert (after["salsa/b.wav"] == before["salsa/b.wav"]) is (change == "times")


def test_files_changed_just_now_are_not_cached(library: Path, scanned_files: list[str], small_spec: MelSpec) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_cache, "_SETTLED_SECONDS", 60.0)
        scan_library(library, small_spec)
    scanned_files.clear()
    scan_library(library, small_spec)
    assert len(scanned_files) == 4


def test_another_state_empties_the_cache(library: Path, scanned_files: list[str], small_spec: MelSpec) -> None:
    scan_library(library, small_spec)
    scanned_files.clear()
    scan_library(library, small_spec, "ffffffff")
    assert len(scanned_files) == 4


def test_a_broken_database_is_replaced(library: Path, scanned_files: list[str], small_spec: MelSpec) -> None:
    (library.parent / "work").mkdir()
    (library.parent / "work" / "scan_cache.sqlite").write_bytes(b"no database" * 100)
    first = scan_library(library, small_spec)
    scanned_files.clear()
    assert scan_library(library, small_spec) == first
    assert len(scanned_files) == 1


def test_parts_of_a_file_are_cached_separately(library: Path, scanned_files: list[str], small_spec: MelSpec) -> None:
    songs = library / "songs.csv"
    songs.write_text("file_name,genre,start,end\nsalsa/a.wav,salsa,0,4\nsalsa/a.wav,salsa,4,\n")
    first = scan(songs, ["salsa"], small_spec, scan_cache=ScanCache(library.parent / "scan_cache.sqlite", "0a1b2c3d"))
    scanned_files.clear()
    assert (
        scan(songs, ["salsa"], small_spec, scan_cache=ScanCache(library.parent / "scan_cache.sqlite", "0a1b2c3d"))
        == first
    )
    assert scanned_files == []
    assert [song.seconds for song in first.songs] == [4, 5]
