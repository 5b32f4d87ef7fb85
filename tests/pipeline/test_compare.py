"""`tumbao compare` trains what is not trained yet, names what cannot be, and writes one page of it all."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.console import Console

from tumbao.pipeline.compare import Comparison, compare, settled
from tumbao.schema.errors import UnavailableError, UserError
from tumbao.trainer.models import registry
from tumbao.trainer.models.registry import find_model
from tumbao.trainer.run import train_head

GENRES = ("cumbia", "salsa")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write four songs of a genre, a fragment each: cumbia low, salsa high."""
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


@pytest.fixture(scope="module")
def asked(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    workspace = tmp_path_factory.mktemp("workspace")
    return Comparison(
        data=library,
        layout="auto",
        workspace=workspace,
        genres=GENRES,
        models=("adaboost:epochs=3", "adaboost:epochs=5"),
        protocols=("song", "fragment"),
        seeds=2,
        folds=0,
        seed=7,
        weights="random",
        out=workspace / "out",
    )


@pytest.fixture(scope="module")
def first(asked: Comparison) -> tuple[int, str, str]:
    return run(asked)


def run(asked: Comparison) -> tuple[int, str, str]:
    told = [Console(file=io.StringIO(), width=200) for _ in range(2)]
    code = compare(asked, *told)
    noise, out = (console.file.getvalue() for console in told)  # type: ignore[attr-defined] # a StringIO
    return code, noise, out


def test_every_model_is_trained_on_every_split_with_every_seed(first: tuple[int, str, str], asked: Comparison) -> None:
    code, noise, out = first
    assert code == 0
    for model in asked.models:
        for split in ("by song", "by fragment (leaky)"):
            for seed in (7, 8):
                assert f"{model}, {split}, seed {seed}:" in noise
    assert str(asked.out / "index.html") in out
    trials = json.loads((asked.out / "trials.json").read_text("utf-8"))["trials"]
    assert {(one["model"], one["protocol"], one["seed"]) for one in trials} == {
        (model, protocol, seed) for model in asked.models for protocol in asked.protocols for seed in (7, 8)
    }
    assert all(one["tflite_bytes"] > 1_000 and one["parameters"] > 0 for one in trials)


def test_what_is_trained_is_taken_over_and_what_changed_is_not(
    first: tuple[int, str, str], asked: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, int]] = []

    def watched(model: Any, *rest: Any, **named: Any) -> Any:
        trained.append((model.name, rest[2].epochs))
        return train_head(model, *rest, **named)

    monkeypatch.setattr("tumbao.analysis.compare.training.train_head", watched)
    again = dataclasses.replace(asked, out=asked.workspace / "again")
    assert run(again)[0] == 0
    assert trained == []
    assert (again.out / "table.csv").read_text() == (asked.out / "table.csv").read_text()
    run(dataclasses.replace(again, models=("adaboost:epochs=3", "adaboost:epochs=4"), protocols=("song",), seeds=1))
    assert trained == [("adaboost", 4)]


def test_a_model_that_fails_is_named_and_the_others_are_compared(
    first: tuple[int, str, str], asked: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Any:
        raise RuntimeError("no luck today")

    broken = dataclasses.replace(find_model("adaboost"), name="broken", train=refuse)
    monkeypatch.setitem(registry.MODELS, "broken", broken)
    again = dataclasses.replace(asked, models=(asked.models[0], "broken"), out=asked.workspace / "broken")
    code, noise, _ = run(again)
    assert code == 1
    assert "broken could not be compared: no luck today" in noise
    assert "no luck today" in (again.out / "index.html").read_text("utf-8")


def test_folds_test_every_song_once(first: tuple[int, str, str], asked: Comparison) -> None:
    again = dataclasses.replace(asked, models=asked.models[:1], protocols=("song",), seeds=1, folds=4)
    again = dataclasses.replace(again, out=asked.workspace / "folds")
    code, noise, _ = run(again)
    assert code == 0
    assert "fold 4 of 4" in noise
    trials = json.loads((again.out / "trials.json").read_text("utf-8"))["trials"]
    assert sorted(one["fold"] for one in trials) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("vgg61", r"Received: 'vgg61'\. Did you mean vgg16\?"),
        ("vgg16:epoch=3", r"Expected settings out of epochs, batch, .*Received: 'epoch=3'"),
        ("vgg16:epochs", r"Received: 'epochs'"),
        ("vgg16:epochs=few", r"Expected a value of epochs like 5\. Received: 'epochs=few'"),
        ("vgg16:dropout=2", r"Expected dropout at least 0 and below 1"),
        ("cnn:fine_tune=2", r"no block that can be tuned"),
        ("vgg16:seed=3", r"Expected settings out of"),
    ],
)
def test_wrong_names_and_settings_are_refused(name: str, refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        settled(name)


def test_settings_stand_beside_the_models_own() -> None:
    model, settings = settled("vgg16-gap:units=128+32,dropout=0.1,schedule=cosine")
    assert model.name == "vgg16-gap"
    assert settings == {"units": (128, 32), "dropout": 0.1, "schedule": "cosine"}
    assert model.settings(**settings).epochs == model.settings().epochs


def test_too_few_folds_are_refused_before_anything_is_read(asked: Comparison) -> None:
    with pytest.raises(ValueError, match=r"0 folds, or at least 3\. Received: 2"):
        run(dataclasses.replace(asked, folds=2, data=Path("nowhere")))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UserError("Expected at least 5 songs"), UserError),
        (OSError(errno.ENOSPC, "No space left on device"), OSError),
        (UnavailableError("The song cache cannot be written"), UnavailableError),
        (RuntimeError("no luck today"), None),
    ],
)
def test_where_no_model_can_be_compared_only_wrong_use_is_taken_for_it(
    asked: Comparison, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception] | None
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("tumbao.pipeline.compare.Preparation", lambda *_: None)
    monkeypatch.setattr("tumbao.pipeline.compare._trials", fail)
    with pytest.raises(kind, match=str(error).strip("[]")[-9:]) if kind else contextlib.nullcontext():
        code, noise, _ = run(asked)
        assert code == 1
        assert f"the tracebacks are in {asked.workspace}/compare.log" in " ".join(noise.split())


@pytest.mark.parametrize("genres", [("salsa",), (), ("salsa", "Salsa")])
def test_what_is_no_choice_of_genres_is_refused_before_anything_is_read(
    asked: Comparison, genres: tuple[str, ...]
) -> None:
    with pytest.raises(UserError, match="Expected at least 2 genres, each once"):
        run(dataclasses.replace(asked, genres=genres, data=Path("nowhere")))
