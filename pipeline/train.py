"""Training in the Python API: `tumbao run` as a function."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tumbao.pipeline.commands.app import missing_pipeline, quiet_tensorflow
from tumbao.schema.errors import UserError
from tumbao.serving.formatting import TerminalConsole

if TYPE_CHECKING:
    from tumbao.pipeline.config import Config
    from tumbao.pipeline.runs import RunRecord


class TrainingError(RuntimeError):
    """A run that failed; the message says why, and names the log."""


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """A run that came to its end.

    Attributes
    ----------
    model : str
        Folder or address of the pushed version, for `tumbao.Classifier`; empty if no model was pushed.
    sentence : str
        What became of the model, and why.
    blessed : bool
        Whether the model passed every check.
    accuracy : float or None
        Share of the test fragments that were recognised, in [0, 1]; None if the run did not get that far.
    report : Path
        The report, a web page.
    log : Path
        The log.
    """

    model: str
    sentence: str
    blessed: bool
    accuracy: float | None
    report: Path
    log: Path


def train(
    library: str | os.PathLike[str],
    config: str | os.PathLike[str] | Mapping[str, Mapping[str, Any]] | None = None,
    *,
    verbose: bool = True,
) -> TrainingRun:
    """Train, evaluate and push a model of a library, as ``tumbao run`` does.

    Parameters
    ----------
    library : str or os.PathLike
        Folder with one folder of songs per genre, or a list of songs.
    config : str, os.PathLike or Mapping, optional
        A YAML file as ``tumbao config`` prints it, or its sections: ``{"model": {"name": "tumbao"}}``. The workspace,
        in which results are reused, is ``runner.root``.
    verbose : bool, default=True
        Whether to show progress on standard error.

    Returns
    -------
    TrainingRun
        The run, also if the model did not pass every check: then its `model` is empty.

    Raises
    ------
    UserError
        If the configuration or the library is invalid.
    TrainingError
        If the run fails.
    ImportError
        If only the light install is there.

    Notes
    -----
    The run takes minutes to hours. It redirects the standard streams of the process into the log until it ends. The
    workspace is locked: a second run in it raises an error.

    Examples
    --------
    >>> import tumbao
    >>> run = tumbao.train("music", {"model": {"name": "tumbao"}})  # doctest: +SKIP
    >>> if run.blessed:  # doctest: +SKIP
    ...     print(tumbao.Classifier(run.model).classify("song.mp3").genre)
    salsa
    """
    if missing := missing_pipeline():
        raise ImportError(missing)
    quiet_tensorflow()
    from tumbao.pipeline import local_runner

    whole = _read(os.fspath(library), config)
    return _finished(whole, *local_runner.run(whole, TerminalConsole(stderr=True, quiet=not verbose)))


def _read(library: str, config: Any) -> Config:
    from tumbao.pipeline.commands.run import check_local_config
    from tumbao.pipeline.config import parse, read_config

    if config is None or isinstance(config, Mapping):
        sections = dict(config or {})
        whole = parse(sections | {"data": {**sections.get("data", {}), "library": library}})
    else:
        whole = read_config(Path(config), {"data.library": library})
    try:
        check_local_config(whole)
    except typer.BadParameter as error:
        raise UserError(error.message) from error
    return whole


def _finished(config: Config, code: int, record: RunRecord) -> TrainingRun:
    from tumbao.pipeline import local_runner, runs

    folder = Path(config.root) / runs.RUNS_FOLDER / record.run
    report, log = folder / runs.REPORT_FILE, folder / runs.LOG_FILE
    if code == local_runner.INTERRUPTED:
        raise KeyboardInterrupt
    if code == local_runner.WRONG_USE:
        raise UserError(record.sentence)
    if code == local_runner.FAILED:
        raise TrainingError(f"{record.sentence} The log is {log}.")
    return TrainingRun(record.pushed_to, record.sentence, record.blessed, record.accuracy, report, log)
