"""The command `tumbao compare`: train models on the same splits and write a comparison."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from tumbao.analysis.compare.page import PAGE, outcome, write_comparison
from tumbao.analysis.compare.trial import Trial, model_cost
from tumbao.pipeline.config import read_config
from tumbao.pipeline.preparation import Preparation
from tumbao.pipeline.source import short_digest, source_digest
from tumbao.schema.errors import UserError, describe, is_disk_full, is_unavailable
from tumbao.trainer.cross_validation import Fold, library_folds, one_split, train_and_predict
from tumbao.trainer.models.registry import PAPER, find_model
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.training import Training

Settings = Mapping[str, Any]
"""Settings of `Training` by name."""


def parse_model(name: str) -> tuple[ModelSpec, Settings]:
    """Parse a model's name with settings, such as `vgg16:epochs=20,units=256+64`."""
    base, _, given = name.partition(":")
    settings = [f"training.{one.replace('+', ',')}" for one in given.split(",") if one]
    values = read_config(None, {"model.name": base}, settings).training.model_dump(exclude_none=True)
    if "seed" in values:
        raise UserError(f"Expected the seed in --seed. Received: {name}")
    return find_model(base), values


def compare(
    models: Mapping[str, tuple[ModelSpec, Settings]],
    prepared: Preparation,
    protocols: Sequence[str],
    seeds: Sequence[int],
    folds: int,
    out: Path,
    console: Console,
) -> int:
    """Train models with every combination that has no stored trial, compare them, and return the exit code."""
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
            display.say(f"[red]{escape(name)} could not be compared:[/red] {escape(describe(error))}")
    if not trials:
        if all(isinstance(error, UserError) for error in errors.values()):
            raise next(iter(errors.values()))
        display.say(f"No model could be compared; the tracebacks are in {escape(str(prepared.workspace))}/compare.log")
        return 1
    reference = PAPER if PAPER in models else next(iter(models))
    failures = {name: describe(error) for name, error in errors.items()}
    findings = write_comparison(trials, out, reference=reference, library=prepared.catalog.name, failures=failures)
    console.print(escape(outcome(findings)), highlight=False, soft_wrap=True)
    console.print(escape(str(out / PAGE)), highlight=False, soft_wrap=True)
    return 1 if failures else 0


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
        groups, seed = prepared.catalog.groups(protocol), seeds[0]
        if folds:
            splits = library_folds(library, protocol, groups, folds, seed)
        else:
            splits = [one_split(library, protocol, groups, seed)]
        for split in splits:
            for seed in seeds:
                yield _trial(prepared, name, model, protocol, split, model.settings(**settings, seed=seed))


def _trial(prepared: Preparation, name: str, model: ModelSpec, protocol: str, split: Fold, training: Training) -> Trial:
    """Read a stored trial, or train the model on a split and measure its cost once for all seeds and splits."""
    backbone = model.backbone_for(training)
    library, weights = prepared.library(backbone.mel_spec), prepared.backbone_weights(backbone)
    code = source_digest("tumbao.trainer.cross_validation", "tumbao.analysis.compare.features", model.head.__module__)
    trials, settings = prepared.workspace / "trials", dataclasses.asdict(training)
    content = [library.digest, library.archives, library.members, split.digest]
    values = [code, name, settings, weights.digest, prepared.policy, *content, protocol]
    with contextlib.suppress(FileNotFoundError):
        return Trial.read(trials / f"{model.name}-{short_digest(values)}")
    arrays = prepared.features(backbone, training.augment)
    probabilities, history, seconds = train_and_predict(model, training, library, arrays, split, weights.path)
    cost_name = f"cost-{short_digest([code, name, settings | {'seed': 0}, library.genres])}.json"
    cost = model_cost(model, training, library.genres, trials / cost_name)
    trial = Trial(
        model=name,
        protocol=protocol,
        seed=training.seed,
        fold=split.fold,
        genres=library.genres,
        labels=library.labels[split.test],
        songs=tuple(library.songs[row] for row in split.test),
        probabilities=probabilities,
        val_accuracy=history["epochs"][history["best_epoch"] - 1]["val_accuracy"],
        best_epoch=history["best_epoch"],
        train_seconds=seconds,
        synthetic=prepared.catalog.synthetic,
        **dataclasses.asdict(cost),
    )
    trial.write(trials / f"{model.name}-{short_digest(values)}")
    part = "" if split.fold is None else f", fold {split.fold + 1}"
    prepared.display.say(
        f"  {escape(name)}, by {protocol}{' (leaky)' if trial.leaky else ''}{part}, seed {training.seed}: "
        f"{trial.accuracy:.1%} of {len(split.test)} test fragments, {seconds:.0f} s"
    )
    return trial
