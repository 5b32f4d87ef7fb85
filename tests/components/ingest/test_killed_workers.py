"""No song is lost silently if worker processes are killed or the library cannot be read."""

from __future__ import annotations

import csv
import errno
import functools
import itertools
import json
import os
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.components.ingest.run_component import run_component
from tests.processes import children, kill, wait_until_gone
from tumbao.components.ingest import render
from tumbao.components.ingest.audio_error import INFRASTRUCTURE_REASONS, AudioError, Reason
from tumbao.components.ingest.library import (
    LibraryUnavailableError,
    Rejected,
    require_few_failures,
    scan,
    write_manifests,
)
from tumbao.components.ingest.render import Renderer, render_song
from tumbao.components.ingest.song_cache import SongCache, SongCacheError
from tumbao.components.ingest.subgenres import scan_subgenres
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema.mel_spec import MelSpec

WriteSong = Callable[..., Path]
GENRES = ["cumbia", "salsa"]
pytestmark = pytest.mark.usefixtures("scan_in_process")


def make_library(folder: Path, write_song: WriteSong, songs: int, seconds: int = 9) -> Path:
    for genre in GENRES:
        for number in range(songs):
            write_song(folder / genre / f"{number}.wav", seconds + number)
    return folder


def make_manifests(library: Path, spec: MelSpec) -> Path:
    catalog = scan(library, GENRES, spec)
    return write_manifests(catalog, library.parent / "catalogs", genres=GENRES, split_by="song", seed=1, spec=spec)


def ingest(manifests: Path, spec: MelSpec, folder: Path) -> tuple[set[str], dict[str, str]]:
    """Run the component's executor: ingested songs, and rejected songs with their reasons."""
    run_component(manifests, spec, folder / "songs", folder)
    lines = [(folder / name / f"{name}.jsonl").read_text().splitlines() for name in ("ingested", "rejected")]
    ingested, rejected = ([json.loads(line) for line in texts] for texts in lines)
    return {line["song"] for line in ingested}, {line["song"]: line["reason"] for line in rejected}


class Killer:
    """Kill worker processes of this process at random moments, one or all of them at once, until so many are dead."""

    def __init__(self, kills: int, pause: float) -> None:
        self.kills, self._left, self._pause = 0, kills, pause
        self._spared, self._random, self._ended = children(), random.Random(7), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        for round_ in itertools.count():
            if self._ended.wait(self._random.uniform(0.5, 1.5) * self._pause) or self.kills >= self._left:
                return
            found = sorted(children() - self._spared)
            chosen = set(found if round_ % 3 == 2 else self._random.sample(found, min(1, len(found))))
            kill(chosen)
            self.kills += len(chosen)


def test_songs_are_rendered_completely_while_workers_are_killed(
    tmp_path: Path, write_song: WriteSong, small_spec: MelSpec
) -> None:
    before = children()
    library = make_library(tmp_path / "music", write_song, 6, seconds=20)
    songs = scan(library, GENRES, small_spec).songs
    with Renderer(small_spec, str(tmp_path / "songs")) as renderer:
        futures = [renderer.submit(song.part, song.sha256) for song in songs[:-1]]
        futures[1].result()
        kill(children() - before)  # all at once, while they are busy
        rendered = [future.result() for future in futures]
        kill(children() - before)  # while they are idle
        rendered.append(renderer.submit(songs[-1].part, songs[-1].sha256).result())
    assert [one.reason for one in rendered] == [""] * 12
    for song, one in zip(songs, rendered, strict=True):
        assert one.metadata
        assert len(one.metadata.fragments) == song.seconds // small_spec.fragment_seconds
    wait_until_gone(before)


@pytest.mark.long
def test_no_song_is_lost_to_twenty_killed_workers(tmp_path: Path, write_song: WriteSong, small_spec: MelSpec) -> None:
    library = make_library(tmp_path / "music", write_song, 60, seconds=200)
    write_song(library / "salsa" / "silent.wav", 9, gain=0)
    (library / "salsa" / "text.wav").write_text("no song")
    manifests = make_manifests(library, small_spec)
    with Killer(20, pause=4) as killer:
        for round_ in itertools.count():
            ingested, rejected = ingest(manifests, small_spec, tmp_path / f"run {round_}")
            assert len(ingested) + len(rejected) == 122
            assert rejected == {"salsa/silent.wav": "silent", "salsa/text.wav": "unsupported"}
            if killer.kills >= 20:
                return


@pytest.mark.usefixtures("shared_render_workers")
def test_a_library_that_disappears_ends_the_run(tmp_path: Path, write_song: WriteSong, small_spec: MelSpec) -> None:
    library = make_library(tmp_path / "music", write_song, 6)
    manifests = make_manifests(library, small_spec)
    with (manifests / "train.csv").open() as file:
        gone = sorted(row["song"] for row in csv.DictReader(file))[:3]
    for song in gone:
        (library / song).unlink()
    with pytest.raises(LibraryUnavailableError, match=r"^3 of 12 songs could not be read .*\(i/o error: 3\)") as caught:
        ingest(manifests, small_spec, tmp_path / "run")
    for song in gone:
        assert f"\n  {song}: i/o error: cannot be read: No such file or directory" in str(caught.value)


@pytest.mark.parametrize("mounted", [False, True])
def test_a_library_that_disappears_during_the_scan_ends_the_run(
    tmp_path: Path, write_song: WriteSong, small_spec: MelSpec, monkeypatch: pytest.MonkeyPatch, mounted: bool
) -> None:
    library = make_library(tmp_path / "music", write_song, 2)

    def remove(*_: object) -> object:
        shutil.rmtree(library, ignore_errors=True)
        if mounted:
            library.mkdir(exist_ok=True)
        raise AudioError("a.wav", Reason.UNREADABLE, "cannot be read: No such file or directory")

    monkeypatch.setattr("tumbao.components.ingest.library.scan_song", remove)
    with pytest.raises(LibraryUnavailableError, match="music no longer exists, or is empty"):
        scan(library, GENRES, small_spec, workers=1)  # or one thread removes the folder that another has just made


@pytest.mark.parametrize("find", [scan, functools.partial(scan_subgenres, min_songs=1)], ids=["genres", "leaves"])
def test_a_storage_error_during_the_scan_ends_the_run(
    tmp_path: Path,
    write_song: WriteSong,
    small_spec: MelSpec,
    monkeypatch: pytest.MonkeyPatch,
    find: Callable[..., object],
) -> None:
    def fail(*_: object) -> object:
        raise AudioError("a.wav", Reason.IO_ERROR, "cannot be read: Input/output error")

    library = make_library(tmp_path / "music", write_song, 2)
    monkeypatch.setattr("tumbao.components.ingest.library.scan_song", fail)
    with pytest.raises(LibraryUnavailableError, match="4 of 4 songs"):
        find(library, GENRES, small_spec)


def test_many_infrastructure_errors_end_the_run() -> None:
    def rejected(count: int, reason: Reason) -> list[Rejected]:
        return [Rejected(f"{n}.wav", f"/{n}.wav", reason.value, "why", n) for n in range(count)]

    for reason in Reason:
        if reason in INFRASTRUCTURE_REASONS:
            for failed, found in ((3, 59), (6, 119), (40, 40)):
                with pytest.raises(LibraryUnavailableError, match=f"{failed} of {found} songs"):
                    require_few_failures(found, rejected(failed, reason))
            for failed, found in ((2, 2), (3, 60), (6, 120)):
                require_few_failures(found, rejected(failed, reason))
        else:
            require_few_failures(40, rejected(40, reason))
    with pytest.raises(LibraryUnavailableError, match="and 10 more"):
        require_few_failures(30, rejected(30, Reason.CRASHED))


def test_a_cache_that_cannot_be_written_is_an_error_of_the_cache(
    tmp_path: Path, write_song: WriteSong, small_spec: MelSpec
) -> None:
    (song,) = scan(write_song(tmp_path / "m" / "salsa" / "a.wav", 9).parents[1], ["salsa"], small_spec).songs
    (tmp_path / "songs").write_text("no folder")
    with WorkerPool() as pool, pytest.raises(SongCacheError, match="The song cache cannot be written"):
        render_song(pool, song.part, small_spec, song.sha256, SongCache(str(tmp_path / "songs")))


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOSPC])
def test_a_song_that_can_no_longer_be_read_is_an_io_error(
    tmp_path: Path, write_song: WriteSong, small_spec: MelSpec, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> object:
        yield None
        raise OSError(number, os.strerror(number))

    song = write_song(tmp_path / "a.wav", 9)
    monkeypatch.setattr(render, "read_unchanged", read)

    class Here(WorkerPool):
        def run(self, function, *arguments):  # type: ignore[no-untyped-def]
            yield from (item for item in function(*arguments) if item is not None)

    with Here() as pool:
        found = render_song(
            pool, render.AudioSegment(str(song)), small_spec, "ab12", SongCache(str(tmp_path / "songs"))
        )
    assert (found.reason, found.detail) == ("i/o error", f"cannot be read: {os.strerror(number)}")
