"""Ingest that is killed at random moments and started again writes the records of an undisturbed run."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.components.ingest import run_component
from tumbao.components.ingest.library import scan, write_manifests
from tumbao.components.ingest.records import read_records
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS

GENRES = ["cumbia", "salsa"]
Run = Callable[..., int]
pytestmark = pytest.mark.usefixtures("scan_in_process")


@pytest.fixture
def run(tmp_path: Path, write_song: Callable[..., Path], small_spec: MelSpec) -> Run:
    """Ingest a library in a process of its own: run(cache, out, kill_after=None) -> exit code."""
    for genre in GENRES:
        for number in range(10):
            write_song(tmp_path / "library" / genre / f"{number}.wav", 20 + 3 * number)
    write_song(tmp_path / "library" / "salsa" / "silent.wav", 9, gain=0)
    catalog = scan(tmp_path / "library", GENRES, small_spec)
    folder = tmp_path / "catalogs"
    manifests = write_manifests(catalog, folder, genres=GENRES, split_by="song", seed=1, spec=small_spec)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([run_component.__name__])  # the imports take seconds

    def ingest(cache: Path, out: Path, kill_after: float | None = None) -> int:
        process = context.Process(target=run_component.run_component, args=(manifests, small_spec, cache, out))
        process.start()
        process.join(kill_after)
        process.kill()  # does nothing to a process that has ended
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    return ingest


def records(out: Path) -> dict[str, list[str]]:
    """Return the digests of each split's records, and the lines about songs."""
    found = {
        split: sorted(
            hashlib.sha256(repr(sorted(one.items())).encode()).hexdigest()
            for one in read_records(f"{out}/examples/Split-{split}/*.gz")
        )
        for split in SPLITS
    }
    for name in ("ingested", "rejected"):
        found[name] = sorted((out / name / f"{name}.jsonl").read_text().splitlines())
    return found


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.long)])
def test_ingest_resumes_after_kills_with_the_same_records(run: Run, tmp_path: Path, times: int) -> None:
    begin = time.monotonic()
    assert run(tmp_path / "undisturbed songs", tmp_path / "undisturbed") == 0
    seconds = time.monotonic() - begin
    rng = random.Random(20_240_517)
    runs = kills = 0
    cache = tmp_path / "songs"
    while kills < times:
        runs += 1
        if run(cache, tmp_path / f"killed {runs}", rng.uniform(0, 0.7 * seconds)) == -signal.SIGKILL:
            kills += 1
        else:  # it was too fast with the songs in the cache: use a new one
            cache = tmp_path / f"songs {runs}"
    cached = {path: path.stat().st_mtime_ns for path in cache.rglob("*.zip")}
    assert run(cache, tmp_path / "last") == 0
    assert records(tmp_path / "last") == records(tmp_path / "undisturbed")
    assert {path: path.stat().st_mtime_ns for path in cached} == cached  # not decoded again
    assert len(list(cache.rglob("*.*"))) == len(list(cache.rglob("*.zip"))) == 20
