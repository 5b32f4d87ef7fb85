"""BackboneFeatures: run a model's frozen backbone once over every record and save its output."""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import functools
from collections.abc import Iterator

import apache_beam as beam
import tensorflow as tf
from tfx import v1 as tfx
from tfx.types import artifact_utils

from tumbao.components.backbone_cache import BATCH, CachedBackbone
from tumbao.components.ingest import progress, records
from tumbao.schema.record import IMAGE, SPLITS
from tumbao.trainer.backbones import BACKBONES
from tumbao.trainer.vgg16 import Policy
from tumbao.trainer.weights import weights_file


@functools.lru_cache(maxsize=1)
def _cached(backbone: str, weights: str, policy: Policy, cache: str) -> CachedBackbone:
    """Load the backbone once for each process, whatever Beam does with its workers."""
    return CachedBackbone(BACKBONES[backbone], weights_file(weights), policy, cache)


class ExamplesToFeatures(beam.DoFn):
    """Replaces the images of a batch of records with the backbone's output, for masked copies of the records too."""

    def __init__(self, backbone: str, weights: str, policy: Policy, copies: int = 0, cache: str = "") -> None:
        self._settings, self._copies = (backbone, weights, policy, cache), copies

    def process(self, batch: list[bytes]) -> Iterator[bytes]:
        """Yield the records of a batch with the backbone's output in place of the image, then those of the copies."""
        examples = [tf.train.Example.FromString(serialized) for serialized in batch]
        pngs = [example.features.feature[IMAGE].bytes_list.value[0] for example in examples]
        for copy in range(1 + self._copies):
            for example, output in zip(examples, _cached(*self._settings)(pngs, copy), strict=True):
                yield records.to_feature_example(example, output).SerializeToString(deterministic=True)
            progress.advance("features", len(batch))


@tfx.dsl.components.component(use_beam=True)
def BackboneFeatures(  # noqa: N802 - TFX names components so
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    features: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.Examples],
    backbone: tfx.dsl.components.Parameter[str],
    weights: tfx.dsl.components.Parameter[str],
    augment: tfx.dsl.components.Parameter[int],
    policy: tfx.dsl.components.Parameter[str],
    cache: tfx.dsl.components.Parameter[str],
    code: tfx.dsl.components.Parameter[str],
    beam_pipeline: tfx.dsl.components.BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Write the records of all splits with the backbone's output, as float16, in place of the image.

    `backbone` is a key of `BACKBONES`, `weights` the file of its weights (empty for random ones), `augment` the number
    of masked copies of each training record, `policy` Keras' dtype policy, `cache` the folder of stored outputs, empty
    for none. `code` is part of TFX's cache key.
    """
    features.split_names = examples.split_names
    for key in ("payload_format", "file_format"):
        features.set_string_custom_property(key, examples.get_string_custom_property(key))
    copies = {split: augment if split == "train" else 0 for split in SPLITS}
    patterns = {split: f"{artifact_utils.get_split_uri([examples], split)}/*.gz" for split in SPLITS}
    counts = {split: _count(pattern) * (1 + copies[split]) for split, pattern in patterns.items()}
    progress.start("features", sum(counts.values()))
    with beam_pipeline as pipeline:
        for split, pattern in patterns.items():
            target = f"{artifact_utils.get_split_uri([features], split)}/data_tfrecord"
            compute = ExamplesToFeatures(backbone, weights, policy, copies[split], cache)
            _ = (
                pipeline
                | f"Read[{split}]" >> beam.io.ReadFromTFRecord(pattern)
                | f"Batch[{split}]" >> beam.BatchElements(min_batch_size=BATCH, max_batch_size=BATCH)
                | f"Backbone[{split}]" >> beam.ParDo(compute)
                | f"Write[{split}]" >> beam.io.WriteToTFRecord(target, file_name_suffix=".gz")
            )


def _count(pattern: str) -> int:
    files = tf.io.gfile.glob(pattern)
    return sum(1 for _ in tf.data.TFRecordDataset(files, compression_type="GZIP"))
