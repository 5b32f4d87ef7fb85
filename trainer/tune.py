"""The Tuner's entry: searches settings of a model's head on cached features.

TFX gives a search a working directory that belongs to one execution and is deleted after it, so an interrupted search
would begin anew. This one is kept in a folder that only the settings, the code and the data name.
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
from tumbao.trainer.run import learn
from tumbao.trainer.search import tuner
from tumbao.trainer.training import Training


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """Set up a search; TFX's Tuner calls this and runs it.

    Parameters
    ----------
    fn_args : FnArgs
        TFX's arguments; `custom_config` holds `model`, `genres`, `training`, `weights` and `code` as the Trainer's,
        `trials` (how many) and `searches` (the folder in which searches are kept).

    Returns
    -------
    TunerFnResult
        The search; it needs no arguments.
    """
    config: Mapping[str, Any] = fn_args.custom_config
    model, training = find_model(config["model"]), Training(**config["training"])
    shape, genres = model.backbone_for(training).build(None, "float32").output_shape[1:], config["genres"]
    train, val = (Records(files, shape, len(genres)) for files in (fn_args.train_files, fn_args.eval_files))

    def once(settings: Training) -> tuple[keras.Model, dict[str, Any]]:
        keras.utils.clear_session()  # or the graphs of every trial before would stay in memory
        return learn(model, train, val, settings, shape=shape, genres=genres, weights=config["weights"])

    search = tuner(
        once,
        val,
        training,
        trials=config["trials"],
        folder=f"{config['searches']}/{_name(config, [*fn_args.train_files, *fn_args.eval_files])}",
    )
    return TunerFnResult(tuner=search, fit_kwargs={})


def _name(config: Mapping[str, Any], patterns: list[str]) -> str:
    """Name a search by what its trials depend on; how many there are is not part of it, so that more can be added."""
    settled = [config[key] for key in ("model", "genres", "training", "weights", "code")]
    files = [(file, tf.io.gfile.stat(file).length) for one in patterns for file in sorted(tf.io.gfile.glob(one))]
    return hashlib.sha256(json.dumps([settled, files], sort_keys=True).encode()).hexdigest()[:16]
