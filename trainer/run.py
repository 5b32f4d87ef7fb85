"""Entry points of TFX's Trainer and Tuner: train a head on cached features, and search for its settings."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from tfx.v1.components import FnArgs, TunerFnResult

from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.signatures import save
from tumbao.trainer.dataset import Records
from tumbao.trainer.fit import HEAD_FILE, HISTORY_FILE, train_head
from tumbao.trainer.model import joined, without_loops
from tumbao.trainer.models.registry import find_model
from tumbao.trainer.search import tuner, with_values
from tumbao.trainer.training import Training
from tumbao.trainer.weights import weights_file


def run_fn(fn_args: FnArgs) -> None:
    """Train a head, join it with its backbone and save both; called by TFX's Trainer.

    `custom_config` holds `model` (its name), `genres`, `training` (of `Training`), `weights` (the backbone's file,
    empty for random ones), `resume` and `mel_spec`. `hyperparameters`, if there was a search, hold its best values, see
    `search.search_space`.
    """
    config: Mapping[str, Any] = fn_args.custom_config
    model, training = find_model(config["model"]), Training(**config["training"])
    if fn_args.hyperparameters:
        training = with_values(training, fn_args.hyperparameters["values"])
    backbone = model.backbone_for(training).build(weights_file(config["weights"]), "float32")
    shape, genres = backbone.output_shape[1:], config["genres"]
    train, val = (Records(files, shape, len(genres)) for files in (fn_args.train_files, fn_args.eval_files))
    head, history = train_head(
        model, train, val, training, shape=shape, genres=genres, weights=config["weights"], resume=config["resume"]
    )
    run = fn_args.model_run_dir.rstrip("/")
    tf.io.gfile.makedirs(run)
    with tempfile.TemporaryDirectory(prefix="tumbao-head-") as folder:
        head.save(f"{folder}/{HEAD_FILE}")
        tf.io.gfile.copy(f"{folder}/{HEAD_FILE}", f"{run}/{HEAD_FILE}", overwrite=True)
    with tf.io.gfile.GFile(f"{run}/{HISTORY_FILE}", "w") as file:
        file.write(json.dumps(history, indent=1))
    save(joined(backbone, without_loops(head)), fn_args.serving_model_dir, genres, MelSpec(**config["mel_spec"]))


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """Set up a search; called by TFX's Tuner, which runs it.

    `custom_config` holds `model`, `genres`, `training`, `weights` and `code` as for the Trainer, `trials` (their
    number) and `searches` (the parent folder of all searches). TFX deletes the working directory of an execution, so
    an interrupted search is saved in a folder whose name depends on settings, code and data only.
    """
    config: Mapping[str, Any] = fn_args.custom_config
    model, training = find_model(config["model"]), Training(**config["training"])
    shape, genres = model.backbone_for(training).build(None, "float32").output_shape[1:], config["genres"]
    train, val = (Records(files, shape, len(genres)) for files in (fn_args.train_files, fn_args.eval_files))

    def train_trial(settings: Training) -> tuple[keras.Model, dict[str, Any]]:
        keras.utils.clear_session()  # otherwise the graphs of earlier trials stay in memory
        return train_head(model, train, val, settings, shape=shape, genres=genres, weights=config["weights"])

    folder = f"{config['searches']}/{_search_name(config, [*fn_args.train_files, *fn_args.eval_files])}"
    search = tuner(train_trial, val, training, trials=config["trials"], folder=folder)
    return TunerFnResult(tuner=search, fit_kwargs={})


def _search_name(config: Mapping[str, Any], patterns: list[str]) -> str:
    """Hash everything that the trials depend on; their number is not part of it, so that trials can be added."""
    settings = [config[key] for key in ("model", "genres", "training", "weights", "code")]
    files = [(file, tf.io.gfile.stat(file).length) for one in patterns for file in sorted(tf.io.gfile.glob(one))]
    return hashlib.sha256(json.dumps([settings, files], sort_keys=True).encode()).hexdigest()[:16]
