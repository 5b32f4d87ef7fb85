"""Every model has the documented number of parameters, learns, and is the same after loading."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tumbao.components.ingest.mel import mel_image, palette
from tumbao.schema.mel_spec import FINE
from tumbao.trainer.backbones import BACKBONES
from tumbao.trainer.dataset import Arrays
from tumbao.trainer.descriptors import descriptor_names
from tumbao.trainer.fit import HEAD_FILE, load_head, train_head
from tumbao.trainer.model import joined, without_loops
from tumbao.trainer.models import spectrogram_nets
from tumbao.trainer.models.registry import MODELS, PAPER, find_model
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.rhythm import rhythm_names

SHAPES = {
    "vgg16": (9, 9, 512),
    "vgg16-avg": (9, 9, 512),
    "vgg16-block4": (18, 18, 512),
    "levels": (300, 300),
    "fine-levels": (469, 96),
    "descriptors": (len(descriptor_names()),),
    "rhythm": (len(rhythm_names()),),
    "musicnn": (10, 512),
    "tagged": (469 * 96 + len(descriptor_names()) + 10 * 512,),
}
"""What each backbone gives for a fragment."""

SMALL = {
    "vgg16-gap": (3, 3, 16),
    "lstm": (40, 40),
    "lstm-attention": (40, 40),
    "cnn": (162, 162),
    "crnn": (96, 96),
    "musicnn": (10, 16),
}
"""Smaller features, which heads learn from in less time, by model."""

PARAMETERS = {
    "vgg16": (35_982_021, 21_267_333),
    "vgg16-avg": (35_982_021, 21_267_333),
    "vgg16-gap": (14_747_845, 33_157),
    "lstm": (270_581, 269_981),
    "lstm-attention": (274_806, 274_206),
    "cnn": (66_437, 65_485),
    "fcn": (640_165, 638_821),
    "fcn-3": (196_453, 195_621),
    "fcn-5": (1_231_013, 1_229_157),
    "fcn-6": (1_821_861, 1_819_493),
    "fcn-7": (2_412_709, 2_409_829),
    "crnn": (86_165, 85_749),
    "musicnn": (171_381, 67_973),
    "cnn-lstm": (244_185, 140_251),
}
"""Of the whole network, and those of them that gradients train, for five genres."""

ONE_EACH = ("tumbao", "vgg16-gap", "lstm", "lstm-attention", "adaboost", "fcn", "cnn-lstm", "musicnn", "cnn", "crnn")
"""Models whose heads are not those of others in another size; the paper's is trained in test_run."""


@pytest.fixture(scope="module")
def backbones() -> dict[str, Any]:
    return {name: backbone.build(None, "float32") for name, backbone in BACKBONES.items()}


def fragments(model: ModelSpec, count: int, seed: int) -> Arrays:
    """Make features of two kinds: of the second, every other feature is greater."""
    shape = SMALL.get(model.name, SHAPES[model.backbone.name])
    labels = np.arange(count) % 2
    features = np.random.default_rng(seed).uniform(0, 0.5, (count, *shape)).astype(np.float32)
    features[labels == 1, ..., ::2] += 0.5
    return Arrays([features], labels, np.arange(count), 2)


def test_every_backbone_has_the_expected_shape_and_is_frozen(backbones: dict[str, Any]) -> None:
    assert {name: backbone.output_shape[1:] for name, backbone in backbones.items()} == SHAPES
    for name, backbone in backbones.items():
        assert backbone.trainable_weights == []
        assert backbone.input_shape[1:] == BACKBONES[name].mel_spec.image_shape


@pytest.mark.parametrize("name", ["descriptors", "rhythm"])
def test_features_are_finite_and_fit_float16_whatever_the_image(
    name: str, backbones: dict[str, Any], rng: np.random.Generator
) -> None:
    rows, columns, _ = FINE.image_shape
    silent, full = np.zeros((rows, columns), int), np.full((rows, columns), 255)
    features = backbones[name](palette(FINE)[np.stack([silent, full, rng.integers(0, 256, (rows, columns))])]).numpy()
    assert np.isfinite(features).all()
    assert np.abs(features).max() < 1_000


@pytest.mark.parametrize("name", ["descriptors", "rhythm", "musicnn"])
def test_a_backbone_gives_the_same_in_tflite_with_built_in_operations(
    name: str, backbones: dict[str, Any], rng: np.random.Generator, tmp_path: Path
) -> None:
    model, module = backbones[name], tf.Module()
    module.held = [variable.value for variable in model.variables]
    image = tf.TensorSpec([1, *FINE.image_shape], tf.uint8, name="image")
    function = tf.function(lambda image: {"features": model(tf.cast(image, tf.float32))}).get_concrete_function(image)
    tf.saved_model.save(module, str(tmp_path), signatures={"image": function})
    content = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path), signature_keys=["image"]).convert()
    time = np.arange(FINE.fragment_samples) / FINE.sample_rate_hz
    sound = 0.3 * np.sin(2 * np.pi * 440 * time) * (time % 0.5 < 0.1) + 0.01 * rng.standard_normal(len(time))
    images = mel_image(sound[np.newaxis].astype(np.float32), FINE).numpy()
    features = Interpreter(model_content=content).get_signature_runner("image")(image=images)["features"]
    np.testing.assert_allclose(features, model(images).numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", PARAMETERS)
def test_numbers_of_parameters_are_the_documented_ones(name: str, backbones: dict[str, Any]) -> None:
    model = find_model(name)
    backbone = backbones[model.backbone.name]
    network = joined(backbone, model.head_for(SHAPES[model.backbone.name], 5, model.settings()))
    trained = sum(math.prod(weight.shape) for weight in network.trainable_weights)
    assert (network.count_params(), trained) == PARAMETERS[name]


def test_all_models_trained_by_gradients_are_tested() -> None:
    assert PARAMETERS.keys() == {name for name, model in MODELS.items() if not model.train}
    assert next(iter(MODELS)) == PAPER


@pytest.mark.parametrize("name", ONE_EACH)
def test_it_learns_and_is_the_same_when_loaded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrogram_nets, "FCN_CHANNELS", (8, 16, 16, 16))  # fewer than in the product, for speed
    model = find_model(name)
    settings = model.settings(epochs=8, batch=4, patience=0, dropout=0.0, learning_rate=3e-3)
    train, val = fragments(model, 16, seed=1), fragments(model, 16, seed=2)
    head, history = train_head(model, train, val, settings, shape=SMALL.get(model.name, SHAPES[model.backbone.name]))
    assert history["epochs"][history["best_epoch"] - 1]["val_accuracy"] >= 0.85
    (features, _) = next(iter(val.batches(16)))
    probabilities = head(features).numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert np.mean(probabilities.argmax(axis=1) == np.arange(16) % 2) >= 0.85
    head.save(tmp_path / HEAD_FILE)
    np.testing.assert_allclose(load_head(str(tmp_path / HEAD_FILE))(features), probabilities, atol=1e-6)


@pytest.mark.parametrize("name", ["crnn", "cnn-lstm"])
def test_unrolled_loops_predict_the_same(name: str) -> None:
    model = find_model(name)
    head = model.head_for(SHAPES[model.backbone.name], 3, model.settings())
    features = np.random.default_rng(4).random((2, *SHAPES[model.backbone.name]), np.float32)
    straight = without_loops(head)
    assert all(layer.unroll for layer in straight.layers if isinstance(layer, keras.layers.LSTM | keras.layers.GRU))
    np.testing.assert_allclose(straight(features), head(features), atol=1e-6)
