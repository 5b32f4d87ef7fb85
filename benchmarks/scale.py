"""Estimate of the resources of a large library: core hours, storage, workers, wall time and costs.

Each step of a run is measured in its own process with few and with more synthetic songs; the difference of CPU times,
which does not depend on other work of the machine, is the cost of a song. Prices are assumptions: check them. The table
is that of docs/scale.md; the last line is the result as JSON.

    python benchmarks/scale.py [--songs 1000000] [--minutes 4] [--workers 100]
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from ingest import GENRES, RATE_HZ, SPLITS, Row, write_library
from rich.console import Console

from tumbao.trainer.vgg16 import preferred_policy

FRAGMENT_SECONDS = 30
FEW, MORE, SONG_SECONDS = 2, 6, 120
COPIES = 25
"""Number of times that the records are read for StatisticsGen; reading them once is too short to measure."""
FINGERPRINTS = 400, 1_600
TEST_SHARE = 0.1
_PR_SET_CHILD_SUBREAPER = 36

console = Console()


@dataclasses.dataclass(frozen=True)
class Prices:
    """List prices of 2025 in US dollars (us-central1, batch), which were not checked.

    See cloud.google.com/dataflow/pricing and cloud.google.com/storage/pricing.
    """

    vcpu_hour: float = 0.056
    memory_gb_hour: float = 0.003557
    disk_gb_hour: float = 0.000054
    shuffle_gb: float = 0.011
    storage_gb_month: float = 0.020
    writes_1000: float = 0.005
    reads_1000: float = 0.0004


@dataclasses.dataclass(frozen=True)
class Plan:
    """Size of the library and assumptions.

    `workers` is Dataflow's `--max_num_workers`; a worker is an e2-standard-4. `busy` is the share of time in which the
    workers' CPUs work, because bundles end unevenly. `boot_seconds` is the time until a new machine renders,
    `megabytes_per_second` the rate at which one machine in the region reads from a bucket. `writes` and `reads` are
    requests to the bucket per song: its archive is written, renamed and read, the song is read twice.
    """

    songs: int
    minutes: float
    workers: int
    vcpus: int = 4
    memory_gb: int = 16
    disk_gb: int = 50
    busy: float = 0.8
    boot_seconds: float = 165
    megabytes_per_second: float = 250
    writes: int = 4
    reads: int = 10

    @property
    def hours(self) -> float:
        """Hours of audio."""
        return self.songs * self.minutes / 60

    @property
    def fragments(self) -> int:
        """Complete fragments of all songs."""
        return self.songs * int(self.minutes * 60 // FRAGMENT_SECONDS)


def cpu_seconds(work: Callable[..., None], *arguments: Any) -> float:
    """Call a function in its own process; return the CPU seconds of the process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = multiprocessing.get_context("spawn").Process(target=_alone, args=(work, *arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"Expected {work.__name__} to succeed. Received: exit code {process.exitcode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _alone(work: Callable[..., None], *arguments: Any) -> None:
    """Call a function in a child, and wait for all of its descendants, since only those are counted."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    if not (child := os.fork()):
        work(*arguments)
        sys.stdout.flush()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    sys.exit(os.waitstatus_to_exitcode(status))


def per_unit(work: Callable[..., None], few: tuple[Any, ...], more: tuple[Any, ...], units: int) -> float:
    """Measure the CPU seconds of each further unit, by two runs of which the second has `units` more."""
    starting = cpu_seconds(work, *few)
    return (cpu_seconds(work, *more) - starting) / units


def scan(library: Path, songs: int) -> None:
    """Hash songs and read their headers."""
    from tumbao.components.ingest.formats import read_library
    from tumbao.components.ingest.library import scan_files
    from tumbao.schema.mel_spec import MelSpec

    listed = read_library(library)
    scan_files(library, dataclasses.replace(listed, entries=listed.entries[:songs]), GENRES, MelSpec())


def ingest(rows: Sequence[Row], folder: Path) -> None:
    """Run the Beam transform of ingest in one process."""
    import apache_beam as beam

    from tumbao.components.ingest.transform import INGESTED, IngestSongs
    from tumbao.schema.mel_spec import MelSpec

    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        outputs = pipeline | beam.Create(rows) | IngestSongs(MelSpec(), list(GENRES), f"{folder}/songs")
        for split in SPLITS:
            target = beam.io.WriteToTFRecord(f"{folder}/{split}", file_name_suffix=".gz")
            _ = outputs[split] | f"Write[{split}]" >> target
        _ = outputs[INGESTED] | beam.io.WriteToText(f"{folder}/{INGESTED}", shard_name_template="")


def features(records: Path, written: Path, fragments: int, policy: str) -> None:
    """Compute VGG-16's features of records and write them."""
    import tensorflow as tf

    from tumbao.components.backbone_cache import BATCH
    from tumbao.components.backbone_features import ExamplesToFeatures
    from tumbao.trainer.weights import ensure_vgg16

    step = ExamplesToFeatures("vgg16", str(ensure_vgg16().path), policy)  # type: ignore[arg-type] # one of the two
    files = [str(path) for path in records.glob("*.gz")]
    examples = list(tf.data.TFRecordDataset(files, "GZIP").take(fragments).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(written), "GZIP") as writer:
        for begin in range(0, len(examples), BATCH):
            for record in step.process(examples[begin : begin + BATCH]):
                writer.write(record)


def statistics(records: Path, copies: int) -> None:
    """Compute statistics of records as StatisticsGen does."""
    import tensorflow_data_validation as tfdv
    from apache_beam.options.pipeline_options import PipelineOptions

    with tempfile.TemporaryDirectory() as folder:
        for number in range(copies):
            for file in records.glob("*.gz"):
                shutil.copy(file, f"{folder}/{number}-{file.name}")
        options = PipelineOptions(["--runner=FnApiRunner"])
        tfdv.generate_statistics_from_tfrecord(f"{folder}/*.gz", f"{folder}/statistics", pipeline_options=options)


def find_duplicates(songs: int) -> None:
    """Search random fingerprints for duplicates."""
    from tumbao.components.ingest.fingerprint import find_duplicates as find

    random, words = np.random.default_rng(0), 2_000
    find((str(song), song, random.integers(0, 65_536, words).astype(np.uint16)) for song in range(songs))


def bytes_in(folder: Path, pattern: str) -> int:
    """Add up the sizes of files, in bytes."""
    return sum(path.stat().st_size for path in folder.glob(pattern))


def measure(folder: Path, policy: str) -> dict[str, float]:
    """Measure each step: seconds and bytes for an hour of audio, a fragment or a song."""
    from tumbao.components.ingest import song_cache

    rows = write_library(folder, MORE, SONG_SECONDS, RATE_HZ)
    library, fragments_of_song = folder / "library", SONG_SECONDS // FRAGMENT_SECONDS
    fragments = MORE * fragments_of_song
    hours = (MORE - FEW) * SONG_SECONDS / 3600
    log("scanning")
    found = {"scan_s_per_hour": per_unit(scan, (library, FEW), (library, MORE), 1) / hours}
    log("ingesting")
    few, more = folder / "few", folder / "more"
    found["ingest_s_per_hour"] = per_unit(ingest, (rows[:FEW], few), (rows, more), 1) / hours
    archives = list(more.glob("songs/*/*.zip"))
    described = [song_cache.description(str(path)) for path in archives]
    found |= {
        "song_bytes_per_hour": bytes_in(library, "*/*.mp3") / (MORE * SONG_SECONDS / 3600),
        "record_bytes": bytes_in(more, "*.gz") / fragments,
        "archive_bytes": sum(path.stat().st_size for path in archives) / fragments,
        "fingerprint_bytes": sum(len(one.fingerprint) for one in described if one) / fragments,
        "listing_bytes_per_song": bytes_in(more, "ingested") / MORE,
    }
    log("describing")
    found["statistics_s"] = per_unit(statistics, (more, 1), (more, COPIES), (COPIES - 1) * fragments)
    log(f"computing features in {policy}")
    out, first = folder / "features.gz", 8
    few_features, more_features = (more, out, first, policy), (more, out, fragments, policy)
    found["features_s"] = per_unit(features, few_features, more_features, fragments - first)
    found["feature_bytes"] = out.stat().st_size / fragments
    log("finding duplicates")
    found["duplicates_s_per_song"] = per_unit(
        find_duplicates, FINGERPRINTS[:1], FINGERPRINTS[1:], FINGERPRINTS[1] - FINGERPRINTS[0]
    )
    return found


def estimate(plan: Plan, found: dict[str, float], prices: Prices) -> dict[str, float]:
    """Extrapolate to hours, gigabytes and dollars."""
    core_hours = {
        "ingest": found["ingest_s_per_hour"] * plan.hours / 3600,
        "statistics": found["statistics_s"] * plan.fragments / 3600,
        "features": found["features_s"] * plan.fragments / 3600,
        "evaluator": found["features_s"] * plan.fragments * TEST_SHARE / 3600,
    }
    started = plan.boot_seconds / 3600
    cores = plan.workers * plan.vcpus
    wall = {step: hours / cores / plan.busy + started for step, hours in core_hours.items()}
    worker_hours = sum(wall.values()) * plan.workers
    gigabytes = {
        "songs": found["song_bytes_per_hour"] * plan.hours / 1e9,
        "archives": found["archive_bytes"] * plan.fragments / 1e9,
        "records": found["record_bytes"] * plan.fragments / 1e9,
        "features": found["feature_bytes"] * plan.fragments / 1e9,
    }
    shuffled = (
        plan.songs * (2 * found["listing_bytes_per_song"]) / 1e9 + found["fingerprint_bytes"] * plan.fragments / 1e9
    )
    dollars = {
        "processors": worker_hours * plan.vcpus * prices.vcpu_hour,
        "memory": worker_hours * plan.memory_gb * prices.memory_gb_hour,
        "disks": worker_hours * plan.disk_gb * prices.disk_gb_hour,
        "shuffle": shuffled * prices.shuffle_gb,
        "requests": plan.songs / 1000 * (plan.writes * prices.writes_1000 + plan.reads * prices.reads_1000),
    }
    stored = sum(size for name, size in gigabytes.items() if name != "songs")
    return {
        **{f"core_hours_{step}": hours for step, hours in core_hours.items()},
        "core_hours": sum(core_hours.values()),
        **{f"wall_hours_{step}": hours for step, hours in wall.items()},
        "wall_hours": sum(wall.values()),
        **{f"gb_{name}": size for name, size in gigabytes.items()},
        "scan_core_hours": found["scan_s_per_hour"] * plan.hours / 3600,
        "scan_reading_hours": gigabytes["songs"] * 1000 / plan.megabytes_per_second / 3600,
        "duplicates_hours": found["duplicates_s_per_song"] * plan.songs / 3600,
        "duplicates_gb": found["fingerprint_bytes"] * plan.fragments / 1e9,
        **{f"dollars_{name}": cost for name, cost in dollars.items()},
        "dollars": sum(dollars.values()),
        "dollars_storage_month": stored * prices.storage_gb_month,
    }


def table(plan: Plan, found: dict[str, float], figures: dict[str, float], policy: str) -> str:
    """Return the table in Markdown."""

    def core_hours(step: str) -> str:
        return f"{figures[f'core_hours_{step}']:,.0f} core hours"

    def size(unit: str, whole: str) -> tuple[str, str]:
        return f"{found[unit]:,.0f} bytes per fragment", f"{figures[whole]:,.0f} GB"

    storage = ("song cache, records, features", f"${figures['dollars_storage_month']:,.0f}")
    scanning = f"{figures['scan_core_hours']:,.0f} core hours, {figures['scan_reading_hours']:,.1f} h of reading"
    duplicates = f"{figures['duplicates_hours'] * 60:,.0f} minutes, {figures['duplicates_gb']:.1f} GB of fingerprints"
    rows: list[tuple[str, str, str]] = [
        ("audio", f"{FRAGMENT_SECONDS} s per fragment", f"{plan.hours:,.0f} h, {plan.fragments:,} fragments"),
        ("songs", "mp3 of 256 kbit/s", f"{figures['gb_songs']:,.0f} GB"),
        ("song cache", *size("archive_bytes", "gb_archives")),
        ("records", *size("record_bytes", "gb_records")),
        ("features", *size("feature_bytes", "gb_features")),
        ("scan, on one machine", f"{found['scan_s_per_hour']:.1f} s per hour of audio", scanning),
        ("ingest", f"{found['ingest_s_per_hour']:.1f} s per hour of audio", core_hours("ingest")),
        ("duplicates, on one worker", f"{found['duplicates_s_per_song'] * 1e3:.2f} ms per song", duplicates),
        ("StatisticsGen", f"{found['statistics_s'] * 1e3:.1f} ms per fragment", core_hours("statistics")),
        (f"features, {policy}", f"{found['features_s']:.2f} s per fragment", core_hours("features")),
        ("Evaluator, on a tenth", f"{found['features_s']:.2f} s per fragment", core_hours("evaluator")),
        ("start of a worker", f"{plan.boot_seconds:.0f} s assumed", "for each of four jobs"),
        ("wall time", f"{plan.workers} × {plan.vcpus} vCPUs, {plan.busy:.0%} busy", f"{figures['wall_hours']:,.1f} h"),
        ("Dataflow and requests", "list prices, check them", f"${figures['dollars']:,.0f}"),
        ("storage per month", *storage),
    ]
    head = f"{plan.songs:,} songs of {plan.minutes:g} minutes (synthetic)", "measured or assumed", "total"
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join((lines[0], "|---|---|---|", *lines[1:]))


def log(text: str) -> None:
    """Print a message to the terminal."""
    Console(stderr=True).print(f"[dim]{text} …[/dim]")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, extrapolate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--workers", type=int, default=100)
    plan, prices = Plan(**vars(parser.parse_args(arguments))), Prices()
    policy, _ = preferred_policy()
    with tempfile.TemporaryDirectory(prefix="tumbao-scale-") as folder:
        found = measure(Path(folder), policy)
    figures = estimate(plan, found, prices)
    console.print(table(plan, found, figures, policy), markup=False, highlight=False, soft_wrap=True)
    result = {
        "synthetic": True,
        "plan": dataclasses.asdict(plan),
        "prices": dataclasses.asdict(prices),
        "measured": found,
        "policy": policy,
        "estimated": figures,
    }
    console.print(json.dumps(result), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
