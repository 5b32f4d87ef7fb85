"""A trial comes back as it was written, or not at all."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.compare.simulated_trials import simulate, trial
from tumbao.analysis.compare.trial import ANSWERS_FILE, FACTS_FILE, Trial


def same(first: Trial, second: Trial) -> bool:
    arrays = all(
        getattr(first, name).dtype == getattr(second, name).dtype
        and np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("labels", "probabilities")
    )
    return arrays and first.songs == second.songs and first.facts() == second.facts()


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    for i, one in enumerate(simulate(models=("adaboost", "cnn"), seeds=(3,), folds=2)):
        one.write(tmp_path / "trials" / str(i))
        assert same(Trial.read(tmp_path / "trials" / str(i)), one)
    assert sorted(path.name for path in (tmp_path / "trials").iterdir()) == [str(i) for i in range(8)]


def test_names_that_utf_8_cannot_hold_come_back(tmp_path: Path) -> None:
    odd = trial(songs=("a\udcff", "b"), model="añejo")
    odd.write(tmp_path / "odd")
    assert same(Trial.read(tmp_path / "odd"), odd)


def test_writing_again_replaces(tmp_path: Path) -> None:
    trial().write(tmp_path / "one")
    trial(val_accuracy=0.5).write(tmp_path / "one")
    assert Trial.read(tmp_path / "one").val_accuracy == 0.5


@pytest.mark.parametrize("missing", [FACTS_FILE, ANSWERS_FILE])
def test_half_a_trial_is_none(tmp_path: Path, missing: str) -> None:
    trial().write(tmp_path / "half")
    (tmp_path / "half" / missing).unlink()
    with pytest.raises(FileNotFoundError):
        Trial.read(tmp_path / "half")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    unwritable = dataclasses.replace(trial(), model=object())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="JSON"):
        unwritable.write(tmp_path / "one")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"protocol": "album"}, "Received: 'album'"),
        ({"songs": ("a",)}, r"n = 1 fragments.*int64 \(2,\)"),
        ({"songs": (), "labels": np.zeros(0, np.int64), "probabilities": np.zeros((0, 2), np.float32)}, "at least 1"),
        ({"labels": np.array([0, 1], np.int32)}, "Received: int32"),
        ({"probabilities": np.full((2, 2), 0.5)}, "and float64"),
        ({"probabilities": np.array([[2.0, -1.0], [0.5, 0.5]], np.float32)}, "logits"),
        ({"labels": np.array([0, 2])}, "Received: 0 to 2"),
        ({"songs": ("a", "a")}, "several labels for 'a'"),
        ({"tflite_bytes": None}, "tflite_bytes=None, tflite_note=''"),
        ({"tflite_note": "too large"}, "and not both"),
    ],
)
def test_what_does_not_fit_together_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trial(**values)
