"""BackboneFeatures writes the output of the backbone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from tfx.types import artifact_utils, standard_artifacts

from tumbao.analysis.compare.features import features as library_features
from tumbao.components.backbone_cache import CachedBackbone
from tumbao.components.backbone_features import BackboneFeatures, ExamplesToFeatures
from tumbao.components.ingest import song_cache
from tumbao.components.ingest.mel import palette
from tumbao.components.ingest.records import BACKBONE_DTYPE, read_records, to_example, to_png
from tumbao.components.ingest.rendered_library import RenderedLibrary
from tumbao.schema import record
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS
from tumbao.trainer.backbones import BACKBONES
from tumbao.trainer.vgg16 import Policy

PALETTE = palette(MelSpec())


@pytest.fixture(scope="module")
def levels() -> np.ndarray:
    """Three images: noise, a ramp and the floor."""
    noise = np.random.default_rng(3).integers(0, 256, (300, 300))
    ramp = np.linspace(0, 255, 300, dtype=int)[np.newaxis].repeat(300, axis=0)
    return np.stack([noise, ramp, np.zeros_like(noise)])


@pytest.fixture(scope="module")
def serialized(levels: np.ndarray) -> list[bytes]:
    return [
        to_example(
            to_png(image, PALETTE),
            label=index,
            genre="salsa",
            song=f"{index}.mp3",
            fragment=index,
            start_seconds=30.0 * index,
            padded=index == 2,
        ).SerializeToString(deterministic=True)
        for index, image in enumerate(levels)
    ]


@pytest.fixture(scope="module")
def brightness(levels: np.ndarray) -> np.ndarray:
    """The output of the backbone `levels`."""
    return levels[:, ::-1].transpose(0, 2, 1).reshape(3, -1) / 255


def test_the_component_writes_every_split_in_the_format_of_its_input(
    serialized: list[bytes], brightness: np.ndarray, tmp_path: Path
) -> None:
    examples, features = standard_artifacts.Examples(), standard_artifacts.Examples()
    examples.uri, features.uri = str(tmp_path / "examples"), str(tmp_path / "features")
    examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    examples.set_string_custom_property("file_format", "tfrecords_gzip")
    for split, one in zip(SPLITS, serialized, strict=True):
        folder = Path(artifact_utils.get_split_uri([examples], split))
        folder.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / "data.gz"), tf.io.TFRecordOptions("GZIP")) as writer:
            writer.write(one)
    BackboneFeatures.test_call(
        examples=examples,
        features=features,
        backbone="levels",
        weights="",
        augment=0,
        policy="float32",
        cache=str(tmp_path / "cache"),
        code="",
        beam_pipeline=beam.Pipeline(argv=["--runner=FnApiRunner"]),
    )
    assert artifact_utils.decode_split_names(features.split_names) == list(SPLITS)
    assert features.get_string_custom_property("payload_format") == "FORMAT_TF_EXAMPLE"
    assert features.get_string_custom_property("file_format") == "tfrecords_gzip"
    for index, split in enumerate(SPLITS):
        (read,) = read_records(f"{artifact_utils.get_split_uri([examples], split)}/*.gz")
        (written,) = read_records(f"{artifact_utils.get_split_uri([features], split)}/*.gz")
        output = np.frombuffer(written.pop(record.BACKBONE), BACKBONE_DTYPE)
        np.testing.assert_allclose(output, brightness[index], atol=1e-3)
        del read[record.IMAGE]
        assert written == read


def test_stored_outputs_are_not_computed_again(levels: np.ndarray, tmp_path: Path) -> None:
    pngs = [to_png(image, PALETTE) for image in levels]
    calls: list[int] = []

    def build(weights: Path | None, policy: Policy) -> Any:
        model = BACKBONES["levels"].build(weights, policy)

        def counted(images: tf.Tensor, training: bool) -> tf.Tensor:
            tf.py_function(lambda count: calls.append(int(count)), [tf.shape(images)[0]], [])
            return model(images, training=training)

        return counted

    def compute(chosen: list[bytes], copy: int = 0) -> np.ndarray:
        """Compute in a new process, as it were."""
        backbone = dataclasses.replace(BACKBONES["levels"], build=build)
        return CachedBackbone(backbone, None, "float32", str(tmp_path))(chosen, copy)

    first = compute(pngs[:2])
    whole = compute(pngs)
    np.testing.assert_array_equal(whole[:2], first)
    assert (whole.dtype, calls) == (BACKBONE_DTYPE, [2, 1])
    np.testing.assert_array_equal(compute(pngs[::-1]), whole[::-1])
    assert calls == [2, 1]
    masked = compute(pngs, copy=1)
    assert calls == [2, 1, 3]
    assert (masked != whole).any()
    files = sorted(tmp_path.glob("*/*"))
    assert len(files) == 6
    for file, size in zip(files, (0, 50, 100, -1, -100, -1_000), strict=True):  # a machine that lost power
        file.write_bytes(file.read_bytes()[:size])
    np.testing.assert_array_equal(compute(pngs), whole)
    np.testing.assert_array_equal(compute(pngs, copy=1), masked)
    assert calls == [2, 1, 3, 3, 3]


def test_masked_copies_are_reproducible(serialized: list[bytes], brightness: np.ndarray) -> None:
    def computed(batch: list[bytes]) -> list[np.ndarray]:
        found = ExamplesToFeatures("levels", "", "float32", copies=2).process(batch)
        features = [tf.train.Example.FromString(one).features.feature for one in found]
        return [np.frombuffer(one[record.BACKBONE].bytes_list.value[0], BACKBONE_DTYPE) for one in features]

    plain, *copies = np.split(np.stack(computed(serialized)), 3)
    np.testing.assert_allclose(plain, brightness, atol=1e-3)
    for copy in copies:
        changed = copy != plain
        assert 0 < changed[:2].mean() < 0.6
        assert (copy[changed] == 0).all()
    assert (copies[0] != copies[1]).any()
    np.testing.assert_array_equal(computed(serialized[1:2])[1], copies[0][1])


def test_run_and_compare_mask_a_fragment_in_the_same_way(
    serialized: list[bytes], levels: np.ndarray, tmp_path: Path
) -> None:
    cache = song_cache.SongCache(str(tmp_path / "songs"))
    archive = cache.path(song_cache.AudioSegment("song.mp3", 0.0, None), "ab" * 32)
    with cache.writing(archive) as song:
        for index, image in enumerate(levels):
            song_cache.add_image(song, index, to_png(image, PALETTE))
    numbers = np.arange(3)
    library = RenderedLibrary(
        ("salsa",), 3 * ("other name",), 0 * numbers, numbers, 30.0 * numbers, (), 3 * (archive,), (0, 1, 2), {}, ()
    )
    by_run = list(ExamplesToFeatures("levels", "", "float32", copies=2).process(serialized))
    for copy, compared in enumerate(library_features(library, BACKBONES["levels"], None, "float32", copies=2)):
        for one, of_record in zip(compared, by_run[3 * copy : 3 * copy + 3], strict=True):
            (raw,) = tf.train.Example.FromString(of_record).features.feature[record.BACKBONE].bytes_list.value
            np.testing.assert_array_equal(np.frombuffer(raw, BACKBONE_DTYPE), one.ravel())
