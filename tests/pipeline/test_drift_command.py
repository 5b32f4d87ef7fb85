"""`tumbao drift` finds the training data of the last run through ML Metadata; its exit codes say what came of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
import numpy as np
import pytest
import soundfile
import tensorflow as tf
from ml_metadata.proto import metadata_store_pb2

from tests.small_spec import SMALL
from tumbao.analysis.drift import comparison
from tumbao.components.ingest.mel import mel_levels, palette
from tumbao.components.ingest.records import to_example, to_png
from tumbao.pipeline import cli
from tumbao.pipeline.reference import METADATA_FILE, find_training
from tumbao.pipeline.runs import RunRecord

Call = Callable[..., tuple[int, str, str]]


def noise(number: int, colour: float) -> np.ndarray:
    """Make two fragments of noise; the colour, in 0..1, smoothes it."""
    white = np.random.default_rng(number).standard_normal(8 * 8_000)
    dull = np.convolve(white, np.ones(8) / 8, "same")
    return (0.1 * ((1 - colour) * white + colour * dull)).astype(np.float32)


def put(store: mlmd.MetadataStore, kind: str, type_name: str, **values: Any) -> Any:
    """Put an artifact, a context or an execution into ML Metadata, and its type."""
    type_ = getattr(metadata_store_pb2, f"{kind}Type")(name=type_name)
    type_id = getattr(store, f"put_{kind.lower()}_type")(type_)
    one = getattr(metadata_store_pb2, kind)(type_id=type_id, **values)
    (one.id,) = getattr(store, f"put_{kind.lower()}s")([one])
    return one


def remember(workspace: Path, run: str, outputs: dict[str, str], settings: dict[str, str]) -> None:
    """Tell ML Metadata of a run whose AudioExampleGen left these outputs, as TFX does."""
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(workspace / METADATA_FILE)
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    store = mlmd.MetadataStore(connection)
    execution = put(
        store,
        "Execution",
        "AudioExampleGen",
        last_known_state=metadata_store_pb2.Execution.COMPLETE,
        custom_properties={key: metadata_store_pb2.Value(string_value=value) for key, value in settings.items()},
    )
    contexts = [put(store, "Context", "pipeline_run", name=run)]
    contexts.append(put(store, "Context", "node", name=f"{run}.AudioExampleGen"))
    links = [metadata_store_pb2.Association(execution_id=execution.id, context_id=one.id) for one in contexts]
    store.put_attributions_and_associations([], links)
    for key, uri in outputs.items():
        artifact = put(store, "Artifact", key, uri=uri, state=metadata_store_pb2.Artifact.LIVE)
        event = metadata_store_pb2.Event(artifact_id=artifact.id, execution_id=execution.id)
        event.type = metadata_store_pb2.Event.OUTPUT
        event.path.steps.add(key=key)
        event.path.steps.add(index=0)
        store.put_events([event])


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a workspace whose last run was trained on 20 songs of noise, more or less dull."""
    root = tmp_path_factory.mktemp("workspace")
    (root / "examples" / "Split-train").mkdir(parents=True)
    (root / "ingested").mkdir()
    (root / "manifests").mkdir()
    told = []
    with tf.io.TFRecordWriter(str(root / "examples" / "Split-train" / "data.gz"), "GZIP") as writer:
        for number in range(20):
            about: dict[str, Any] = {"genre": "salsa", "song": f"salsa/{number}.wav", "padded": False}
            told.append({**about, "split": "train", "fragments": 2, "truncated": False, "seconds": 8.0})
            for index, levels in enumerate(mel_levels(noise(number, number / 20).reshape(2, -1), SMALL).numpy()):
                example = to_example(
                    to_png(levels, palette(SMALL)), label=0, fragment=index, start_seconds=4.0 * index, **about
                )
                writer.write(example.SerializeToString())
    (root / "ingested" / "ingested.jsonl").write_text("\n".join(map(json.dumps, told)))
    description = {"library": "[bold]shelf", "synthetic": True, "genres": ["salsa"]}
    (root / "manifests" / "catalog.json").write_text(json.dumps(description))
    settings = {"manifests": str(root / "manifests"), "mel_spec": json.dumps(dataclasses.asdict(SMALL))}
    remember(root, "older", {"examples": str(root / "gone"), "ingested": str(root / "gone")}, settings)
    outputs = {"examples": str(root / "examples"), "ingested": str(root / "ingested")}
    remember(root, "newer", outputs, settings)
    RunRecord("20260504-030201", "2026-05-04T03:02:01", "pushed").write(root)
    return root


@pytest.fixture
def drift(workspace: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Call the command in an empty folder: drift(*arguments) -> exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(comparison, "N_PERMUTATIONS", 19)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tumbao", "drift", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capfd.readouterr()
        assert "Traceback" not in said.out + said.err
        return end.value.code or 0, said.out, said.err  # type: ignore[return-value] # always an int

    return call


def songs(folder: Path, colours: list[float]) -> Path:
    folder.mkdir()
    for number, colour in enumerate(colours):
        soundfile.write(folder / f"{number}.wav", noise(100 + number, colour), 8_000)
    return folder


def test_the_training_data_of_the_last_run_are_found(workspace: Path) -> None:
    found = find_training(workspace)
    assert (found.run, found.library, found.synthetic) == ("20260504-030201", "[bold]shelf", True)
    assert (found.genres, found.spec) == (("salsa",), SMALL)
    assert found.examples == str(workspace / "examples")


def test_like_songs_end_with_0(drift: Call, workspace: Path, tmp_path: Path) -> None:
    songs(tmp_path / "new", [0.05, 0.2, 0.35, 0.5, 0.65, 0.8])
    code, out, err = drift("new", "--workspace", str(workspace))
    assert code == 0
    assert "found 6 = measured 6 + rejected 0" in out
    assert "tumbao-drift/index.html" in out
    assert "measure: 6 of 6" in err
    assert "Training data: [bold]shelf (synthetic library)" in err


def test_other_songs_end_with_3_and_what_drifted_is_named(drift: Call, workspace: Path, tmp_path: Path) -> None:
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


def test_no_song_that_can_be_measured_ends_with_1(drift: Call, workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    code, out, _ = drift("new", "--workspace", str(workspace))
    assert code == 1
    assert "found 0 = measured 0 + rejected 0" in out


def test_a_workspace_without_a_run_is_wrong_use(drift: Call, tmp_path: Path) -> None:
    songs(tmp_path / "new", [0.5])
    code, out, err = drift("new", "--workspace", "nowhere")
    assert (code, out) == (2, "")
    assert "Expected a workspace in which a model was trained. Received: nowhere, where nothing ran" in err
    assert not (tmp_path / "tumbao-drift").exists()


def test_a_workspace_whose_first_run_has_just_begun_is_wrong_use(drift: Call, tmp_path: Path) -> None:
    songs(tmp_path / "new", [0.5])
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / METADATA_FILE).touch()
    code, _, err = drift("new", "--workspace", "workspace")
    assert (code, "where nothing ran" in err) == (2, True)
    assert not (tmp_path / "workspace" / METADATA_FILE).read_bytes()


def test_records_that_are_gone_are_named(workspace: Path, tmp_path: Path) -> None:
    shutil.copy(workspace / METADATA_FILE, tmp_path / METADATA_FILE)
    remember(tmp_path, "newest", {"examples": str(tmp_path / "gone"), "ingested": str(tmp_path / "gone")}, {})
    with pytest.raises(ValueError, match="Was the workspace moved, or cleared"):
        find_training(tmp_path)


def test_the_run_is_named_that_the_records_are_of(workspace: Path, tmp_path: Path) -> None:
    settings = {"manifests": str(workspace / "manifests"), "mel_spec": json.dumps(dataclasses.asdict(SMALL))}
    outputs = {"examples": str(workspace / "examples"), "ingested": str(workspace / "ingested")}
    remember(tmp_path, "20260504-030201", outputs, settings)
    for run in ("20260504-030201", "20260505-030201"):  # the second one ended before it came to ML Metadata
        RunRecord(run, "2026-05-04T03:02:01", "failed").write(tmp_path)
    assert find_training(tmp_path).run == "20260504-030201"


def test_a_run_that_ended_before_its_records_is_named(workspace: Path, tmp_path: Path) -> None:
    shutil.copy(workspace / METADATA_FILE, tmp_path / METADATA_FILE)
    remember(tmp_path, "newest", {}, {})
    with pytest.raises(ValueError, match="a run that ended before it had any"):
        find_training(tmp_path)
