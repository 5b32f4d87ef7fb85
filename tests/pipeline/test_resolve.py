"""`RunSettings`, the first component of a run in the cloud, resolves the configuration in the compiled file."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import soundfile

from tumbao.components.ingest import library as library_module
from tumbao.components.ingest import scan_cache
from tumbao.components.ingest.decoders import AudioSegment
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.pipeline import resolve as resolve_module
from tumbao.pipeline.cloud import defaults
from tumbao.pipeline.config import UsageError, parse
from tumbao.pipeline.resolve import Resolved, RunSettings
from tumbao.pipeline.source import SCAN_CACHE
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS
from tumbao.trainer.weights import WeightsFile

RATE = 8_000


@pytest.fixture
def library(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Make seven songs of salsa, four of them of salsa/dura, and three of cumbia, 4 s each."""
    for folder, songs in (("salsa/dura", 4), ("salsa", 3), ("cumbia", 3)):
        (tmp_path / "library" / folder).mkdir(parents=True, exist_ok=True)
        for number in range(songs):
            file = tmp_path / "library" / folder / f"{number}.wav"
            soundfile.write(file, rng.uniform(-0.5, 0.5, 4 * RATE), RATE)
    return tmp_path / "library"


def run_settings(data: Path, split: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:
    """Run the component as its container does: with the parameters, and the configuration as JSON."""
    config = parse(
        {
            "data": {"library": str(data), "genres": ["salsa", "cumbia"]} | options,
            "model": {"name": "cnn"},
            "split": {"folds": 0, **(split or {"strategy": "stratified"})},
            "runner": {"name": "kubeflow", "root": str(data.parent / "root"), "image": "tumbao:1"},
        }
    )
    run = RunSettings.EXECUTOR_SPEC.executor_class._FUNCTION
    properties: dict[str, Any] = run(**defaults(config), config=config.model_dump_json(exclude_unset=True))
    return properties


@pytest.mark.parametrize(
    ("options", "genres", "merged"),
    [
        ({}, ["salsa", "cumbia"], []),
        ({"subgenres": True}, ["cumbia", "salsa"], ["salsa/dura"]),
        ({"subgenres": True, "min_songs": 3}, ["cumbia", "salsa", "salsa/dura"], []),
        ({"subgenres": True, "min_songs": 5}, ["cumbia", "salsa"], ["salsa/dura"]),
    ],
)
def test_sub_genres_with_enough_songs_become_labels(
    library: Path, options: dict[str, Any], genres: list[str], merged: list[str]
) -> None:
    properties = run_settings(library, **options)
    assert json.loads(properties["genres"]) == genres
    catalog = json.loads(Path(properties["manifests"], "catalog.json").read_text())
    assert [line.partition(":")[0] for line in catalog.get("folded", [])] == merged


def listed(library: Path, column: str, value: Callable[[str, int], str]) -> Path:
    """Write a list of the library's songs with one more column."""
    table = library.parent / "songs.csv"
    songs = [(genre, number) for genre in ("salsa", "cumbia") for number in range(3)]
    rows = [f"library/{genre}/{number}.wav,{genre},{value(genre, number)}\n" for genre, number in songs]
    table.write_text(f"file_name,genre,{column}\n" + "".join(rows))
    return table


def splits(properties: dict[str, Any]) -> dict[str, list[str]]:
    """Return genre and file name of the songs in each split."""
    manifests = Path(properties["manifests"])
    rows = {split: csv.DictReader((manifests / f"{split}.csv").read_text().splitlines()) for split in SPLITS}
    return {split: ["/".join(Path(row["path"]).parts[-2:]) for row in rows[split]] for split in SPLITS}


def test_the_splits_of_the_library_are_used(library: Path) -> None:
    songs = listed(library, "split", lambda genre, number: SPLITS[number])
    expected = {
        split: {f"{genre}/{number}.wav" for genre in ("salsa", "cumbia")} for number, split in enumerate(SPLITS)
    }
    found = splits(run_settings(songs, split={"by": "given"}))
    assert {split: set(names) for split, names in found.items()} == expected


@pytest.mark.parametrize(
    ("artist", "split_by"),
    [
        (lambda genre, number: f"{genre} {number}", "artist"),
        (lambda genre, number: f"{genre} {number}" if number < 2 else "", "artist"),
        (lambda genre, number: f"{genre} {number}" if number < 1 else "", "song"),
        (lambda genre, number: f"{genre} {number % 2}", "song"),
    ],
    ids=["all named", "most named", "few named", "too few artists"],
)
def test_artists_are_kept_together_where_most_songs_name_one(
    library: Path, artist: Callable[[str, int], str], split_by: str
) -> None:
    properties = run_settings(listed(library, "artist", artist))
    assert json.loads(Path(properties["manifests"], "catalog.json").read_text())["protocol"] == split_by
    assert json.loads(properties["run"])["settings"]["protocol"] == split_by


def test_songs_with_the_same_value_of_a_column_are_in_one_split(library: Path) -> None:
    songs = listed(library, "Source", lambda genre, number: f"tape {number}")
    for names in splits(run_settings(songs, split={"by": "source", "strategy": "stratified"})).values():
        assert {name.partition("/")[0] for name in names} == {"salsa", "cumbia"}
        assert len({name.partition("/")[2] for name in names}) == 1
    with pytest.raises(UsageError, match=r"given, source, .*Received: 'sauce'; did you mean source\?"):
        run_settings(songs, split={"by": "sauce"})


def test_a_later_run_scans_only_new_songs(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    scan_song = library_module.scan_song

    def recorded(pool: WorkerPool, part: AudioSegment, spec: MelSpec) -> object:
        read.append(Path(part.path).relative_to(library).as_posix())
        return scan_song(pool, part, spec)

    monkeypatch.setattr(library_module, "scan_song", recorded)
    monkeypatch.setattr(scan_cache, "_SETTLED_SECONDS", 0.0)
    first = run_settings(library)
    assert len(read) == 10
    read.clear()
    assert run_settings(library) == first
    assert read == []
    shutil.copy(library / "cumbia" / "0.wav", library / "cumbia" / "3.wav")
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="too late"):
        patch.setattr(resolve_module, "write_manifests", mock.Mock(side_effect=ValueError("too late")))
        run_settings(library)
    assert read == ["cumbia/3.wav"]
    read.clear()
    run_settings(library)
    assert read == []
    assert {path.name for path in (library.parent / "root").iterdir()} == {"catalogs", SCAN_CACHE}


def test_weights_are_copied_to_the_root(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "found.h5").write_bytes(b"weights")
    resolve = resolve_module.resolve

    def resolved(*arguments: Any) -> Resolved:
        weights = WeightsFile(tmp_path / "found.h5", "found here", "abc")
        return dataclasses.replace(resolve(*arguments), weights=weights)

    monkeypatch.setattr(resolve_module, "resolve", resolved)
    shared = Path(run_settings(library)["weights"])
    assert (shared, shared.read_bytes()) == (tmp_path / "root" / "weights" / "abc.h5", b"weights")
