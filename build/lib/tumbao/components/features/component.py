"""BackboneFeatures: the frozen backbone runs over every record once, and its output is kept."""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow as tf
from tfx import v1 as tfx
from tfx.types import artifact_utils

from tumbao import progress
from tumbao.components.ingest import records
from tumbao.schema.record import SPLITS
from tumbao.trainer.backbone import Policy, backbone

BATCH = 8
"""Images in one call of the backbone: more gains nothing on a CPU."""


@functools.lru_cache(maxsize=1)
def _infer(weights: str, policy: Policy) -> Any:
    """Load the backbone once a process, whatever Beam does with its workers."""
    model = backbone(Path(weights) if weights else None, policy)
    return tf.function(lambda serialized: model(records.parse_images(serialized), training=False))


class ExamplesToFeatures(beam.DoFn):
    """Replace the images of a batch of records by the backbone's output.

    Parameters
    ----------
    weights : str
        File of the backbone's weights; empty for random ones.
    policy : str
        Keras' dtype policy for the computation.
    """

    def __init__(self, weights: str, policy: Policy) -> None:
        self._weights = weights
        self._policy = policy

    def process(self, batch: list[bytes]) -> Iterator[bytes]:
        """Compute one batch.

        Parameters
        ----------
        batch : list of bytes
            Serialized records with images.

        Yields
        ------
        record : bytes
            The same records with the backbone's output in place of the image.
        """
        features = tf.cast(_infer(self._weights, self._policy)(tf.constant(batch)), tf.float32).numpy()
        for serialized, output in zip(batch, features, strict=True):
            example = records.to_feature_example(tf.train.Example.FromString(serialized), output)
            yield example.SerializeToString(deterministic=True)
        progress.advance("features", len(batch))


@tfx.dsl.components.component(use_beam=True)
def BackboneFeatures(  # noqa: N802 - TFX names components so
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    features: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.Examples],
    weights: tfx.dsl.components.Parameter[str],
    policy: tfx.dsl.components.Parameter[str],
    code: tfx.dsl.components.Parameter[str],
    beam_pipeline: tfx.dsl.components.BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Run the frozen backbone over all splits.

    Parameters
    ----------
    examples : Examples
        Records with mel images.
    features : Examples
        Written: the same records with the backbone's float16 output.
    weights : str
        File of the backbone's weights; empty for random ones.
    policy : str
        Keras' dtype policy for the computation.
    code : str
        Hash of the source this depends on; not read here, it is part of TFX's cache key.
    beam_pipeline : beam.Pipeline
        Given by TFX.
    """
    features.split_names = examples.split_names
    for key in ("payload_format", "file_format"):
        features.set_string_custom_property(key, examples.get_string_custom_property(key))
    patterns = {split: f"{artifact_utils.get_split_uri([examples], split)}/*.gz" for split in SPLITS}
    progress.start("features", sum(map(_count, patterns.values())))
    with beam_pipeline as pipeline:
        for split, pattern in patterns.items():
            target = f"{artifact_utils.get_split_uri([features], split)}/data_tfrecord"
            _ = (
                pipeline
                | f"Read[{split}]" >> beam.io.ReadFromTFRecord(pattern)
                | f"Batch[{split}]" >> beam.BatchElements(min_batch_size=BATCH, max_batch_size=BATCH)
                | f"Backbone[{split}]" >> beam.ParDo(ExamplesToFeatures(weights, policy))
                | f"Write[{split}]" >> beam.io.WriteToTFRecord(target, file_name_suffix=".gz")
            )


def _count(pattern: str) -> int:
    files = tf.io.gfile.glob(pattern)
    return sum(1 for _ in tf.data.TFRecordDataset(files, compression_type="GZIP"))
