"""Entry point of the Trainer: train a head on cached features, join it with the backbone and save both."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.signatures import save
from tumbao.trainer.dataset import Fragments, Records
from tumbao.trainer.fit import fit
from tumbao.trainer.model import joined, without_loops
from tumbao.trainer.models.registry import find_model
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.search_space import with_values
from tumbao.trainer.training import Training
from tumbao.trainer.vgg16 import last_block_tensors
from tumbao.trainer.weights import weights_file

if TYPE_CHECKING:
    from tfx.v1.components import FnArgs

HEAD_FILE = "head.keras"
"""The head with its best weights, in the ModelRun artefact; `--resume` starts from it."""

HISTORY_FILE = "history.json"
"""Loss and accuracy by epoch, in the ModelRun artefact."""


def train_head(
    model: ModelSpec,
    train: Fragments,
    val: Fragments,
    training: Training,
    *,
    shape: tuple[int, ...],
    weights: str = "",
    resume: str = "",
    genres: Sequence[str] = (),
) -> tuple[keras.Model, dict[str, Any]]:
    """Build a head and train it; return it with its best weights, and the history as from `fit.fit`.

    `shape` is that of one fragment's features. `weights` is the file of the backbone's weights, for a block that is
    fine-tuned; empty for random ones. `resume` is the file of a head to start from; one with other shapes raises
    ValueError.
    """
    keras.utils.set_random_seed(training.seed)
    if model.train:
        return model.train(train, val, training)
    head = model.head_for(shape, len(train.counts), training)
    if training.fine_tune:
        for layer, tensors in last_block_tensors(weights_file(weights)).items():
            head.get_layer(layer).set_weights(tensors)
    if resume:
        _resume(head, resume)
    return head, fit(head, train, val, training, genres)


def load_head(file: str) -> keras.Model:
    """Load a head (`HEAD_FILE`): features float32 [n, *shape] → probabilities [n, genres]."""
    from tumbao.trainer import boosting  # noqa: F401 - registers its layer

    with tempfile.TemporaryDirectory(prefix="tumbao-head-") as folder:
        local = f"{folder}/{HEAD_FILE}"
        tf.io.gfile.copy(file, local)
        return keras.models.load_model(local, compile=False)


def _resume(head: keras.Model, file: str) -> None:
    tensors = load_head(file).get_weights()
    shapes = [tensor.shape for tensor in tensors]
    if shapes != [tensor.shape for tensor in head.get_weights()]:
        raise ValueError(
            "--resume needs a run with the same model, genres and units. "
            f"Received: a head with weights of the shapes {', '.join(map(str, shapes))}. Remove --resume."
        )
    head.set_weights(tensors)


def run_fn(fn_args: FnArgs) -> None:
    """Train, join and save; called by TFX's Trainer.

    `custom_config` holds `model` (its name), `genres`, `training` (of `Training`), `weights` (the backbone's file,
    empty for random ones), `resume` and `mel_spec`. `hyperparameters`, if there was a search, hold its best values, see
    `search_space.space`.
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
    save(
        joined(backbone, without_loops(head)),
        fn_args.serving_model_dir,
        config["genres"],
        MelSpec(**config["mel_spec"]),
    )
