"""`--model` with several models: cross-validation over the songs that are not test songs chooses one."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import soundfile

from tests.small_spec import SMALL
from tumbao.components.evaluation.metrics import by_song
from tumbao.components.ingest.tables import json_lines, table_rows
from tumbao.pipeline import model_choice
from tumbao.pipeline.config import parse
from tumbao.pipeline.resolve import Resolved, exec_properties, resolve
from tumbao.schema.errors import UserError
from tumbao.trainer.backbones import Backbone
from tumbao.trainer.colormap_inverse import levels
from tumbao.trainer.dataset import Fragments, in_memory
from tumbao.trainer.model import dense_head
from tumbao.trainer.models import registry
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.training import Training

SONGS = 10
pytestmark = pytest.mark.usefixtures("shared_render_workers")


def spec(name: str, *, by: str) -> ModelSpec:
    """Describe a model that compares fragments with the mean of each genre, in its spectrum or by its loudest frame."""

    def view(features: np.ndarray) -> np.ndarray:
        return features.mean(axis=1) if by == "spectrum" else 0 * features[:, 0]

    def train(
        train: Fragments, val: Fragments, training: Training, genres: Sequence[str]
    ) -> tuple[Any, dict[str, Any]]:
        features, labels = in_memory(train)
        assert set(labels.tolist()) == {0, 1}
        assert len(in_memory(val)[1]) > 0
        centres = np.stack([view(features)[labels == label].mean(axis=0) for label in range(len(genres))])

        class Head:
            variables = ()

            def __call__(self, features: np.ndarray, training: bool) -> np.ndarray:
                votes = np.exp(-5 * ((view(features)[:, None] - centres) ** 2).sum(axis=2))
                return votes / votes.sum(axis=1, keepdims=True)

        return Head(), {}

    backbone = Backbone("levels", SMALL, lambda weights, policy: levels(SMALL))
    return ModelSpec(name=name, after="", summary="", backbone=backbone, head=dense_head, train=train)


@pytest.fixture
def resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Resolve a library of dull and sharp noise with a deaf model and one that listens."""
    rng = np.random.default_rng(5)
    for genre, width in (("dull", 4), ("sharp", 1)):
        (tmp_path / "music" / genre).mkdir(parents=True)
        for song in range(SONGS):
            noise = 0.1 * np.convolve(rng.standard_normal(160_000), np.ones(width) / width, "same")
            soundfile.write(tmp_path / "music" / genre / f"{song}.wav", noise, 8_000)
    for one in (spec("deaf", by="nothing"), spec("listening", by="spectrum")):
        monkeypatch.setitem(registry.MODELS, one.name, one)

    def run(model: str, **split: Any) -> tuple[Resolved, list[str]]:
        said: list[str] = []
        values: dict[str, Any] = {
            "split": split,
            "data": {"library": str(tmp_path / "music"), "genres": ["dull", "sharp"]},
            "model": {"name": model},
        }
        return resolve(parse(values | {"runner": {"root": str(tmp_path / "root")}}), said.append), said

    return run


def test_the_model_that_recognises_more_songs_is_chosen(resolved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found, said = resolved("deaf,listening")
    assert found.config.model.name == "listening"
    best, other = found.candidates
    assert (best.model, other.model) == ("listening", "deaf")
    rows = csv.DictReader(Path(found.manifests, "test.csv").read_text().splitlines())
    tests = {row["song"] for row in rows}
    assert best.songs == other.songs == 2 * SONGS - len(tests)
    assert best.right == best.songs
    assert best.balanced_accuracy == 1
    assert other.balanced_accuracy == pytest.approx(0.5, abs=0.2)
    assert other.log_loss == pytest.approx(np.log(2), abs=0.05)
    assert any(f"listening: {best.songs} of {best.songs} songs" in line for line in said)
    monkeypatch.setattr(model_choice, "render_library", mock.Mock(side_effect=AssertionError("computed again")))
    assert resolved("deaf,listening")[0].candidates == found.candidates


def test_one_model_is_validated_unless_there_are_many_songs(resolved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = resolved("listening")
    (one,) = found.candidates
    assert (found.config.model.name, one.right) == ("listening", one.songs)
    properties = exec_properties(found)
    songs = by_song(json_lines(properties["cross_validation"]))
    assert len(songs) == one.songs
    assert all(fragments.shape[1] == 2 for fragments, _ in songs.values())
    assert json.loads(properties["song_gate"])["nearest"] == one.nearest > 0.9  # dull and sharp noise
    monkeypatch.setattr(model_choice, "MANY_SONGS", SONGS)
    found, _ = resolved("listening")
    assert (found.candidates, exec_properties(found)["cross_validation"]) == ((), "")


@pytest.mark.parametrize("folds", [0, 2])
def test_songs_that_are_unusable_once_decoded_are_not_split(resolved: Any, tmp_path: Path, folds: int) -> None:
    music = tmp_path / "music"

    def tested() -> str:
        rows = table_rows(f"{resolved('listening', folds=0)[0].manifests}/test.csv")
        return next(row["song"] for row in rows if row["genre"] == "dull")

    soundfile.write(music / (silent := tested()), np.zeros(64_000), 8_000)
    sound, rate = soundfile.read(music / (original := tested()))
    soundfile.write(music / "dull" / "copy.flac", 0.9 * sound, rate)
    found, said = resolved("listening", folds=folds)
    rejected = {row["song"]: row["reason"] for row in table_rows(f"{found.manifests}/rejected.csv")}
    assert rejected == {silent: "silent", "dull/copy.flac": "duplicate"}
    assert f"{2 * SONGS + 1} songs found, 2 of them rejected (silent: 1, duplicate: 1)" in said[1]
    assert any(line.startswith(f"  {silent}: silent: is silent") for line in said)
    tests = {row["song"] for row in table_rows(f"{found.manifests}/test.csv")}
    assert original in tests
    assert [one.songs for one in found.candidates] == [2 * SONGS - 1 - len(tests)] * bool(folds)


@pytest.mark.parametrize(
    ("model", "message"),
    [("deaf,nothing", "Received: 'nothing'"), ("deaf,deaf", "each model once"), ("", "Received: ''")],
)
def test_unknown_and_repeated_models_are_refused(resolved: Any, model: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolved(model)


@pytest.mark.parametrize(
    "values",
    [{"split": {"by": "fragment"}}, {"split": {"folds": 0}}, {"model": {"tune": 2}}, {"training": {"fine_tune": 1}}],
)
def test_without_songs_to_choose_by_the_default_is_the_papers_model(values: dict[str, Any]) -> None:
    assert parse(values).models == ("vgg16",)
    name = {**values.get("model", {}), "name": "vgg16,tumbao"}
    with pytest.raises(UserError):
        parse(values | {"model": name})
