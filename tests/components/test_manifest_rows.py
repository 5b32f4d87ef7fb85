"""The tables of a catalog as workers read them, here and in a bucket."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import pytest

from tumbao.components.ingest.catalog import Rejected, scan, write_manifests
from tumbao.components.ingest.manifest_rows import rejected_lines, split_rows
from tumbao.components.ingest.places import Place, place
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS

WriteSong = Callable[..., Path]


@pytest.mark.parametrize("folder", ["{tmp_path}/catalogs", "ram://catalogs"])
def test_what_is_written_is_read(folder: str, tmp_path: Path, write_song: WriteSong, small_spec: MelSpec) -> None:
    names = ['comma, "quote".wav', "two\nlines\r.wav", "canción.wav"]
    for number, name in enumerate(names):
        write_song(tmp_path / "library" / "salsa" / name, 5 + number)
    (tmp_path / "library" / "salsa" / "text.mp3").write_text("la la la")
    catalog = scan(tmp_path / "library", ["salsa"], small_spec)
    target: Place = place(folder.format(tmp_path=tmp_path))
    manifests = str(write_manifests(catalog, target, genres=["salsa"], protocol="song", seed=7, spec=small_spec))
    rows = [row for split in SPLITS for row in split_rows(split, manifests)]
    assert sorted((row["song"], row["sha256"]) for row in rows) == [(song.song, song.sha256) for song in catalog.songs]
    assert sorted(row["split"] for row in rows) == sorted(SPLITS)
    assert [Rejected(**json.loads(line)) for line in rejected_lines(f"{manifests}/rejected.csv")] == list(
        catalog.rejected
    )


def test_a_job_that_reads_the_rows_does_not_grow_with_them(tmp_path: Path) -> None:
    def job(songs: int) -> int:
        for split in SPLITS:
            (tmp_path / f"{split}.csv").write_text("song,path\n" + "".join(f"{n},{n}.mp3\n" for n in range(songs)))
        pipeline = beam.Pipeline(runner="FnApiRunner")
        _ = pipeline | beam.Create(SPLITS, reshuffle=False) | beam.FlatMap(split_rows, str(tmp_path))
        return len(pipeline.to_runner_api().SerializeToString())

    assert job(10_000) - job(10) < 100  # names that Beam makes up differ by some bytes
