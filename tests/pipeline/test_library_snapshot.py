"""A look at a library opens no file, and sees what came, went, changed or is still on its way."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import tensorflow as tf

from tumbao.pipeline import library_snapshot
from tumbao.pipeline.library_snapshot import SETTLED_SECONDS, Snapshot, difference, take_snapshot

GENRES = ("cumbia", "salsa")


@pytest.fixture
def library(tmp_path: Path, later: Callable[[float], None]) -> Path:
    """Two files of each genre, which need be no songs, a day old."""
    for genre in GENRES:
        for name in "ab":
            (tmp_path / "library" / genre).mkdir(parents=True, exist_ok=True)
            (tmp_path / "library" / genre / f"{name}.mp3").write_text(genre + name)
    later(86_400)
    return tmp_path / "library"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let time pass for the look: later(seconds)."""

    def pass_by(seconds: float) -> None:
        monkeypatch.setattr(library_snapshot, "time", SimpleNamespace(time=lambda: time.time() + seconds))

    return pass_by


def seen(library: Path) -> Snapshot:
    return take_snapshot(str(library), "auto", GENRES)


def relabel(library: Path) -> None:
    shutil.move(library / "salsa" / "a.mp3", library / "cumbia" / "c.mp3")


def replace_by_as_many_bytes(library: Path) -> None:
    (library / "salsa" / "a.mp3").write_text("SALSAa")


def remove(library: Path) -> None:
    (library / "salsa" / "a.mp3").unlink()


def add(library: Path) -> None:
    (library / "salsa" / "ñ.mp3").write_text("new")


def leave_as_it_is(library: Path) -> None:
    (library / "salsa" / ".hidden").write_text("no song")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (relabel, "1 new, 1 gone"),
        (replace_by_as_many_bytes, "1 changed"),
        (remove, "1 gone"),
        (add, "1 new"),
        (leave_as_it_is, ""),
    ],
)
def test_every_change_is_seen(library: Path, change: Callable[[Path], None], said: str) -> None:
    before = seen(library)
    assert len(before.songs) == 4
    change(library)
    assert difference(before.songs, seen(library).songs) == said


def test_a_list_that_says_something_else_of_a_song_has_changed(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").touch()
    songs = tmp_path / "songs.csv"
    songs.write_text("file_name,genre,split\na.mp3,salsa,test\na2.mp3,salsa,\n")
    before = seen(songs)
    assert len(before.songs) == 2
    songs.write_text("file_name,genre,split\na.mp3,salsa,train\na2.mp3,salsa,\n")
    assert difference(before.songs, seen(songs).songs) == "1 changed"
    songs.write_text("file_name,genre,split\na.mp3,cumbia,test\na2.mp3,salsa,\n")
    assert difference(before.songs, seen(songs).songs) == "1 changed"


def test_parts_and_files_of_one_song_are_told_apart(tmp_path: Path) -> None:
    songs = tmp_path / "songs.csv"
    songs.write_text("file_name,genre,song,start,end\nx.mp3,salsa,x,0,9\nx.mp3,salsa,x,9,20\ny.mp3,salsa,x,,\n")
    assert len(seen(songs).songs) == 3


def test_what_changed_just_now_may_still_be_on_its_way_whatever_time_it_bears(
    library: Path, later: Callable[[float], None]
) -> None:
    assert seen(library).growing == {}
    late = library / "salsa" / "late.mp3"
    late.write_text("half")
    os.utime(late, (1_700_000_000, 1_700_000_000))
    later(0)
    assert str(late) in seen(library).growing.values()
    later(SETTLED_SECONDS + 1)
    assert seen(library).growing == {}


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    """A library in TensorFlow's memory."""
    address = f"ram://{tmp_path.name}"
    tf.io.gfile.makedirs(f"{address}/salsa")
    with tf.io.gfile.GFile(f"{address}/salsa/a.mp3", "w") as file:
        file.write("song")
    yield address
    tf.io.gfile.rmtree(address)


def test_a_library_in_a_bucket_is_looked_at_too(bucket: str) -> None:
    before = take_snapshot(bucket, "auto", GENRES)
    assert (len(before.songs), before.growing) == (1, {})
    with tf.io.gfile.GFile(f"{bucket}/salsa/b.mp3", "w") as file:
        file.write("another")
    assert difference(before.songs, take_snapshot(bucket, "auto", GENRES).songs) == "1 new"
