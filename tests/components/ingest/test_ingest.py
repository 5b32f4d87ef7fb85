"""AudioExampleGen: first its transform, then the component's executor on manifests of a small library."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import soundfile
import tensorflow as tf
from apache_beam.testing.util import assert_that, equal_to
from tfx.types import artifact_utils

from tests.processes import children, wait_until_gone
from tumbao.components.ingest.component import AudioExampleGen, Executor
from tumbao.components.ingest.library import scan, write_manifests
from tumbao.components.ingest.records import decode_image, read_records
from tumbao.components.ingest.transform import IngestSongs, _with_unlisted
from tumbao.schema import record
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS

GENRES = ["cumbia", "salsa"]
RUNNER = ["--runner=FnApiRunner", "--sdk_container_image=none"]
WriteSong = Callable[..., Path]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, write_song: WriteSong) -> Path:
    """Give one of each kind: whole songs, one padded, one that breaks off, silence, and files that are refused."""
    root = tmp_path_factory.mktemp("library")
    for name in "abcd":
        write_song(root / "cumbia" / f"{name}.wav", 9)
    write_song(root / "salsa" / "Ñ, long.wav", 13)
    write_song(root / "salsa" / "short.wav", 3.5)
    write_song(root / "salsa" / "other.wav", 8)
    breaks_off = write_song(root / "salsa" / "breaks off.wav", 20)
    breaks_off.write_bytes(breaks_off.read_bytes()[: 5 * 8_000 * 2])
    write_song(root / "salsa" / "silent.wav", 9, gain=0)
    write_song(root / "rock" / "x.wav", 9)
    (root / "salsa" / "text.mp3").write_text("la la la")
    shutil.copy(root / "salsa" / "other.wav", root / "salsa" / "the same.wav")
    return root


@pytest.fixture(scope="module")
def manifests(library: Path, tmp_path_factory: pytest.TempPathFactory, small_spec: MelSpec) -> Callable[..., Path]:
    """Find a seed that puts songs where they are wanted: manifests("song", train="silent") -> folder."""
    folder = tmp_path_factory.mktemp("catalogs")
    catalog = scan(library, GENRES, small_spec)

    def write(protocol: str, **wanted: str) -> Path:
        for seed in range(1_000):
            written = write_manifests(catalog, folder, genres=GENRES, split_by=protocol, seed=seed, spec=small_spec)
            texts = {split: (written / f"{split}.csv").read_text() for split in SPLITS}
            if all(f"salsa/{name}.wav" in texts[split] for split, names in wanted.items() for name in names.split()):
                return written
        raise AssertionError(f"no seed gives {wanted}")

    return write


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run of the executor wrote."""

    records: dict[str, list[dict[str, Any]]]
    ingested: dict[str, list[dict[str, Any]]]
    rejected: dict[str, dict[str, str]]
    examples: Any

    @property
    def everything(self) -> list[dict[str, Any]]:
        return [features for split in SPLITS for features in self.records[split]]


def ingest(manifests: Path, spec: MelSpec, folder: Path) -> Result:
    """Run the component's own executor with its own properties and artefacts, as a runner does."""
    component = AudioExampleGen(
        manifests=str(manifests), mel_spec=json.dumps(vars(spec)), cache=str(folder / "songs"), code="c0de"
    )
    assert component.executor_spec.executor_class is Executor
    outputs = {name: [channel.type()] for name, channel in component.outputs.items()}
    for name, (artifact,) in outputs.items():
        artifact.uri = str(folder / name)
        (folder / name).mkdir(parents=True)
    context = Executor.Context(beam_pipeline_args=RUNNER, tmp_dir=str(folder), unique_id="1")
    Executor(context).Do({}, outputs, component.exec_properties)
    (examples,) = outputs["examples"]
    ingested: dict[str, list[dict[str, Any]]] = {}
    for line in (folder / "ingested" / "ingested.jsonl").read_text().splitlines():
        ingested.setdefault(json.loads(line)["song"], []).append(json.loads(line))
    rejected = [json.loads(line) for line in (folder / "rejected" / "rejected.jsonl").read_text().splitlines()]
    assert len({line["song"] for line in rejected}) == len(rejected)
    return Result(
        records={
            split: list(read_records(f"{artifact_utils.get_split_uri([examples], split)}/*.gz")) for split in SPLITS
        },
        ingested=ingested,
        rejected={line["song"]: line for line in rejected},
        examples=examples,
    )


def on_disk(path: Path) -> dict[str, str]:
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.fixture(scope="module")
def result(manifests: Callable[..., Path], small_spec: MelSpec, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return ingest(manifests("song", train="silent"), small_spec, tmp_path_factory.mktemp("run"))


def test_the_transform_gives_records_and_says_what_became_of_every_song(
    tmp_path: Path, write_song: WriteSong, small_spec: MelSpec
) -> None:
    row = {"genre": "salsa", "seconds": "9.0", "fragments": "", "split": "val", "start": "0.0", "end": "", "first": "0"}
    rows = [
        {**row, "entry": "3", "song": "good", **on_disk(write_song(tmp_path / "good.wav", 9))},
        {**row, "entry": "4", "song": "silent", **on_disk(write_song(tmp_path / "silent.wav", 9, gain=0))},
    ]

    def records_of_good(serialized: list[bytes]) -> None:
        assert len(serialized) == 2
        assert all(b"salsa" in one and b"good" in one for one in serialized)

    def good_told(lines: list[str]) -> None:
        assert [json.loads(line) for line in lines] == [
            {
                "entry": 3,
                "song": "good",
                "genre": "salsa",
                "split": "val",
                "fragments": 2,
                "padded": False,
                "silent": 0,
                "truncated": False,
                "seconds": 9.0,
                "declared_seconds": 9.0,
            }
        ]

    def silent_told(lines: list[str]) -> None:
        (told,) = [json.loads(line) for line in lines]
        assert (told["song"], told["reason"]) == ("silent", "silent")

    with beam.Pipeline(argv=RUNNER) as pipeline:
        outputs = (
            pipeline | beam.Create(rows, reshuffle=False) | IngestSongs(small_spec, GENRES, str(tmp_path / "songs"))
        )
        assert_that(outputs["val"], records_of_good, label="records")
        assert_that(outputs["ingested"], good_told, label="ingested")
        assert_that(outputs["rejected"], silent_told, label="rejected")


def test_every_song_found_is_ingested_or_rejected_with_its_reason(result: Result) -> None:
    assert {song: line["reason"] for song, line in result.rejected.items()} == {
        "rock/x.wav": "unknown genre",
        "salsa/silent.wav": "silent",
        "salsa/text.mp3": "unsupported",
        "salsa/the same.wav": "duplicate",
    }
    assert set(result.ingested) == {
        *(f"cumbia/{name}.wav" for name in "abcd"),
        *(f"salsa/{name}.wav" for name in ("Ñ, long", "short", "other", "breaks off")),
    }
    assert "its peak is" in result.rejected["salsa/silent.wav"]["detail"]
    originals = {song: line["duplicate_of"] for song, line in result.rejected.items() if line["duplicate_of"]}
    assert originals == {"salsa/the same.wav": "salsa/other.wav"}


def test_what_is_told_of_a_song_is_what_its_records_are(result: Result) -> None:
    told = {song: lines[0]["fragments"] for song, lines in result.ingested.items()}
    counted = Counter(features[record.SONG].decode() for features in result.everything)
    assert counted == told
    for split in SPLITS:
        for features in result.records[split]:
            (line,) = result.ingested[features[record.SONG].decode()]
            assert line["split"] == split
            assert line["genre"] == features[record.GENRE].decode() == GENRES[features[record.LABEL]]
            assert line["padded"] == bool(features[record.PADDED])


def test_fragments_are_consecutive(result: Result, small_spec: MelSpec) -> None:
    songs: dict[bytes, list[tuple[int, float]]] = {}
    for features in result.everything:
        songs.setdefault(features[record.SONG], []).append((features[record.FRAGMENT], features[record.START_SECONDS]))
    for fragments in songs.values():
        expected = [(index, index * small_spec.fragment_seconds) for index in range(len(fragments))]
        assert sorted(fragments) == expected
    assert len(songs["salsa/Ñ, long.wav".encode()]) == 3


def test_a_padded_song_is_flagged(result: Result) -> None:
    padded = [features for features in result.everything if features[record.PADDED]]
    assert [features[record.SONG] for features in padded] == [b"salsa/short.wav"]
    assert [song for song, (line,) in result.ingested.items() if line["padded"]] == ["salsa/short.wav"]


def test_a_song_that_breaks_off_is_flagged_and_used_as_far_as_it_goes(result: Result) -> None:
    assert [song for song, (line,) in result.ingested.items() if line["truncated"]] == ["salsa/breaks off.wav"]
    (line,) = result.ingested["salsa/breaks off.wav"]
    assert (line["fragments"], line["seconds"]) == (1, pytest.approx(5, abs=0.01))


def test_every_genre_stands_in_every_split(result: Result) -> None:
    for split in SPLITS:
        assert {features[record.GENRE].decode() for features in result.records[split]} == set(GENRES)


def test_tfx_is_told_the_splits_and_the_format(result: Result) -> None:
    assert artifact_utils.decode_split_names(result.examples.split_names) == list(SPLITS)
    assert result.examples.get_string_custom_property("payload_format") == "FORMAT_TF_EXAMPLE"
    assert result.examples.get_string_custom_property("file_format") == "tfrecords_gzip"


def test_the_same_manifests_give_the_same_records_in_the_same_order(
    result: Result, manifests: Callable[..., Path], small_spec: MelSpec, tmp_path: Path
) -> None:
    assert ingest(manifests("song", train="silent"), small_spec, tmp_path).records == result.records


def test_a_genre_that_loses_its_song_of_a_split_ends_the_run(
    manifests: Callable[..., Path], small_spec: MelSpec, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"salsa/silent\.wav: silent: is silent") as caught:
        ingest(manifests("song", test="silent"), small_spec, tmp_path)
    assert "in the test split. Received none of: salsa." in str(caught.value)


def test_a_song_that_nothing_is_told_of_ends_the_run(
    manifests: Callable[..., Path], small_spec: MelSpec, tmp_path: Path
) -> None:
    """The manifests say how many songs were found."""
    lost = Path(shutil.copytree(manifests("song", train="silent"), tmp_path / "lost"))
    lines = (lost / "rejected.csv").read_text("utf-8").splitlines(keepends=True)
    (lost / "rejected.csv").write_text("".join(lines[:-1]), "utf-8")
    with pytest.raises(RuntimeError, match=r"Expected 12 songs, each ingested or rejected\. Received 11"):
        ingest(lost, small_spec, tmp_path / "run")


def test_by_fragment_the_listed_fragments_are_written_and_no_others(
    manifests: Callable[..., Path], library: Path, small_spec: MelSpec, tmp_path: Path
) -> None:
    folder = manifests("fragment", train="silent", val="other", test="silent other")
    result = ingest(folder, small_spec, tmp_path)
    listed = {split: (folder / f"{split}.csv").read_text() for split in SPLITS}
    for split in SPLITS:
        for features in result.records[split]:
            (row,) = [line for line in listed[split].splitlines() if features[record.SONG].decode() in line]
            assert str(features[record.FRAGMENT]) in row.rpartition(",")[2].split()
    written = [(features[record.SONG], features[record.FRAGMENT]) for features in result.everything]
    assert len(set(written)) == len(written)
    songs = dict.fromkeys((f"cumbia/{name}.wav" for name in "abcd"), 2)
    songs |= {"salsa/Ñ, long.wav": 3, "salsa/short.wav": 1, "salsa/other.wav": 2, "salsa/breaks off.wav": 1}
    assert Counter(song.decode() for song, _ in written) == songs
    assert set(result.rejected) == {"rock/x.wav", "salsa/silent.wav", "salsa/text.mp3", "salsa/the same.wav"}


def test_a_part_of_a_file_gives_the_fragments_that_lie_in_it(
    tmp_path: Path, write_song: WriteSong, small_spec: MelSpec
) -> None:
    path, other = write_song(tmp_path / "whole.wav", 13), tmp_path / "part.wav"
    samples, rate = soundfile.read(path)
    soundfile.write(other, samples[2 * rate : 11 * rate], rate)
    row = {"entry": "0", "genre": "salsa", "seconds": "9", "fragments": "", "split": "val", "first": "2"}
    rows = [
        {**row, "song": "part of whole", **on_disk(path), "start": "2.0", "end": "11.0"},
        {**row, "song": "file of its own", **on_disk(other), "start": "0.0", "end": "", "first": "0"},
    ]

    def alike(serialized: list[bytes]) -> None:
        found: dict[str, list[tuple[int, float, bytes]]] = {}
        for one in serialized:
            features = tf.train.Example.FromString(one).features.feature
            numbers = features[record.FRAGMENT].int64_list.value[0], features[record.START_SECONDS].float_list.value[0]
            song = features[record.SONG].bytes_list.value[0].decode()
            found.setdefault(song, []).append((*numbers, features[record.IMAGE].bytes_list.value[0]))
        part, whole = sorted(found["part of whole"]), sorted(found["file of its own"])
        assert [(number, start) for number, start, _ in part] == [(2, 2.0), (3, 6.0)]
        assert [(number, start) for number, start, _ in whole] == [(0, 0.0), (1, 4.0)]
        for (_, _, png), (_, _, same) in zip(part, whole, strict=True):  # but for the resampler at the cut
            assert np.abs(decode_image(png).astype(int) - decode_image(same)).mean() < 0.5
        neighbours = np.abs(decode_image(part[0][2]).astype(int) - decode_image(part[1][2])).mean()
        assert neighbours > 2

    with beam.Pipeline(argv=RUNNER) as pipeline:
        outputs = (
            pipeline | beam.Create(rows, reshuffle=False) | IngestSongs(small_spec, GENRES, str(tmp_path / "songs"))
        )
        assert_that(outputs["val"], alike)


def test_the_same_recording_never_stands_on_two_sides(tmp_path: Path, rng: np.random.Generator) -> None:
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
        row = {"entry": str(entry), "song": name, "genre": "salsa", "split": split, "start": "0.0", "end": ""}
        rows.append({**row, **on_disk(tmp_path / name), "first": "0", "fragments": ""})

    def one_told(lines: list[str]) -> None:
        (told,) = [json.loads(line) for line in lines]
        assert (told["song"], told["reason"], told["entry"]) == ("copy.mp3", "duplicate", 1)
        assert told["detail"] == "the same recording as one.wav, in another encoding"

    def others_used(lines: list[str]) -> None:
        assert sorted(json.loads(line)["song"] for line in lines) == ["one.wav", "two.wav"]

    with beam.Pipeline(argv=RUNNER) as pipeline:
        ingest_songs = IngestSongs(MelSpec(), GENRES, str(tmp_path / "songs"))
        outputs = pipeline | beam.Create(rows, reshuffle=False) | ingest_songs
        assert_that(outputs["test"], equal_to([]), label="test")
        assert_that(outputs["rejected"], one_told, label="rejected")
        assert_that(outputs["ingested"], others_used, label="ingested")


def test_worker_processes_are_gone_when_ingest_is_done(
    manifests: Callable[..., Path], small_spec: MelSpec, tmp_path: Path
) -> None:
    before = children()
    ingest(manifests("song", train="silent"), small_spec, tmp_path)
    wait_until_gone(before)


def test_fragments_that_no_split_lists_go_to_the_first() -> None:
    rows = [{"split": "train", "fragments": "0"}, {"split": "test", "fragments": "1"}]
    assert [row["fragments"] for row in _with_unlisted(rows, [0, 1, 2, 3])] == ["0 2 3", "1"]
    assert _with_unlisted(rows, [0, 1]) == rows
    whole = [{"split": "train", "fragments": ""}]
    assert _with_unlisted(whole, [0, 1, 2]) == whole
