"""Training of a head: reproducible, with the weights of its best epoch, and resumed from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tumbao.trainer.dataset import Arrays, Records, class_weights, mixed
from tumbao.trainer.fit import HEAD_FILE, KeepBest, fit, train_head
from tumbao.trainer.models.registry import PAPER, find_model
from tumbao.trainer.training import Training
from tumbao.trainer.vgg16 import last_block_tensors

SHAPE = (3, 3, 16)
TRAINING = Training(epochs=2, batch=4, learning_rate=1e-5)

Splits = tuple[Records, Records]
Trained = tuple[Any, dict[str, Any]]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory, write_features: Callable[..., str]) -> Splits:
    folder = tmp_path_factory.mktemp("features")
    train = write_features(folder / "train.gz", [0, 1, 2, 0, 1, 2, 0, 1, 2, 2], SHAPE)
    val = write_features(folder / "val.gz", [0, 1, 2, 2, 1, 0], SHAPE)
    return Records([train], SHAPE, 3), Records([val], SHAPE, 3)


def trained_with(records: Splits, resume: str = "", **settings: Any) -> Trained:
    return train_head(
        find_model(PAPER), *records, dataclasses.replace(TRAINING, **settings), shape=SHAPE, resume=resume
    )


@pytest.fixture(scope="module")
def trained(records: Splits) -> Trained:
    return trained_with(records)


def test_the_same_run_twice_gives_the_same_metrics_and_weights(trained: Trained, records: Splits) -> None:
    model, history = trained_with(records)
    assert history == trained[1]
    assert [set(epoch) for epoch in history["epochs"]] == 2 * [{"loss", "accuracy", "val_loss", "val_accuracy"}]
    for again, before in zip(model.get_weights(), trained[0].get_weights(), strict=True):
        np.testing.assert_array_equal(again, before)


@pytest.mark.parametrize(
    "other",
    [{"seed": 8}, {"mixup": 0.4}, {"dropout": 0.5}, {"l2": 0.1}, {"label_smoothing": 0.2}, {"units": (8,)}],
    ids=lambda other: next(iter(other)),
)
def test_settings_change_the_training(trained: Trained, records: Splits, other: dict[str, Any]) -> None:
    assert trained_with(records, epochs=1, **other)[1]["epochs"] != trained[1]["epochs"][:1]


def test_the_cosine_schedule_ends_at_0(records: Splits) -> None:
    falling, _ = trained_with(records, schedule="cosine", epochs=1)
    assert float(falling.optimizer.learning_rate) == pytest.approx(0, abs=1e-9)
    assert float(trained_with(records, epochs=1)[0].optimizer.learning_rate) == pytest.approx(TRAINING.learning_rate)


def test_resume_starts_from_the_given_weights(trained: Trained, records: Splits, tmp_path: Path) -> None:
    model, history = trained
    model.save(tmp_path / HEAD_FILE)
    best = history["epochs"][history["best_epoch"] - 1]
    first = trained_with(records, str(tmp_path / HEAD_FILE), learning_rate=1e-12, epochs=1)[1]["epochs"][0]
    assert first["val_accuracy"] == best["val_accuracy"]
    assert first["val_loss"] == pytest.approx(best["val_loss"], rel=1e-4)


def test_resume_from_another_models_head_is_refused(trained: Trained, records: Splits, tmp_path: Path) -> None:
    trained[0].save(tmp_path / HEAD_FILE)
    with pytest.raises(ValueError, match=r"needs a run with the same model.*Remove --resume"):
        trained_with(records, str(tmp_path / HEAD_FILE), units=(16,))


def test_genres_are_weighted_only_if_unbalanced_and_requested(trained: Trained, records: Splits) -> None:
    assert trained[1]["class_weights"] == pytest.approx({0: 10 / 9, 1: 10 / 9, 2: 10 / 12})
    assert trained_with(records, epochs=1, class_weights="none")[1]["class_weights"] is None
    assert trained_with((records[1], records[1]), epochs=1)[1]["class_weights"] is None


def test_only_dense_heads_are_compiled_with_xla(
    records: Splits, fused_layers: set[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tumbao.trainer.fit._FUSED", fused_layers)
    assert trained_with(records, epochs=1)[0].jit_compile
    recurrent = keras.Sequential([keras.layers.Input((4, 3)), keras.layers.LSTM(2), keras.layers.Softmax()])
    features = Arrays([np.zeros((2, 4, 3), np.float16)], np.arange(2), np.arange(2), 2)
    fit(recurrent, features, features, Training(epochs=1))
    compiled = recurrent.jit_compile
    recurrent.compile("adam", "categorical_crossentropy")
    assert compiled == recurrent.jit_compile


def test_a_loss_that_is_not_finite_ends_training_with_advice(records: Splits) -> None:
    with pytest.raises(ValueError, match=r"not a number.*--learning-rate"):
        trained_with(records, learning_rate=1e30, epochs=1)


def test_patience_starts_again_with_fine_tuning() -> None:
    rng = np.random.default_rng(1)
    noise = Arrays([rng.normal(size=(24, 3))], rng.integers(0, 2, 24), np.arange(24), 2)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])
    still = Training(epochs=20, fine_tune=20, patience=3, learning_rate=1e-12, units=())
    history = fit(model, noise, noise, still)
    assert (len(history["epochs"]), history["best_epoch"]) == (4 + 3, 1)


def test_weights_of_mixed_fragments_are_mixed() -> None:
    rng = np.random.default_rng(2)
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 2])
    train = Arrays([rng.normal(size=(8, 3))], labels, np.arange(8), 3)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, "softmax")])
    still = Training(epochs=1, batch=8, mixup=2.0, learning_rate=1e-12)
    ((features, soft),) = mixed(train.batches(8, still.seed), still.mixup, still.seed).as_numpy_iterator()
    expected = -(soft * np.log(model.predict_on_batch(features))).sum(axis=1)
    weights = np.array(list((class_weights(train.counts) or {}).values()))
    assert (soft.max(axis=1) < 0.9).any()
    history = fit(model, train, train, still)
    assert history["epochs"][0]["loss"] == pytest.approx(float(((soft @ weights) * expected).mean()), rel=1e-5)


def test_fine_tuning_trains_the_last_block(tmp_path: Path, write_features: Callable[..., str]) -> None:
    shape = (18, 18, 512)
    records = Records([write_features(tmp_path / "data.gz", [0, 1, 0, 1], shape)], shape, 2)
    model = find_model("vgg16-gap")
    settings = model.settings(epochs=1, fine_tune=1, batch=4, patience=0)
    assert model.backbone_for(settings).name == "vgg16-block4"
    head = model.head_for(shape, 2, settings)
    assert not head.get_layer("block5_conv3").trainable
    head, history = train_head(model, records, records, settings, shape=shape)
    assert len(history["epochs"]) == 2
    before = last_block_tensors(None)["block5_conv3"][0]
    moved = np.abs(head.get_layer("block5_conv3").get_weights()[0] - before).max()
    assert moved > 0 if history["best_epoch"] == 2 else moved == 0


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
def test_the_weights_of_the_best_epoch_are_restored(logs: list[tuple[float, float]], best: int) -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    keep = KeepBest()
    keep.set_model(model)
    for epoch, (accuracy, loss) in enumerate(logs):
        if epoch == 2:  # of a second training, with other settings
            keep.on_train_end()
            keep.on_train_begin()
        model.set_weights([np.array([[float(epoch)]])])
        keep.on_epoch_end(epoch, {"val_accuracy": accuracy, "val_loss": loss})
    keep.on_train_end()
    assert keep.epoch == best
    assert model.get_weights()[0].item() == best
