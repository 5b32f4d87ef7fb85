"""Tuner: TFX's own, which also saves the search's results for the report."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from keras_tuner.engine.trial import Trial
from pydantic import TypeAdapter
from tfx import types
from tfx import v1 as tfx
from tfx.components.tuner import executor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import artifact_utils
from tfx.utils import io_utils

from tumbao.components.evaluation.run_data import Search, SearchTrial
from tumbao.components.ingest.paths import as_path
from tumbao.components.ingest.records import read_records
from tumbao.schema import record
from tumbao.trainer.search import LOSS, RIGHT_FILE, HeadTuner, with_values
from tumbao.trainer.training import Training

SEARCH_FILE = "search.json"  # `run_data.Search`, beside TFX's own results


class TunerExecutor(executor.Executor):
    """Runs the search and writes the best settings, TFX's results and the report's."""

    def Do(  # noqa: N802 - TFX names it so
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Run the search and write its results."""
        tuner = executor.search(input_dict, exec_properties, self._get_tmp_dir(), print_tuning_summary=False)
        executor.write_best_hyperparameters(tuner, output_dict)
        examples = artifact_utils.get_split_uri(input_dict["examples"], "val")
        found = dataclasses.asdict(summary(tuner, [one[record.SONG].decode() for one in read_records(f"{examples}/*")]))
        written = f"{output_dict['tuner_results'][0].uri}/{SEARCH_FILE}"
        io_utils.write_bytes_file(written, json.dumps(found, ensure_ascii=False).encode())


class Tuner(tfx.components.Tuner):
    """TFX's Tuner with our executor."""

    EXECUTOR_SPEC = ExecutorClassSpec(TunerExecutor)


def summary(tuner: HeadTuner, songs: list[str]) -> Search:
    """Summarize the results of a finished search; `songs` has the song of each validation fragment."""
    names = tuner.oracle.start_order[: tuner.oracle.max_trials]
    trials = tuple(_trial(one, names.index(one.trial_id) + 1) for one in tuner.oracle.get_best_trials(len(names)))
    paper = _number(trials, Training())

    def right(number: int) -> tuple[bool, ...]:
        content = as_path(f"{tuner.get_trial_dir(names[number - 1])}/{RIGHT_FILE}").read_bytes()
        return tuple(map(bool, json.loads(content)))

    return Search(
        trials=trials,
        failed=len(names) - len(trials),
        paper=paper,
        given=_number(trials, tuner.training),
        songs=tuple(songs),
        right_best=right(trials[0].number),
        right_paper=right(paper) if paper else None,
    )


def _trial(trial: Trial, number: int) -> SearchTrial:
    training = with_values(Training(), trial.hyperparameters.values)
    return SearchTrial(number, *_searched(training), trial.score, trial.metrics.get_best_value(LOSS))


def _number(trials: tuple[SearchTrial, ...], training: Training) -> int | None:
    """Return the number of the trial with the searched settings of a training."""
    return next((one.number for one in trials if _searched(one) == _searched(training)), None)


def _searched(one: Training | SearchTrial) -> tuple[tuple[int, ...], float, float, float]:
    return one.units, one.dropout, one.l2, one.learning_rate


def read_search(results: str) -> Search:
    """Read the results of a search from the folder of the Tuner's `tuner_results`."""
    return TypeAdapter(Search).validate_json(as_path(f"{results}/{SEARCH_FILE}").read_bytes())
