"""Ingest that is killed at random moments and started again ends with the records of an undisturbed run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tumbao.components.ingest.library import scan, write_manifests
from tumbao.components.ingest.records import read_records
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS

GENRES = ["cumbia", "salsa"]

# Imports once, which takes seconds, and forks a process for each run; TensorFlow has not begun to work by then.
NURSERY = """
import json, os, sys, traceback
from tumbao.components.ingest.component import AudioExampleGen
from tumbao.components.ingest.component import Executor
from tumbao.schema.mel_spec import MelSpec

print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        continue
    try:
        component = AudioExampleGen(
            manifests=order["manifests"], mel_spec=json.dumps(order["spec"]), cache=order["cache"], code=""
        )
        outputs = {name: [channel.type()] for name, channel in component.outputs.items()}
        for name, (artifact,) in outputs.items():
            artifact.uri = f"{order['out']}/{name}"
            os.makedirs(artifact.uri)
        flags = ["--runner=FnApiRunner", "--sdk_container_image=none"]
        context = Executor.Context(beam_pipeline_args=flags, tmp_dir=order["out"], unique_id="1")
        Executor(context).Do({}, outputs, component.exec_properties)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
"""


class Nursery:
    """Starts ingest; `run` gives the exit code, negative for a signal."""

    def __init__(self, process: subprocess.Popen[str], **settings: Any) -> None:
        self._process = process
        self._settings = settings

    def run(self, cache: Path, out: Path, kill_after: float | None = None) -> int:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({**self._settings, "cache": str(cache), "out": str(out)}) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):  # it was quicker
                os.kill(pid, signal.SIGKILL)
        return int(self._process.stdout.readline())


@pytest.fixture
def nursery(tmp_path: Path, write_song: Callable[..., Path], small_spec: MelSpec) -> Iterator[Nursery]:
    for genre in GENRES:
        for number in range(20):
            write_song(tmp_path / "library" / genre / f"{number}.wav", 20 + 2 * number)
    write_song(tmp_path / "library" / "salsa" / "silent.wav", 9, gain=0)
    catalog = scan(tmp_path / "library", GENRES, small_spec)
    folder = tmp_path / "catalogs"
    manifests = write_manifests(catalog, folder, genres=GENRES, split_by="song", seed=1, spec=small_spec)
    command = [sys.executable, "-W", "ignore", "-c", NURSERY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield Nursery(process, manifests=str(manifests), spec=vars(small_spec))
        process.stdin.close()  # type: ignore[union-attr]


def records(out: Path) -> dict[str, list[str]]:
    """Digests of the records of each split, and what was told of the songs."""
    told = {
        split: sorted(
            hashlib.sha256(repr(sorted(one.items())).encode()).hexdigest()
            for one in read_records(f"{out}/examples/Split-{split}/*.gz")
        )
        for split in SPLITS
    }
    for name in ("ingested", "rejected"):
        told[name] = sorted((out / name / f"{name}.jsonl").read_text().splitlines())
    return told


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.long)])
def test_killed_again_and_again_it_ends_with_the_same_records(nursery: Nursery, tmp_path: Path, times: int) -> None:
    begin = time.monotonic()
    assert nursery.run(tmp_path / "undisturbed songs", tmp_path / "undisturbed") == 0
    seconds = time.monotonic() - begin
    rng = random.Random(20_240_517)
    runs = kills = 0
    cache = tmp_path / "songs"
    while kills < times:
        runs += 1
        if nursery.run(cache, tmp_path / f"killed {runs}", rng.uniform(0, 0.7 * seconds)) == -signal.SIGKILL:
            kills += 1
        else:  # songs that are kept make it quicker, so that it was not caught: begin anew
            cache = tmp_path / f"songs {runs}"
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.zip")}
    assert nursery.run(cache, tmp_path / "last") == 0
    assert records(tmp_path / "last") == records(tmp_path / "undisturbed")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # not decoded again
    assert len(list(cache.rglob("*.*"))) == len(list(cache.rglob("*.zip"))) == 40
