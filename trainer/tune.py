"""Entry point of the Tuner: search for a head's settings on cached features.

TFX gives a search a working directory that belongs to one execution and is deleted after it, so an interrupted search
would start over. This one is saved in a folder whose name depends on settings, code and data only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from tfx.v1.components import FnArgs, TunerFnResult

from tumbao.trainer.dataset import Records
from tumbao.trainer.models.registry import find_model
from tumbao.trainer.run import train_head
from tumbao.trainer.search import tuner
from tumbao.trainer.training import Training


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """Set up a search; called by TFX's Tuner, which runs it.

    `custom_config` holds `model`, `genres`, `training`, `weights` and `code` as for the Trainer, `trials` (their
    number) and `searches` (the parent folder of all searches).
    """
    config: Mapping[str, Any] = fn_args.custom_config
    model, training = find_model(config["model"]), Training(**config["training"])
    shape, genres = model.backbone_for(training).build(None, "float32").output_shape[1:], config["genres"]
    train, val = (Records(files, shape, len(genres)) for files in (fn_args.train_files, fn_args.eval_files))

    def train_trial(settings: Training) -> tuple[keras.Model, dict[str, Any]]:
        keras.utils.clear_session()  # otherwise the graphs of earlier trials stay in memory
        return train_head(model, train, val, settings, shape=shape, genres=genres, weights=config["weights"])

    search = tuner(
        train_trial,
        val,
        training,
        trials=config["trials"],
        folder=f"{config['searches']}/{_name(config, [*fn_args.train_files, *fn_args.eval_files])}",
    )
    return TunerFnResult(tuner=search, fit_kwargs={})


def _name(config: Mapping[str, Any], patterns: list[str]) -> str:
    """Hash everything that the trials depend on; their number is not part of it, so that trials can be added."""
    settings = [config[key] for key in ("model", "genres", "training", "weights", "code")]
    files = [(file, tf.io.gfile.stat(file).length) for one in patterns for file in sorted(tf.io.gfile.glob(one))]
    return hashlib.sha256(json.dumps([settings, files], sort_keys=True).encode()).hexdigest()[:16]
