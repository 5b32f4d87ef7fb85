"""A search tries the paper's settings first, is reproducible, and continues where it was interrupted."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from keras_tuner.engine.trial import TrialStatus

from tumbao.components.ingest import progress
from tumbao.components.tuner import summary
from tumbao.trainer import run, search
from tumbao.trainer.dataset import Records
from tumbao.trainer.search import (
    DROPOUT,
    L2,
    LEARNING_RATE,
    UNITS,
    HeadTuner,
    tuner,
    values_of,
    with_values,
)
from tumbao.trainer.training import Training

SHAPE = (2, 2, 3)
LABELS = [0, 1, 0, 1, 1, 0, 1]
GIVEN = Training(epochs=1, batch=4, units=(8,), dropout=0.25, learning_rate=0.01)
TRIALS = 3
SONGS = [f"s{index}" for index in range(len(LABELS))]

pytestmark = pytest.mark.filterwarnings(
    r"ignore:(currentThread|getName)\(\):DeprecationWarning"
)  # KerasTuner locks with it


class Tried:
    """Trains heads whose answers depend on the settings alone, records the settings, and is interrupted on request."""

    def __init__(self, interrupt_at: int = 0) -> None:
        self.settings: list[Training] = []
        self._interrupt_at = interrupt_at

    def __call__(self, training: Training) -> Any:
        self.settings.append(training)
        if len(self.settings) == self._interrupt_at:
            raise KeyboardInterrupt
        chance = np.random.default_rng(zlib.crc32(repr(training).encode()))
        answers = lambda features: chance.dirichlet([1, 1], len(features))  # noqa: E731
        return SimpleNamespace(predict_on_batch=answers, variables=()), {}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory, write_features: Callable[..., str]) -> Records:
    file = write_features(tmp_path_factory.mktemp("features") / "all.gz", LABELS, SHAPE)
    return Records([file], SHAPE, 2)


def begin(records: Records, learn: Tried, folder: Path, trials: int = TRIALS) -> HeadTuner:
    return tuner(learn, records, GIVEN, trials=trials, folder=str(folder))


@pytest.fixture(scope="module")
def whole(records: Records, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tried, HeadTuner]:
    """A search that nothing interrupted."""
    tried = Tried()
    found = begin(records, tried, tmp_path_factory.mktemp("searches") / "whole")
    found.search()
    return tried, found


def results(found: HeadTuner) -> list[tuple[Any, ...]]:
    return [(one.hyperparameters.values, one.score) for one in found.oracle.get_best_trials(99)]


def test_the_papers_settings_come_first_then_the_given_ones_then_random_ones(whole: tuple[Tried, HeadTuner]) -> None:
    paper, given, *sampled = whole[0].settings
    assert paper == dataclasses.replace(GIVEN, units=(512, 64), dropout=0.0, l2=0.0, learning_rate=1e-3)
    assert given == GIVEN
    assert len(sampled) == 1
    for one in sampled:
        assert set(one.units) <= set(UNITS)
        assert one.dropout in DROPOUT
        assert one.l2 in L2
        assert LEARNING_RATE[0] <= one.learning_rate <= LEARNING_RATE[1]
        assert with_values(GIVEN, values_of(one)) == one


def test_an_interrupted_search_continues_with_the_same_results(
    whole: tuple[Tried, HeadTuner], records: Records, tmp_path: Path
) -> None:
    first, second = Tried(interrupt_at=2), Tried()
    with pytest.raises(KeyboardInterrupt):
        begin(records, first, tmp_path / "search").search()
    reports: list[tuple[str, int, int]] = []
    found = begin(records, second, tmp_path / "search")
    with progress.listen(lambda *step: reports.append(step)):
        found.search()
    assert first.settings[:1] + second.settings == whole[0].settings
    assert results(found) == results(whole[1])
    assert [step for step in reports if step[0] == "tune"] == [("tune", done, TRIALS) for done in (2, 3)]


def test_a_finished_search_runs_only_additional_trials(whole: tuple[Tried, HeadTuner], records: Records) -> None:
    folder, again, more = Path(whole[1].project_dir), Tried(), Tried()
    found = begin(records, again, folder)
    found.search()
    assert not again.settings
    assert results(found) == results(whole[1])
    begin(records, more, folder, TRIALS + 1).search()
    assert len(more.settings) == 1
    assert results(begin(records, again, folder)) == results(whole[1])


def test_a_search_with_damaged_state_starts_again(records: Records, tmp_path: Path) -> None:
    begin(records, Tried(), tmp_path / "search", 1).search()
    (tmp_path / "search" / "oracle.json").write_text('{"ongoing_tri')
    again = Tried()
    begin(records, again, tmp_path / "search", 1).search()
    assert len(again.settings) == 1


def test_equally_accurate_trials_are_sorted_by_loss_then_by_number(records: Records, tmp_path: Path) -> None:
    oracle = begin(records, Tried(), tmp_path / "search", 4).oracle
    for number, (accuracy, loss) in enumerate([(0.5, 0.1), (0.8, 0.9), (0.8, 0.7), (0.8, 0.7)]):
        trial = oracle.create_trial(str(number))
        oracle.update_trial(trial.trial_id, {search.ACCURACY: accuracy, search.LOSS: loss})
        trial.status = TrialStatus.COMPLETED
        oracle.end_trial(trial)
    assert [one.trial_id for one in oracle.get_best_trials(9)] == ["2", "3", "1", "0"]


def test_a_search_without_a_completed_trial_names_the_error(records: Records, tmp_path: Path) -> None:
    def fail(_: Training) -> Any:
        raise ValueError("The loss was not a number")

    with pytest.raises(ValueError, match=r"All 1 trials of the search failed.*The loss was not a number"):
        tuner(fail, records, GIVEN, trials=1, folder=str(tmp_path / "search")).search()


def test_the_summary_has_the_results_of_the_best_and_the_papers_settings(whole: tuple[Tried, HeadTuner]) -> None:
    found = summary(whole[1], SONGS)
    assert (found.paper, found.given, found.failed) == (1, 2, 0)
    assert sorted(one.number for one in found.trials) == [1, 2, 3]
    assert found.right_paper is not None
    by_number = {one.number: one for one in found.trials}
    assert np.mean(found.right_best) == pytest.approx(found.best.accuracy)
    assert np.mean(found.right_paper) == pytest.approx(by_number[1].accuracy)
    assert found.best.accuracy == max(one.accuracy for one in found.trials)


def test_a_search_is_named_by_data_and_settings_but_not_by_how_many_trials(
    write_features: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "TunerFnResult", lambda tuner, fit_kwargs: tuner)
    monkeypatch.setattr(run, "tuner", lambda learn, *_, folder, trials: (folder, trials))

    def set_up(**other: Any) -> tuple[str, int]:
        config: dict[str, Any] = {
            "model": "lstm",
            "training": dataclasses.asdict(GIVEN),
            "genres": ["a", "b"],
            "weights": "",
        }
        files = [str(tmp_path / "*.gz")]
        config |= {"code": "0", "trials": 3, "searches": "searches", **other}
        return run.tuner_fn(SimpleNamespace(custom_config=config, train_files=files, eval_files=files))

    write_features(tmp_path / "1.gz", LABELS, SHAPE)
    seed = dataclasses.asdict(dataclasses.replace(GIVEN, seed=8))
    searches = [set_up(), set_up(code="1"), set_up(training=seed), set_up(model="lstm-attention")]
    assert set_up(trials=9) == (searches[0][0], 9)
    write_features(tmp_path / "2.gz", LABELS, SHAPE)
    folders = {folder for folder, _ in [*searches, set_up()]}
    assert len(folders) == 5
    assert all(folder.startswith("searches/") for folder in folders)


class SettingsError(Exception):
    """Ends a training when its settings are known."""


@pytest.mark.parametrize("searched", [True, False])
def test_the_trainer_uses_the_settings_that_were_found(searched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def learn(model: object, train: object, val: object, training: Training, **_: Any) -> None:
        raise SettingsError(training)

    monkeypatch.setattr(run, "train_head", learn)
    found = Training(epochs=1, batch=4, units=(32, 16), dropout=0.1, l2=1e-4, learning_rate=2e-3)
    config = {"model": "lstm", "training": dataclasses.asdict(GIVEN), "genres": ["a", "b"], "weights": "", "resume": ""}
    given: dict[str, Any] | None = {"space": [], "values": values_of(found)} if searched else None
    with pytest.raises(SettingsError) as ended:
        run.run_fn(SimpleNamespace(custom_config=config, hyperparameters=given, train_files=[], eval_files=[]))
    assert ended.value.args == (found if searched else GIVEN,)
