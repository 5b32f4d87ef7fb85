"""Trainings of models with their predictions for test fragments and their costs, stored in folders."""

from __future__ import annotations

import dataclasses
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tumbao.components.ingest.atomic_write import new_folder, write_whole
from tumbao.components.ingest.splits import is_leaky
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.training import Training

FACTS_FILE = "trial.json"  # everything except the arrays
ANSWERS_FILE = "answers.npz"  # labels, songs and probabilities
TIMED_CALLS = 5  # after one warm-up call
PRECISION = "dynamic"  # of the TFLite file: integer weights, which every model supports


@dataclass(frozen=True)
class ModelCost:
    """Cost of a model."""

    parameters: int
    trainable_parameters: int
    inference_ms: float  # median time from a mel image to the probabilities in TensorFlow
    tflite_bytes: int | None  # with integer weights; None if the conversion failed
    tflite_note: str  # why it failed


@dataclass(frozen=True, eq=False)
class Trial(ModelCost):
    """One training of a model and its predictions for n test fragments."""

    model: str
    protocol: str  # what the split keeps together: song, artist, fragment or a column of the list
    seed: int
    fold: int | None  # number of the test part, from 0; None without cross-validation
    genres: tuple[str, ...]
    labels: npt.NDArray[np.int64]  # [n]
    songs: tuple[str, ...]  # [n]
    probabilities: npt.NDArray[np.float32]  # [n, genres]
    val_accuracy: float  # of the best epoch
    best_epoch: int  # from 1
    train_seconds: float
    synthetic: bool  # songs are composed, not recorded

    @property
    def leaky(self) -> bool:
        """Whether fragments of one song can be on both sides of the split."""
        return is_leaky(self.protocol)

    @property
    def accuracy(self) -> float:
        """Share of correctly classified test fragments, 0–1."""
        return float((self.probabilities.argmax(axis=1) == self.labels).mean())

    def facts(self) -> dict[str, object]:
        """Return everything except the arrays, for `json.dumps`."""
        return {key: value for key, value in vars(self).items() if key not in ("labels", "songs", "probabilities")}

    def write(self, folder: Path) -> None:
        """Write the trial atomically; a folder that exists is replaced."""
        with new_folder(folder) as part:
            arrays: dict[str, Any] = {
                "labels": self.labels,
                "songs": np.array(self.songs),
                "probabilities": self.probabilities,
            }
            np.savez_compressed(part / ANSWERS_FILE, **arrays)
            (part / FACTS_FILE).write_text(json.dumps(self.facts(), indent=1) + "\n", encoding="utf-8")
            if folder.exists():
                shutil.rmtree(folder)

    @classmethod
    def read(cls, folder: Path) -> Trial:
        """Load a trial; raises FileNotFoundError if it is missing or incomplete."""
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        with np.load(folder / ANSWERS_FILE, allow_pickle=False) as arrays:
            songs = tuple(arrays["songs"].tolist())
            facts |= {"labels": arrays["labels"], "songs": songs, "probabilities": arrays["probabilities"]}
        return cls(**facts | {"genres": tuple(facts["genres"])})


@dataclass(frozen=True, eq=False)
class Pool:
    """Predictions of one model under one split for n songs, sorted by name."""

    trials: tuple[Trial, ...]  # sorted by seed and fold
    songs: tuple[str, ...]
    labels: npt.NDArray[np.int64]  # [n]
    counts: npt.NDArray[np.int64]  # [n]: fragments of each song
    probabilities: npt.NDArray[np.float32]  # [seeds, fragments, genres], song after song


def pools(trials: Sequence[Trial]) -> Mapping[str, Mapping[str, Pool]]:
    """Combine trials by protocol and model, with the folds of each seed joined; fragments are sorted by song.

    Raises ValueError if the trials of a protocol were not all tested on the same fragments.
    """
    found: dict[str, dict[str, Pool]] = {}
    tested: dict[str, list[np.ndarray]] = {}  # song and label of every test fragment of a protocol
    ordered = sorted(trials, key=lambda one: (one.protocol, one.model, one.seed, one.fold or 0))
    for (protocol, model), of_model in groupby(ordered, key=lambda one: (one.protocol, one.model)):
        own, answers = tuple(of_model), []
        for seed, of_seed in groupby(own, key=lambda one: one.seed):
            folds = list(of_seed)
            songs, labels, probabilities = (
                np.concatenate([getattr(trial, name) for trial in folds])
                for name in ("songs", "labels", "probabilities")
            )
            order = np.argsort(songs, kind="stable")
            fragments = [songs[order], labels[order]]
            if not all(map(np.array_equal, tested.setdefault(protocol, fragments), fragments)):
                raise ValueError(
                    "Models can only be compared on the same test songs, with the same labels and numbers of fragments."
                    f" Received: other ones for {model} (split by {protocol}, seed {seed}). A fold may be missing, or "
                    "the library has changed. Run the comparison again, or leave the model out."
                )
            answers.append(probabilities[order])
        names, starts, counts = np.unique(tested[protocol][0], return_index=True, return_counts=True)
        found.setdefault(protocol, {})[model] = Pool(
            own, tuple(names.tolist()), tested[protocol][1][starts], counts.astype(np.int64), np.stack(answers)
        )
    return found


def model_cost(model: ModelSpec, training: Training, genres: Sequence[str], file: Path) -> ModelCost:
    """Measure a model with random weights, or load the figures from `file` if it exists."""
    if not file.exists():
        measured = _measure(model, training, genres)
        write_whole(file, (json.dumps(dataclasses.asdict(measured), indent=1) + "\n").encode())
    return ModelCost(**json.loads(file.read_text("utf-8")))


def _measure(model: ModelSpec, training: Training, genres: Sequence[str]) -> ModelCost:
    import tensorflow as tf

    from tumbao.serving.signatures import save
    from tumbao.serving.tflite import ConversionError, convert_classifier
    from tumbao.trainer.model import joined, without_loops

    backbone = model.backbone_for(training)
    frozen = backbone.build(None, "float32")
    head = model.head_for(frozen.output_shape[1:], len(genres), training)
    network = joined(frozen, head)
    image = tf.constant(np.zeros((1, *backbone.mel_spec.image_shape), np.uint8))
    predict = tf.function(lambda image: network(image, training=False))
    seconds = []
    for _ in range(1 + TIMED_CALLS):
        started = time.perf_counter()
        predict(image).numpy()
        seconds.append(time.perf_counter() - started)
    size, note = None, ""
    with tempfile.TemporaryDirectory(prefix="tumbao-cost-") as folder:
        save(joined(frozen, without_loops(head)), f"{folder}/model", genres, backbone.mel_spec)
        try:
            size = len(convert_classifier(f"{folder}/model", PRECISION, backbone.mel_spec))
        except ConversionError as error:
            note = str(error).strip().splitlines()[-1]
    # The whole head counts if one of its blocks is fine-tuned (frozen at first) or if it is not trained by gradients.
    trained = head.weights if training.fine_tune or model.train else head.trainable_weights
    trained_count = sum(int(np.prod(one.shape)) for one in trained)
    return ModelCost(network.count_params(), trained_count, 1_000 * statistics.median(seconds[1:]), size, note)
