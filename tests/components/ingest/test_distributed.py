"""Ingest on a cluster writes what one process writes, also when a pool of workers is killed meanwhile."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tests.components.ingest.cluster.cluster import UMASKS, Cluster, cluster
from tests.components.ingest.cluster.shipping import Shipment, ship
from tumbao.components.ingest.library import scan, write_manifests
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS

GENRES = ["cumbia", "salsa"]
LOCAL = ["--runner=FnApiRunner"]
WriteSong = Callable[..., Path]


@dataclasses.dataclass(frozen=True)
class Site:
    """A library, what one process wrote of it, and a cluster."""

    library: Path
    manifests: Path
    local: Path
    cluster: Cluster
    shipment: Shipment
    folder: Path

    @property
    def flags(self) -> list[str]:
        return [*self.cluster.flags, self.shipment.flag]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, write_song: WriteSong, small_spec: MelSpec) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    library = folder / "library"
    for genre in GENRES:
        for number in range(8):
            write_song(library / genre / f"{number}.wav", 5 + number)
    write_song(library / "salsa" / "silent.wav", 9, gain=0)
    (library / "salsa" / "text.mp3").write_text("la la la")
    catalog = scan(library, GENRES, small_spec)
    for seed in range(100):  # the silent song must not be a split's only one of its genre
        catalogs = folder / "catalogs" / str(seed)
        manifests = write_manifests(catalog, catalogs, genres=GENRES, split_by="song", seed=seed, spec=small_spec)
        if "silent.wav" in (manifests / "train.csv").read_text():
            break
    else:
        raise AssertionError("no seed puts the silent song there")
    package = folder / "package"
    with cluster(folder / "cluster", package / "installed") as running:
        running.begin(manifests, small_spec, folder / "songs of one process", folder / "local", LOCAL)
        shipment = ship(package)
        assert running.end() == ""
        yield Site(library, manifests, folder / "local", running, shipment, folder)


def written(folder: Path) -> dict[str, Any]:
    """Read what a run wrote, without its order."""
    files = {split: tf.io.gfile.glob(f"{folder}/examples/Split-{split}/*.gz") for split in SPLITS}
    examples = {split: tf.data.TFRecordDataset(files[split], "GZIP").as_numpy_iterator() for split in SPLITS}
    digests = {split: sorted(hashlib.sha256(one).hexdigest() for one in examples[split]) for split in SPLITS}
    lines = {
        name: sorted((folder / name / f"{name}.jsonl").read_text().splitlines()) for name in ("ingested", "rejected")
    }
    return {**digests, **lines}


def rendered(cache: Path) -> list[Path]:
    """List the songs in a cache, the oldest first."""
    return sorted(cache.glob("*/*.zip"), key=lambda path: path.stat().st_mtime_ns)


def writer(path: Path) -> int:
    """Return the number of the pool that wrote a file."""
    return UMASKS.index(0o666 & ~stat.S_IMODE(path.stat().st_mode))


def source(site: Site, cached: Path) -> Path:
    """Return the file of a song in the cache."""
    for split in SPLITS:
        for row in csv.DictReader((site.manifests / f"{split}.csv").read_text("utf-8").splitlines()):
            if cached.name.startswith(row["sha256"]):
                return Path(row["path"])
    raise KeyError(cached)


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 90) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.05)
    return value


@contextlib.contextmanager
def hanging(song: Path, aside: Path) -> Iterator[Callable[[], bool]]:
    """Replace a song by a pipe, from which nothing can be read; yield a function that tells whether somebody reads."""
    descriptors: list[int] = []

    def read() -> bool:
        with contextlib.suppress(OSError):  # nobody reads
            descriptors.append(os.open(song, os.O_WRONLY | os.O_NONBLOCK))
        return bool(descriptors)

    shutil.move(song, aside)
    os.mkfifo(song)
    try:
        yield read
    finally:
        shutil.move(aside, song)
        for descriptor in descriptors:
            os.close(descriptor)


def test_two_pools_write_what_one_process_writes(site: Site, small_spec: MelSpec) -> None:
    cache, run = site.folder / "songs", site.folder / "run"
    site.cluster.begin(site.manifests, small_spec, cache, run, site.flags)
    assert site.cluster.end() == ""
    assert written(run) == written(site.local)
    assert all(written(run).values())
    assert {writer(song) for song in rendered(cache)} == {0, 1}
    assert [Path(f"/proc/{pool.pid}/cwd").readlink() for pool in site.cluster.pools] == site.cluster.homes


def test_the_run_after_a_killed_pool_reuses_its_songs(site: Site, small_spec: MelSpec) -> None:
    """Kill a pool in the first run, let the other pool start no worker in the second, and complete the third."""
    of_pool = [song for song in rendered(site.folder / "songs") if writer(song) == 1]
    song = source(site, of_pool[len(of_pool) // 2])
    cache, begin = site.folder / "songs of the killed", site.cluster.begin
    with hanging(song, site.folder / "aside") as read:
        begin(site.manifests, small_spec, cache, site.folder / "killed", site.flags)
        wait_for(read, "a pool to read a song in the middle")
        wait_for(lambda: {writer(path) for path in rendered(cache)} == {0, 1}, "both pools to render a song")
        site.cluster.kill_pool(1)
        assert "Channel closed prematurely" in site.cluster.end()
    first = {path: path.stat().st_ino for path in rendered(cache)}
    assert {writer(path) for path in first} == {0, 1}
    assert len(first) < len(rendered(site.folder / "songs"))

    (broken := site.cluster.homes[0] / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    begin(site.manifests, small_spec, cache, site.folder / "late", [*site.flags, "--job_server_timeout=5"])
    assert "DEADLINE_EXCEEDED" in site.cluster.end()
    broken.unlink()

    for path in first:
        source(site, path).unlink()  # so that it cannot be decoded again
    begin(site.manifests, small_spec, cache, site.folder / "again", site.flags)
    assert site.cluster.end() == ""
    assert written(site.folder / "again") == written(site.local)
    assert {path: path.stat().st_ino for path in first} == first
    assert {writer(path) for path in rendered(cache) if path not in first} == {0}
