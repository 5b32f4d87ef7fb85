"""ONNX Runtime computes the same as the SavedModel, for every kind of backbone and for loops."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.model_info import ASSETS_FOLDER, INFO_FILE, ONNX_FILE
from tumbao.serving.onnx_export import convert, onnx_runner
from tumbao.serving.signatures import save
from tumbao.trainer.backbones import BACKBONES
from tumbao.trainer.model import final_model, joined, without_loops
from tumbao.trainer.models.registry import find_model

GENRES = ("bachata", "salsa")


def network(name: str) -> keras.Model:
    """Join a backbone with a dense layer, or build the network of a model, with a temperature."""
    if name in BACKBONES:
        backbone = BACKBONES[name].build(None, "float32")
        features = keras.layers.UnitNormalization()(keras.layers.Flatten()(backbone.output))
        return keras.Model(backbone.input, keras.layers.Dense(len(GENRES), "softmax")(features))
    model = find_model(name)
    backbone = model.backbone.build(None, "float32")
    head = model.head_for(backbone.output_shape[1:], len(GENRES), model.settings())
    return final_model(joined(backbone, without_loops(head)), 1.5, None)


@pytest.mark.parametrize("name", ["rhythm", "descriptors", "musicnn", "crnn"])
def test_onnx_runtime_computes_the_same(name: str, tmp_path: Path) -> None:
    spec = (BACKBONES[name] if name in BACKBONES else find_model(name).backbone).mel_spec
    save(network(name), str(tmp_path / "saved"), GENRES, spec)
    convert(str(tmp_path / "saved"), str(tmp_path / "model.onnx"), spec)
    rng = np.random.default_rng(3)
    beats = np.sin(np.arange(spec.fragment_samples) / 9) * (np.arange(spec.fragment_samples) % 9_000 < 900)
    waveforms = (beats * [[0.5], [0.1]] + rng.normal(0, 0.01, (2, spec.fragment_samples))).astype(np.float32)
    expected = tf.saved_model.load(str(tmp_path / "saved")).signatures["waveform"](waveform=tf.constant(waveforms))
    found = onnx_runner((tmp_path / "model.onnx").read_bytes(), threads=2)(waveform=waveforms)
    assert found.keys() == {"probabilities"}
    assert found["probabilities"].dtype == np.float32
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-4)
    assert np.abs(found["probabilities"][0] - found["probabilities"][1]).max() > 1e-6


def test_the_code_of_the_guide_returns_the_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = MelSpec().fragment_samples

    def waveform(waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        loudest = tf.reduce_max(waveform, axis=1)
        shares = tf.stack([loudest, 1 - loudest], axis=1)
        return {"probabilities": shares, "genres": tf.fill(tf.shape(shares), "salsa"), "distance": 10 * loudest}

    module = tf.Module()
    spec = tf.TensorSpec([None, samples], tf.float32, name="waveform")
    module.function = tf.function(waveform, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"waveform": module.function})
    assets = tmp_path / ASSETS_FOLDER
    assets.mkdir()
    (assets / INFO_FILE).write_text("{}")
    convert(str(tmp_path / "saved"), str(assets / ONNX_FILE), MelSpec())
    fragments = np.zeros((3, samples), "<f4")
    fragments[:, 7] = [0.2, 0.5, 0.75]
    fragments.tofile(tmp_path / "mine.f32")
    guide = (Path(__file__).parents[2] / "docs" / "edge.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "onnxruntime" in block)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    np.testing.assert_allclose(names["rows"][:, 0], [0.2, 0.5, 0.75], rtol=1e-6)
    np.testing.assert_allclose(names["distances"], [2, 5, 7.5], rtol=1e-6)
