"""The command `tumbao compare`: train models on the same splits and write a comparison."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from tumbao.analysis.compare.page import PAGE, outcome, write_comparison
from tumbao.analysis.compare.trial import Trial, model_cost
from tumbao.pipeline.preparation import Preparation
from tumbao.schema.errors import UserError, is_disk_full, is_unavailable
from tumbao.trainer.cross_validation import Fold, cross_validation, one_split, train_and_predict
from tumbao.trainer.models.registry import PAPER, find_model
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.training import Training

Settings = Mapping[str, Any]
"""Settings of `Training` by name."""


def parse_model(name: str) -> tuple[ModelSpec, Settings]:
    """Parse a model's name with settings, such as `vgg16:epochs=20,units=256+64`.

    Returns the model and the settings of `Training` that are given. An unknown model, an unknown setting or an invalid
    value raises a `ValueError`.
    """
    base, _, given = name.partition(":")
    model = find_model(base)
    defaults = {key: value for key, value in dataclasses.asdict(Training()).items() if key != "seed"}
    settings: dict[str, Any] = {}
    for one in filter(None, given.split(",")):
        key, equals, value = one.partition("=")
        if key not in defaults or not equals:
            raise UserError(
                f"Expected settings out of {', '.join(defaults)}, as epochs=20. Received: {one!r} in {name!r}"
            )
        kind = type(defaults[key])
        try:
            settings[key] = tuple(map(int, value.split("+"))) if kind is tuple else kind(value)
        except ValueError as error:
            raise UserError(f"Expected a value of {key} like {defaults[key]}. Received: {one!r}") from error
    model.settings(**settings)
    return model, settings


def compare(
    models: Mapping[str, tuple[ModelSpec, Settings]],
    prepared: Preparation,
    protocols: Sequence[str],
    seeds: Sequence[int],
    folds: int,
    out: Path,
    console: Console,
) -> int:
    """Train models with every combination that has no stored trial, and write the comparison.

    `models` are by their names, as from `parse_model`. `protocols` are what splits keep whole, out of
    `splits.SPLIT_BY`; `folds` is 0 for a single split. There is a training for each of `seeds`; the first one is that
    of the splits too. Returns the exit code: 0, or 1 if a model could not be trained. An unusable library or setting
    raises a `ValueError`.
    """
    display = prepared.display
    display.say(f"{len(models)} models, {len(seeds)} seeds, split by {' and by '.join(protocols)}")
    trials: list[Trial] = []
    errors: dict[str, Exception] = {}
    for name, (model, settings) in models.items():
        try:
            trials += list(_trials(prepared, name, model, settings, protocols, seeds, folds))
        except Exception as error:
            if is_disk_full(error) or is_unavailable(error):  # no other model can be trained either
                raise
            logging.exception("%s failed", name)
            errors[name] = error
            display.say(f"[red]{escape(name)} could not be compared:[/red] {escape(_reason(error))}")
    if not trials:
        if all(isinstance(error, UserError) for error in errors.values()):
            raise next(iter(errors.values()))
        display.say(f"No model could be compared; the tracebacks are in {escape(str(prepared.workspace))}/compare.log")
        return 1
    reference = PAPER if PAPER in models else next(iter(models))
    failures = {name: _reason(error) for name, error in errors.items()}
    findings = write_comparison(trials, out, reference=reference, library=prepared.catalog.name, failures=failures)
    console.print(escape(outcome(findings)), highlight=False, soft_wrap=True)
    console.print(escape(str(out / PAGE)), highlight=False, soft_wrap=True)
    return 1 if failures else 0


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _trials(
    prepared: Preparation,
    name: str,
    model: ModelSpec,
    settings: Settings,
    protocols: Sequence[str],
    seeds: Sequence[int],
    folds: int,
) -> Iterator[Trial]:
    """Train a model with every protocol, fold and seed; if one fails, the comparison includes none of them."""
    library = prepared.library(model.backbone_for(model.settings(**settings)).mel_spec)
    for protocol in protocols:
        if folds:
            splits = cross_validation(library, protocol, folds, seeds[0])
        else:
            splits = [one_split(library, protocol, seeds[0])]
        for split in splits:
            for seed in seeds:
                training = model.settings(**settings, seed=seed)
                folder = prepared.workspace / "trials" / _trial_name(prepared, name, model, protocol, split, training)
                try:
                    trial = Trial.read(folder)
                except FileNotFoundError:
                    trial = _train(prepared, name, model, protocol, split, training)
                    trial.write(folder)
                    part = "" if split.fold is None else f", fold {split.fold + 1} of {folds}"
                    prepared.display.say(
                        f"  {escape(name)}, by {protocol}{' (leaky)' if trial.leaky else ''}{part}, seed {seed}: "
                        f"{trial.accuracy:.1%} of {len(split.test)} test fragments, {trial.train_seconds:.0f} s"
                    )
                yield trial


def _trial_name(
    prepared: Preparation, name: str, model: ModelSpec, protocol: str, split: Fold, training: Training
) -> str:
    backbone = model.backbone_for(training)
    _, features = prepared.features(backbone, training.augment)
    library = prepared.library(backbone.mel_spec).digest
    values = [_code(prepared, model), name, dataclasses.asdict(training), features, library, split.digest, protocol]
    return f"{model.name}-{_digest(values)}"


def _train(prepared: Preparation, name: str, model: ModelSpec, protocol: str, split: Fold, training: Training) -> Trial:
    """Train a model on a split, and measure its cost once for all seeds and splits."""
    backbone = model.backbone_for(training)
    library, (arrays, _) = prepared.library(backbone.mel_spec), prepared.features(backbone, training.augment)
    weights = prepared.backbone_weights(backbone).path
    probabilities, history, seconds = train_and_predict(model, training, library, arrays, split, weights)
    settings = dataclasses.asdict(dataclasses.replace(training, seed=0))
    cost_name = f"cost-{_digest([_code(prepared, model), name, settings, library.genres])}.json"
    cost = model_cost(model, training, library.genres, prepared.workspace / "trials" / cost_name)
    best = history["epochs"][history["best_epoch"] - 1]
    return Trial(
        model=name,
        protocol=protocol,  # type: ignore[arg-type] # one of them
        seed=training.seed,
        fold=split.fold,
        genres=library.genres,
        labels=library.labels[split.test],
        songs=tuple(library.songs[row] for row in split.test),
        probabilities=probabilities,
        val_accuracy=best["val_accuracy"],
        best_epoch=history["best_epoch"],
        train_seconds=seconds,
        synthetic=prepared.catalog.synthetic,
        **dataclasses.asdict(cost),
    )


def _code(prepared: Preparation, model: ModelSpec) -> str:
    return prepared.code("tumbao.trainer.cross_validation", model.head.__module__)


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
