"""AudioExampleGen on the manifests of a small library."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import apache_beam as beam
import numpy as np
import pytest
import soundfile

from tests.components.ingest.run_component import FLAGS, Executor, run_component
from tests.processes import children, wait_until_gone
from tumbao.components.ingest import render
from tumbao.components.ingest.library import scan, write_manifests
from tumbao.components.ingest.records import decode_image, read_records
from tumbao.components.ingest.transform import IngestSongs, _with_unlisted
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema import record
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS

GENRES = ["cumbia", "salsa"]
WriteSong = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("scan_in_process", "shared_render_workers")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, write_song: WriteSong) -> Path:
    """Songs of each kind: whole, padded, truncated, silent, and files that are rejected."""
    root = tmp_path_factory.mktemp("library")
    for name in "abcd":
        write_song(root / "cumbia" / f"{name}.wav", 9)
    write_song(root / "salsa" / "Ñ, long.wav", 13)
    write_song(root / "salsa" / "short.wav", 3.5)
    write_song(root / "salsa" / "other.wav", 8)
    truncated = write_song(root / "salsa" / "truncated.wav", 20)
    truncated.write_bytes(truncated.read_bytes()[: 5 * 8_000 * 2])
    write_song(root / "salsa" / "silent.wav", 9, gain=0)
    write_song(root / "rock" / "x.wav", 9)
    (root / "salsa" / "text.mp3").write_text("la la la")
    shutil.copy(root / "salsa" / "other.wav", root / "salsa" / "the same.wav")
    return root


@pytest.fixture(scope="module")
def manifests(library: Path, tmp_path_factory: pytest.TempPathFactory, small_spec: MelSpec) -> Callable[..., Path]:
    """Find a seed that assigns songs to the given splits: manifests("song", train="silent") -> folder."""
    folder = tmp_path_factory.mktemp("catalogs")
    catalog = scan(library, GENRES, small_spec)

    def write(split_by: str, **wanted: str) -> Path:
        for seed in range(1_000):
            written = write_manifests(catalog, folder, genres=GENRES, split_by=split_by, seed=seed, spec=small_spec)
            texts = {split: (written / f"{split}.csv").read_text() for split in SPLITS}
            if all(f"salsa/{name}.wav" in texts[split] for split, names in wanted.items() for name in names.split()):
                return written
        raise AssertionError(f"no seed gives {wanted}")

    return write


@dataclasses.dataclass(frozen=True)
class Result:
    """What the component wrote."""

    records: dict[str, list[dict[str, Any]]]
    ingested: dict[str, list[dict[str, Any]]]
    rejected: dict[str, dict[str, str]]
    examples: Any

    @property
    def all_records(self) -> list[dict[str, Any]]:
        return [features for split in SPLITS for features in self.records[split]]


def records(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {split: list(read_records(f"{folder}/examples/Split-{split}/*.gz")) for split in SPLITS}


def ingest(manifests: Path, spec: MelSpec, folder: Path, cache: Path) -> Result:
    outputs = run_component(manifests, spec, cache, folder)
    lines = {
        name: [json.loads(line) for line in (folder / name / f"{name}.jsonl").read_text().splitlines()]
        for name in ("ingested", "rejected")
    }
    ingested: dict[str, list[dict[str, Any]]] = {}
    for line in lines["ingested"]:
        ingested.setdefault(line["song"], []).append(line)
    rejected = {line["song"]: line for line in lines["rejected"]}
    assert len(rejected) == len(lines["rejected"])
    return Result(records(folder), ingested, rejected, outputs["examples"][0])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("songs")


@pytest.fixture(scope="module")
def result(
    manifests: Callable[..., Path], small_spec: MelSpec, tmp_path_factory: pytest.TempPathFactory, cache: Path
) -> Result:
    before = children()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "WorkerPool", WorkerPool)  # not the shared one: its workers end with ingest
        found = ingest(manifests("song", train="silent"), small_spec, tmp_path_factory.mktemp("run"), cache)
    wait_until_gone(before)
    return found


def test_each_file_is_ingested_or_rejected_with_its_reason(result: Result) -> None:
    assert {song: line["reason"] for song, line in result.rejected.items()} == {
        "rock/x.wav": "unknown genre",
        "salsa/silent.wav": "silent",
        "salsa/text.mp3": "unsupported",
        "salsa/the same.wav": "duplicate",
    }
    assert set(result.ingested) == {
        *(f"cumbia/{name}.wav" for name in "abcd"),
        *(f"salsa/{name}.wav" for name in ("Ñ, long", "short", "other", "truncated")),
    }
    assert "its peak is" in result.rejected["salsa/silent.wav"]["detail"]
    originals = {song: line["duplicate_of"] for song, line in result.rejected.items() if line["duplicate_of"]}
    assert originals == {"salsa/the same.wav": "salsa/other.wav"}


def test_records_agree_with_the_lines_about_songs(result: Result, small_spec: MelSpec) -> None:
    fragments: dict[str, list[tuple[int, float]]] = {}
    for split in SPLITS:
        assert {features[record.GENRE].decode() for features in result.records[split]} == set(GENRES)
        for features in result.records[split]:
            (line,) = result.ingested[features[record.SONG].decode()]
            assert line["split"] == split
            assert line["genre"] == features[record.GENRE].decode() == GENRES[features[record.LABEL]]
            assert line["padded"] == bool(features[record.PADDED])
            numbers = features[record.FRAGMENT], features[record.START_SECONDS]
            fragments.setdefault(line["song"], []).append(numbers)
    for song, (line,) in result.ingested.items():
        expected = [(index, index * small_spec.fragment_seconds) for index in range(line["fragments"])]
        assert sorted(fragments[song]) == expected
    assert [song for song, (line,) in result.ingested.items() if line["padded"]] == ["salsa/short.wav"]
    assert [song for song, (line,) in result.ingested.items() if line["truncated"]] == ["salsa/truncated.wav"]
    (line,) = result.ingested["salsa/truncated.wav"]
    assert (line["fragments"], line["seconds"]) == (1, pytest.approx(5, abs=0.01))
    (line,) = result.ingested["salsa/Ñ, long.wav"]
    assert {key: line[key] for key in line if key not in ("entry", "split")} == {
        "song": "salsa/Ñ, long.wav",
        "genre": "salsa",
        "fragments": 3,
        "padded": False,
        "silent": 0,
        "truncated": False,
        "seconds": 13.0,
        "declared_seconds": 13.0,
    }


def test_a_missing_song_ends_the_run_and_records_are_reproducible(
    result: Result, manifests: Callable[..., Path], small_spec: MelSpec, tmp_path: Path
) -> None:
    """The manifests say how many songs were found."""
    lost = Path(shutil.copytree(manifests("song", train="silent"), tmp_path / "lost"))
    lines = (lost / "rejected.csv").read_text("utf-8").splitlines(keepends=True)
    (lost / "rejected.csv").write_text("".join(lines[:-1]), "utf-8")
    with pytest.raises(RuntimeError, match=r"Expected 12 songs, each ingested or rejected\. Received 11"):
        ingest(lost, small_spec, tmp_path / "run", tmp_path / "songs")
    assert records(tmp_path / "run") == result.records


def test_a_genre_without_a_song_in_a_split_ends_the_run(
    manifests: Callable[..., Path], small_spec: MelSpec, tmp_path: Path, cache: Path
) -> None:
    with pytest.raises(ValueError, match=r"salsa/silent\.wav: silent: is silent") as caught:
        ingest(manifests("song", test="silent"), small_spec, tmp_path, cache)
    assert "in the test split. Received none of: salsa." in str(caught.value)


def test_by_fragment_exactly_the_listed_fragments_are_written(
    manifests: Callable[..., Path], small_spec: MelSpec, tmp_path: Path, cache: Path
) -> None:
    folder = manifests("fragment", train="silent", val="other", test="silent other")
    result = ingest(folder, small_spec, tmp_path, cache)
    for split in SPLITS:
        listed = (folder / f"{split}.csv").read_text().splitlines()
        for features in result.records[split]:
            (row,) = [line for line in listed if features[record.SONG].decode() in line]
            assert str(features[record.FRAGMENT]) in row.rpartition(",")[2].split()
    written = [(features[record.SONG], features[record.FRAGMENT]) for features in result.all_records]
    assert len(set(written)) == len(written)
    songs = dict.fromkeys((f"cumbia/{name}.wav" for name in "abcd"), 2)
    songs |= {"salsa/Ñ, long.wav": 3, "salsa/short.wav": 1, "salsa/other.wav": 2, "salsa/truncated.wav": 1}
    assert Counter(song.decode() for song, _ in written) == songs
    assert set(result.rejected) == {"rock/x.wav", "salsa/silent.wav", "salsa/text.mp3", "salsa/the same.wav"}


def row(entry: int, path: Path, **cells: str) -> dict[str, str]:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    cells = {"genre": "salsa", "split": "val", "start": "0.0", "end": "", "first": "0", "fragments": "", **cells}
    return {"entry": str(entry), "song": path.name, "path": str(path), "sha256": sha256, **cells}


def transform(rows: list[dict[str, str]], spec: MelSpec, folder: Path) -> tuple[dict[str, list[Any]], list[str]]:
    """Run the transform: the records of each split, and the lines about ingested and rejected songs."""
    with beam.Pipeline(argv=list(FLAGS)) as pipeline:
        outputs = pipeline | beam.Create(rows, reshuffle=False) | IngestSongs(spec, GENRES, f"{folder}/songs")
        for split in SPLITS:
            target = f"{folder}/examples/Split-{split}/records"
            _ = outputs[split] | f"Write{split}" >> beam.io.WriteToTFRecord(target, file_name_suffix=".gz")
        lines = (outputs["ingested"], outputs["rejected"]) | beam.Flatten()
        _ = lines | beam.io.WriteToText(f"{folder}/lines", shard_name_template="")
    return records(folder), (folder / "lines").read_text().splitlines()


def test_a_part_of_a_file_gives_its_own_fragments(tmp_path: Path, write_song: WriteSong, small_spec: MelSpec) -> None:
    whole, part = write_song(tmp_path / "whole.wav", 13), tmp_path / "part.wav"
    samples, rate = soundfile.read(whole)
    soundfile.write(part, samples[2 * rate : 11 * rate], rate)
    rows = [row(0, whole, start="2.0", end="11.0", first="2"), row(1, part)]
    found, _ = transform(rows, small_spec, tmp_path)
    in_order = sorted(found["val"], key=lambda one: (one[record.SONG], one[record.FRAGMENT]))
    assert [(one[record.SONG], one[record.FRAGMENT], one[record.START_SECONDS]) for one in in_order] == [
        *((b"part.wav", 0, 0.0), (b"part.wav", 1, 4.0), (b"whole.wav", 2, 2.0), (b"whole.wav", 3, 6.0))
    ]
    images = [decode_image(one[record.IMAGE]).astype(int) for one in in_order]
    for one, same in zip(images[:2], images[2:], strict=True):  # equal except for the resampler at the cut
        assert np.abs(one - same).mean() < 0.5
    assert np.abs(images[0] - images[1]).mean() > 2


def test_the_same_recording_is_in_one_split_only(tmp_path: Path, rng: np.random.Generator) -> None:
    rate, files = 22_050, {}
    times = np.arange(40 * rate) / rate
    for name in ("one", "two"):  # tones over six octaves, twice a second at other levels
        levels = np.repeat(rng.uniform(0, 1, (80, 24)), rate // 2, axis=0)
        tones = np.sin(2 * np.pi * np.outer(times, np.geomspace(110, 7_000, 24)))
        files[f"{name}.wav"] = 0.04 * (levels * tones).sum(axis=1)
    files["copy.mp3"] = files["one.wav"] / 3
    rows = []
    for entry, (name, split) in enumerate({"one.wav": "train", "copy.mp3": "test", "two.wav": "val"}.items()):
        soundfile.write(tmp_path / name, files[name], rate)
        rows.append(row(entry, tmp_path / name, split=split))
    found, lines = transform(rows, MelSpec(), tmp_path)
    assert {split: len(found[split]) for split in SPLITS} == {"train": 1, "val": 1, "test": 0}
    by_song = {line["song"]: line for line in map(json.loads, lines)}
    copy = by_song.pop("copy.mp3")
    assert (copy["reason"], copy["entry"]) == ("duplicate", 1)
    assert copy["detail"] == "the same recording as one.wav, encoded or cut differently"
    assert not any("reason" in line for line in by_song.values())


def test_fragments_that_no_split_lists_go_to_the_first() -> None:
    rows = [{"split": "train", "fragments": "0"}, {"split": "test", "fragments": "1"}]
    assert [row["fragments"] for row in _with_unlisted(rows, [0, 1, 2, 3])] == ["0 2 3", "1"]
    assert _with_unlisted(rows, [0, 1]) == rows
    whole = [{"split": "train", "fragments": ""}]
    assert _with_unlisted(whole, [0, 1, 2]) == whole


class SubmittedError(Exception):
    """Ends the component where it submits its job; holds the job's size in bytes."""


class Job(beam.Pipeline):
    def run(self, test_runner_api: bool | str = "AUTO") -> NoReturn:
        raise SubmittedError(len(self.to_runner_api().SerializeToString()))


def test_the_job_does_not_grow_with_the_rows(
    tmp_path: Path, small_spec: MelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Executor, "_make_beam_pipeline", lambda _: Job(runner="FnApiRunner"))

    def size(songs: int) -> int:
        folder = tmp_path / str(songs)
        folder.mkdir()
        rows = "".join(f"{n},{n}.mp3,,\n" for n in range(songs))
        for table in (*SPLITS, "rejected"):
            (folder / f"{table}.csv").write_text("song,path,start,end\n" + rows)
        (folder / "catalog.json").write_text('{"genres": ["salsa"]}')
        with pytest.raises(SubmittedError) as job:
            run_component(folder, small_spec, tmp_path / "songs", folder)
        return int(job.value.args[0])

    assert size(10_000) - size(10) < 1_000  # names that Beam makes up differ by some bytes
