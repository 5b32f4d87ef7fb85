"""`tumbao drift` finds the training data of the last run in ML Metadata, and its exit code shows the result."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from tests.pipeline.conftest import Call
from tests.pipeline.metadata_store import Metadata
from tests.small_spec import SMALL
from tumbao.analysis.drift import page
from tumbao.components.ingest.mel import mel_levels, palette
from tumbao.components.ingest.records import to_example, to_png
from tumbao.pipeline.metadata import METADATA_FILE, find_training


def noise(number: int, colour: float) -> np.ndarray:
    """Make two fragments of noise; the colour, in 0..1, smoothes it."""
    white = np.random.default_rng(number).standard_normal(8 * 8_000)
    dull = np.convolve(white, np.ones(8) / 8, "same")
    return (0.1 * ((1 - colour) * white + colour * dull)).astype(np.float32)


def add_run(workspace: Path, run: str, outputs: dict[str, str], settings: dict[str, str]) -> None:
    metadata = Metadata(workspace)
    artifacts = {key: metadata.artifact(uri) for key, uri in outputs.items()}
    metadata.execute(run, "AudioExampleGen", artifacts, properties=settings)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a workspace whose last run was trained on 20 songs of noise, more or less dull."""
    root = tmp_path_factory.mktemp("workspace")
    (root / "examples" / "Split-train").mkdir(parents=True)
    (root / "ingested").mkdir()
    (root / "manifests").mkdir()
    ingested = []
    with tf.io.TFRecordWriter(str(root / "examples" / "Split-train" / "data.gz"), "GZIP") as writer:
        for number in range(20):
            about: dict[str, Any] = {"genre": "salsa", "song": f"salsa/{number}.wav", "padded": False}
            ingested.append({**about, "split": "train", "fragments": 2, "truncated": False, "seconds": 8.0})
            for index, levels in enumerate(mel_levels(noise(number, number / 20).reshape(2, -1), SMALL).numpy()):
                example = to_example(
                    to_png(levels, palette(SMALL)), label=0, fragment=index, start_seconds=4.0 * index, **about
                )
                writer.write(example.SerializeToString())
    (root / "ingested" / "ingested.jsonl").write_text("\n".join(map(json.dumps, ingested)))
    description = {"library": "[bold]shelf", "synthetic": True, "genres": ["salsa"]}
    (root / "manifests" / "catalog.json").write_text(json.dumps(description))
    settings = {"manifests": str(root / "manifests"), "mel_spec": json.dumps(dataclasses.asdict(SMALL))}
    add_run(root, "older", {"examples": str(root / "gone"), "ingested": str(root / "gone")}, settings)
    outputs = {"examples": str(root / "examples"), "ingested": str(root / "ingested")}
    add_run(root, "newer", outputs, settings)
    return root


@pytest.fixture
def drift(tumbao: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setattr(page, "N_PERMUTATIONS", 19)
    return functools.partial(tumbao, "drift")


def songs(folder: Path, colours: list[float]) -> Path:
    folder.mkdir()
    for number, colour in enumerate(colours):
        soundfile.write(folder / f"{number}.wav", noise(100 + number, colour), 8_000)
    return folder


def test_the_training_data_of_the_last_run_is_found(workspace: Path) -> None:
    found = find_training(workspace)
    assert (found.run, found.library, found.synthetic) == ("newer", "[bold]shelf", True)
    assert (found.genres, found.spec) == (("salsa",), SMALL)
    assert found.examples == str(workspace / "examples")


def test_similar_songs_give_exit_code_0(drift: Call, workspace: Path, tmp_path: Path) -> None:
    songs(tmp_path / "new", [0.05, 0.2, 0.35, 0.5, 0.65, 0.8])
    code, out, err = drift("new", "--workspace", str(workspace))
    assert code == 0
    assert "found 6 = measured 6 + rejected 0" in out
    assert "tumbao-drift/index.html" in out
    assert "measure: 6 of 6" in err
    assert "Training data: [bold]shelf (synthetic library)" in err


def test_drift_gives_exit_code_3_and_the_drifted_measures(drift: Call, workspace: Path, tmp_path: Path) -> None:
    songs(tmp_path / "new [red]", [1.0] * 6)
    (tmp_path / "new [red]" / "[bold].mp3").write_text("no song")
    code, out, err = drift("new [red]", "--workspace", str(workspace), "--out", "page [red]")
    assert code == 3
    lines = {line.split("│")[1].strip(): line for line in out.splitlines() if line.startswith("│")}
    assert "drift" in lines["spectral_centroid"]
    assert "alike" in lines["truncated"]
    assert "rejected: [bold].mp3: unsupported" in err
    assert "page [red]/index.html" in out
    assert "spectral centroid" in (tmp_path / "page [red]" / "index.html").read_text("utf-8")


def test_no_measurable_song_gives_exit_code_1(drift: Call, workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    code, out, _ = drift("new", "--workspace", str(workspace))
    assert code == 1
    assert "found 0 = measured 0 + rejected 0" in out


def test_a_workspace_without_a_run_is_invalid_use(drift: Call, tmp_path: Path) -> None:
    songs(tmp_path / "new", [0.5])
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / METADATA_FILE).touch()
    for name in ("nowhere", "begun"):
        code, out, err = drift("new", "--workspace", name)
        assert (code, out) == (2, "")
        assert f"Expected a workspace in which a model was trained. Received: {name}, where nothing ran" in err
    assert not (tmp_path / "tumbao-drift").exists()
    assert not (tmp_path / "begun" / METADATA_FILE).read_bytes()


@pytest.mark.parametrize("outputs", [{}, {"examples": "gone", "ingested": "gone"}])
def test_missing_records_raise(workspace: Path, tmp_path: Path, outputs: dict[str, str]) -> None:
    shutil.copy(workspace / METADATA_FILE, tmp_path / METADATA_FILE)
    add_run(tmp_path, "newest", outputs, {})
    with pytest.raises(ValueError, match="the run ended before it had any, or the workspace was moved or cleared"):
        find_training(tmp_path)
