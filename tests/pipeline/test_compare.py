"""`tumbao compare` trains models that are not trained yet, names failures, and writes one page."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.console import Console

from tests.pipeline.conftest import Call
from tumbao.analysis.compare.trial import Trial
from tumbao.pipeline.compare import compare, parse_model
from tumbao.pipeline.preparation import Preparation
from tumbao.pipeline.progress_display import ProgressDisplay
from tumbao.schema.errors import UnavailableError, UserError
from tumbao.trainer import cross_validation
from tumbao.trainer.fit import train_head
from tumbao.trainer.models import registry
from tumbao.trainer.models.registry import find_model

GENRES = ("cumbia", "salsa")
MODELS, PROTOCOLS, SEEDS = ("adaboost:epochs=3", "adaboost:epochs=5"), ("song", "fragment"), (7, 8)
pytestmark = pytest.mark.usefixtures("shared_render_workers")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(5)
    for genre, hertz in zip(GENRES, (300, 3_000), strict=True):
        (root / genre).mkdir()
        for song in range(4):
            time = np.arange(30 * 16_000) / 16_000
            beat = np.sin(2 * np.pi * hertz * (1 + song / 9) * time) * (np.sin(2 * np.pi * (1 + song) * time) > 0)
            sound = 0.3 * beat + 0.03 * rng.standard_normal(len(time))
            soundfile.write(root / genre / f"{song}.wav", sound, 16_000)
    return root


Result = tuple[int, str, Path]
"""Exit code, output and folder of the page."""


@pytest.fixture(scope="module")
def prepared(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Preparation:
    display = ProgressDisplay(Console(file=io.StringIO(), width=200))
    return Preparation(library, tmp_path_factory.mktemp("workspace"), GENRES, "auto", "random", display)


def run(prepared: Preparation, out: str, models: Sequence[str] = MODELS, *how: Any) -> Result:
    named, console = {name: parse_model(name) for name in models}, prepared.display.console
    console.file = io.StringIO()
    protocols, seeds, folds = how or (PROTOCOLS, SEEDS, 0)
    code = compare(named, prepared, protocols, seeds, folds, prepared.workspace / out, console)
    return code, console.file.getvalue(), prepared.workspace / out


@pytest.fixture(scope="module")
def first(prepared: Preparation) -> Result:
    return run(prepared, "first")


def test_every_model_is_trained_on_every_split_with_every_seed(first: Result) -> None:
    code, output, out = first
    assert code == 0
    for model in MODELS:
        for split in ("by song", "by fragment (leaky)"):
            for seed in SEEDS:
                assert f"{model}, {split}, seed {seed}:" in output
    assert str(out / "index.html") in output
    trials = json.loads((out / "trials.json").read_text("utf-8"))["trials"]
    assert {(one["model"], one["protocol"], one["seed"]) for one in trials} == {
        (model, protocol, seed) for model in MODELS for protocol in PROTOCOLS for seed in SEEDS
    }
    assert all(one["tflite_bytes"] > 1_000 and one["parameters"] > 0 for one in trials)


def test_only_missing_trials_are_trained(first: Result, prepared: Preparation, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[str, int]] = []

    def recorded(model: Any, *rest: Any, **named: Any) -> Any:
        trained.append((model.name, rest[2].epochs))
        return train_head(model, *rest, **named)

    monkeypatch.setattr(cross_validation, "train_head", recorded)
    code, _, out = run(prepared, "again")
    assert (code, trained) == (0, [])
    assert (out / "table.csv").read_text() == (first[2] / "table.csv").read_text()
    run(prepared, "again", ["adaboost:epochs=3", "adaboost:epochs=4"], ["song"], [7], 0)
    assert trained == [("adaboost", 4)]


def test_a_model_that_fails_is_named_and_the_others_are_compared(
    first: Result, prepared: Preparation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Any:
        raise RuntimeError("no luck today")

    broken = dataclasses.replace(find_model("adaboost"), name="broken", train=fail)
    monkeypatch.setitem(registry.MODELS, "broken", broken)
    code, output, out = run(prepared, "broken", [MODELS[0], "broken"])
    assert code == 1
    assert "broken could not be compared: RuntimeError: no luck today" in output
    assert "no luck today" in (out / "index.html").read_text("utf-8")


def test_every_song_is_tested_in_one_fold(first: Result, prepared: Preparation) -> None:
    code, output, out = run(prepared, "folds", MODELS[:1], ["song"], [7], 4)
    assert code == 0
    assert "fold 4, seed 7" in output
    trials = json.loads((out / "trials.json").read_text("utf-8"))["trials"]
    assert sorted(one["fold"] for one in trials) == [0, 1, 2, 3]


def test_songs_with_one_value_of_a_column_are_tested_together(library: Path, tmp_path: Path) -> None:
    rows = [f"{file.relative_to(library)},{file.parent.name},{int(file.stem) % 2}" for file in library.glob("*/*.wav")]
    songs = library / "songs.csv"
    songs.write_text("\n".join(["file_name,genre,Source", *rows]))
    display = ProgressDisplay(Console(file=io.StringIO(), width=200))
    code, output, _ = run(
        Preparation(songs, tmp_path, GENRES, "auto", "random", display), "source", MODELS[:1], ["source"], [7], 2
    )
    songs.unlink()
    assert code == 0
    assert "by source, fold 2, seed 7" in output
    trials = [Trial.read(folder) for folder in (tmp_path / "trials").iterdir() if folder.is_dir()]
    tested = [{Path(song).stem for song in trial.songs} for trial in trials]
    assert sorted(map(sorted, tested)) == [["0", "2"], ["1", "3"]]


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("vgg61", r"Received: 'vgg61'\. Did you mean vgg16\?"),
        ("vgg16:epoch=3", r"Received: training\.epoch; did you mean epochs\?"),
        ("vgg16:epochs=few", r"Expected training\.epochs: a valid integer"),
        ("vgg16:dropout=2", r"Expected training\.dropout: less than 1"),
        ("cnn:fine_tune=2", r"no block that can be tuned"),
        ("vgg16:seed=3", r"Expected the seed in --seed"),
    ],
)
def test_wrong_names_and_settings_are_refused(name: str, refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        parse_model(name)


def test_given_settings_replace_the_models_own() -> None:
    model, settings = parse_model("vgg16-gap:units=128+32,dropout=0.1,schedule=cosine")
    assert model.name == "vgg16-gap"
    assert settings == {"units": (128, 32), "dropout": 0.1, "schedule": "cosine"}
    assert model.settings(**settings).epochs == model.settings().epochs


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UserError("Expected at least 5 songs"), UserError),
        (OSError(errno.ENOSPC, "No space left on device"), OSError),
        (UnavailableError("The song cache cannot be written"), UnavailableError),
        (RuntimeError("no luck today"), None),
    ],
)
def test_without_any_trial_a_user_error_is_raised_and_others_are_logged(
    prepared: Preparation, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception] | None
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("tumbao.pipeline.compare._trials", fail)
    with pytest.raises(kind, match=str(error).strip("[]")[-9:]) if kind else contextlib.nullcontext():
        code, output, _ = run(prepared, "none")
        assert code == 1
        assert f"the tracebacks are in {prepared.workspace}/compare.log" in " ".join(output.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--folds", "1"), "0 folds, or at least 2. Received: 1"),
        (("--genres", "salsa"), "Expected at least 2 genres, each once"),
        (("--genres", "salsa,Salsa"), "Expected at least 2 genres, each once"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_read(tumbao: Call, options: tuple[str, str], message: str) -> None:
    code, _, err = tumbao("compare", "--data", ".", *options)
    assert (code, message in err) == (2, True)


def test_a_split_by_an_unknown_column_is_refused(tumbao: Call, library: Path, tmp_path: Path) -> None:
    genres = ("--genres", ",".join(GENRES))
    code, _, err = tumbao("compare", "--data", library, "--split", "sourc", *genres, "--workspace", tmp_path)
    assert code == 2
    assert "Expected --split out of song, artist, fragment. Received: 'sourc'" in " ".join(err.split())
