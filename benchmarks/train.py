"""Time, accuracy and memory of Tumbao's training, compared with `model.fit` on the whole network.

Both train the paper's network on the same mel images (of noise with another spectrum for each genre) for 5 epochs with
a batch size of 32, in the same order and from the same initial weights, and keep the best epoch. For overlapping genres
their results would differ as those of two seeds, because features are stored in float16. `model.fit` trains one model
with the frozen backbone in float32. Tumbao computes features once, in the precision that it chooses for this machine,
and trains the head on them. `retrain` is a second training on the same library, with another seed or another head,
whichever takes longer. The last line is the result as JSON.

    python benchmarks/train.py [--fragments 300]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import apache_beam as beam
import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table
from tfx.types import artifact_utils, standard_artifacts

from tumbao.components.backbone_features import BackboneFeatures
from tumbao.components.ingest.mel import mel_levels, palette
from tumbao.components.ingest.records import parse_images, to_example, to_feature_example, to_png
from tumbao.schema import record
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS
from tumbao.trainer.dataset import Records
from tumbao.trainer.fit import KeepBest, train_head
from tumbao.trainer.model import dense_head, joined
from tumbao.trainer.models.registry import PAPER, find_model
from tumbao.trainer.training import Training
from tumbao.trainer.vgg16 import FEATURES_SHAPE, cpu_features, preferred_policy, vgg16_backbone
from tumbao.trainer.weights import ensure_vgg16

GENRES = 5
TRAINING = Training(learning_rate=3e-4)
MEMORY_RECORDS = 1_500


def write_images(folder: Path, counts: dict[str, int]) -> None:
    """Write records of mel images to `Split-<name>`: pulsed noise whose spectral slope increases with the label."""
    spec = MelSpec()
    colours = palette(spec)
    for split, count in counts.items():
        rng = np.random.default_rng(len(split))
        file = folder / f"Split-{split}" / "data.gz"
        file.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
            for index in range(count):
                label = index % GENRES
                spectrum = np.fft.rfft(rng.standard_normal(spec.fragment_samples))
                hertz = np.fft.rfftfreq(spec.fragment_samples, 1 / spec.sample_rate_hz)
                tilt = (hertz + 50) ** -(0.2 + 0.25 * label + 0.1 * rng.random())
                sound = np.fft.irfft(spectrum * tilt)
                beat = np.sin(2 * np.pi * (1 + rng.random()) * np.arange(spec.fragment_samples) / spec.sample_rate_hz)
                fragment = (0.5 * sound / np.abs(sound).max() * (1 + beat) / 2).astype(np.float32)[np.newaxis]
                example = to_example(
                    to_png(mel_levels(fragment, spec).numpy()[0], colours),
                    label=label,
                    genre=str(label),
                    song=f"{split} {index}",
                    fragment=0,
                    start_seconds=0.0,
                    padded=False,
                )
                writer.write(example.SerializeToString())


def images_of(folder: Path, split: str) -> tf.data.Dataset:
    """Read batches of images and one-hot labels, decoded in each epoch."""

    def read(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = tf.io.parse_example(serialized, {record.LABEL: tf.io.FixedLenFeature([], tf.int64)})
        images = tf.ensure_shape(parse_images(serialized), (None, *MelSpec().image_shape))
        return images, tf.one_hot(parsed[record.LABEL], GENRES)

    serialized = tf.data.TFRecordDataset([str(folder / f"Split-{split}" / "data.gz")], "GZIP")
    if split == "train":
        serialized = serialized.shuffle(1_024, seed=TRAINING.seed)
    return serialized.batch(TRAINING.batch).map(read, num_parallel_calls=2).prefetch(1)


def plain(folder: Path, weights: Path | None) -> tuple[float, int]:
    """Train the whole network; return the seconds, prediction included, and the number of correct test fragments."""
    keras.utils.set_random_seed(TRAINING.seed)
    started = time.perf_counter()
    model = joined(vgg16_backbone(weights, "float32"), dense_head(FEATURES_SHAPE, GENRES, TRAINING))
    model.compile(keras.optimizers.Adam(TRAINING.learning_rate), "categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        images_of(folder, "train"),
        validation_data=images_of(folder, "val"),
        epochs=TRAINING.epochs,
        callbacks=[KeepBest()],
        verbose=0,
    )
    right = _right(model, images_of(folder, "test"))
    return time.perf_counter() - started, right


def features_once(folder: Path, target: Path, weights: Path | None) -> float:
    """Run the component that computes features; return the seconds."""
    examples, features = standard_artifacts.Examples(), standard_artifacts.Examples()
    examples.uri, features.uri = str(folder), str(target)
    examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    examples.set_string_custom_property("file_format", "tfrecords_gzip")
    started = time.perf_counter()
    BackboneFeatures.test_call(
        examples=examples,
        features=features,
        backbone="vgg16",
        weights=str(weights) if weights else "",
        augment=0,
        policy=preferred_policy()[0],
        cache="",
        code="",
        beam_pipeline=beam.Pipeline(argv=["--runner=FnApiRunner"]),
    )
    return time.perf_counter() - started


def on_features(target: Path, training: Training) -> tuple[float, int]:
    """Train the head on features; return the same as `plain`."""
    train, val, test = (Records([f"{target}/Split-{split}/*.gz"], FEATURES_SHAPE, GENRES) for split in SPLITS)
    started = time.perf_counter()
    model, _ = train_head(find_model(PAPER), train, val, training, shape=FEATURES_SHAPE)
    right = _right(model, test.batches(TRAINING.batch))
    return time.perf_counter() - started, right


def _right(model: keras.Model, batches: tf.data.Dataset) -> int:
    return sum(
        int((model.predict_on_batch(x).argmax(axis=1) == y.argmax(axis=1)).sum())
        for x, y in batches.as_numpy_iterator()
    )


def peak_mb(folder: Path, files: int) -> float:
    """Train a head on records in its own process; return its peak memory in megabytes."""
    command = [sys.executable, __file__, "--memory", str(folder), str(files)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def _train_for_memory(folder: str, files: int) -> None:
    records = Records([f"{folder}/data.gz"] * files, FEATURES_SHAPE, GENRES)
    training = Training(epochs=1, learning_rate=1e-5, class_weights="none")
    train_head(
        find_model(PAPER),
        records,
        Records([f"{folder}/val.gz"], FEATURES_SHAPE, GENRES),
        training,
        shape=FEATURES_SHAPE,
    )
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    sys.stdout.write(f"{int(peak.split()[1]) / 1_000}\n")


def write_features(file: Path, count: int) -> None:
    """Write records of random features."""
    features = np.random.default_rng(1).random(FEATURES_SHAPE).astype(np.float32)
    with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
        for index in range(count):
            about: dict[str, Any] = {"label": index % GENRES, "genre": "", "song": str(index), "fragment": 0}
            example = to_example(b"", **about, start_seconds=0.0, padded=False)
            writer.write(to_feature_example(example, np.roll(features, index)).SerializeToString())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--fragments",
        type=int,
        default=300,
        help="fragments in the training split; val and test have a fifth (default 300)",
    )
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        _train_for_memory(options.memory[0], int(options.memory[1]))
        return
    console = Console()
    weights = ensure_vgg16().path
    held_out = options.fragments // 5
    with tempfile.TemporaryDirectory(prefix="tumbao-train-") as scratch:
        images, target = Path(scratch) / "images", Path(scratch) / "features"
        write_images(images, {"train": options.fragments, "val": held_out, "test": held_out})
        once = features_once(images, target, weights)
        first, right = on_features(target, TRAINING)
        changes: dict[str, dict[str, Any]] = {
            "another seed": {"seed": TRAINING.seed + 1},
            "another head": {"units": (256, 128)},
        }
        again = {
            name: on_features(target, dataclasses.replace(TRAINING, **change))[0] for name, change in changes.items()
        }
        plainly, plain_right = plain(images, weights)
        memory = Path(scratch) / "memory"
        memory.mkdir()
        write_features(memory / "data.gz", MEMORY_RECORDS)
        write_features(memory / "val.gz", 20)
        peaks = [peak_mb(memory, files) for files in (1, 4)]
    table = Table("training", "seconds", "correct test fragments")
    table.add_row("plain model.fit, float32", f"{plainly:.1f}", f"{plain_right} of {held_out}")
    table.add_row(f"features once ({preferred_policy()[0]})", f"{once:.1f}", "")
    table.add_row("head on features", f"{first:.1f}", f"{right} of {held_out}")
    for name, seconds in again.items():
        table.add_row(f"{name} on the same features", f"{seconds:.1f}", "")
    console.print(table)
    megabytes = " and ".join(f"{peak:.0f} MB" for peak in peaks)
    console.print(f"Peak memory with {MEMORY_RECORDS} and {4 * MEMORY_RECORDS} records: {megabytes}")
    result = {
        "vs_plain_fit": round(plainly / (once + first), 2),
        "retrain": round(plainly / max(again.values()), 1),
        "accuracy_difference": abs(right - plain_right),
        "amx": "amx_bf16" in cpu_features(),
        "memory_growth": round(peaks[1] / peaks[0] - 1, 3),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
