"""Trials are read as they were written, or not at all."""

from __future__ import annotations

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


def test_written_trials_are_read_again(tmp_path: Path) -> None:
    for i, one in enumerate(simulate(models=("adaboost", "cnn"), seeds=(3,), folds=2)):
        one.write(tmp_path / "trials" / str(i))
        assert same(Trial.read(tmp_path / "trials" / str(i)), one)
    odd = trial(songs=("a\udcff", "b"), model="añejo")
    odd.write(tmp_path / "trials" / "0")  # replaces it
    assert same(Trial.read(tmp_path / "trials" / "0"), odd)
    assert sorted(path.name for path in (tmp_path / "trials").iterdir()) == [str(i) for i in range(8)]


@pytest.mark.parametrize("missing", [FACTS_FILE, ANSWERS_FILE])
def test_incomplete_trials_are_missing(tmp_path: Path, missing: str) -> None:
    trial().write(tmp_path / "half")
    (tmp_path / "half" / missing).unlink()
    with pytest.raises(FileNotFoundError):
        Trial.read(tmp_path / "half")
