"""Training the head: reproducible, the best epoch kept, resumed where it stood."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tumbao import progress
from tumbao.trainer.run import KeepBest, fit

SHAPE = (9, 9, 512)
CONFIG = {
    "genres": ["a", "b", "c"],
    "epochs": 2,
    "batch": 4,
    "learning_rate": 1e-5,
    "seed": 7,
    "class_weights": "auto",
    "resume": "",
}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory, write_features: Callable[..., str]) -> tuple[list[str], ...]:
    folder = tmp_path_factory.mktemp("features")
    train = write_features(folder / "train.gz", [0, 1, 2, 0, 1, 2, 0, 1, 2, 2], SHAPE)
    val = write_features(folder / "val.gz", [0, 1, 2, 2, 1, 0], SHAPE)
    return [train], [val]


@pytest.fixture(scope="module")
def trained(records: tuple[list[str], ...]) -> tuple[Any, dict[str, Any]]:
    return fit(*records, config=CONFIG, shape=SHAPE)


def test_the_same_run_twice_gives_the_same_metrics_and_weights(
    trained: tuple[Any, dict[str, Any]], records: tuple[list[str], ...]
) -> None:
    model, history = fit(*records, config=CONFIG, shape=SHAPE)
    assert history == trained[1]
    for again, before in zip(model.get_weights(), trained[0].get_weights(), strict=True):
        np.testing.assert_array_equal(again, before)


def test_another_seed_is_another_run(trained: tuple[Any, dict[str, Any]], records: tuple[list[str], ...]) -> None:
    assert fit(*records, config=CONFIG | {"seed": 8, "epochs": 1}, shape=SHAPE)[1]["epochs"] != trained[1]["epochs"][:1]


def test_the_history_has_a_row_an_epoch_and_names_the_best(trained: tuple[Any, dict[str, Any]]) -> None:
    epochs = trained[1]["epochs"]
    assert [set(epoch) for epoch in epochs] == 2 * [{"loss", "accuracy", "val_loss", "val_accuracy"}]
    best = max(range(2), key=lambda index: (epochs[index]["val_accuracy"], -epochs[index]["val_loss"]))
    assert trained[1]["best_epoch"] == best + 1


def test_resume_starts_from_the_given_weights(
    trained: tuple[Any, dict[str, Any]], records: tuple[list[str], ...], tmp_path: Path
) -> None:
    model, history = trained
    model.save_weights(tmp_path / "head.weights.h5")
    best = history["epochs"][history["best_epoch"] - 1]
    config = CONFIG | {"resume": str(tmp_path / "head.weights.h5"), "learning_rate": 1e-12, "epochs": 1}
    first = fit(*records, config=config, shape=SHAPE)[1]["epochs"][0]
    assert first["val_accuracy"] == best["val_accuracy"]
    assert first["val_loss"] == pytest.approx(best["val_loss"], rel=1e-4)


def test_genres_are_weighed_only_where_unbalanced_and_wanted(
    trained: tuple[Any, dict[str, Any]], records: tuple[list[str], ...]
) -> None:
    assert trained[1]["class_weights"] == pytest.approx({0: 10 / 9, 1: 10 / 9, 2: 10 / 12})
    once = CONFIG | {"epochs": 1}
    assert fit(*records, config=once | {"class_weights": "none"}, shape=SHAPE)[1]["class_weights"] is None
    balanced = (records[1], records[1])
    assert fit(*balanced, config=once, shape=SHAPE)[1]["class_weights"] is None


def test_every_batch_is_reported(records: tuple[list[str], ...]) -> None:
    heard: list[tuple[str, int, int]] = []
    with progress.listen(lambda *step: heard.append(step)):
        fit(*records, config=CONFIG, shape=SHAPE)
    assert heard == [("train", done, 6) for done in range(7)]


def test_a_loss_that_is_no_number_ends_training_with_advice(records: tuple[list[str], ...]) -> None:
    with pytest.raises(ValueError, match=r"not a number.*--learning-rate"):
        fit(*records, config=CONFIG | {"learning_rate": 1e30, "epochs": 1}, shape=SHAPE)


@pytest.mark.parametrize(
    ("logs", "best"),
    [
        ([(0.5, 1.0), (0.7, 2.0), (0.6, 0.1)], 1),
        ([(0.7, 2.0), (0.7, 1.5), (0.7, 1.6)], 1),
        ([(0.7, 1.5), (0.7, 1.5)], 0),
        ([(0.0, float("nan")), (0.0, 3.0), (0.0, float("nan"))], 1),
    ],
    ids=["accuracy before loss", "then the lower loss", "then the earlier epoch", "never one that is no number"],
)
def test_the_best_epochs_weights_are_put_back(logs: list[tuple[float, float]], best: int) -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    keep = KeepBest()
    keep.set_model(model)
    for epoch, (accuracy, loss) in enumerate(logs):
        model.set_weights([np.array([[float(epoch)]])])
        keep.on_epoch_end(epoch, {"val_accuracy": accuracy, "val_loss": loss})
    keep.on_train_end()
    assert keep.epoch == best
    assert model.get_weights()[0].item() == best
