"""A second look through a library hashes only what has changed."""

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


@pytest.fixture
def library(tmp_path: Path, write_song: WriteSong) -> Path:
    for name in "abc":
        write_song(tmp_path / "library" / "salsa" / f"{name}.wav", 9)
    write_song(tmp_path / "library" / "salsa" / "short.wav", 1)
    return tmp_path / "library"


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the names of the files that are really read; no file counts as changed just now."""
    names: list[str] = []
    look = library_module.scan_song

    def noted(pool: WorkerPool, part: AudioSegment, spec: MelSpec) -> object:
        names.append(Path(part.path).name)
        return look(pool, part, spec)

    monkeypatch.setattr(library_module, "scan_song", noted)
    monkeypatch.setattr(scan_cache, "_SETTLED_SECONDS", 0.0)
    return names


def look(library: Path, spec: MelSpec, state: str = "0a1b2c3d") -> Catalog:
    return scan(library, ["salsa"], spec, scan_cache=ScanCache(library.parent / "work" / "scan_cache.sqlite", state))


def test_what_has_not_changed_is_not_read_again(library: Path, looked_at: list[str], small_spec: MelSpec) -> None:
    first = look(library, small_spec)
    assert sorted(looked_at) == ["a.wav", "b.wav", "c.wav", "short.wav"]
    looked_at.clear()
    assert look(library, small_spec) == first
    assert looked_at == ["short.wav"]  # what was refused is looked at again: it may have been mended


@pytest.mark.parametrize("change", ["bytes", "times", "another file"])
def test_what_has_changed_is_read_again(
    library: Path, looked_at: list[str], small_spec: MelSpec, write_song: WriteSong, change: str
) -> None:
    before = {song.song: song.sha256 for song in look(library, small_spec).songs}
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
    looked_at.clear()
    after = {song.song: song.sha256 for song in look(library, small_spec).songs}
    assert sorted(looked_at) == ["b.wav", "short.wav"]
    assert (after["salsa/b.wav"] == before["salsa/b.wav"]) is (change == "times")


def test_what_was_written_just_now_is_not_remembered(library: Path, looked_at: list[str], small_spec: MelSpec) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_cache, "_SETTLED_SECONDS", 60.0)
        look(library, small_spec)
    looked_at.clear()
    look(library, small_spec)
    assert len(looked_at) == 4


def test_other_code_looks_again(library: Path, looked_at: list[str], small_spec: MelSpec) -> None:
    look(library, small_spec)
    looked_at.clear()
    look(library, small_spec, "ffffffff")
    assert len(looked_at) == 4


def test_a_broken_memory_is_begun_anew(library: Path, looked_at: list[str], small_spec: MelSpec) -> None:
    (library.parent / "work").mkdir()
    (library.parent / "work" / "scan_cache.sqlite").write_bytes(b"no database" * 100)
    first = look(library, small_spec)
    looked_at.clear()
    assert look(library, small_spec) == first
    assert len(looked_at) == 1


def test_parts_of_a_file_are_remembered_apart(library: Path, looked_at: list[str], small_spec: MelSpec) -> None:
    songs = library / "songs.csv"
    songs.write_text("file_name,genre,start,end\nsalsa/a.wav,salsa,0,4\nsalsa/a.wav,salsa,4,\n")
    first = scan(songs, ["salsa"], small_spec, scan_cache=ScanCache(library.parent / "scan_cache.sqlite", "0a1b2c3d"))
    looked_at.clear()
    assert (
        scan(songs, ["salsa"], small_spec, scan_cache=ScanCache(library.parent / "scan_cache.sqlite", "0a1b2c3d"))
        == first
    )
    assert looked_at == []
    assert [song.seconds for song in first.songs] == [4, 5]
