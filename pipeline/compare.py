"""The command `tumbao compare`: train models on the same splits and write a comparison."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from tumbao.analysis.compare.findings import find
from tumbao.analysis.compare.folds import Fold, cross_validation, one_split
from tumbao.analysis.compare.page import PAGE, write_comparison
from tumbao.analysis.compare.tables import outcome
from tumbao.analysis.compare.training import ModelCost, model_cost, train_and_predict
from tumbao.analysis.compare.trial import Trial
from tumbao.components.ingest import progress
from tumbao.components.ingest.paths import AnyPath
from tumbao.pipeline.preparation import Preparation
from tumbao.pipeline.progress_display import ProgressDisplay
from tumbao.schema.errors import UserError, is_disk_full, is_unavailable
from tumbao.trainer.models.registry import PAPER, find_model
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.training import Training


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Options of `tumbao compare`.

    - `layout`: the library's form, one of `formats.LAYOUTS`.
    - `workspace`: folder of rendered songs, features and trials.
    - `models`: names, each alone or with settings: `vgg16` or `vgg16:epochs=20,dropout=0.5`.
    - `protocols`: what splits keep whole, out of `splits.SPLIT_BY`.
    - `seeds`: trainings of each model on each split.
    - `folds`: folds of a cross-validation; 0 for a single split.
    - `seed`: of the split, and the first of the trainings' seeds.
    - `weights`: file of backbones' weights, `random`, or empty to search for them.
    """

    data: AnyPath
    layout: str
    workspace: Path
    genres: tuple[str, ...]
    models: tuple[str, ...]
    protocols: tuple[str, ...]
    seeds: int
    folds: int
    seed: int
    weights: str
    out: Path


def settled(name: str) -> tuple[ModelSpec, dict[str, Any]]:
    """Parse a model's name with settings, such as `vgg16:epochs=20,units=256+64`.

    Returns the model and the settings of `Training` that are given. An unknown model, an unknown setting or an invalid
    value raises a `ValueError`.
    """
    base, _, asked = name.partition(":")
    model = find_model(base)
    paper = Training()
    kinds = {field.name: type(getattr(paper, field.name)) for field in dataclasses.fields(Training)}
    kinds.pop("seed")
    settings: dict[str, Any] = {}
    for one in filter(None, asked.split(",")):
        key, equals, value = one.partition("=")
        if key not in kinds or not equals:
            raise UserError(f"Expected settings out of {', '.join(kinds)}, as epochs=20. Received: {one!r} in {name!r}")
        try:
            settings[key] = tuple(map(int, value.split("+"))) if kinds[key] is tuple else kinds[key](value)
        except ValueError as error:
            raise UserError(f"Expected a value of {key} like {getattr(paper, key)}. Received: {one!r}") from error
    model.settings(**settings)
    return model, settings


def compare(asked: Comparison, noise: Console, console: Console) -> int:
    """Train models with every combination that has no stored trial, and write the comparison.

    Returns the exit code: 0, or 1 if a model could not be trained. An unusable library or setting raises a
    `ValueError`.
    """
    models = {name: settled(name) for name in asked.models}
    if asked.folds and asked.folds < 3:
        raise UserError(f"Expected 0 folds, or at least 3. Received: {asked.folds}")
    trials: list[Trial] = []
    failures: dict[str, str] = {}
    errors: list[Exception] = []
    with ProgressDisplay(noise) as watch, progress.listen(watch):
        prepared = Preparation(asked.data, asked.workspace, asked.genres, asked.layout, asked.weights, watch)
        watch.say(f"{len(models)} models, {asked.seeds} seeds, split by {' and by '.join(asked.protocols)}")
        for name, (model, settings) in models.items():
            try:
                trials += list(_trials(asked, name, model, settings, prepared, watch))
            except Exception as error:
                if is_disk_full(error) or is_unavailable(error):  # no other model can be trained either
                    raise
                logging.exception("%s failed", name)
                errors.append(error)
                failures[name] = str(error) or type(error).__name__
                watch.say(f"[red]{escape(name)} could not be compared:[/red] {escape(failures[name])}")
        if not trials and all(isinstance(error, UserError) for error in errors):
            raise errors[0]
        if not trials:
            watch.say(f"No model could be compared; the tracebacks are in {escape(str(asked.workspace))}/compare.log")
            return 1
    reference = PAPER if PAPER in models else asked.models[0]
    write_comparison(trials, asked.out, reference=reference, library=prepared.catalog.name, failures=failures)
    console.print(escape(outcome(find(trials, reference))), highlight=False, soft_wrap=True)
    console.print(escape(str(asked.out / PAGE)), highlight=False, soft_wrap=True)
    return 1 if failures else 0


def _trials(
    asked: Comparison,
    name: str,
    model: ModelSpec,
    settings: dict[str, Any],
    prepared: Preparation,
    watch: ProgressDisplay,
) -> Iterator[Trial]:
    """Train a model with every protocol, fold and seed; if one fails, the comparison includes none of them."""
    code = prepared.code("tumbao.trainer.fit", "tumbao.trainer.dataset", model.head.__module__)
    plain = model.settings(**settings)
    told = [code, name, dataclasses.asdict(plain), list(asked.genres)]
    cost = functools.partial(
        model_cost, model, plain, asked.genres, asked.workspace / "trials" / f"cost-{_digest(told)}.json"
    )
    candidate = _Candidate(name, model, cost, code)
    for protocol in asked.protocols:
        for division in _rounds(asked, protocol, model, plain, prepared):
            for seed in range(asked.seed, asked.seed + asked.seeds):
                training = model.settings(**settings, seed=seed)
                yield _trial(asked, candidate, protocol, division, training, prepared, watch)


def _rounds(
    asked: Comparison, protocol: str, model: ModelSpec, training: Training, prepared: Preparation
) -> Sequence[Fold]:
    library = prepared.library(model.backbone_for(training).mel_spec)
    if asked.folds:
        return cross_validation(library, protocol, asked.folds, asked.seed)
    return [one_split(library, protocol, asked.seed)]


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """A model that is compared; `cost` measures it once, and `code` is the hash of the source of its training."""

    name: str
    model: ModelSpec
    cost: Callable[[], ModelCost]
    code: str


def _trial(
    asked: Comparison,
    candidate: _Candidate,
    protocol: str,
    division: Fold,
    training: Training,
    prepared: Preparation,
    watch: ProgressDisplay,
) -> Trial:
    name, model = candidate.name, candidate.model
    backbone = model.backbone_for(training)
    library = prepared.library(backbone.mel_spec)
    arrays, key = prepared.features(backbone, training.augment)
    told = [
        candidate.code,
        name,
        dataclasses.asdict(training),
        key,
        library.digest,
        division.digest,
        protocol,
    ]
    folder = asked.workspace / "trials" / f"{model.name}-{_digest(told)}"
    try:
        return Trial.read(folder)
    except FileNotFoundError:
        pass
    rows = division.test
    probabilities, history, seconds = train_and_predict(
        model, training, library, arrays, division, prepared.backbone_weights(backbone).path
    )
    found = candidate.cost()
    best = history["epochs"][history["best_epoch"] - 1]
    trial = Trial(
        model=name,
        protocol=protocol,  # type: ignore[arg-type] # one of them
        seed=training.seed,
        fold=division.fold,
        genres=asked.genres,
        labels=library.labels[rows],
        songs=tuple(library.songs[row] for row in rows),
        probabilities=probabilities,
        val_accuracy=best["val_accuracy"],
        best_epoch=history["best_epoch"],
        train_seconds=seconds,
        synthetic=prepared.catalog.synthetic,
        **dataclasses.asdict(found),
    )
    trial.write(folder)
    part = "" if division.fold is None else f", fold {division.fold + 1} of {asked.folds}"
    leaky = " (leaky)" if trial.leaky else ""
    watch.say(
        f"  {escape(name)}, by {protocol}{leaky}{part}, seed {training.seed}: "
        f"{trial.accuracy:.1%} of {len(rows)} test fragments, {seconds:.0f} s"
    )
    return trial


def _digest(told: object) -> str:
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
