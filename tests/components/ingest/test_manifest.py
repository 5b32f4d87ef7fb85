"""The tables of a catalog as workers read them, here and in a bucket."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import apache_beam as beam
import pytest

from tumbao.components.ingest.component import AudioExampleGen, Executor
from tumbao.components.ingest.library import Rejected, scan, write_manifests
from tumbao.components.ingest.manifest import json_lines, rejected_lines, split_rows
from tumbao.components.ingest.paths import AnyPath, as_path
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
    target: AnyPath = as_path(folder.format(tmp_path=tmp_path))
    manifests = str(write_manifests(catalog, target, genres=["salsa"], split_by="song", seed=7, spec=small_spec))
    rows = [row for split in SPLITS for row in split_rows(split, manifests)]
    assert sorted((row["song"], row["sha256"]) for row in rows) == [(song.song, song.sha256) for song in catalog.songs]
    assert sorted(row["split"] for row in rows) == sorted(SPLITS)
    assert [Rejected(**json.loads(line)) for line in rejected_lines(f"{manifests}/rejected.csv")] == list(
        catalog.rejected
    )


@pytest.mark.parametrize("folder", ["{tmp_path}", "ram://lines"])
def test_only_an_end_of_line_ends_a_line_of_json(folder: str, tmp_path: Path) -> None:
    file = as_path(folder.format(tmp_path=tmp_path)) / "songs.jsonl"
    file.write_bytes('{"song": "one\u2028song"}\n{"song": "canción"}\n'.encode())
    assert json_lines(str(file)) == [{"song": "one\u2028song"}, {"song": "canción"}]


class Job(beam.Pipeline):
    """A pipeline that is measured instead of run."""

    def run(self, test_runner_api: bool | str = "AUTO") -> NoReturn:
        raise HandedInError(len(self.to_runner_api().SerializeToString()))


class HandedInError(Exception):
    """Ends the executor where it hands in its job; tells its size in bytes."""


def test_the_job_does_not_grow_with_the_rows(
    tmp_path: Path, small_spec: MelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Executor, "_make_beam_pipeline", lambda _: Job(runner="FnApiRunner"))

    def size(songs: int) -> int:
        head, rows = "song,path,start,end\n", "".join(f"{n},{n}.mp3,,\n" for n in range(songs))
        for table in (*SPLITS, "rejected"):
            (tmp_path / f"{table}.csv").write_text(head + rows)
        (tmp_path / "catalog.json").write_text('{"genres": ["salsa"]}')
        component = AudioExampleGen(
            manifests=str(tmp_path), mel_spec=json.dumps(vars(small_spec)), cache=str(tmp_path / "songs"), code=""
        )
        outputs = {name: [channel.type()] for name, channel in component.outputs.items()}
        for name, (artifact,) in outputs.items():
            artifact.uri = str(tmp_path / name)
        with pytest.raises(HandedInError) as job:
            Executor().Do({}, outputs, component.exec_properties)
        return int(job.value.args[0])

    assert size(10_000) - size(10) < 1_000  # names that Beam makes up differ by some bytes
