"""Accuracy where the backbone computes in bfloat16 and where it computes in float32."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tumbao.components.ingest.mel import mel_image
from tumbao.schema.mel_spec import MelSpec
from tumbao.trainer import vgg16
from tumbao.trainer.model import dense_head
from tumbao.trainer.training import Training


def test_accuracy_in_bfloat16_differs_by_one_fragment_at_most(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = MelSpec(image_height=96, image_width=96)
    monkeypatch.setattr(vgg16, "IMAGE_SHAPE", spec.image_shape)  # a tenth of the work
    labels = np.arange(12) % 3
    time = np.arange(spec.fragment_samples) / spec.sample_rate_hz
    tones = [np.sin(2 * np.pi * 200 * 3**label * rng.uniform(0.9, 1.1) * time) for label in labels]
    fragments = np.stack(tones) + 0.01 * rng.standard_normal((12, spec.fragment_samples))
    images = mel_image(fragments.astype(np.float32), spec).numpy()

    exact = vgg16.vgg16_backbone(None, "float32").predict(images, batch_size=4, verbose=0)
    rounded = vgg16.vgg16_backbone(None, "mixed_bfloat16").predict(images, batch_size=4, verbose=0)
    assert not np.array_equal(exact, rounded)  # it did compute in another precision

    model = dense_head(exact.shape[1:], 3, Training(seed=0))
    model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy")
    model.fit(exact[:6], labels[:6], epochs=10, batch_size=3, verbose=0)
    correct = [(model.predict(features, verbose=0).argmax(1) == labels)[6:].sum() for features in (exact, rounded)]
    assert correct[0] >= 4  # clearly more than chance
    assert abs(int(correct[0]) - int(correct[1])) <= 1
